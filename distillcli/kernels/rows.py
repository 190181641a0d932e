"""Row statistics with NumPy, on buffers that stay in the cache and are used again.

What losses and metrics ask of a tile is known before: maxima, top classes, sums of exponentials at
the temperatures in use, entropies, and the divergences of a pair. One sweep over the tile has them.
"""

import math
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from distillcli.kernels import table
from distillcli.kernels.mending import (
    mend_cosines,
    mend_divergences,
    mend_entropies,
    mend_squares,
)
from distillcli.kernels.table import Asked
from distillcli.kernels.wanted import NARROW
from distillcli.numerics.scores import Logits

Array = npt.NDArray[Any]

# The plain sum of p log(p/q) loses digits as distributions come close. Rows whose divergence is
# below are computed again, as a sum of terms that cannot be negative.
PLAIN_ABOVE = {np.dtype(np.float32): 0.03, np.dtype(np.float64): 1e-4}
# From here on log(p/q) is plain noise of float32 scores divided by so little.
COLDEST = {np.dtype(np.float32): 0.05, np.dtype(np.float64): 0.01}

# Where sums of squares of float32 have lost nothing to underflow or overflow.
SAFE_SQUARES = (1e-25, 1e37)


def sweep(sides: Sequence[Logits], asked: Asked, found: Array) -> None:
    """What is asked about rows of one side, or of both, left in a table.

    A row that the fast form cannot do within the bounds goes through the plain functions, whatever
    rows lie beside it: masked classes, near-equal distributions, temperatures near zero.
    """
    sheets = [
        _Sheet(scores, index, found[table.SIDE * index : table.SIDE * (index + 1)])
        for index, scores in enumerate(sides)
    ]
    if len(sheets) == 2:
        p, q = sheets
        _find_distances(p, q, asked.of_pair, found[table.PAIR :])
        # What belongs to temperature 1 is had from the exponentials of the first, which is last.
        for index in reversed(range(len(asked.divergences))):
            _find_divergences(p, q, *asked.divergences[index], table.tempered(found, index))
    for sheet, of_side in zip(sheets, asked.of_sides, strict=True):
        _find(sheet, of_side, asked.labels)
    if len(sheets) == 2:
        _find_of_classes(p, q, asked, found[table.PAIR :])
    for sheet, of_side in zip(sheets, asked.of_sides, strict=True):
        if of_side & table.ENTROPY:
            _find_entropy(sheet)


class _Buffers(threading.local):
    """Arrays of a tile's shape, each thread's own, kept from tile to tile."""

    def __init__(self) -> None:
        self.shape: tuple[Any, ...] = ()
        self.arrays: dict[str, Array] = {}

    def get(self, name: str, shape: tuple[int, ...], dtype: Any) -> Array:
        if self.shape != (shape, dtype):
            self.shape, self.arrays = (shape, dtype), {}
        if name not in self.arrays:
            self.arrays[name] = np.empty(shape, dtype)
        return self.arrays[name]


_buffers = _Buffers()


class _Sheet:
    """The scores of one side, shifted by their maxima, and their exponentials, in buffers.

    `values` are [rows, classes], or [classes, rows] where classes are few; `axis` is that of the
    classes.
    """

    def __init__(self, scores: Logits, index: int, found: Array) -> None:
        self.scores = scores
        self.found = found
        self.temperature: float | None = None  # of `exps`
        self.axis = 0 if scores.scores.shape[1] < NARROW else 1
        values = scores.scores.T if self.axis == 0 else scores.scores
        self.dtype = values.dtype
        self.index = index
        # A narrow tile is turned round first: reductions over strided rows are slow.
        self.values = (
            _copied(values, self.buffer("values", values.shape)) if not self.axis else values
        )
        self.max = self.values.max(axis=self.axis)
        found[table.MAX_AT] = self.max

    def soften(self, temperature: float) -> None:
        """Make `shifted`, and `exps` with their `total` at a temperature."""
        if self.temperature is None:
            highest = self.row(self.max)
            self.shifted = np.subtract(self.values, highest, out=self.buffer("shifted"))
            self.exps = self.buffer("exps")
        self._exponentiate(temperature)
        self._sum_up(temperature)

    def _sum_up(self, temperature: float) -> None:
        self.temperature = temperature
        self.total = self.sum(self.exps)

    def buffer(self, name: str, shape: tuple[int, ...] | None = None) -> Array:
        return _buffers.get(f"{name} {self.index}", shape or self.values.shape, self.dtype)

    def row(self, numbers: Array) -> Array:
        """One number per row, laid out to meet the tile."""
        narrowed: Array = numbers.astype(self.dtype, copy=False)
        return narrowed[None, :] if self.axis == 0 else narrowed[:, None]

    def sum(self, values: Array) -> Array:
        """Over the classes, float64 [rows]; the order of the terms is the same for every row.

        NumPy adds a long row pairwise, and along the first axis class by class, but for a single
        row, which it takes for a long one.
        """
        if self.axis == 1:
            found: Array = values.sum(axis=1).astype(np.float64, copy=False)
            return found
        if values.shape[1] == 1:
            values = np.repeat(values, 2, axis=1)
            return self.sum(values)[:1]
        total: Array = np.add.reduce(values, axis=0, dtype=np.float64)
        return total

    def _exponentiate(self, temperature: float) -> None:
        source = self.shifted
        if temperature != 1.0:
            source = np.multiply(source, self.dtype.type(1.0 / temperature), out=self.exps)
        np.exp(source, out=self.exps)

    def to_temperature_one(self) -> None:
        """Bring `exps` and `total` to temperature 1, by squaring where that is enough."""
        if self.temperature == 1.0:
            return
        squarings = math.log2(self.temperature) if self.temperature else None
        if squarings not in (1, 2, 3):
            self.soften(1.0)
            return
        for _ in range(int(squarings)):
            np.square(self.exps, out=self.exps)
        self._sum_up(1.0)

    def unit(self) -> Array:
        """Rows of length 1; NaN where a row is zero or squares leave the range of the type."""
        squares = np.multiply(self.values, self.values, out=self.buffer("unit"))
        total = self.sum(squares)
        plain = (total > SAFE_SQUARES[0]) & (total < SAFE_SQUARES[1])
        length = self.row(np.where(plain, 1.0 / np.sqrt(total), math.nan))
        return np.multiply(self.values, length, out=squares)

    def entropy(self) -> Array:
        """Spends `exps`; NaN where a class is masked."""
        weighted = np.multiply(self.exps, self.shifted, out=self.exps)
        entropy: Array = np.log(self.total) - self.sum(weighted) / self.total
        return entropy

    def chosen(self, classes: Array) -> Array:
        """The score of one class of each row."""
        rows = np.arange(len(classes))
        picked: Array = self.values[(rows, classes) if self.axis else (classes, rows)]
        return picked

    def top(self) -> Array:
        """The class with the highest score, the lowest index among equals."""
        best: Array
        if self.axis == 1:
            best = self.values.argmax(axis=1)
            return best
        # In arithmetic of bytes, several times as fast as assignments to the rows that are equal.
        best = np.zeros(self.values.shape[1], np.uint8)
        for index in range(len(self.values) - 1, -1, -1):
            equal = (self.values[index] == self.max).view(np.uint8)
            best += equal * (np.uint8(index) - best)
        return best


def _copied(values: Array, out: Array) -> Array:
    np.copyto(out, values)
    return out


def _find(sheet: _Sheet, asked: int, labels: Array | None) -> None:
    """What is asked about one side alone."""
    if asked & table.TOP:
        sheet.found[table.TOP_AT] = sheet.top()
    if asked & table.FINITE:
        sheet.found[table.MASKED_AT] = ~np.isfinite(sheet.values.min(axis=sheet.axis))
    if asked & table.ONE:
        sheet.to_temperature_one()
        sheet.found[table.ONE_AT] = sheet.total
    if asked & table.NLL:
        assert labels is not None
        below = sheet.chosen(labels).astype(np.float64) - sheet.max
        np.subtract(np.log(sheet.total), below, out=sheet.found[table.NLL_AT])


def _find_entropy(sheet: _Sheet) -> None:
    """The last that is asked: it spends the exponentials."""
    entropy = sheet.entropy()
    doubtful = ~np.isfinite(entropy)
    sheet.found[table.ENTROPY_AT] = mend_entropies(entropy, doubtful, sheet.scores)


def _find_of_classes(p: _Sheet, q: _Sheet, asked: Asked, found: Array) -> None:
    """What a pair has class by class, at temperature 1."""
    if asked.of_pair & table.OVERLAP:
        # The lesser of p and q is that of their exponentials once both have one sum.
        other = np.multiply(q.exps, q.row(p.total / q.total), out=q.buffer("share"))
        np.minimum(p.exps, other, out=other)
        found[table.OVERLAP_AT] = q.sum(other) / p.total
    if asked.of_pair & table.ABOVE:
        tops = p.found[table.TOP_AT].astype(np.int64) if asked.tops is None else asked.tops
        chosen = q.row(q.chosen(tops))
        found[table.ABOVE_AT] = _count(q.values > chosen, q.axis)


def _count(truths: Array, axis: int) -> Array:
    """How many are true in each row; NumPy's own count takes three times as long along an axis."""
    if axis == 0:  # of fewer than 64
        narrow: Array = np.add.reduce(truths.view(np.uint8), axis=0, dtype=np.uint8)
        return narrow
    counted: Array = np.bitwise_count(np.packbits(truths, axis=1)).sum(axis=1, dtype=np.int64)
    return counted


def _find_distances(p: _Sheet, q: _Sheet, asked: int, found: Array) -> None:
    """What is asked about the numbers as they are stored."""
    if asked & table.SQUARES:
        squares = _gap_squared(p, p.values, q.values) * (1.0 / p.scores.shape[1])
        found[table.SQUARES_AT] = mend_squares(squares, ~np.isfinite(squares), p.scores, q.scores)
    if asked & table.COSINE:
        # Half the squared distance of unit rows is one minus their cosine.
        cosines = _gap_squared(p, p.unit(), q.unit()) * 0.5
        found[table.COSINE_AT] = mend_cosines(cosines, ~np.isfinite(cosines), p.scores, q.scores)


def _gap_squared(p: _Sheet, one: Array, other: Array) -> Array:
    """The squared distance of each pair of rows."""
    gap = np.subtract(one, other, out=p.buffer("gap"))
    return p.sum(np.multiply(gap, gap, out=gap))


def _find_divergences(
    p: _Sheet, q: _Sheet, temperature: float, directions: int, found: Array
) -> None:
    p.soften(temperature)
    q.soften(temperature)
    found[table.TOTAL_AT], found[table.OTHER_TOTAL_AT] = p.total, q.total
    gap = np.subtract(p.shifted, q.shifted, out=p.buffer("gap"))
    # Centred by the row's constant before it is weighed, so that no large terms cancel.
    constant = (np.log(p.total) - np.log(q.total)) * temperature
    np.subtract(gap, p.row(constant), out=gap)
    if directions & table.FORWARD:
        product = p.buffer("product") if directions & table.REVERSE else gap
        weighed = np.multiply(p.exps, gap, out=product)
        found[table.FORWARD_AT] = _divergence(p, q, temperature, weighed)
    if directions & table.REVERSE:
        weighed = np.multiply(q.exps, gap, out=gap)
        found[table.REVERSE_AT] = _divergence(q, p, temperature, weighed, sign=-1.0)


def _divergence(
    p: _Sheet, q: _Sheet, temperature: float, weighed: Array, sign: float = 1.0
) -> Array:
    rows = p.sum(weighed) * (sign / temperature) / p.total
    enough = PLAIN_ABOVE[p.dtype] if temperature >= COLDEST[p.dtype] else math.inf
    return mend_divergences(rows, ~(rows > enough), p.scores, q.scores, temperature)
