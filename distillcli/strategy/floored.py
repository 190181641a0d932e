"""A teacher whose log-probabilities are stored down to a floor, as llama.cpp stores them.

What lies lower is stored at the floor, 16 below the row's highest value, and may have any
probability up to that of the floor. Taken at its word, a large vocabulary would gain mass that it
does not have. Those classes are one more class instead, the tail, with the mass that the others
leave; on both sides. A divergence of such distributions is never above that of the whole ones, and
never negative.
"""

import math
from functools import cached_property

from distillcli.backend import Array, namespace
from distillcli.batches.tiles import Tile
from distillcli.numerics.arrays import cast, row_sum, widen
from distillcli.numerics.scores import Logits
from distillcli.numerics.softened import Softened

SPAN = 15.99  # a row whose lowest value is so far below the highest one has a floor
NOTHING = -1e30  # a score of no mass on either side; unlike -infinity it takes the fast path
NEEDED = ("acceptance_rate", "teacher_entropy")  # what takes every class
REASON = "needs every class of the teacher, and those below the floor of its file are one"


class Floored:
    """Some rows of such a teacher, at temperature 1.

    Args:
        values: the log-probabilities as stored, which sum to 1 but for rounding and the floor.
    """

    def __init__(self, values: Logits) -> None:
        self._values = values

    @property
    def top(self) -> Array:
        """The class with the highest score: int64 [rows]."""
        return self._values.top

    @cached_property
    def below(self) -> Array:
        """Which classes are at the floor: bool [rows, classes]."""
        stored = self._values.raw
        xp = namespace(stored)
        lowest = xp.min(stored, axis=-1)
        floor = xp.where(self._values.max - lowest > SPAN, lowest, xp.full_like(lowest, math.inf))
        return stored == floor[:, None]

    def bucketed(self) -> Logits:
        """The classes with those at the floor masked, and the tail: [rows, classes + 1]."""
        stored = self._values.raw
        mass = namespace(stored).exp(stored)
        most = _sum_where(self.below, mass)
        return _with_tail(stored, self.below, _between(1.0 - (row_sum(mass) - most), most))

    def bucketed_alike(self, other: Logits) -> Logits:
        """Whole rows [rows, classes] in the same classes and the tail."""
        tail = _sum_where(self.below, other.softened(1.0).exps)
        return _with_tail(other.shifted, self.below, tail)

    def holds_below(self, labels: Array) -> Array:
        """1 where the label is at the floor, float64 [rows]."""
        xp = namespace(self.below)
        return widen(xp.take_along_axis(self.below, labels[:, None], axis=-1)[:, 0])

    def softened(self, temperature: float) -> Softened:
        """The distribution over the classes above the floor and the tail."""
        return self._whole.softened(temperature)

    def nll(self, labels: Array) -> Array:
        """-log of the label's probability, nats, float64 [rows]; at the floor, at least so much."""
        gap = self._values.chosen(labels) - widen(self._values.max)
        return self.softened(1.0).log_total - gap

    @cached_property
    def _whole(self) -> Logits:
        return self.bucketed()


def _sum_where(which: Array, values: Array) -> Array:
    """Sums of some classes of each row, in float64: [rows]. `where` would take 6 times as long."""
    return row_sum(values * cast(which, values.dtype))


def _between(rest: Array, most: Array) -> Array:
    """What is left, from 0 to what the classes can have at most: rounding may say otherwise."""
    xp = namespace(rest)
    return xp.minimum(xp.maximum(rest, xp.zeros_like(rest)), most)


def _with_tail(scores: Array, below: Array, tail: Array) -> Logits:
    """Scores, and the log of a mass on their scale as the last class."""
    xp = namespace(scores)
    rows, classes = scores.shape
    found = xp.empty((rows, classes + 1), dtype=scores.dtype)
    found[:, :-1] = scores + cast(below, scores.dtype) * NOTHING
    there = tail > 0
    found[:, -1] = cast(xp.where(there, xp.log(xp.where(there, tail, 1.0)), -xp.inf), scores.dtype)
    return Logits(found)


def floored(tile: Tile, role: str) -> Floored:
    """The rows of a tile."""
    return tile.once(f"{role} floored", lambda: Floored(tile.logits(role)))
