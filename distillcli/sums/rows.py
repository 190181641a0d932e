"""The values of some rows, and pieces of them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

BLOCK = 4096  # rows whose sums are taken at once, counted from row 0 of the dump

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class RowValues:
    """What was found for rows `start` to `stop`: one row of `values` per column name.

    Args:
        values: float64 [columns, rows]; whatever stands at rows that are not kept is not used.
        keep: bool [rows]; False for rows that are left out of every figure.
        masked: bool [rows], those of them that were not to count; None where all were. The others
            that are left out could not be used.
    """

    start: int
    names: tuple[str, ...]
    values: Floats
    keep: Mask
    masked: Mask | None = None

    @property
    def stop(self) -> int:
        return self.start + len(self.keep)

    def column(self, name: str) -> Floats:
        """All values of one column, those of rows that are not kept included."""
        column: Floats = self.values[self.names.index(name)]
        return column

    def kept(self, name: str) -> Floats:
        """The values of one column at the kept rows."""
        return self.column(name)[self.keep]

    def first(self, columns: int) -> "RowValues":
        """The first so many columns alone."""
        if columns == len(self.names):
            return self
        return replace(self, names=self.names[:columns], values=self.values[:columns])

    def part(self, start: int, stop: int) -> "RowValues":
        """The rows `start` to `stop`, counted like `self.start`."""
        rows = slice(start - self.start, stop - self.start)
        masked = None if self.masked is None else self.masked[rows]
        return RowValues(start, self.names, self.values[:, rows], self.keep[rows], masked)

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
    values = np.concatenate([piece.values for piece in pieces], axis=1)
    keep = np.concatenate([piece.keep for piece in pieces])
    masked = None
    if any(piece.masked is not None for piece in pieces):
        masked = np.concatenate([_masked(piece) for piece in pieces])
    return RowValues(pieces[0].start, pieces[0].names, values, keep, masked)


def _masked(rows: RowValues) -> Mask:
    return np.zeros(len(rows.keep), bool) if rows.masked is None else rows.masked
