"""Rows of datasets that the HDF5 library unpacks: with a rare filter, or compact in a header."""

from math import prod
from typing import Any

import h5py
import numpy as np

from distillcli.formats.elements import Array
from distillcli.formats.readers import boxes


def read_rows(dataset: Any, prefix: tuple[int, ...], start: int, stop: int, lead: int) -> Array:
    """Rows of the part at `prefix`, its first `lead` axes flattened, as bytes of the stored type.

    As they are stored: the library's conversion of types is up to 100 times slower.
    """
    shape = tuple(dataset.shape)[len(prefix) :]
    kind = dataset.get_type()
    out = np.empty((stop - start, prod(shape[lead:]), kind.get_size()), np.uint8)
    for box, span in boxes(shape[:lead], start, stop):
        rest = shape[len(box) :]
        begin = (*prefix, *(part.start for part in box), *(0 for _ in rest))
        count = (*(1 for _ in prefix), *(part.stop - part.start for part in box), *rest)
        chosen = dataset.get_space()
        chosen.select_hyperslab(begin, count)
        target = out[span].view(f"V{kind.get_size()}").reshape(count)
        dataset.read(h5py.h5s.create_simple(count), chosen, target, kind)
    return out
