"""A side of which only the largest classes of each row are known, and maybe the mass of the others.

The classes that are not stored are one more class, the tail bucket, on both sides. A divergence of
the bucketed distributions is never above that of the whole ones, and never negative.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from distillcli.backend import Array, namespace
from distillcli.batches.inputs import Input
from distillcli.batches.tiles import Tile
from distillcli.errors import DataError
from distillcli.formats import widen as widen_stored
from distillcli.numerics.arrays import row_sum, widen
from distillcli.numerics.scores import Kind, Logits

EPSILON = 2.0**-50
SLACK = 1e-6
ROUNDING = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
COARSE = 2.0**-4  # of types of 8 bits
Numbers = npt.NDArray[np.int64]

INDICES, LOG_Z = "indices", "log_z"  # datasets beside the values


def part_role(role: str, part: str) -> str:
    """The role of an array that belongs to another: `teacher indices`."""
    return f"{role} {part}"


@dataclass(frozen=True)
class TopK:
    """Some rows of such a side, at the temperature at which it was stored.

    Args:
        indices: the classes, int64 [rows, k], each once.
        log_p: their log-probabilities at the temperature, float64 [rows, k]; but for a constant of
            the row where the mass of the others is not known.
        noise: a mass of the others up to this is but rounding, [rows].
        rounding: by how much the mass of the values may be off, as they are stored, [rows].
        temperature: T.
        classes: how many there are in all.
        has_mass: whether the mass of the others is known.
        beyond: rows whose values hold more than all of the mass, bool [rows].
    """

    indices: Array
    log_p: Array
    noise: Array
    rounding: Array
    temperature: float
    classes: int
    has_mass: bool
    beyond: Array

    @property
    def top(self) -> Array:
        """The class with the highest score, the lowest among equals: int64 [rows]."""
        xp = namespace(self.log_p)
        highest = xp.max(self.log_p, axis=-1)[:, None]
        # A row of NaN has no highest score; the class that it gets is not looked at.
        last = self.classes - 1
        return xp.min(xp.where(self.log_p == highest, self.indices, last), axis=-1)

    def above_top_of(self, other: Any) -> Array:
        """How many stored classes are strictly above the class that is the other's top: [rows].

        All of them where that class is not stored.
        """
        xp = namespace(self.log_p)
        chosen = self.indices == other.top[:, None]
        value = xp.max(xp.where(chosen, self.log_p, -math.inf), axis=-1)
        return xp.count_nonzero(self.log_p > value[:, None], axis=-1)

    @property
    def bad(self) -> Array:
        """Rows with a NaN or no mass at all: bool [rows]."""
        xp = namespace(self.log_p)
        return xp.any(xp.isnan(self.log_p), axis=-1) | ~xp.isfinite(xp.max(self.log_p, axis=-1))

    def rest(self) -> Array:
        """The mass of the classes that are not stored, float64 [rows].

        Where rounding leaves nothing of it, it is as much as the values may be off: none at all
        would make the divergence infinite.
        """
        rest = 1.0 - _mass(self.log_p)
        if self.indices.shape[1] == self.classes:
            return rest * 0.0
        return namespace(rest).where(rest > self.noise, rest, self.rounding + self.noise)

    def bucketed(self) -> Logits:
        """The classes and the tail as k + 1 classes, on the scale of logits at T."""
        return Logits(beside(self.log_p, log(self.rest())) * self.temperature)

    def bucketed_alike(self, other: Logits) -> Logits:
        """Whole rows [rows, classes] in the same k + 1 classes."""
        kept, rest = self._parted(other, self.temperature)
        return Logits(beside(kept, rest) * self.temperature)

    def _parted(self, other: Logits, temperature: float) -> tuple[Array, Array]:
        """Log-probabilities of whole rows: of the classes that are stored, and of all others."""
        xp = namespace(self.log_p)
        soft = other.softened(temperature)
        chosen = xp.take_along_axis(soft.exps, self.indices, axis=-1)
        # The others are summed, not taken from the whole, where a small rest would be rounded off.
        others = soft.exps + 0.0
        others[xp.arange(others.shape[0])[:, None], self.indices] = 0.0
        kept = log(widen(chosen)) - soft.log_total[:, None]
        return kept, log(row_sum(others)) - soft.log_total

    def outside(self, other: Logits, temperature: float) -> Array:
        """The mass of whole rows on classes that are not stored, [rows]."""
        return namespace(self.log_p).exp(self._parted(other, temperature)[1])

    def alone(self) -> Logits:
        """The classes that are stored, renormalised: [rows, k] on the scale of logits."""
        return Logits(self.log_p * self.temperature)

    def alone_alike(self, other: Logits) -> Logits:
        """The same classes of whole rows."""
        return Logits(namespace(self.log_p).take_along_axis(other.scores, self.indices, axis=-1))


def beside(columns: Array, *last: Array) -> Array:
    """[rows, k] and some [rows] as further columns."""
    xp = namespace(columns)
    return xp.concat([columns, *(one[:, None] for one in last)], axis=-1)


def log(mass: Array) -> Array:
    """log of masses, -inf for none."""
    xp = namespace(mass)
    return xp.where(mass > 0, xp.log(xp.where(mass > 0, mass, 1.0)), -math.inf)


def log_probabilities(values: Array, log_z: Array, kind: Kind, temperature: float) -> Array:
    """Stored values as log-probabilities: float64 [rows, k].

    Args:
        values: float64 [rows, k].
        log_z: float64 [rows], log of the sum over all classes of exp(value / T) for logits, of
            exp(value) for log-probabilities, of the value for probabilities.
    """
    lifted = values
    if kind == "logits":
        lifted = values / temperature
    elif kind == "probabilities":
        lifted = namespace(values).where(values >= 0, log(values), math.nan)
    return lifted - log_z[:, None]


def top_k(tile: Tile, role: str) -> TopK:
    """The rows of a tile.

    Raises:
        DataError: an index that is no class, or stands twice.
    """
    return tile.once(f"{role} of k", lambda: _made(tile, role, tile.inputs))


def class_numbers(tile: Tile, role: str) -> Numbers:
    """The classes of each row, looked at: int64 [rows, k], on the host."""
    return tile.once(f"{role} numbers", lambda: _numbers(tile, role, tile.inputs))


def _numbers(tile: Tile, role: str, inputs: Mapping[str, Input]) -> Numbers:
    where, item = part_role(role, INDICES), inputs[role]
    assert item.top_of is not None
    stored = tile.stored(where)
    # A row that does not count, or holds NaN, may have any numbers.
    values = widen_stored(tile.stored(role), item.reader.element, np.float64)
    empty = np.asarray(np.isnan(values).any(axis=1))
    if (masked := tile.masked()) is not None:
        empty |= masked
    numbers = np.where(empty[:, None], np.arange(item.width), stored.astype(np.int64))
    outside: npt.NDArray[np.bool_] = np.not_equal(numbers.clip(0, item.top_of - 1), numbers)
    if outside.any():
        row = int(outside.any(axis=1).argmax())
        problem = f"row {tile.start + row}: an index is outside 0 to {item.top_of - 1}"
        raise DataError(inputs[where].reader.where, problem)
    ordered = np.sort(numbers, axis=1)
    twice: npt.NDArray[np.bool_] = np.equal(ordered[:, 1:], ordered[:, :-1])
    if twice.any():
        row = int(twice.any(axis=1).argmax())
        number = ordered[row, 1:][twice[row]][0]
        problem = f"row {tile.start + row}: class {number} stands twice"
        raise DataError(inputs[where].reader.where, problem, "each class has one value")
    return numbers


def _made(tile: Tile, role: str, inputs: Mapping[str, Input]) -> TopK:
    item, where = inputs[role], part_role(role, LOG_Z)
    assert item.top_of is not None
    values = tile.exactly(role)
    xp = namespace(values)
    told = where in inputs
    log_z = tile.exactly(where) if told else xp.zeros(values.shape[0], dtype=xp.float64)
    log_p = log_probabilities(values, log_z, item.kind, item.temperature)
    noise = EPSILON * (xp.abs(log_z) + item.width)
    lifted = log_p + log_z[:, None]
    highest = xp.max(xp.where(xp.isfinite(lifted), xp.abs(lifted), 0.0), axis=-1)
    off = _rounding(item) * highest
    if told:
        off = off + _rounding(inputs[where]) * xp.abs(log_z)
    return TopK(
        tile.backend.to_device(class_numbers(tile, role)),
        log_p,
        noise,
        off,
        item.temperature,
        item.top_of,
        has_mass=told or item.kind != "logits",
        beyond=_beyond(item, log_p, lifted, told, SLACK + 4.0 * off),
    )


def _mass(log_p: Array) -> Array:
    return row_sum(namespace(log_p).exp(log_p))


def _beyond(item: Input, log_p: Array, lifted: Array, told: bool, slack: Array) -> Array:
    """Probabilities sum to 1 at most, whatever log_z says; logits are held against it alone."""
    found = namespace(slack).zeros_like(slack, dtype=bool)
    if told:
        found = found | (_mass(log_p) > 1.0 + slack)
    if item.kind != "logits":
        found = found | (_mass(lifted) > 1.0 + slack)
    return found


def _rounding(item: Input) -> float:
    """How far off a stored number may be, as a part of it."""
    return ROUNDING.get(item.reader.element.name, COARSE)
