"""Sums over rows, and how far rows are from their mean: frozen, float64, mergeable.

Statistics are those of one stretch of rows, or of several at once: every number then has an axis
more in front, [stretches].
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from distillcli.sums.rows import Floats, Mask, RowValues

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Sums:
    """Number of rows and sums, one per column.

    Args:
        rows: how many rows were kept.
        skipped: how many could not be used.
        masked: how many were not to count.
        sums: float64 [columns].
        nonfinite: int64 [columns], how many kept values are not finite.
    """

    rows: Counts
    skipped: Counts
    masked: Counts
    sums: Floats
    nonfinite: Counts

    @classmethod
    def of(cls, rows: RowValues, columns: Sequence[int]) -> Self:
        """Those of some rows, of the columns by their numbers."""
        return cls.of_each(rows, columns, len(rows.keep)).at(0)

    @classmethod
    def of_each(cls, rows: RowValues, columns: Sequence[int], size: int) -> Self:
        """Those of each stretch of `size` rows."""
        kept = _counted(None if rows.whole else rows.keep, len(rows.keep) // size, size)
        masked = np.zeros_like(kept)
        if rows.masked is not None:
            masked = _counted(rows.masked, len(kept), size)
        sums = np.empty((len(kept), len(columns)))
        nonfinite = np.zeros(sums.shape, np.int64)
        # One column after the other: a block of one lies in the nearest cache, of all in none.
        with np.errstate(invalid="ignore", over="ignore"):
            for at, column in enumerate(columns):
                parts = kept_parts(rows, column, size)
                sums[:, at] = parts.sum(axis=1)
                if not np.isfinite(sums[:, at]).all():
                    nonfinite[:, at] = np.count_nonzero(~np.isfinite(parts), axis=1)
        return cls(kept, size - kept - masked, masked, sums, nonfinite)

    def at(self, index: Any) -> Self:
        """One of several stretches, or some of them by a slice."""
        return type(self)(
            self.rows[index],
            self.skipped[index],
            self.masked[index],
            self.sums[index],
            self.nonfinite[index],
        )

    def merge(self, other: Self) -> Self:
        return type(self)(
            self.rows + other.rows,
            self.skipped + other.skipped,
            self.masked + other.masked,
            self.sums + other.sums,
            self.nonfinite + other.nonfinite,
        )

    def mean(self, index: int) -> float:
        """The mean of a column; NaN without rows."""
        return float(self.sums[index]) / int(self.rows) if self.rows else math.nan


@dataclass(frozen=True)
class Moments:
    """Sums, and how far some of the columns are from their mean.

    Args:
        total: the sums of all columns.
        columns: the numbers of those whose deviations are wanted.
        squares: float64 [those columns], the deviations squared and summed.
    """

    total: Sums
    columns: tuple[int, ...]
    squares: Floats

    @classmethod
    def of_each(cls, rows: RowValues, columns: tuple[int, ...], size: int) -> Self:
        """Those of each stretch of `size` rows; deviations are those of some columns."""
        total = Sums.of_each(rows, range(len(rows.values)), size)
        means = total.sums / np.maximum(total.rows, 1)[:, None]
        squares = np.empty((len(means), len(columns)))
        with np.errstate(invalid="ignore", over="ignore"):
            for at, column in enumerate(columns):
                deviations = kept_parts(rows, column, size) - means[:, column, None]
                if not rows.whole:
                    deviations[~rows.keep.reshape(-1, size)] = 0.0
                squares[:, at] = np.square(deviations, out=deviations).sum(axis=1)
        return cls(total, columns, squares)

    def at(self, index: Any) -> Self:
        """One of several stretches, or some of them by a slice."""
        return type(self)(self.total.at(index), self.columns, self.squares[index])

    def merge(self, other: Self) -> Self:
        total = self.total.merge(other.total)
        rows, others, both = (one.rows[..., None] for one in (self.total, other.total, total))
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            gap = other._sums / others - self._sums / rows
            between = gap * gap * (rows * (others / both))
        squares = self.squares + other.squares
        squares += np.where((rows > 0) & (others > 0), between, 0.0)
        return type(self)(total, self.columns, squares)

    @property
    def _sums(self) -> Floats:
        return self.total.sums[..., list(self.columns)]

    def standard_error(self, column: int) -> float:
        """s / sqrt(n) with s the sample standard deviation; NaN for fewer than two rows."""
        rows = int(self.total.rows)
        if rows < 2:
            return math.nan
        squares = float(self.squares[self.columns.index(column)])
        return math.sqrt(squares / (rows - 1) / rows)


def kept_parts(rows: RowValues, column: int, size: int) -> Floats:
    """A column as [stretches, size], with zeros at rows that are not kept."""
    values = rows.values[column]
    if not rows.whole:
        values = np.where(rows.keep, values, 0.0)
    return np.ascontiguousarray(values).reshape(-1, size)


def _counted(truths: Mask | None, stretches: int, size: int) -> Counts:
    """How many are true in each stretch; None where all are."""
    if truths is None:
        return np.full(stretches, size, np.int64)
    counts: Counts = np.count_nonzero(truths.reshape(stretches, size), axis=1)
    return counts
