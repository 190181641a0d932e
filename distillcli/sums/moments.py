"""Sums over rows, and how far rows are from their mean: frozen, float64, mergeable."""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from distillcli.sums.rows import BLOCK, Floats, Mask, RowValues


@dataclass(frozen=True)
class Moments:
    """Number of rows, sums and sums of squared deviations, one per column.

    Args:
        rows: how many rows were kept.
        skipped: how many could not be used.
        sums, squares: float64 [columns]; squares are deviations from the mean, squared and summed.
        nonfinite: int64 [columns], how many kept values are not finite.
        masked: how many were not to count.
    """

    rows: int
    skipped: int
    sums: Floats
    squares: Floats
    nonfinite: npt.NDArray[np.int64]
    masked: int = 0

    @classmethod
    def of(cls, rows: RowValues) -> Self:
        count = int(np.count_nonzero(rows.keep))
        left_out = len(rows.keep) - count
        masked = 0 if rows.masked is None else int(np.count_nonzero(rows.masked))
        keep = rows.keep if left_out else None
        sums, squares = np.empty(len(rows.values)), np.empty(len(rows.values))
        nonfinite = np.zeros(len(rows.values), np.int64)
        # One column after the other: a block of one lies in the nearest cache, of all in none.
        with np.errstate(invalid="ignore", over="ignore"):
            for index, column in enumerate(rows.values):
                sums[index], squares[index] = _moments(column, keep, max(count, 1))
                if not math.isfinite(sums[index]):
                    kept = column if keep is None else column[keep]
                    nonfinite[index] = np.count_nonzero(~np.isfinite(kept))
        return cls(count, left_out - masked, sums, squares, nonfinite, masked)

    @classmethod
    def of_blocks(cls, rows: RowValues) -> list[Self]:
        """Those of each block of BLOCK rows, to the last bit as `of` finds them."""
        if not rows.keep.all():
            return [cls.of(block) for block in rows.pieces(BLOCK)]
        blocks, columns = len(rows.keep) // BLOCK, len(rows.values)
        sums, squares = np.empty((blocks, columns)), np.empty((blocks, columns))
        with np.errstate(invalid="ignore", over="ignore"):
            for index, column in enumerate(rows.values):
                parts = np.ascontiguousarray(column).reshape(blocks, BLOCK)
                sums[:, index] = parts.sum(axis=1)
                deviations = parts - (sums[:, index] / BLOCK)[:, None]
                squares[:, index] = np.square(deviations, out=deviations).sum(axis=1)
        if not np.isfinite(sums).all():
            return [cls.of(block) for block in rows.pieces(BLOCK)]
        none = np.zeros(columns, np.int64)
        return [cls(BLOCK, 0, *of_block, none) for of_block in zip(sums, squares, strict=True)]

    def merge(self, other: Self) -> Self:
        rows = self.rows + other.rows
        squares = self.squares + other.squares
        if self.rows and other.rows:
            with np.errstate(invalid="ignore", over="ignore"):
                gap = other.sums / other.rows - self.sums / self.rows
                squares = squares + gap * gap * (self.rows * (other.rows / rows))
        return type(self)(
            rows,
            self.skipped + other.skipped,
            self.sums + other.sums,
            squares,
            self.nonfinite + other.nonfinite,
            self.masked + other.masked,
        )

    def mean(self, index: int) -> float:
        """The mean of a column; NaN without rows."""
        return float(self.sums[index]) / self.rows if self.rows else math.nan

    def standard_error(self, index: int) -> float:
        """s / sqrt(n) with s the sample standard deviation; NaN for fewer than two rows."""
        if self.rows < 2:
            return math.nan
        return math.sqrt(float(self.squares[index]) / (self.rows - 1) / self.rows)


def _moments(column: Floats, keep: Mask | None, count: int) -> tuple[float, float]:
    """Sum, and sum of squared deviations from the mean, of the kept rows."""
    column = np.ascontiguousarray(column) if keep is None else np.where(keep, column, 0.0)
    total = column.sum()
    deviations = column - total / count
    if keep is not None:
        deviations[~keep] = 0.0
    return total, np.square(deviations, out=deviations).sum()
