"""A result as a report for people: what was compared, batch by batch, and the sum of it."""

from collections.abc import Iterator, Sequence
from typing import TextIO

from rich.console import RenderableType
from rich.text import Text

from distillcli.report import columns, text
from distillcli.report.grid import grid
from distillcli.report.head import inputs, recipe, run
from distillcli.report.lines import labelled
from distillcli.report.page import Page
from distillcli.report.summary import summary
from distillcli.report.trend import trend
from distillcli.result import BatchResult, Result

# So many lines are shown at each end of a table that has more than a screen of them.
ENDS = 10
SCREEN = 24


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
            _groups(result, page),
            _worst(result, page),
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
    yield from labelled([*loss, *inputs(facts.get("inputs", ()), page), ("run", run(result))])


def _batches(result: Result, page: Page, all_batches: bool) -> Iterator[RenderableType]:
    shown: Sequence[BatchResult] = result.batches
    if not shown:
        return
    gap = None
    left_out = len(shown) - 2 * ENDS
    if len(shown) > SCREEN and not all_batches:
        shown = (*shown[:ENDS], *shown[-ENDS:])
        more = f"{left_out:,} more left out; --all-batches prints every one"
        gap = ENDS, f"{page.dots} {more} {page.dots}"
    yield from grid(columns.batches(result, shown), page, gap=gap)
    joined = result.facts.get("batches_joined", 1)
    if joined > 1:
        yield Text(f"each line stands for up to {joined:,} batches joined", style="dim")
    yield from trend(result.batches, page)


def _layers(result: Result, page: Page) -> Iterator[RenderableType]:
    if result.layers:
        yield from grid(columns.layers(result), page, keys=2)


def _teachers(result: Result, page: Page) -> Iterator[RenderableType]:
    if result.teachers:
        yield from grid(columns.teachers(result), page)


def _groups(result: Result, page: Page) -> Iterator[RenderableType]:
    """The groups with the highest loss; all of them where they are few."""
    found = result.groups or ()
    if not found:
        return
    shown = found if len(found) <= SCREEN else found[: 2 * ENDS]
    yield from grid(columns.groups(result, shown), page)
    if len(shown) < len(found):
        dots, more = page.dots, len(found) - len(shown)
        remark = f"{dots} {more:,} more with a lower loss; --format json has them all {dots}"
        yield Text(remark, style="dim")


def _worst(result: Result, page: Page) -> Iterator[RenderableType]:
    if result.worst:
        yield from grid(columns.worst(result, result.worst), page)
