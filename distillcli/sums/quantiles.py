"""Quantiles of a column: exact from a sample of all values, or from a logarithmic histogram.

Both are frozen and merge in any order, with the same result to the last bit.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

EXACT_ROWS = 2**22  # more rows than this go through the histogram

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """All values of a column, for exact quantiles.

    The arrays are joined when they are of like size, so a value is copied log2(arrays) times.
    """

    arrays: tuple[Floats, ...] = ()

    @classmethod
    def of(cls, values: Floats) -> Self:
        return cls((np.array(values),) if len(values) else ())

    def including(self, values: Floats) -> Self:
        """These and other values."""
        return self.merge(self.of(values))

    def merge(self, other: Self) -> Self:
        arrays = list(self.arrays)
        for array in other.arrays:
            arrays.append(array)
            while len(arrays) > 1 and len(arrays[-2]) < 2 * len(arrays[-1]):
                last = arrays.pop()
                arrays.append(np.concatenate([arrays.pop(), last]))
        return type(self)(tuple(arrays))

    def quantiles(self, levels: Sequence[float]) -> list[float]:
        """Quantiles with linear interpolation between order statistics; NaN without rows."""
        if not self.arrays:
            return [math.nan] * len(levels)
        values = np.concatenate(self.arrays)
        places = [level * (len(values) - 1) for level in levels]
        below = {math.floor(place) for place in places}
        _settle(values, {min(rank + more, len(values) - 1) for rank in below for more in (0, 1)})
        return [_interpolated(values, place) for place in places]


def _settle(values: Floats, ranks: Collection[int]) -> None:
    """Bring those of some ranks to where they would be if all were sorted, which takes longer."""
    start = 0
    for rank in sorted(ranks):
        values[start:].partition(rank - start)
        start = rank + 1


def _interpolated(values: Floats, place: float) -> float:
    below = math.floor(place)
    low, high = float(values[below]), float(values[min(below + 1, len(values) - 1)])
    # Equal neighbours are returned as they are: infinity minus itself would be NaN.
    return low if low == high else low + (place - below) * (high - low)


_KEY_BITS = 9
_LOWEST, _HIGHEST = -64, 64  # exponents of two that the histogram resolves
_BINS = (_HIGHEST - _LOWEST) << _KEY_BITS


@dataclass(frozen=True)
class Histogram:
    """Counts of values >= 0 in logarithmic bins: quantiles with a relative error of 2**-10.

    The bin is the exponent and the nine leading bits of the fraction, so its middle is within
    2**-10 of every value in it. Zeros (all below 2**-64), infinities and the largest value are
    kept apart.
    """

    counts: npt.NDArray[np.int64]
    zeros: int
    infinite: int
    largest: float

    @classmethod
    def empty(cls) -> Self:
        return cls(np.zeros(_BINS, np.int64), 0, 0, -math.inf)

    @classmethod
    def of(cls, values: Floats) -> Self:
        zero = values < 2.0**_LOWEST
        infinite = values >= 2.0**_HIGHEST
        inner = np.ascontiguousarray(values[~(zero | infinite)])
        keys = (inner.view(np.int64) >> (52 - _KEY_BITS)) - ((_LOWEST + 1023) << _KEY_BITS)
        return cls(
            np.bincount(keys, minlength=_BINS),
            int(np.count_nonzero(zero)),
            int(np.count_nonzero(infinite)),
            float(values.max()) if len(values) else -math.inf,
        )

    def including(self, values: Floats) -> Self:
        """These and other values."""
        return self.merge(self.of(values))

    def merge(self, other: Self) -> Self:
        return type(self)(
            self.counts + other.counts,
            self.zeros + other.zeros,
            self.infinite + other.infinite,
            max(self.largest, other.largest),
        )

    def quantiles(self, levels: Sequence[float]) -> list[float]:
        """Quantiles with linear interpolation between the middles of bins; NaN without rows."""
        cumulated = self.zeros + np.cumsum(self.counts)
        total = int(cumulated[-1]) + self.infinite
        if not total:
            return [math.nan] * len(levels)

        def order_statistic(rank: int) -> float:
            if rank == total - 1:
                return self.largest
            if rank < self.zeros:
                return 0.0
            return _middle(int(np.searchsorted(cumulated, rank, side="right")))

        return [_between(order_statistic, level * (total - 1), total) for level in levels]


def _middle(key: int) -> float:
    if key >= _BINS:
        return math.inf
    exponent, fraction = divmod(key, 1 << _KEY_BITS)
    return math.ldexp(1 + (fraction + 0.5) / (1 << _KEY_BITS), exponent + _LOWEST)


def _between(order_statistic: Callable[[int], float], place: float, total: int) -> float:
    below = math.floor(place)
    low, high = order_statistic(below), order_statistic(min(below + 1, total - 1))
    return low if low == high else low + (place - below) * (high - low)


def spread(rows: int) -> Sample | Histogram:
    """What takes up the values of so many rows."""
    return Sample() if rows <= EXACT_ROWS else Histogram.empty()
