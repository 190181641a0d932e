"""The Typer application that every command registers itself with."""

import io
import sys
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from distillcli import __version__

ABOUT = "Offline knowledge distillation: compare, blend and check saved model outputs."


class Group(TyperGroup):
    """The commands; what is wrong with a command line is told without obeying what is in it."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command; with `standalone_mode`, end the process as well."""
        run = partial(super().main, args, prog_name, complete_var, False, windows_expand_args)
        if not standalone_mode:
            return run(**extra)
        try:
            code = run(**extra)
        except Exception as error:
            if not (hasattr(error, "show") and hasattr(error, "exit_code")):
                raise
            _show(error)
            code = error.exit_code
        sys.exit(code or 0)


def _show(error: Any) -> None:
    """Usage, and the error; a word of the command line may hold anything."""
    from distillcli.report.text import escape

    text = io.StringIO()
    error.show(file=text)
    lines = text.getvalue().split("\n")
    sys.stderr.write("\n".join(escape(line) for line in lines))
    sys.stderr.flush()


app = typer.Typer(
    name="distill",
    cls=Group,
    help=ABOUT,
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def print_version(wanted: bool) -> None:
    """Print the version and end, if it is wanted."""
    if wanted:
        print(f"distill {__version__}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", callback=print_version, is_eager=True, help="Print the version."),
]


@app.callback(help=ABOUT)
def about(version: Version = False) -> None:
    """Options that stand before a command."""
