"""Datasets that the HDF5 library unpacks."""

from typing import Any

import h5py
import numpy as np

from distillcli.formats.elements import Array, Element
from distillcli.formats.hdf5.library import library
from distillcli.formats.readers import boxes


class LibraryArray:
    """A dataset that the library unpacks: with a rare filter, or compact in its header."""

    def __init__(
        self,
        dataset: Any,
        element: Element,
        swapped: bool,
        where: str,
        prefix: tuple[int, ...] = (),
    ) -> None:
        self._dataset, self._where, self._prefix = dataset, where, prefix
        self.element, self._swapped = element, swapped
        self.shape = tuple(dataset.shape)[len(prefix) :]

    def layer(self, index: int) -> "LibraryArray":
        """The part at one index of the first axis."""
        prefix = (*self._prefix, index)
        return LibraryArray(self._dataset, self.element, self._swapped, self._where, prefix)

    def read(self, start: int, stop: int, out: Array, lead: int) -> None:
        """Rows [start, stop) of the array with its first `lead` axes flattened, into `out`."""
        with library(f"{self._where}, rows {start:,} to {stop:,}"):
            for box, span in boxes(self.shape[:lead], start, stop):
                self._read_box(box, out[span])
        if self._swapped:
            out.byteswap(inplace=True)

    def _read_box(self, box: tuple[slice, ...], out: Array) -> None:
        """Read as stored (no conversion of types), which for bfloat16 is 100 times as fast."""
        rest = self.shape[len(box) :]
        begin = (*self._prefix, *(s.start for s in box), *(0 for _ in rest))
        count = (*(1 for _ in self._prefix), *(s.stop - s.start for s in box), *rest)
        chosen = self._dataset.get_space()
        chosen.select_hyperslab(begin, count)
        target = np.reshape(out, count)
        memory = h5py.h5s.create_simple(count)
        self._dataset.read(memory, chosen, target, self._dataset.get_type())
