"""What the elements of a stored array are, and how they become numbers to compute with."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillcli.errors import FormatError

Array = NDArray[Any]


@dataclass(frozen=True)
class Element:
    """An element type: its name, and the NumPy type in which stored values are handed out.

    bfloat16, which NumPy does not know, is handed out as its bits, in uint16.
    """

    name: str
    dtype: np.dtype[Any]
    floating: bool

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return self.dtype.itemsize

    def __str__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[Any, ...]:
        """There is one of each name, in another process too."""
        return _named, (self.name,)


BFLOAT16 = Element("bfloat16", np.dtype(np.uint16), floating=True)
_FLOATS = {f"f{n}": Element(f"float{8 * n}", np.dtype(f"f{n}"), True) for n in (2, 4, 8)}
_INTEGERS = {
    f"{kind}{n}": Element(f"{name}{8 * n}", np.dtype(f"{kind}{n}"), False)
    for kind, name in (("i", "int"), ("u", "uint"))
    for n in (1, 2, 4, 8)
}
_BY_CODE = {**_FLOATS, **_INTEGERS, "bf2": BFLOAT16}


def _named(name: str) -> Element:
    return next(element for element in _BY_CODE.values() if element.name == name)


_MAY_BE_BFLOAT16 = {"u2", "V2", "bf2"}

READABLE = "float16, bfloat16, float32, float64, and integers for labels"
DECLARE_BFLOAT16 = "if they are bfloat16, say so in the source: {path: ..., dtype: bfloat16}"

_REFUSED = {
    "O": ("holds pickled Python objects, which are never loaded", "save a plain numeric array"),
    "c": ("holds complex numbers", "save real numbers"),
    "S": ("holds strings", None),
    "U": ("holds strings", None),
    "M": ("holds dates", None),
    "m": ("holds time spans", None),
    "b": ("holds booleans", "save integers (.astype(np.int8))"),
    "structured": ("holds records (a structured type)", "save each field as an array of its own"),
}


def element_of(code: str, declared: str | None, where: str) -> Element:
    """The element type for a type code, in view of what the source declares.

    Args:
        code: kind and size as in NumPy ("f4", "i8", "V2"), "bf2" for a true bfloat16,
            or "structured".
        declared: the source's `dtype`, if it has one.
        where: the culprit of an error.

    Raises:
        FormatError: a type that cannot be read, an undeclared raw one, or one declared otherwise.
    """
    if declared == "bfloat16" and code in _MAY_BE_BFLOAT16:
        return BFLOAT16
    if code == "V2":
        raise FormatError(
            where, "holds raw 2-byte elements (V2) of no stated type", DECLARE_BFLOAT16
        )
    element = _BY_CODE.get(code)
    if element is None:
        reason, hint = _REFUSED.get(code, _REFUSED.get(code[:1], (f"holds type {code}", None)))
        raise FormatError(where, reason, hint or f"types that can be read: {READABLE}")
    if declared is not None and declared != element.name:
        problem = f"holds {element}, while the source declares dtype {declared}"
        raise FormatError(where, problem, "correct the dtype or leave it out")
    return element


_NAMES = {
    "O": "objects",
    "S": "strings",
    "U": "strings",
    "M": "dates",
    "m": "time spans",
    "b": "booleans",
    "structured": "records",
}


def type_name(code: str) -> str:
    """A type code as people know it, readable or not."""
    if code in _BY_CODE:
        return _BY_CODE[code].name
    if re.fullmatch("c[0-9]+", code):
        return f"complex{8 * int(code[1:])}"
    if re.fullmatch("V[0-9]+", code):
        return f"raw {code[1:]}-byte"
    return _NAMES.get(code, _NAMES.get(code[:1], code) if code[1:].isdigit() else code)


def listed(code: str, declared: str | None) -> tuple[str, bool]:
    """An element type as a list of candidates shows it, and whether it can be read."""
    try:
        return element_of(code, declared if code in _MAY_BE_BFLOAT16 else None, "").name, True
    except FormatError as error:
        return error.problem, False


def widen(raw: Array, element: Element, dtype: Any, out: Array | None = None) -> Array:
    """Stored values as C-ordered numbers of the type of the arithmetic.

    Args:
        raw: values as a reader hands them out, of any shape.
        element: their element type.
        dtype: float32 or float64.
        out: an array of that type and shape to fill. Without it, values that already are what is
            wanted are returned as they are, not copied.

    Returns: `out`, or a new array, or `raw`. Values beyond the range of `dtype` become infinite.
    """
    target = np.dtype(dtype)
    if out is None:
        if element is not BFLOAT16 and raw.dtype == target and raw.flags.c_contiguous:
            return raw
        out = np.empty(raw.shape, target)
    with np.errstate(over="ignore", invalid="ignore"):  # bad values are found later, by row
        if element is not BFLOAT16:
            np.copyto(out, raw, casting="unsafe")
        elif target == np.float32:
            _shift_up(raw, out)
        else:
            out[...] = _shift_up(raw, np.empty(raw.shape, np.float32))
    return out


def _shift_up(raw: Array, out: Array) -> Array:
    """bfloat16 is the upper half of a float32."""
    bits = out.view(np.uint32)
    np.copyto(bits, raw)
    np.left_shift(bits, 16, out=bits)
    return out
