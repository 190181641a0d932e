"""A result as CSV: one line per batch, and a last one, `all`, for the whole run."""

import csv
from collections.abc import Iterator
from typing import TextIO

from distillcli.result import Number, Result

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would run


def write_csv(
    result: Result, stream: TextIO, *, color: bool | None, width: int | None, all_batches: bool
) -> None:
    """Write the table, every number in full; a cell is empty where there is no finite number.

    The columns are batch, start, stop, loss, the terms, and all metrics; a batch has but a few of
    the metrics. Colour, width and `all_batches` play no part: all batches that the result has.
    """
    writer = csv.writer(stream, lineterminator="\n")
    names = ["batch", "start", "stop", "loss", *result.terms, *result.metrics]
    writer.writerow([_text(name) for name in names])
    for label, start, stop, numbers in _lines(result):
        writer.writerow([label, start, stop, *(_number(number) for number in numbers)])


def _lines(result: Result) -> Iterator[tuple[str, int, int, list[Number]]]:
    for batch in result.batches:
        terms = [batch.terms.get(name) for name in result.terms]
        metrics = [batch.metrics.get(name) for name in result.metrics]
        yield str(batch.index), batch.start, batch.stop, [batch.loss, *terms, *metrics]
    first = result.batches[0].start if result.batches else 0
    last = result.batches[-1].stop if result.batches else result.rows
    yield "all", first, last, [result.loss, *result.terms.values(), *result.metrics.values()]


def _number(value: Number) -> str:
    return "" if value is None else repr(value)


def _text(cell: str) -> str:
    """The cell with a quote before what a spreadsheet would take for a formula."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
