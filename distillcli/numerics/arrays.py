"""What is done to rows of any numbers: types, sums, bounds."""

import math
from typing import Any

from distillcli.backend import Array, namespace
from distillcli.errors import MismatchError

# What computed numbers that ought to be the same may differ by, as a share of them.
ROUNDING = 2.0**-46


def cast(x: Array, dtype: Any) -> Array:
    """The array in another type; itself if it has that type."""
    return namespace(x).astype(x, dtype, copy=False)


def widen(x: Array) -> Array:
    """The array as float64; itself if it is."""
    return cast(x, namespace(x).float64)


def at_least(x: Array, low: float) -> Array:
    """max(x, low). With both bounds given NumPy takes a third of the time."""
    return namespace(x).clip(x, low, math.inf)


def row_sum(x: Array) -> Array:
    """Sum over the last axis, added up in float64."""
    xp = namespace(x)
    return xp.sum(x, axis=-1, dtype=xp.float64)


def at(x: Array, index: Array) -> Array:
    """x[row, index[row]] for every row: [rows]."""
    xp = namespace(x)
    return xp.take_along_axis(x, index[:, None], axis=-1)[:, 0]


def all_within(numbers: Array, limit: int) -> bool:
    """Whether every integer is one from 0 up to and without the limit."""
    xp = namespace(numbers)
    return 0 in numbers.shape or bool(xp.min(numbers) >= 0 and xp.max(numbers) < limit)


def finite_rows(x: Array) -> Array:
    """Which rows of [rows, n] hold finite numbers only: bool [rows]."""
    xp = namespace(x)
    return xp.isfinite(xp.max(x, axis=-1)) & xp.isfinite(xp.min(x, axis=-1))


def scale_rows(x: Array, factor: Array) -> Array:
    """x * factor[:, None], in the type of x."""
    return x * cast(factor, x.dtype)[:, None]


def check_same_shape(**arrays: Array) -> None:
    """Raise MismatchError, with names and shapes, unless all arrays are [rows, n] of one shape."""
    shapes = {name: tuple(array.shape) for name, array in arrays.items()}
    shown = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
    if any(len(shape) != 2 for shape in shapes.values()):
        raise MismatchError(shown, "two dimensions are needed", "reshape(1, -1) makes one row")
    if len(set(shapes.values())) > 1:
        raise MismatchError(shown, "the shapes differ", "both must come from the same rows")
