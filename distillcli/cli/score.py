"""`distill score` on the command line."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from distillcli.cli.completion import complete_config
from distillcli.cli.options import Computing, command, source_option
from distillcli.cli.output import Output
from distillcli.errors import UsageError
from distillcli.writing.written import Written, keep_apart

if TYPE_CHECKING:
    from distillcli.config import Config

MOST_WORST = 10_000


@command("score")
def score(
    config: Annotated[
        Path | None,
        typer.Argument(metavar="[CONFIG]", help="A YAML config.", autocompletion=complete_config),
    ] = None,
    teacher: Annotated[
        str | None, source_option("The teacher's logits, instead of a config.")
    ] = None,
    student: Annotated[
        str | None, source_option("The student's logits, instead of a config.")
    ] = None,
    labels: Annotated[str | None, source_option("The labels, instead of a config.")] = None,
    temperature: Annotated[
        str | None, typer.Option(metavar="T", help="Temperature of the soft loss.")
    ] = None,
    alpha: Annotated[
        str | None, typer.Option(metavar="A", help="Weight of the soft loss, 0 to 1.")
    ] = None,
    config_from: Annotated[
        Path | None,
        typer.Option(metavar="RESULT", help="Score with the config in a saved result (JSON)."),
    ] = None,
    per_row: Annotated[
        Path | None,
        typer.Option(metavar="FILE.npy", help="Write the loss of every row to a file."),
    ] = None,
    worst: Annotated[
        str | None, typer.Option(metavar="N", help="Tell the N rows with the highest loss.")
    ] = None,
    all_batches: Annotated[
        bool, typer.Option("--all-batches", help="Print every batch of a long run.")
    ] = False,
    *,
    shared: Computing,
) -> None:
    """Losses and metrics of a student against its teacher(s)."""
    from distillcli.commands.score import score as run
    from distillcli.sinks.collection import Wishes

    flags = {
        "--teacher": teacher,
        "--student": student,
        "--labels": labels,
        "--temperature": temperature,
        "--alpha": alpha,
    }
    files = [Written("--per-row", per_row)] if per_row is not None else []
    out = Output(shared, shared.format, all_batches, files)
    with out.last_line():
        for file in files:
            _check_suffix(file)
        given = {flag: text for flag, text in flags.items() if text is not None}
        strategy = _strategy(config, config_from, given, out)
        read = {"the config": config, "the saved result": config_from}
        keep_apart(out.written, [(name, path) for name, path in read.items() if path is not None])
        selection, count = shared.selection(), _count(worst)
        with out.lines() as lines:
            result = run(
                strategy,
                progress=out.progress,
                note=out.note,
                selection=selection,
                wishes=Wishes(count, per_row, lines.batch if lines else None),
                written=out.written,
            )
            lines.file_summaries(result)
        out.show(result, lines)


USE_SET = "with a config, write --set KEY=VALUE, such as --set response.soft_loss.temperature=2"


def _strategy(
    config: Path | None, config_from: Path | None, flags: dict[str, str], out: Output
) -> "Config":
    """The one config that is given: a file, a saved result, or flags."""
    from distillcli.commands.strategy import from_file, from_flags, from_result

    given = [*([] if config_from is None else ["--config-from"]), *flags]
    if given and config is not None:
        raise UsageError(given[0], "stands in for a config, and one is given", USE_SET)
    if config_from is not None and flags:
        raise UsageError("--config-from", f"is given beside {next(iter(flags))}", "drop one")
    shared = out.shared
    if config is not None:
        return from_file(config, shared.settings())
    if config_from is not None:
        all_rows = shared.rows is None and shared.limit is None
        return from_result(config_from, shared.settings(), note=out.note, all_rows=all_rows)
    return from_flags(flags, shared.flags(), weaker=shared.variables())


def _check_suffix(file: Written) -> None:
    """Refuse a file for the loss of every row whose name promises another format."""
    if file.path.suffix.lower() not in ("", ".npy"):
        hint = f"call it {file.path.with_suffix('.npy')}"
        raise UsageError(file.where, "is written as NPY", hint)


def _count(text: str | None) -> int:
    """How many of the worst rows are wanted."""
    if text is None:
        return 0
    if not text.isdecimal() or not 1 <= int(text[:9]) <= MOST_WORST or len(text) > 9:
        what = f"a whole number from 1 to {MOST_WORST:,}"
        raise UsageError("--worst", f"{text!r} is not {what}", "--per-row FILE.npy has all rows")
    return int(text)
