"""The command line: the commands, their options, and what goes to stdout and stderr."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from distillcli import __version__
from distillcli.cli.options import Computing, command
from distillcli.errors import UsageError

app = typer.Typer(
    name="distill",
    help="Offline knowledge distillation: compare, blend and check saved model outputs.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """The entry point of `distill`."""
    app(prog_name="distill")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"distill {__version__}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Offline knowledge distillation: compare, blend and check saved model outputs."""


@command(app, "score")
def score(
    config: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG]", help="A YAML config.")
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="The teacher's logits, instead of a config."),
    ] = None,
    student: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="The student's logits, instead of a config."),
    ] = None,
    labels: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="The labels, instead of a config.")
    ] = None,
    temperature: Annotated[
        str | None, typer.Option(metavar="T", help="Temperature of the soft loss.")
    ] = None,
    alpha: Annotated[
        str | None, typer.Option(metavar="A", help="Weight of the soft loss, 0 to 1.")
    ] = None,
    all_batches: Annotated[
        bool, typer.Option("--all-batches", help="Print every batch of a long run.")
    ] = False,
    *,
    shared: Computing,
) -> None:
    """Losses and metrics of a student against its teacher(s)."""
    from distillcli import report
    from distillcli.commands.score import score as run
    from distillcli.commands.strategy import from_file, from_flags

    if shared.format not in report.FORMATS:
        raise UsageError(
            "--format", f"no format {shared.format!r}", f"one of {', '.join(report.FORMATS)}"
        )
    flags = {
        "--teacher": teacher,
        "--student": student,
        "--labels": labels,
        "--temperature": temperature,
        "--alpha": alpha,
    }
    given = {flag: text for flag, text in flags.items() if text is not None}
    if config is not None and given:
        raise UsageError(next(iter(given)), "stands in for a config, and one is given", "drop one")
    settings = shared.settings()
    strategy = from_flags(given, settings) if config is None else from_file(config, settings)

    def progress(label: str, rows: int, size: int) -> report.Progress:
        return report.Progress(rows, size, shared.shows_progress, sys.stderr, label=label)

    def note(text: str) -> None:
        if not shared.quiet:
            report.print_note(text, sys.stderr)

    result = run(strategy, progress=progress, note=note)
    report.render(
        result,
        format=shared.format,
        stream=sys.stdout,
        color=False if shared.no_color else None,
        all_batches=all_batches,
    )
