"""Row statistics with NumPy, on buffers that stay in the cache and are used again.

What losses and metrics ask of a tile is known before: maxima, top classes, sums of exponentials at
the temperatures in use, entropies, and the divergences of a pair. One sweep over the tile has them.
"""

import math
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
from distillcli.kernels.sheets import Plane, layout
from distillcli.kernels.table import Asked
from distillcli.numerics.scores import Logits

Array = npt.NDArray[Any]

# The plain sum of p log(p/q) loses digits as distributions come close, and as the logarithms of
# both totals lie apart. Rows whose divergence is below, times that distance where it is above 1,
# are computed again, as a sum of terms that cannot be negative.
PLAIN_ABOVE = {np.dtype(np.float32): 0.03, np.dtype(np.float64): 1e-4}
# From here on log(p/q) is plain noise of float32 scores divided by so little.
COLDEST = {np.dtype(np.float32): 0.05, np.dtype(np.float64): 0.01}

# Where sums of squares of float32 have lost nothing to underflow or overflow.
SAFE_SQUARES = (1e-25, 1e37)

P, Q = 0, 1  # the sides of a pair
BOTH = slice(None)


def sweep(sides: Sequence[Logits], asked: Asked, start: int, stop: int, found: Array) -> None:
    """What is asked about the rows `start` to `stop` of one side, or of both, left in a table.

    A row that the fast form cannot do within the bounds goes through the plain functions, whatever
    rows lie beside it: masked classes, near-equal distributions, temperatures near zero.
    """
    sheet, asked = _Sheet([side.part(start, stop) for side in sides]), asked.part(start, stop)
    if len(sides) == 2:
        _find_distances(sheet, asked.of_pair, found[table.PAIR :])
    for index, of_side in enumerate(asked.of_sides):
        _find_stored(sheet, index, of_side, asked.labels, _of_side(found, index))
    if asked.of_pair & table.ABOVE:
        tops = _of_side(found, P)[table.TOP_AT].astype(np.int64)
        _find_above(sheet, tops if asked.tops is None else asked.tops, found[table.PAIR :])
    # What belongs to temperature 1 is had from the exponentials of the first, which is last.
    for index in reversed(range(len(asked.divergences))):
        _find_divergences(sheet, *asked.divergences[index], table.tempered(found, index))
    _find_at_one(sheet, asked, found)


def _of_side(found: Array, index: int) -> Array:
    return found[table.SIDE * index : table.SIDE * (index + 1)]


class _Sheet:
    """The scores of one side or of two, shifted by their maxima, and their exponentials.

    The maxima must be there before anything is shifted, and nothing may ask for the values as they
    are stored afterwards, whose place the shifted ones may take.
    """

    def __init__(self, sides: Sequence[Logits]) -> None:
        self.sides = sides
        scores = [one.scores for one in sides]
        self.layout = layout(scores[0].shape, scores[0].dtype)
        self.dtype = self.layout.dtype
        self.values = self.layout.stored(scores)
        self.max = np.empty((len(sides), scores[0].shape[0]), self.dtype)
        self.temperature: float | None = None  # of `exps`
        self.exps = self._planes("exps")
        self.shifted = self._planes("scores")
        self._is_shifted = [False] * len(sides)
        self.gap = self.layout.plane("gap")

    def _planes(self, name: str) -> Plane:
        return self.layout.plane(name, (2,)).of(slice(0, len(self.sides)))

    def soften(self, temperature: float, sides: slice = BOTH) -> Array:
        """Make `exps` of some sides at a temperature; their totals, float64 [sides, rows]."""
        self._shift(sides)
        exps, source = self.exps.of(sides), self.shifted.whole[sides]
        if temperature != 1.0:
            source = np.multiply(source, self.dtype.type(1.0 / temperature), out=exps.whole)
        np.exp(source, out=exps.whole)
        self.temperature, self.total = temperature, self.layout.sum(exps)
        return self.total

    def _shift(self, sides: slice) -> None:
        for index in range(len(self.sides))[sides]:
            if not self._is_shifted[index]:
                highest = self.layout.spread(self.max[index])
                np.subtract(self.values[index], highest, out=self.shifted.values[index])
                self._is_shifted[index] = True

    def soften_to_one(self, sides: slice, *, keep: bool) -> Array:
        """Bring `exps` of some sides to temperature 1, by squaring where that is enough.

        They need not be there afterwards if they are not kept. Returns their totals.
        """
        if self.temperature == 1.0:
            found: Array = self.total[sides]
            return found
        squarings = math.log2(self.temperature) if self.temperature else None
        if squarings not in (1, 2, 3):
            return self.soften(1.0, sides)
        exps = self.exps.of(sides)
        for _ in range(int(squarings) - 1):
            np.square(exps.whole, out=exps.whole)
        return self.layout.square(exps, keep=keep)

    def unit(self, side: int) -> Array:
        """Rows of length 1; NaN where a row is zero or squares leave the range of the type."""
        plane = self.exps.of(side)
        self.layout.clear(plane)
        np.copyto(plane.values, self.values[side])
        total = self.layout.dot(plane, plane, self.gap)
        plain = (total > SAFE_SQUARES[0]) & (total < SAFE_SQUARES[1])
        length = self.layout.spread(np.where(plain, 1.0 / np.sqrt(total), math.nan))
        return np.multiply(plane.values, length, out=plane.values)

    def distance(self, one: Array, other: Array) -> Array:
        """The squared distance of each pair of rows."""
        self.layout.clear(self.gap)
        np.subtract(one, other, out=self.gap.values)
        return self.layout.square(self.gap, keep=False)


class _Softened:
    """One side at the temperature that the exponentials have, to take rows from."""

    def __init__(self, sheet: _Sheet, side: int) -> None:
        self._sheet, self._side = sheet, side
        self.shape = sheet.sides[side].shape

    def taken(self, rows: Array) -> Logits:
        """Some rows, which know what was found for the sheet."""
        sheet, side = self._sheet, self._side
        assert sheet.temperature is not None
        some, exps = sheet.layout.taken(sheet.sides[side], sheet.exps.of(side), rows)
        some.max = sheet.max[side][rows]
        some.learn_exps(sheet.temperature, exps, sheet.total[side][rows])
        return some


def _find_distances(sheet: _Sheet, asked: int, found: Array) -> None:
    """What is asked about the numbers as they are stored."""
    p, q = sheet.sides
    if asked & table.SQUARES:
        squares = sheet.distance(*sheet.values) * (1.0 / p.shape[1])
        found[table.SQUARES_AT] = mend_squares(squares, ~np.isfinite(squares), p, q)
    if asked & table.COSINE:
        # Half the squared distance of unit rows is one minus their cosine.
        cosines = sheet.distance(sheet.unit(P), sheet.unit(Q)) * 0.5
        found[table.COSINE_AT] = mend_cosines(cosines, ~np.isfinite(cosines), p, q)


def _find_stored(sheet: _Sheet, index: int, asked: int, labels: Array | None, found: Array) -> None:
    """What is asked about the scores of one side as they are."""
    values = sheet.values[index]
    if asked & table.TOP:
        sheet.max[index], found[table.TOP_AT] = sheet.layout.top(values)
    else:
        sheet.max[index] = sheet.layout.highest(values)
    found[table.MAX_AT] = sheet.max[index]
    if asked & table.FINITE:
        found[table.MASKED_AT] = ~np.isfinite(sheet.layout.least(values))
    if asked & table.NLL:
        assert labels is not None
        # How far the label is below the highest; the logarithm is taken off at temperature 1.
        chosen, below = sheet.layout.chosen(values, labels), found[table.NLL_AT]
        np.subtract(chosen, sheet.max[index], out=below, dtype=np.float64)


def _find_above(sheet: _Sheet, tops: Array, found: Array) -> None:
    """How many classes of the second side are above one of each row."""
    values = sheet.values[Q]
    chosen = sheet.layout.spread(sheet.layout.chosen(values, tops))
    found[table.ABOVE_AT] = sheet.layout.count(values > chosen)


def _find_divergences(sheet: _Sheet, temperature: float, directions: int, found: Array) -> None:
    total = sheet.soften(temperature)
    found[table.TOTAL_AT], found[table.OTHER_TOTAL_AT] = total
    np.subtract(sheet.shifted.whole[P], sheet.shifted.whole[Q], out=sheet.gap.whole)
    # What both distributions are apart everywhere is no part of the gap.
    constant = np.log(total[P] / total[Q])
    if directions & table.FORWARD:
        spent = sheet.layout.aside(sheet.gap) if directions & table.REVERSE else sheet.gap
        rows = sheet.layout.dot(sheet.exps.of(P), sheet.gap, spent) / (total[P] * temperature)
        found[table.FORWARD_AT] = _sure(sheet, P, Q, rows - constant, constant)
    if directions & table.REVERSE:
        rows = sheet.layout.dot(sheet.exps.of(Q), sheet.gap, sheet.gap) / (total[Q] * temperature)
        found[table.REVERSE_AT] = _sure(sheet, Q, P, constant - rows, constant)


def _sure(sheet: _Sheet, p: int, q: int, rows: Array, constant: Array) -> Array:
    """Divergences, those that may have lost too many digits computed again."""
    assert sheet.temperature is not None
    is_cold = sheet.temperature < COLDEST[sheet.dtype]
    enough = np.abs(constant)
    np.maximum(enough, 1.0, out=enough)
    enough *= math.inf if is_cold else PLAIN_ABOVE[sheet.dtype]
    sides = _Softened(sheet, p), _Softened(sheet, q)
    # What is beyond the type of the arithmetic is not beyond every number.
    sure = (rows > enough) & (rows < math.inf)
    return mend_divergences(rows, ~sure, *sides, sheet.temperature)


def _find_at_one(sheet: _Sheet, asked: Asked, found: Array) -> None:
    """What belongs to temperature 1; it spends the exponentials."""
    ones = [index for index, of_side in enumerate(asked.of_sides) if of_side & table.ONE]
    if not ones:
        return
    overlap = bool(asked.of_pair & table.OVERLAP)
    keep = overlap or any(asked.of_sides[index] & table.ENTROPY for index in ones)
    totals = sheet.soften_to_one(slice(ones[0], ones[-1] + 1), keep=keep)
    if overlap:
        found[table.PAIR + table.OVERLAP_AT] = _overlap(sheet, *totals)
    for index, total in zip(ones, totals, strict=True):
        _find_of_total(sheet, index, asked.of_sides[index], total, _of_side(found, index))


def _overlap(sheet: _Sheet, total: Array, other_total: Array) -> Array:
    """The lesser of p and q is that of their exponentials once both have one sum."""
    share = np.multiply(
        sheet.exps.whole[Q], sheet.layout.spread(total / other_total), out=sheet.gap.whole
    )
    np.minimum(sheet.exps.whole[P], share, out=share)
    return sheet.layout.sum(sheet.gap) / total


def _find_of_total(sheet: _Sheet, side: int, asked: int, total: Array, found: Array) -> None:
    """What rests on the sum of the exponentials of one side."""
    found[table.ONE_AT] = total
    if not asked & (table.NLL | table.ENTROPY):
        return
    logarithm = np.log(total)
    if asked & table.NLL:
        np.subtract(logarithm, found[table.NLL_AT], out=found[table.NLL_AT])
    if asked & table.ENTROPY:
        exps = sheet.exps.of(side)
        entropy = logarithm - sheet.layout.dot(exps, sheet.shifted.of(side), exps) / total
        doubtful = ~np.isfinite(entropy)
        found[table.ENTROPY_AT] = mend_entropies(entropy, doubtful, sheet.sides[side])
