"""What the elements of a stored array are, and how they become numbers to compute with."""

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillcli.errors import FormatError

Array = NDArray[Any]

LOOKED_UP = 1 << 16  # values at a time
# Of float16 as integers: the bits that stay when the sign was carried along, what its exponent's
# offset is less than that of float32, and where infinity begins.
SIGN_AND_SIZE = np.int32(-0x70000001)
OFFSETS = np.float32(2.0**112)
INFINITE, NEGATIVE_INFINITE = np.uint16(0x7C00), np.uint16(0xFC00)


@dataclass(frozen=True)
class Element:
    """An element type: its name, and the NumPy type in which stored values are handed out.

    Types that NumPy does not know, bfloat16 and those of 8 bits, are handed out as their bits.

    Args:
        floating: whether the values are numbers to compute with, not class numbers.
        scale, zero_point: of quantised integers, which mean (stored - zero_point) * scale; a scale
            of None is that of all other types.
    """

    name: str
    dtype: np.dtype[Any]
    floating: bool
    scale: float | None = None
    zero_point: int = 0

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return self.dtype.itemsize

    def __str__(self) -> str:
        if self.scale is None:
            return self.name
        return f"{self.name} on a scale of {self.scale:g} from {self.zero_point}"

    def __reduce__(self) -> tuple[Any, ...]:
        """There is one of each name, in another process too."""
        return _named, (self.name, self.scale, self.zero_point)

    def quantised(self, scale: float, zero_point: int) -> "Element":
        """These integers as numbers on a scale."""
        return replace(self, floating=True, scale=scale, zero_point=zero_point)


FLOAT16 = Element("float16", np.dtype(np.float16), floating=True)
BFLOAT16 = Element("bfloat16", np.dtype(np.uint16), floating=True)
E4M3 = Element("float8_e4m3fn", np.dtype(np.uint8), floating=True)
E5M2 = Element("float8_e5m2", np.dtype(np.uint8), floating=True)
_FLOATS = {
    "f2": FLOAT16,
    "f4": Element("float32", np.dtype(np.float32), floating=True),
    "f8": Element("float64", np.dtype(np.float64), floating=True),
}
_INTEGERS = {
    f"{kind}{n}": Element(f"{name}{8 * n}", np.dtype(f"{kind}{n}"), False)
    for kind, name in (("i", "int"), ("u", "uint"))
    for n in (1, 2, 4, 8)
}
BOOL = Element("bool", np.dtype(np.uint8), floating=False)  # as bytes: others than 0 and 1 show
_BY_CODE = {**_FLOATS, **_INTEGERS, "bf2": BFLOAT16, "e4m3": E4M3, "e5m2": E5M2, "b1": BOOL}


def _named(name: str, scale: float | None, zero_point: int) -> Element:
    found = next(element for element in _BY_CODE.values() if element.name == name)
    return found if scale is None else found.quantised(scale, zero_point)


# What bits that say no more than their number may be declared to be; ml_dtypes saves such codes.
_DECLARABLE = {
    **dict.fromkeys(("u2", "V2", "bf2"), (BFLOAT16,)),
    **dict.fromkeys(("u1", "V1", "f1"), (E4M3, E5M2)),
}

READABLE = "float16, bfloat16, float32, float64, float8, and integers for labels"
DECLARE_BFLOAT16 = "if they are bfloat16, say so in the source: {path: ..., dtype: bfloat16}"
DECLARE_FLOAT8 = "if they are float8, say which in the source: {path: ..., dtype: float8_e4m3fn}"
DECLARE_SCALE = (
    "if they are quantised, say how in the source: {path: ..., scale: 0.05, zero_point: 0}"
)
# What integers may be where numbers to compute with are needed; others are a mistake.
DECLARATIONS = {
    "uint16": DECLARE_BFLOAT16,
    "int8": DECLARE_SCALE,
    "int16": DECLARE_SCALE,
    "uint8": f"{DECLARE_SCALE}; {DECLARE_FLOAT8}",
}

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
    for meant in _DECLARABLE.get(code, ()):
        if declared == meant.name:
            return meant
    if code in ("V2", "V1", "f1"):
        problem = f"holds raw {code[1]}-byte elements ({code}) of no stated type"
        raise FormatError(where, problem, DECLARE_BFLOAT16 if code == "V2" else DECLARE_FLOAT8)
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
    if code == "f1":
        return "raw 1-byte"
    if re.fullmatch("V[0-9]+", code):
        return f"raw {code[1:]}-byte"
    return _NAMES.get(code, _NAMES.get(code[:1], code) if code[1:].isdigit() else code)


def listed(code: str, declared: str | None) -> tuple[str, bool]:
    """An element type as a list of candidates shows it, and whether it can be read."""
    try:
        return element_of(code, declared if code in _DECLARABLE else None, "").name, True
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
        if _plain(element) and raw.dtype == target and raw.flags.c_contiguous:
            return raw
        out = np.empty(raw.shape, target)
    with np.errstate(over="ignore", invalid="ignore"):  # bad values are found later, by row
        if element == BFLOAT16 and target == np.float32:
            _shift_up(raw, out)
        elif element == FLOAT16 and target == np.float32:
            _rebias(raw, out)
        elif element.itemsize <= 2 and element.floating:
            _look_up(raw, _table(element, target), out)
        elif _plain(element):
            np.copyto(out, raw, casting="unsafe")
        else:
            np.copyto(out, _dequantised(raw, element), casting="same_kind")
    return out


def _plain(element: Element) -> bool:
    """Whether NumPy's own values are what is meant."""
    return element.scale is None and element not in (BFLOAT16, E4M3, E5M2)


def _shift_up(raw: Array, out: Array) -> None:
    """bfloat16 is the upper half of a float32."""
    bits = out.view(np.uint32)
    np.copyto(bits, raw)
    np.left_shift(bits, 16, out=bits)


def _rebias(raw: Array, out: Array) -> None:
    """float16: exponent and fraction are moved to their places, and a product sets the exponent's
    offset right. It is exact and makes subnormal numbers normal, 6 times as fast as a conversion.
    """
    halves = raw.reshape(-1).view(np.int16)
    numbers = out.reshape(-1)
    for begin in range(0, len(halves), LOOKED_UP):
        half, number = halves[begin : begin + LOOKED_UP], numbers[begin : begin + LOOKED_UP]
        bits = number.view(np.int32)
        np.copyto(bits, half)
        np.left_shift(bits, 13, out=bits)
        np.bitwise_and(bits, SIGN_AND_SIZE, out=bits)  # the sign was moved with its copies
        np.multiply(number, OFFSETS, out=number)
        if half.max() >= INFINITE or half.view(np.uint16).max() >= NEGATIVE_INFINITE:
            _look_up_infinite(half.view(np.uint16), number)


def _look_up_infinite(half: Array, out: Array) -> None:
    """Infinities and NaNs, which have no exponent to set right."""
    places = np.flatnonzero(half & INFINITE == INFINITE)
    out[places] = _table(FLOAT16, out.dtype)[half[places]]


def _look_up(raw: Array, table: Array, out: Array) -> None:
    """In blocks: NumPy makes 8-byte indices first."""
    bits = raw.reshape(-1).view(f"u{raw.itemsize}")
    flat = out.reshape(-1)
    for begin in range(0, len(bits), LOOKED_UP):
        block = slice(begin, begin + LOOKED_UP)
        np.take(table, bits[block], out=flat[block], mode="wrap")


@lru_cache(maxsize=16)
def _table(element: Element, target: np.dtype[Any]) -> Array:
    """What every pattern of up to 16 bits means, rounded once."""
    bits: Array = np.arange(1 << 8 * element.itemsize, dtype=f"u{element.itemsize}")
    values: Array
    if element == BFLOAT16:
        values = np.empty(bits.shape, np.float32)
        _shift_up(bits, values)
    elif element == E4M3:
        values = _e4m3(bits)
    elif element == E5M2:  # the upper half of a float16
        values = (bits.astype(np.uint16) << 8).view(np.float16)
    else:
        values = _dequantised(bits.view(element.dtype), element)
    widened: Array = values.astype(target)
    return widened


def _e4m3(bits: Array) -> Array:
    """Sign, 4 bits of exponent with bias 7, 3 bits of mantissa; no infinity, one NaN of each sign.

    Reference: Micikevicius et al. (2022), arXiv:2209.05433, table 1.
    """
    exponent, mantissa = (bits >> 3 & 15).astype(np.int64), (bits & 7).astype(np.float64)
    lifted = np.where(exponent > 0, 8 + mantissa, mantissa)
    sizes: Array = np.ldexp(lifted, np.maximum(exponent, 1) - 10)
    sizes[bits & 0x7F == 0x7F] = np.nan
    np.negative(sizes, out=sizes, where=bits & 0x80 > 0)
    return sizes


def _dequantised(raw: Array, element: Element) -> Array:
    """In float64: (stored - zero_point) * scale."""
    values: Array = raw.astype(np.float64)
    if element.scale is not None:
        values = (values - element.zero_point) * element.scale
    return values
