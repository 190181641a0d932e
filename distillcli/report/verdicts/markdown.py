"""Comparisons as Markdown, for comments and summaries of a CI."""

import re
from typing import TextIO

from distillcli.checking.comparison import Comparison, Row
from distillcli.errors import DistillError
from distillcli.report.text import escape
from distillcli.report.verdicts import words

# What could end a cell, start markup, HTML or a link, or call on somebody.
_ACTIVE = re.compile(r"[&<>|`*~\[\]\\@#!]|(?<=:)//|(?<=www)\.|^[-+_=]|^[0-9]+(?=[.)])", re.I)


def write_markdown(
    comparison: Comparison,
    stream: TextIO,
    *,
    color: bool | None,
    all_rows: bool,
    digits: int | None,
) -> None:
    """Write a heading, a table and what stands beside them; colour plays no part."""
    stream.write(markdown(comparison, all_rows=all_rows, digits=digits))


def markdown(comparison: Comparison, *, all_rows: bool = True, digits: int | None = None) -> str:
    """The text of `write_markdown`."""
    rows = words.shown_rows(comparison, all_rows)
    lines = [f"### {cell(words.headline(comparison))}", ""]
    lines += [_item(*one) for one in words.remarks(comparison)]
    if rows:
        lines += ["", *_table(comparison, rows, digits)]
    closing = [_item(*one) for one in words.closing(comparison)]
    lines += ["", *closing] if closing else []
    return "\n".join(lines) + "\n"


def failure(error: DistillError) -> str:
    """Why there is no comparison."""
    return f"### distill check: error\n\n{cell(str(error))}\n"


def cell(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return _ACTIVE.sub(lambda found: "".join(f"&#{ord(one)};" for one in found[0]), escape(text))


def _item(label: str, text: str) -> str:
    return f"- {label}: {cell(text)}" if label else f"  - {cell(text)}"


def _table(comparison: Comparison, rows: tuple[Row, ...], digits: int | None) -> list[str]:
    checks = comparison.command == "check"
    sides = ("A", "B") if comparison.command == "diff" else ("baseline", "now")
    size = "allowed" if checks else "relative"
    lines = [
        f"| number | {sides[0]} | {sides[1]} | difference | {size} | verdict | reason |",
        "|---|---:|---:|---:|---:|---|---|",
    ]
    for row in rows:
        verdict = words.verdict(row)
        cells = (
            cell(row.name),
            words.value(row.baseline, digits),
            words.value(row.now, digits),
            words.difference(row.difference, digits),
            words.limit(row.allowed, digits) if checks else words.relative(row),
            f"**{verdict}**" if row.verdict == "fail" else verdict,
            cell(row.reason),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines
