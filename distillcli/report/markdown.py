"""A result as Markdown tables, as GitHub shows them in issues, pull requests and job summaries."""

import re
from collections.abc import Iterator, Sequence
from typing import TextIO

from distillcli.report import columns, text
from distillcli.report.grid import Column
from distillcli.report.head import run
from distillcli.report.page import Page, encodable
from distillcli.report.table import ENDS, SCREEN
from distillcli.result import BatchResult, Result

_SIGNS = re.compile(r"([\\`*_{}\[\]()<>#+!|~&$@:])")


def write_markdown(
    result: Result, stream: TextIO, *, color: bool | None, width: int | None, all_batches: bool
) -> None:
    """Write the report; `all_batches` as in the table, colour and width play no part."""
    page = Page.of(stream, color=False)
    blocks = [*_blocks(result, page, all_batches)]
    stream.write(encodable("\n".join(f"{block}\n" for block in blocks), page.encoding))


def _blocks(result: Result, page: Page, all_batches: bool) -> Iterator[str]:
    yield f"### distill {result.command}: {escaped(result.strategy)}"
    if result.terms:
        yield f"**loss {text.loss(result.loss)}** = {_sum(result, page)}"
    yield f"{escaped(run(result))}"
    yield from _inputs(result)
    yield from _batches(result, page, all_batches)
    if result.layers:
        yield table(columns.layers(result))
    if result.teachers:
        yield table(columns.teachers(result))
    if result.groups:
        yield table(columns.groups(result, result.groups))
    if result.worst:
        yield table(columns.worst(result, result.worst))
    if result.metrics:
        yield table(_metrics(result))
    yield from _remarks(result)


def _sum(result: Result, page: Page) -> str:
    return " + ".join(
        f"{text.weight(result.weights.get(name, 0.0))} {page.times} {text.loss(term)} "
        f"{escaped(name)}"
        for name, term in result.terms.items()
    )


def _inputs(result: Result) -> Iterator[str]:
    entries = result.facts.get("inputs", ())
    if not entries:
        return
    shapes = [" x ".join(map(str, each.get("shape", ()))) for each in entries]
    yield table(
        [
            Column("input", [str(each.get("role", "")) for each in entries], name=True),
            Column("shape", shapes, name=True),
            Column("type", [text.escape(str(each.get("dtype"))) for each in entries], name=True),
            Column("source", [text.escape(str(each.get("path"))) for each in entries], name=True),
        ]
    )


def _batches(result: Result, page: Page, all_batches: bool) -> Iterator[str]:
    shown: Sequence[BatchResult] = result.batches
    if len(shown) > SCREEN and not all_batches:
        more = len(shown) - 2 * ENDS
        yield table(columns.batches(result, shown[:ENDS]))
        yield f"{page.dots} {more:,} more left out {page.dots}"
        shown = shown[-ENDS:]
    if shown:
        yield table(columns.batches(result, shown))


def _metrics(result: Result) -> list[Column]:
    return [
        Column("metric", list(result.metrics), name=True),
        Column("value", [text.metric(value) for value in result.metrics.values()]),
    ]


def _remarks(result: Result) -> Iterator[str]:
    for name, count in result.nonfinite.items():
        yield f"**not finite:** {escaped(name)} in {text.count(count, 'row')}"
    if result.rows_skipped:
        yield f"**skipped:** {text.count(result.rows_skipped, 'bad row')}"
    if result.rows_masked:
        yield f"**masked:** {text.count(result.rows_masked, 'row')}, which do not count"
    for note in result.facts.get("notes", ()):
        yield f"note: {escaped(note)}"
    if conventions := result.facts.get("conventions"):
        yield f"conventions: {code(text.escape(conventions))}"


def table(parts: Sequence[Column]) -> str:
    """The columns as a table; names as code, so that nothing in them acts."""
    heads = [escaped(part.heading.replace("-\n", "").replace("\n", " ")) for part in parts]
    rules = [":--" if part.name else "--:" for part in parts]
    cells = [[_cell(part, text_) for text_ in part.cells] for part in parts]
    lines = [heads, rules, *(list(line) for line in zip(*cells, strict=True))]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(column: Column, cell: str) -> str:
    """A cell; a pipe in a name is escaped, and spelt out where a backslash stands before it."""
    if not column.name:
        return cell
    return code(cell.replace(r"\|", "\\\\x7c")).replace("|", r"\|")


def code(words: str) -> str:
    """The words as code, in which nothing but a backtick means anything."""
    if not words:
        return ""
    longest = max(map(len, re.findall("`+", words)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {words} {fence}" if longest else f"{fence}{words}{fence}"


def escaped(words: str) -> str:
    """The words with a backslash before every sign that Markdown would take for its own."""
    return _SIGNS.sub(r"\\\1", text.escape(words.replace(text.TIE, " ")))
