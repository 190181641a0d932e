"""Numbers as they are stored, and the same in the type of the arithmetic."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from distillcli.backend import Array, namespace
from distillcli.numerics.arrays import cast


@dataclass(frozen=True)
class Unread:
    """An array [rows, classes] that is read when somebody needs it, some rows at a time or whole.

    Args:
        shape: (rows, classes).
        read: some rows, (start, stop) -> [stop - start, classes]; they stand until the next call.
        at_once: how many rows to read at a time where all of them are not needed at once.
    """

    shape: tuple[int, int]
    read: Callable[[int, int], Array]
    at_once: int

    @cached_property
    def whole(self) -> Array:
        """All rows."""
        return self.read(0, self.shape[0])

    def rows(self, start: int, stop: int) -> Array:
        """Some rows; of those that have been read whole, a part."""
        if "whole" in vars(self) or stop - start == self.shape[0]:
            return self.whole[start:stop, :]
        return self.read(start, stop)


@dataclass(frozen=True)
class Stored:
    """Class scores as they are stored, which a kernel may read as they are.

    Args:
        values: [rows, classes], of any type.
        element: the name of that type, which the values alone do not tell.
        dtype: the type of the arithmetic, float32 or float64.
        widen: makes that of any such array.
    """

    values: Array | Unread
    element: str
    dtype: Any
    widen: Callable[[Array], Array]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.values.shape)

    def of(self, values: Array) -> "Stored":
        """Other rows of the same type; `replace` takes many times as long."""
        return Stored(values, self.element, self.dtype, self.widen)

    @property
    def bits(self) -> Array:
        """All rows as they are stored."""
        return self.values.whole if isinstance(self.values, Unread) else self.values

    @property
    def at_once(self) -> int:
        """How many rows to ask for at a time."""
        return self.values.at_once if isinstance(self.values, Unread) else self.shape[0]

    def rows(self, start: int, stop: int) -> Array:
        """Some rows as they are stored; they stand until the next call."""
        if isinstance(self.values, Unread):
            return self.values.rows(start, stop)
        return self.values[start:stop, :]

    def taken(self, rows: Array) -> Array:
        """Rows by their numbers."""
        if not isinstance(self.values, Unread):
            return self.values[rows]
        first, last = int(rows.min()), int(rows.max())
        return self.values.rows(first, last + 1)[rows - first]


def widened(bits: Array, *, element: str, dtype: Any) -> Array:
    """Stored numbers of a float type in that of the arithmetic; bfloat16 comes as its bits."""
    xp = namespace(bits)
    if element == "bfloat16":  # the upper half of a float32
        bits = (cast(bits, xp.uint32) << 16).view(xp.float32)
    return cast(bits, dtype)
