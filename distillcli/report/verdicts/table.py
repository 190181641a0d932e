"""Comparisons as a table for people."""

from collections.abc import Iterator
from typing import TextIO

from rich.console import RenderableType
from rich.text import Text

from distillcli.checking.comparison import Comparison, Row
from distillcli.report.grid import Column, grid
from distillcli.report.lines import labelled
from distillcli.report.page import Page
from distillcli.report.text import escape
from distillcli.report.verdicts import words

_STYLES = {"FAIL": "bold red", "worse": "bold red", "near": "yellow", "better": "green"}


def write_table(
    comparison: Comparison,
    stream: TextIO,
    *,
    color: bool | None,
    all_rows: bool,
    digits: int | None,
) -> None:
    """Write the report of a comparison; see `distillcli.report.verdicts.render`."""
    page = Page.of(stream, color=color)
    stream.write(page.text(report(comparison, page, all_rows, digits)))


def report(
    comparison: Comparison, page: Page, all_rows: bool, digits: int | None
) -> Iterator[RenderableType]:
    """The parts of the report."""
    yield Text(words.headline(comparison), style="bold red" if comparison.failures else "bold")
    yield from labelled(words.remarks(comparison))
    rows = words.shown_rows(comparison, all_rows)
    if rows:
        yield Text("")
        yield from grid(_columns(comparison, rows, digits), page)
    closing = words.closing(comparison)
    if closing:
        yield Text("")
        yield from labelled(closing)


def _columns(comparison: Comparison, rows: tuple[Row, ...], digits: int | None) -> list[Column]:
    checks = comparison.command == "check"
    sides = ("A", "B") if comparison.command == "diff" else ("baseline", "now")
    size = (
        Column("allowed", [words.limit(row.allowed, digits) for row in rows])
        if checks
        else Column("relative", [words.relative(row) for row in rows])
    )
    columns = [
        Column("number", [escape(row.name) for row in rows], name=True),
        Column(sides[0], [words.value(row.baseline, digits) for row in rows]),
        Column(sides[1], [words.value(row.now, digits) for row in rows], style="bold"),
        Column("difference", [words.difference(row.difference, digits) for row in rows]),
        size,
        Column("verdict", [words.verdict(row) for row in rows], styles=_STYLES),
        Column("reason", [escape(row.reason) for row in rows], name=True),
    ]
    return columns if any(row.reason for row in rows) else columns[:-1]
