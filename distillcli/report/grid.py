"""Tables of numbers that are never shortened: too many columns go on below, not off the edge."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.box import Box
from rich.cells import cell_len
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from distillcli.report.page import Page
from distillcli.report.text import NOT_FINITE

_GAP = 2
_NAME = 24  # what a name keeps of its width
_LIGHT = Box("    \n    \n ── \n    \n    \n    \n    \n    \n")
_ASCII = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)


@dataclass(frozen=True)
class Column:
    """A heading (its lines split by newlines) over cells; `name`: left-aligned and foldable.

    `styles` are those of cells with certain words. Escape what comes from outside before it gets
    here.
    """

    heading: str
    cells: Sequence[str]
    name: bool = False
    style: str = ""
    styles: Mapping[str, str] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """Columns of the terminal that it takes in full."""
        return max(map(cell_len, (*self.heading.split("\n"), *self.cells)))

    @property
    def least(self) -> int:
        """What it can do with: a name gives way and is folded, a number never."""
        return min(self.width, _NAME) if self.name else self.width


def grid(
    columns: Sequence[Column], page: Page, *, keys: int = 1, gap: tuple[int, str] | None = None
) -> Iterator[RenderableType]:
    """The columns as a table, or as several below each other where the page is too narrow.

    Args:
        columns: all of the same length.
        page: where it goes.
        keys: how many columns at the left are repeated in each of the tables.
        gap: a row number and what to write between the rows before it and the rest.
    """
    for index, part in enumerate(_fit(columns, page.width, keys)):
        if index:
            yield Text("")
        yield from _table(part, page, gap)


def _fit(columns: Sequence[Column], width: int | None, keys: int) -> Iterator[tuple[Column, ...]]:
    """Groups of columns that fit the width, each behind the key columns; one at least in each."""
    head, rest = tuple(columns[:keys]), columns[keys:]
    part: tuple[Column, ...] = ()
    for column in rest:
        if part and width is not None and _width((*head, *part, column)) > width:
            yield head + part
            part = ()
        part += (column,)
    yield head + part


def _width(columns: Sequence[Column]) -> int:
    return sum(column.least + _GAP for column in columns) - _GAP


def _table(
    columns: Sequence[Column], page: Page, gap: tuple[int, str] | None
) -> Iterator[RenderableType]:
    rows = [
        [_cell(column, text) for column, text in zip(columns, texts, strict=True)]
        for texts in zip(*(column.cells for column in columns), strict=True)
    ]
    full = sum(column.width + _GAP for column in columns) - _GAP
    filled = _lines if page.width is None or full <= page.width else _filled
    if gap is None:
        yield from filled(columns, rows, page)
        return
    position, remark = gap
    yield from filled(columns, rows[:position], page)
    yield Text(remark, style="dim")
    yield from filled(columns, rows[position:], page, header=False)


def _cell(column: Column, text: str) -> Text:
    style = "bold red" if text == NOT_FINITE else column.styles.get(text, column.style)
    return Text(text, style=style)


def _lines(
    columns: Sequence[Column], rows: Sequence[Sequence[Text]], page: Page, header: bool = True
) -> Iterator[Text]:
    """The same as `_filled` where nothing is folded: many times as fast, for thousands of rows."""
    widths = [column.width for column in columns]
    if header:
        yield from (_line(columns, widths, line) for line in _heading(columns))
        rule = "\u2500" if page.unicode else "-"
        yield Text(rule * (sum(widths) + _GAP * (len(widths) - 1)), style="dim")
    for row in rows:
        yield _line(columns, widths, row)


def _heading(columns: Sequence[Column]) -> list[list[Text]]:
    """The lines of the headings, which stand on the cells."""
    headings = [column.heading.split("\n") for column in columns]
    height = max(map(len, headings))
    padded = [[""] * (height - len(heading)) + heading for heading in headings]
    return [[Text(part, style="bold") for part in line] for line in zip(*padded, strict=True)]


def _line(columns: Sequence[Column], widths: Sequence[int], cells: Sequence[Text]) -> Text:
    """Cells beside each other: names at the left, numbers at the right."""
    parts: list[tuple[str, Any]] = []
    for column, width, cell in zip(columns, widths, cells, strict=True):
        blank = " " * (width - cell_len(cell.plain))
        before, after = ("", blank) if column.name else (blank, "")
        parts += [(before, ""), (cell.plain, cell.style), (after + " " * _GAP, "")]
    return Text.assemble(*parts, no_wrap=True, overflow="ignore")


def _filled(
    columns: Sequence[Column], rows: Sequence[Sequence[Text]], page: Page, header: bool = True
) -> Iterator[Table]:
    box = _LIGHT if page.unicode else _ASCII
    table = Table(
        box=box, show_header=header, show_edge=False, padding=(0, 0, 0, _GAP - 1), pad_edge=False,
        safe_box=False, header_style="bold", border_style="dim",
    )  # fmt: skip
    lines = max(column.heading.count("\n") for column in columns)
    widths = _widths(columns, page)
    for column, width in zip(columns, widths, strict=True):
        table.add_column(
            Text("\n" * (lines - column.heading.count("\n")) + column.heading),
            width=width,
            justify="left" if column.name else "right",
            no_wrap=not column.name,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*row)
    yield table


def _widths(columns: Sequence[Column], page: Page) -> list[int]:
    """Numbers take what they need; names share what is left."""
    full = sum(column.width + _GAP for column in columns) - _GAP
    excess = 0 if page.width is None else max(0, full - page.width)
    return [max(column.least, column.width - excess) for column in columns]
