"""How NumPy holds the class scores of some rows while it computes on them.

Many classes lie row by row; few lie class by class, for NumPy goes through short rows one by one.
Either way the terms of a row's sums are added in an order that its classes alone decide.
"""

import math
import threading
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from distillcli.kernels.wanted import NARROW
from distillcli.numerics.scores import Logits

Array = npt.NDArray[Any]

# Sums run over so many classes at most in the type of the arithmetic, and over those of that in
# float64: longer ones lose digits where all terms are equal, much longer ones BLAS would do on
# threads of its own.
IN_ONE_SUM = 256
IN_ONE_NARROW_SUM = 16
LONG = 8192  # classes; among fewer NumPy finds the place of the highest faster than itself
LINE = 64  # bytes; BLAS may take what lies elsewhere in a line in another order
MULTIPLE = 16  # of numbers that BLAS takes at once
# What fills a row up: no exponential comes of it, and it is as far from itself as it should be.
NOTHING = -1e30


class Plane(NamedTuple):
    """Numbers of each class of each row, of one side or, with one more dimension, of both.

    Args:
        whole: with what fills the rows up. To compute on that too is faster than to leave it out.
        values: without.
    """

    whole: Array
    values: Array

    def of(self, sides: Any) -> "Plane":
        """Those of one side, or of some."""
        return Plane(self.whole[sides], self.values[sides])


class _Buffers(threading.local):
    """Arrays that are used again from tile to tile, each thread's own."""

    def __init__(self) -> None:
        self.arrays: dict[str, tuple[Any, Array]] = {}

    def get(
        self, name: str, shape: tuple[int, ...], dtype: Any, fill: float | None = None
    ) -> Array:
        """An array that held `fill` everywhere when it was new; then its rows are as long as they
        have been. Fewer of them take a part of it."""
        size, kind = math.prod(shape), (dtype, fill and shape[-1])
        known = self.arrays.get(name)
        if known is None or known[0] != kind or known[1].size < size:
            known = self.arrays[name] = (kind, _aligned(size, dtype))
            if fill is not None:
                known[1][...] = fill
        return known[1][:size].reshape(shape)


_buffers = _Buffers()


def _aligned(size: int, dtype: Any) -> Array:
    raw = np.empty(size + LINE // dtype.itemsize, dtype)
    start = -raw.ctypes.data % LINE // dtype.itemsize
    return raw[start : start + size]


class Wide:
    """[rows, classes]; each row starts on a line, and has what fills its last part up."""

    def __init__(self, rows: int, classes: int, dtype: Any) -> None:
        self.dtype, self._classes = dtype, classes
        self._rows = np.arange(rows)
        count = -(-classes // IN_ONE_SUM)
        self._parts = (count, -(-classes // (count * MULTIPLE)) * MULTIPLE)

    def plane(self, name: str, sides: tuple[int, ...] = ()) -> Plane:
        """A buffer; what was in it may still be there."""
        shape = (*sides, len(self._rows), math.prod(self._parts))
        whole = _buffers.get(name, shape, self.dtype, NOTHING)
        return Plane(whole, whole[..., : self._classes])

    def aside(self, plane: Plane) -> Plane:
        """Where `dot` may leave the products of a plane that is still needed: it leaves none."""
        return plane

    def stored(self, scores: list[Array]) -> list[Array]:
        """Scores of each side as the other functions take them."""
        return scores

    def spread(self, numbers: Array) -> Array:
        """One number per row, laid out to meet a plane."""
        narrowed: Array = numbers.astype(self.dtype, copy=False)[..., None]
        return narrowed

    def sum(self, plane: Plane) -> Array:
        """Over the classes, float64 [..., rows]. BLAS takes less than half the time of a sum."""
        ones = _buffers.get("ones", self._parts[1:], self.dtype, 1.0)
        return self._over_parts(np.vecdot(self._in_parts(plane), ones))

    def dot(self, one: Plane, other: Plane, scratch: Plane) -> Array:
        """The sum of the products, likewise."""
        return self._over_parts(np.vecdot(self._in_parts(one), self._in_parts(other)))

    def _in_parts(self, plane: Plane) -> Array:
        return plane.whole.reshape(*plane.whole.shape[:-1], *self._parts)

    def _over_parts(self, sums: Array) -> Array:
        if self._parts[0] == 1:
            return sums[..., 0].astype(np.float64)
        total: Array = sums.astype(np.float64).sum(axis=-1)
        return total

    def square(self, plane: Plane, *, keep: bool) -> Array:
        """The sum of the squares, which stand in the place of the numbers afterwards if kept."""
        total = self.dot(plane, plane, plane)
        if keep:
            np.square(plane.whole, out=plane.whole)
        return total

    def clear(self, plane: Plane) -> None:
        """Let what fills the rows of a buffer up add nothing to a sum."""
        plane.whole[..., self._classes :] = 0.0

    def least(self, values: Array) -> Array:
        found: Array = values.min(axis=1)
        return found

    def highest(self, values: Array) -> Array:
        if self._classes < LONG:
            return self.top(values)[0]
        found: Array = values.max(axis=1)
        return found

    def top(self, values: Array) -> tuple[Array, Array]:
        """The highest score and its class, the lowest index among equals."""
        best = values.argmax(axis=1)
        return self.chosen(values, best), best

    def chosen(self, values: Array, classes: Array) -> Array:
        """The score of one class of each row."""
        picked: Array = values[self._rows, classes]
        return picked

    def taken(self, scores: Logits, plane: Plane, rows: Array) -> tuple[Logits, Array]:
        """Some rows of the scores of a side, and of what was made of them."""
        return scores.taken(rows), plane.values[rows]

    def count(self, truths: Array) -> Array:
        """How many are true in each row; NumPy's own count takes three times as long."""
        found: Array = np.bitwise_count(np.packbits(truths, axis=1)).sum(axis=1, dtype=np.int64)
        return found


class Narrow:
    """[classes, rows]."""

    def __init__(self, rows: int, classes: int, dtype: Any) -> None:
        self.dtype, self._shape = dtype, (classes, rows)

    def plane(self, name: str, sides: tuple[int, ...] = ()) -> Plane:
        """A buffer; what was in it may still be there."""
        values = _buffers.get(name, (*sides, *self._shape), self.dtype)
        return Plane(values, values)

    def aside(self, plane: Plane) -> Plane:
        """Where `dot` may leave the products of a plane that is still needed."""
        return self.plane("product")

    def stored(self, scores: list[Array]) -> list[Array]:
        """Scores of each side as the other functions take them: turned round, for reductions over
        strided rows are slow."""
        held = self.plane("scores", (2,)).values
        for index, one in enumerate(scores):
            np.copyto(held[index], one.T)
        return list(held[: len(scores)])

    def spread(self, numbers: Array) -> Array:
        """One number per row, laid out to meet a plane."""
        narrowed: Array = numbers.astype(self.dtype, copy=False)[..., None, :]
        return narrowed

    def sum(self, plane: Plane) -> Array:
        """Over the classes, float64 [..., rows]; pairs of them are added up before, for sums in
        float64 take four times as long. All of it would cost digits that divergences need.
        """
        values, half = plane.values, self._shape[0] // 2
        shape = (*values.shape[:-2], half, values.shape[-1])
        pairs = _buffers.get("pairs", shape, self.dtype)
        np.add(values[..., :half, :], values[..., half : 2 * half, :], out=pairs)
        total = self._along(pairs, np.float64)
        if self._shape[0] % 2:
            total += values[..., -1, :]
        return total

    def _along(self, values: Array, dtype: Any) -> Array:
        """NumPy adds class by class, but for a single row, which it takes for a long one."""
        if values.shape[-1] == 1:
            return self._along(np.repeat(values, 2, axis=-1), dtype)[..., :1]
        total: Array = np.add.reduce(values, axis=-2, dtype=dtype)
        return total

    def dot(self, one: Plane, other: Plane, scratch: Plane) -> Array:
        """The sum of the products, which are left in `scratch`: some of them at a time are added up
        in the type of the arithmetic."""
        products = np.multiply(one.values, other.values, out=scratch.values)
        total: Array | None = None
        for start in range(0, self._shape[0], IN_ONE_NARROW_SUM):
            some = products[..., start : start + IN_ONE_NARROW_SUM, :]
            part = self._along(some, self.dtype).astype(np.float64, copy=False)
            total = part if total is None else np.add(total, part, out=total)
        assert total is not None
        return total

    def square(self, plane: Plane, *, keep: bool) -> Array:
        """The sum of the squares, which stand in the place of the numbers afterwards."""
        return self.dot(plane, plane, plane)

    def clear(self, plane: Plane) -> None:
        """Nothing fills the rows up."""

    def least(self, values: Array) -> Array:
        found: Array = values.min(axis=0)
        return found

    def highest(self, values: Array) -> Array:
        found: Array = values.max(axis=0)
        return found

    def top(self, values: Array) -> tuple[Array, Array]:
        """The highest score and its class, the lowest index among equals."""
        highest = self.highest(values)
        # In arithmetic of bytes, several times as fast as assignments to the rows that are equal.
        best = np.zeros(self._shape[1], np.uint8)
        for index in range(self._shape[0] - 1, -1, -1):
            equal = (values[index] == highest).view(np.uint8)
            equal *= np.uint8(index) - best
            best += equal
        return highest, best

    def chosen(self, values: Array, classes: Array) -> Array:
        """The score of one class of each row, by its place: in half the time of two indices."""
        rows = self._shape[1]
        picked: Array = values.reshape(-1).take(classes * np.int64(rows) + np.arange(rows))
        return picked

    def taken(self, scores: Logits, plane: Plane, rows: Array) -> tuple[Logits, Array]:
        """Some rows of the scores of a side, and of what was made of them, class by class."""
        some = np.asfortranarray(scores.taken(rows).scores)
        return Logits(some), plane.values.take(rows, axis=1).T

    def count(self, truths: Array) -> Array:
        """How many are true in each row; fewer than NARROW, so bytes hold them."""
        found: Array = np.add.reduce(truths.view(np.uint8), axis=0, dtype=np.uint8)
        return found


def layout(shape: tuple[int, int], dtype: Any) -> Wide | Narrow:
    """How (rows, classes) are held."""
    rows, classes = shape
    return (Narrow if classes < NARROW else Wide)(rows, classes, dtype)
