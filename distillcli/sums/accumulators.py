"""Mergeable sufficient statistics: frozen, float64.

Every class follows `of` / `merge` / a value at the end. Sums over rows are taken in blocks of
`BLOCK` rows counted from row 0 of the dump, and the blocks are added along a binary tree whose
shape depends on their positions alone. So a total has the same bits however the rows arrived.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

BLOCK = 4096
CALIBRATION_BINS = 15

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


@dataclass(frozen=True)
class Calibration:
    """Rows, correct rows and summed confidence in equal bins (lo, hi] of the top probability.

    Reference: Guo et al. (2017), arXiv:1706.04599, section 2.
    """

    rows: npt.NDArray[np.int64]
    correct: npt.NDArray[np.int64]
    confidence: Floats

    @classmethod
    def of(cls, *, confidence: Floats, correct: Floats) -> Self:
        """Bins of some rows: `confidence` in [0, 1] and `correct` 0 or 1, both [rows]."""
        bins = np.ceil(confidence * CALIBRATION_BINS).astype(np.intp) - 1
        bins = bins.clip(0, CALIBRATION_BINS - 1)
        return cls(
            np.bincount(bins, minlength=CALIBRATION_BINS),
            np.bincount(bins, correct, CALIBRATION_BINS).astype(np.int64),
            np.bincount(bins, confidence, CALIBRATION_BINS).astype(np.float64),
        )

    def merge(self, other: Self) -> Self:
        return type(self)(
            self.rows + other.rows,
            self.correct + other.correct,
            self.confidence + other.confidence,
        )

    def error(self) -> float:
        """The expected calibration error; NaN without rows."""
        total = int(self.rows.sum())
        if not total:
            return math.nan
        return float(np.abs(self.confidence - self.correct).sum()) / total


class Mergeable(Protocol):
    """Anything with an associative `merge`."""

    def merge(self, other: Any) -> Any: ...


T = TypeVar("T", bound=Mergeable)


@dataclass(frozen=True)
class Dyadic(Generic[T]):
    """Statistics of consecutive blocks, merged along the binary tree of block numbers.

    A node (level, index) stands for the blocks index * 2**level to (index + 1) * 2**level. Two
    siblings become their parent as soon as both are there, so log2(blocks) nodes are kept, and
    merging is associative to the last bit.
    """

    nodes: tuple[tuple[int, int, T], ...] = ()

    @classmethod
    def of(cls, block: int, statistics: T) -> Self:
        return cls(((0, block, statistics),))

    def merge(self, other: Self) -> Self:
        """The blocks of both; those of `other` come after those of `self`."""
        nodes = list(self.nodes)
        for node in other.nodes:
            nodes.append(node)
            while len(nodes) > 1 and _siblings(nodes[-2], nodes[-1]):
                level, index, right = nodes.pop()
                left = nodes.pop()[2]
                nodes.append((level + 1, index // 2, left.merge(right)))
        return type(self)(tuple(nodes))

    def value(self) -> T | None:
        """All blocks merged; None when there are none."""
        total: T | None = None
        for _, _, statistics in self.nodes:
            total = statistics if total is None else total.merge(statistics)
        return total


def _siblings(left: tuple[int, int, Any], right: tuple[int, int, Any]) -> bool:
    return left[0] == right[0] and left[1] % 2 == 0 and right[1] == left[1] + 1
