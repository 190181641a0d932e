"""`distill score` on the command line."""

from pathlib import Path
from typing import Annotated

import typer

from distillcli.cli.options import Computing, command
from distillcli.cli.output import Output
from distillcli.errors import UsageError


@command("score")
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
    from distillcli.commands.score import score as run
    from distillcli.commands.strategy import from_file, from_flags

    out = Output(shared, shared.format, all_batches=all_batches)
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

    out.show(run(strategy, progress=out.progress, note=out.note, selection=shared.selection()))
