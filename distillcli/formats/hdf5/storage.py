"""What the headers of an HDF5 file say of a dataset, and the attributes worth showing."""

import math
from collections.abc import Iterator
from math import prod
from typing import Any

import h5py
import numpy as np

from distillcli.formats.elements import type_name
from distillcli.formats.hdf5.checks import filter_name
from distillcli.formats.hdf5.types import type_code
from distillcli.formats.storage import Attribute, Storage, shortened

ATTRIBUTES = 64
ATTRIBUTE_BYTES = 1 << 16

_LAYOUTS = {
    h5py.h5d.COMPACT: "compact",
    h5py.h5d.CONTIGUOUS: "contiguous",
    h5py.h5d.CHUNKED: "chunked",
    h5py.h5d.VIRTUAL: "virtual",
}
_CLASSES = {h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.STRING, h5py.h5t.ENUM}
_UNREADABLE = (OSError, KeyError, RuntimeError, ValueError, TypeError, OverflowError)


def storage_of(dataset: Any) -> Storage:
    """How a dataset is stored; no value of it is read."""
    kind, plist = dataset.get_type(), dataset.get_create_plist()
    layout = plist.get_layout()
    shape = tuple(dataset.shape or ())
    null = dataset.get_space().get_simple_extent_type() == h5py.h5s.NULL
    return Storage(
        shape=shape,
        type=type_name(type_code(kind)),
        layout="external" if plist.get_external_count() else _LAYOUTS.get(layout, str(layout)),
        logical=0 if null else prod(shape) * kind.get_size(),
        stored=dataset.get_storage_size(),
        big_endian=_big_endian(kind),
        chunk=tuple(plist.get_chunk()) if layout == h5py.h5d.CHUNKED else None,
        filters=tuple(filter_name(plist.get_filter(i)[0]) for i in range(plist.get_nfilters())),
        attributes=attributes_of(dataset),
    )


def _big_endian(kind: Any) -> bool:
    ordered = isinstance(kind, h5py.h5t.TypeFloatID | h5py.h5t.TypeIntegerID)
    return ordered and kind.get_size() > 1 and kind.get_order() == h5py.h5t.ORDER_BE


def attributes_of(node: Any) -> dict[str, Attribute]:
    """The attributes that are one number or one text; what cannot be read is left out."""
    return dict(_attributes(node))


def _attributes(node: Any) -> Iterator[tuple[str, Attribute]]:
    for index in range(min(h5py.h5a.get_num_attrs(node), ATTRIBUTES)):
        try:
            attribute = h5py.h5a.open(node, index=index)
            value = _value(attribute)
            name = attribute.name.decode("utf-8", "surrogateescape")
        except _UNREADABLE:
            continue
        if value is not None:
            yield name, value


def _value(attribute: Any) -> Attribute | None:
    kind = attribute.get_type()
    small = attribute.get_space().get_simple_extent_npoints() == 1
    if not small or kind.get_class() not in _CLASSES or kind.get_size() > ATTRIBUTE_BYTES:
        return None
    held = np.empty(attribute.shape, attribute.dtype)
    attribute.read(held)
    return _plain(held.reshape(-1)[0])


def _plain(value: Any) -> Attribute | None:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if isinstance(value, str):
        return shortened(value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, bool | int | float) else None
