"""Element types as HDF5 describes them."""

from typing import Any

import h5py

from distillcli.formats.elements import Element, element_of

_NATIVE_ORDER = h5py.h5t.NATIVE_INT32.get_order()
_OTHER_CLASSES = {
    h5py.h5t.STRING: "S",
    h5py.h5t.COMPOUND: "structured",
    h5py.h5t.ENUM: "b",
    h5py.h5t.REFERENCE: "references",
    h5py.h5t.VLEN: "O",
    h5py.h5t.TIME: "M",
}
_BOOL = {b"FALSE": 0, b"TRUE": 1}  # what h5py makes of NumPy's booleans
# Sign position, exponent position and size, mantissa position and size, exponent bias.
_FLOAT_LAYOUTS = {
    (15, 10, 5, 0, 10, 15): "f2",
    (15, 7, 8, 0, 7, 127): "bf2",
    (31, 23, 8, 0, 23, 127): "f4",
    (63, 52, 11, 0, 52, 1023): "f8",
}


def element_type(kind: Any, declared: str | None, where: str) -> tuple[Element, bool]:
    """The element type, and whether it is stored in the other byte order."""
    element = element_of(type_code(kind), declared, where)
    ordered = isinstance(kind, h5py.h5t.TypeFloatID | h5py.h5t.TypeIntegerID)
    return element, ordered and kind.get_order() != _NATIVE_ORDER and element.itemsize > 1


def type_code(kind: Any) -> str:
    """Kind and size as in NumPy, "bf2" for a true bfloat16, or words for what is none of these."""
    size = kind.get_size()
    if isinstance(kind, h5py.h5t.TypeOpaqueID):
        return f"V{size}"
    if isinstance(kind, h5py.h5t.TypeFloatID):
        return _float_code(kind, size)
    if isinstance(kind, h5py.h5t.TypeIntegerID) and kind.get_precision() == 8 * size:
        return f"{'u' if kind.get_sign() == h5py.h5t.SGN_NONE else 'i'}{size}"
    if isinstance(kind, h5py.h5t.TypeEnumID) and size == 1 and _names(kind) == _BOOL:
        return "b1"
    return _OTHER_CLASSES.get(kind.get_class(), f"class {kind.get_class()}")


def _names(kind: Any) -> dict[bytes, int]:
    """The first names of an enumeration, with their numbers."""
    count = min(kind.get_nmembers(), len(_BOOL) + 1)
    return {kind.get_member_name(index): kind.get_member_value(index) for index in range(count)}


def _float_code(kind: Any, size: int) -> str:
    layout = (*kind.get_fields(), kind.get_ebias())
    code = _FLOAT_LAYOUTS.get(layout, "")
    plain = kind.get_precision() == 8 * size and kind.get_offset() == 0
    return code if plain and code.endswith(str(size)) else f"float of {size} bytes"
