"""Attributes that are texts of a fixed length, which lie where the file's checksums cover them."""

from typing import Any

import h5py
import numpy as np

MOST = 64
LONGEST = 16 << 20


def words_of(group: Any) -> dict[str, str]:
    """The texts attached to a group, in full; attributes of other types are left out."""
    found = {}
    for index in range(min(h5py.h5a.get_num_attrs(group), MOST)):
        attribute = h5py.h5a.open(group, index=index)
        kind = attribute.get_type()
        if not isinstance(kind, h5py.h5t.TypeStringID) or kind.is_variable_str():
            continue
        if attribute.get_space().get_simple_extent_npoints() != 1 or kind.get_size() > LONGEST:
            continue
        held = np.empty((), f"S{kind.get_size()}")
        attribute.read(held, kind)
        found[attribute.name.decode("utf-8", "replace")] = held.item().decode("utf-8", "replace")
    return found


def attach(group: Any, words: dict[str, str]) -> None:
    """Attach texts to a group, in ASCII and of a fixed length."""
    for name, text in words.items():
        data = np.array(text.encode("ascii"))
        kind = h5py.h5t.C_S1.copy()
        kind.set_size(max(1, data.itemsize))
        space = h5py.h5s.create(h5py.h5s.SCALAR)
        h5py.h5a.create(group, name.encode("ascii"), kind, space).write(data, kind)
