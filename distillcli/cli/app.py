"""The Typer application that every command registers itself with."""

from typing import Annotated

import typer

from distillcli import __version__

ABOUT = "Offline knowledge distillation: compare, blend and check saved model outputs."

app = typer.Typer(
    name="distill",
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
