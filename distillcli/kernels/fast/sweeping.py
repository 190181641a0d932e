"""From what is asked about some rows to a call of the compiled loops."""

import threading
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from distillcli.kernels.fast import narrow, wide
from distillcli.kernels.table import Asked
from distillcli.kernels.wanted import NARROW
from distillcli.numerics.scores import Logits

Array = npt.NDArray[Any]

# How the loops tell stored types apart.
READ_AS = {"float16": np.uint16, "bfloat16": np.int16, "float32": np.float32, "float64": np.float64}
# Nothing is written to them; but for arrays that cannot be written a loop is compiled once more.
READABLE: tuple[Literal["C", "A", "W"], ...] = ("C", "A", "W")
NO_CLASSES = np.empty(0, np.int64)


def sweep(sides: Sequence[Logits], asked: Asked, start: int, stop: int, found: Array) -> None:
    """What is asked about the rows `start` to `stop` of one side, or of both, left in a table.

    What the loops cannot do within the bounds is NaN there.
    """
    read = [_readable(scores, start, stop) for scores in sides]
    dtype = np.result_type(*(arithmetic for _, arithmetic in read))
    classes = sides[0].shape[1]
    loops: Any = narrow if classes < NARROW else wide
    loops.sweep(
        read[0][0],
        read[-1][0],
        len(sides) == 2,
        asked.temperatures,
        asked.directions,
        asked.of_pair,
        asked.of_sides[0],
        asked.of_sides[-1],
        _classes(asked.tops, start, stop),
        _classes(asked.labels, start, stop),
        *_places.of(loops, classes, len(found), dtype),
        asked.filled,
        found,
    )


def _readable(scores: Logits, start: int, stop: int) -> tuple[Array, np.dtype[Any]]:
    """The rows as the loops read them, and the type of the arithmetic."""
    stored = scores.as_stored
    if stored is not None and stored.element in READ_AS:
        bits = _lying(stored.rows(start, stop))
        return bits.view(READ_AS[stored.element]), np.dtype(stored.dtype)
    values = _lying(scores.scores[start:stop])
    return values, values.dtype


def _lying(array: Array) -> Array:
    """The array if a loop can read it as it lies, or else a copy."""
    flags = array.flags  # `require` takes as long as a loop over few rows, even to find nothing
    if flags.c_contiguous and flags.aligned and flags.writeable:
        return array
    return np.require(array, requirements=READABLE)


def _classes(numbers: Array | None, start: int, stop: int) -> Array:
    return NO_CLASSES if numbers is None else np.ascontiguousarray(numbers[start:stop], np.int64)


class _Places(threading.local):
    """Where loops put rows and what they find: each thread's own, used again for every piece."""

    def __init__(self) -> None:
        self.known: tuple[Any, ...] = ()
        self.arrays: tuple[Any, ...] = ()

    def of(self, loops: Any, classes: int, columns: int, dtype: np.dtype[Any]) -> tuple[Any, ...]:
        known = (loops, classes, columns, dtype)
        if self.known != known:
            self.known, self.arrays = known, loops.places(classes, columns, dtype)
        return self.arrays


_places = _Places()
