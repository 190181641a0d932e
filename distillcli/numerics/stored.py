"""Numbers as they are stored, and the same in the type of the arithmetic."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from distillcli.backend import Array, namespace
from distillcli.numerics.arrays import cast


@dataclass(frozen=True)
class Stored:
    """Class scores as they are stored, which a kernel may read as they are.

    Args:
        bits: [rows, classes], of any type.
        element: the name of that type, which `bits` alone does not tell.
        dtype: the type of the arithmetic, float32 or float64.
        widen: makes that of any such array.
    """

    bits: Array
    element: str
    dtype: Any
    widen: Callable[[Array], Array]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.bits.shape)


def widened(bits: Array, *, element: str, dtype: Any) -> Array:
    """Stored numbers of a float type in that of the arithmetic; bfloat16 comes as its bits."""
    xp = namespace(bits)
    if element == "bfloat16":  # the upper half of a float32
        bits = (cast(bits, xp.uint32) << 16).view(xp.float32)
    return cast(bits, dtype)
