"""A result as a report for people: what was compared, batch by batch, and the sum of it."""

from collections.abc import Iterator, Sequence
from typing import TextIO

from rich.console import RenderableType
from rich.text import Text

from distillcli.report import text
from distillcli.report.grid import Column, grid
from distillcli.report.head import inputs, recipe
from distillcli.report.lines import labelled
from distillcli.report.page import Page
from distillcli.report.summary import summary
from distillcli.result import BatchResult, Result

# So many batches are shown at each end of a run that has more than a screen of them.
_ENDS = 10
_SCREEN = 24

# The metrics that have a column in the table of batches, and its heading.
_BATCH_METRICS = {
    "top1_agreement": "top-1\nagreement",
    "student_accuracy": "student\naccuracy",
}


def write_table(
    result: Result, stream: TextIO, *, color: bool | None, width: int | None, all_batches: bool
) -> None:
    """Write the report of a score; see `distillcli.report.render`."""
    page = Page.of(stream, color=color, width=width)
    stream.write(page.text(report(result, page, all_batches)))


def report(result: Result, page: Page, all_batches: bool) -> Iterator[RenderableType]:
    """The parts of the report, each separated from the next by an empty line."""
    for index, part in enumerate(
        (
            _head(result, page),
            _batches(result, page, all_batches),
            _layers(result, page),
            _teachers(result, page),
            summary(result, page),
        )
    ):
        lines = list(part)
        if lines and index:
            yield Text("")
        yield from lines


def _head(result: Result, page: Page) -> Iterator[RenderableType]:
    yield Text(f"distill {result.command}: {text.escape(result.strategy)}", style="bold")
    facts = result.facts
    loss = [("loss", recipe(result.weights, facts, page))] if result.weights else []
    yield from labelled([*loss, *inputs(facts.get("inputs", ()), page), ("run", _run(result))])


def _run(result: Result) -> str:
    facts = result.facts
    size, kernel = facts.get("batch_size"), facts.get("kernel")
    rows = text.count(result.rows, "row")
    parts = [
        str(facts.get("device", "")),
        f"kernel {kernel}" if kernel else "",
        str(facts.get("precision", "")),
    ]
    cut = f"{rows} in batches of {size:,}" if isinstance(size, int) else rows
    return ", ".join([cut, *(text.escape(part) for part in parts if part)])


def _batches(result: Result, page: Page, all_batches: bool) -> Iterator[RenderableType]:
    shown: Sequence[BatchResult] = result.batches
    if not shown:
        return
    gap = None
    left_out = len(shown) - 2 * _ENDS
    if len(shown) > _SCREEN and not all_batches:
        shown = (*shown[:_ENDS], *shown[-_ENDS:])
        dots = "\u2026" if page.unicode else "..."
        gap = _ENDS, f"{dots} {left_out:,} more left out; --all-batches prints every one {dots}"
    yield from grid(_batch_columns(result, shown), page, gap=gap)
    joined = result.facts.get("batches_joined", 1)
    if joined > 1:
        yield Text(f"each line stands for up to {joined:,} batches joined", style="dim")


def _batch_columns(result: Result, shown: Sequence[BatchResult]) -> list[Column]:
    metrics = [name for name in _BATCH_METRICS if any(name in batch.metrics for batch in shown)]
    return [
        Column("batch", [str(batch.index) for batch in shown]),
        Column("rows", [f"{batch.start}:{batch.stop}" for batch in shown]),
        Column("loss", text.losses(batch.loss for batch in shown), style="bold"),
        *(
            Column(text.escape(term), text.losses(batch.terms.get(term) for batch in shown))
            for term in result.terms
        ),
        *(
            Column(_BATCH_METRICS[name], text.shares(batch.metrics.get(name) for batch in shown))
            for name in metrics
        ),
    ]


def _layers(result: Result, page: Page) -> Iterator[RenderableType]:
    if not result.layers:
        return
    layers = result.layers
    columns = [
        Column("student\nlayer", [str(layer.student) for layer in layers]),
        Column("teacher\nlayer", [str(layer.teacher) for layer in layers]),
        Column("weight", text.shares(layer.weight for layer in layers)),
        Column("loss", text.losses(layer.loss for layer in layers), style="bold"),
    ]
    yield from grid(columns, page, keys=2)


def _teachers(result: Result, page: Page) -> Iterator[RenderableType]:
    if not result.teachers:
        return
    teachers = result.teachers
    columns = [
        Column("teacher", [str(index + 1) for index in range(len(teachers))]),
        Column("weight", text.shares(teacher.weight for teacher in teachers), style="bold"),
    ]
    if any(teacher.accuracy is not None or teacher.nll is not None for teacher in teachers):
        columns.append(Column("accuracy", text.shares(each.accuracy for each in teachers)))
        columns.append(Column("nll", text.metrics(each.nll for each in teachers)))
    columns.append(Column("source", [text.escape(each.source) for each in teachers], name=True))
    yield from grid(columns, page)
