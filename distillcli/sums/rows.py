"""The values of some rows, and pieces of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

BLOCK = 4096  # rows whose sums are taken at once, counted from row 0 of the dump

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class RowValues:
    """What was found for rows `start` to `stop`: one of `values` per column name.

    Args:
        values: float64 [rows] each; whatever stands at rows that are not kept is not used.
        keep: bool [rows]; False for rows that are left out of every figure.
        masked: bool [rows], those of them that were not to count; None where all were. The others
            that are left out could not be used.
    """

    start: int
    names: tuple[str, ...]
    values: Sequence[Floats]
    keep: Mask
    masked: Mask | None = None

    @property
    def stop(self) -> int:
        return self.start + len(self.keep)

    @cached_property
    def whole(self) -> bool:
        """Whether all rows are kept."""
        return bool(self.keep.all())

    def column(self, name: str) -> Floats:
        """All values of one column, those of rows that are not kept included."""
        column: Floats = self.values[self.names.index(name)]
        return column

    def kept(self, name: str) -> Floats:
        """The values of one column at the kept rows."""
        column = self.column(name)
        return column if self.whole else column[self.keep]

    def first(self, columns: int) -> "RowValues":
        """The first so many columns alone."""
        if columns == len(self.names):
            return self
        return replace(self, names=self.names[:columns], values=self.values[:columns])

    def part(self, start: int, stop: int) -> "RowValues":
        """The rows `start` to `stop`, counted like `self.start`."""
        rows = slice(start - self.start, stop - self.start)
        masked = None if self.masked is None else self.masked[rows]
        values = [column[rows] for column in self.values]
        return RowValues(start, self.names, values, self.keep[rows], masked)

    def pieces(self, size: int, origin: int = 0) -> Iterator["RowValues"]:
        """Cut at every multiple of `size` rows from `origin`."""
        start = self.start
        while start < self.stop:
            stop = min(self.stop, origin + ((start - origin) // size + 1) * size)
            yield self.part(start, stop)
            start = stop


def joined(pieces: list[RowValues]) -> RowValues:
    """Neighbouring pieces as one."""
    if len(pieces) == 1:
        return pieces[0]
    by_column = zip(*(piece.values for piece in pieces), strict=True)
    values = [np.concatenate(column) for column in by_column]
    keep = np.concatenate([piece.keep for piece in pieces])
    masked = None
    if any(piece.masked is not None for piece in pieces):
        masked = np.concatenate([_masked(piece) for piece in pieces])
    return RowValues(pieces[0].start, pieces[0].names, values, keep, masked)


def _masked(rows: RowValues) -> Mask:
    return np.zeros(len(rows.keep), bool) if rows.masked is None else rows.masked


class Collector:
    """Makes something of the values of all rows, in two steps: what can be made of some of them
    alone, by the thread that has them, and what needs them in order.

    The values may be parts of what a kernel has found: nobody writes to them, and nobody keeps them
    for longer than it takes until the block of rows that they belong to is whole.
    """

    def of(self, rows: RowValues) -> Any:
        """What it makes of some rows; on any thread, in any order."""
        return rows

    def take(self, found: Any) -> None:
        """Take up what has been made of the rows that follow."""
        raise NotImplementedError

    def add(self, rows: RowValues) -> None:
        """Take up the rows that follow."""
        self.take(self.of(rows))


class InBlocks(Collector):
    """Hands rows on in blocks from row 0, however they have come."""

    def __init__(self, taker: Collector) -> None:
        self._taker = taker
        self._waiting: list[RowValues] = []

    def take(self, found: RowValues) -> None:
        *whole, rest = joined([*self._waiting, found]).pieces(BLOCK)
        for block in whole:
            self._taker.add(block)
        self._waiting = [rest]

    def finish(self) -> None:
        """Hand on the last rows."""
        for block in self._waiting:
            self._taker.add(block)
        self._waiting = []
