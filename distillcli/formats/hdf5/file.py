"""An HDF5 file as the library sees it. This runs in the library's own process."""

import os
from collections.abc import Callable, Sequence
from math import prod
from typing import Any, TypeVar

import h5py

from distillcli.errors import DistillError, FormatError, MissingError
from distillcli.formats.elements import Array, listed
from distillcli.formats.hdf5.checks import check_storage, chunk_table, filters, require_values
from distillcli.formats.hdf5.described import Chunked, Contiguous, Described, Unpacked
from distillcli.formats.hdf5.library import library
from distillcli.formats.hdf5.storage import attributes_of, storage_of
from distillcli.formats.hdf5.tree import LINKS, find, link_names, walk
from distillcli.formats.hdf5.types import element_type, type_code
from distillcli.formats.hdf5.unpacked import read_rows
from distillcli.formats.hdf5.words import words_of
from distillcli.formats.paths import natural_key
from distillcli.formats.readers import ArrayInfo
from distillcli.formats.storage import Attribute, Storage

T = TypeVar("T")

# Sets of filters that are undone here, where no chunk can unpack to more than it declares.
_UNPACKED_HERE: tuple[set[str], ...] = (
    set(),
    {"gzip"},
    {"gzip", "shuffle"},
    {"fletcher32"},
    {"gzip", "fletcher32"},
    {"gzip", "shuffle", "fletcher32"},
)


class OpenFile:
    """An open HDF5 file; what it answers can be sent to another process."""

    def __init__(self, where: str, path: str, size: int, begin: bytes) -> None:
        """Open it; `begin` are its first bytes."""
        self._where, self._size = where, size
        with library(where):
            if not h5py.is_hdf5(os.fsencode(path)):
                raise FormatError(where, f"is not an HDF5 file: it begins with {begin!r}")
            self._handle = h5py.File(path, "r", locking="best-effort")
            try:
                self._root = h5py.h5g.open(self._handle.id, b"/")
            except BaseException:
                self._handle.close()
                raise

    def close(self) -> None:
        """Give the library's handle back."""
        with library(self._where):
            self._handle.close()

    def names(self, declared: str | None) -> list[ArrayInfo]:
        """The datasets that hard links lead to, each once."""
        with library(self._where):
            return [
                _info(path, node, declared)
                for path, node in walk(self._root)
                if isinstance(node, h5py.h5d.DatasetID)
            ]

    def array(self, name: str, declared: str | None) -> Described:
        """How the values of one dataset can be had, checked.

        Raises:
            MissingError: there is none of this name. FormatError: it cannot be read, or not safely.
        """
        where = f"{self._where}::{name}"
        with library(where):
            dataset = self._dataset(name)
            element, swapped = element_type(dataset.get_type(), declared, where)
            require_values(dataset, where)
            plist = dataset.get_create_plist()
            count = check_storage(dataset, plist, element, where)
            layout, packing = plist.get_layout(), filters(plist, where)
            known = tuple(dataset.shape), element, swapped
            if layout == h5py.h5d.CONTIGUOUS:
                return Contiguous(*known, self._offset(dataset, element.itemsize, where))
            if layout != h5py.h5d.CHUNKED:
                return Unpacked(*known, prod(dataset.shape) * element.itemsize)
            if set(packing) in _UNPACKED_HERE:
                chunk = plist.get_chunk()
                table = chunk_table(dataset, chunk, count, packing, element, self._size, where)
                return Chunked(*known, table)
            return Unpacked(*known, prod(plist.get_chunk()) * element.itemsize)

    def _dataset(self, name: str) -> Any:
        where = f"{self._where}::{name}"
        dataset = find(self._root, name, self._where, where)
        if not isinstance(dataset, h5py.h5d.DatasetID):
            raise MissingError(where, "is a group, not a dataset")
        return dataset

    def _offset(self, dataset: Any, itemsize: int, where: str) -> int:
        """Where the values begin that lie in one piece: they are read without the library."""
        offset, shape = dataset.get_offset(), tuple(dataset.shape)
        if offset is None and prod(shape):
            raise FormatError(where, "was never written", "its writer may have been stopped")
        offset = offset or 0
        missing = offset + prod(shape) * itemsize - self._size
        if missing > 0:
            raise FormatError(where, f"is cut short: the last {missing:,} bytes are not there")
        return int(offset)

    def read(self, name: str, prefix: tuple[int, ...], start: int, stop: int, lead: int) -> Array:
        """Rows of a dataset that only the library unpacks, as they are stored."""
        with library(f"{self._where}::{name}, rows {start:,} to {stop:,}"):
            return read_rows(self._dataset(name), prefix, start, stop, lead)

    def storage(self, name: str) -> Storage:
        """How one dataset is stored, readable or not.

        Raises:
            MissingError: there is none of this name. FormatError: its header is damaged.
        """
        where = f"{self._where}::{name}"
        with library(where):
            return storage_of(find(self._root, name, self._where, where))

    def headers(
        self, names: Sequence[str], declared: str | None
    ) -> list[tuple[Storage | DistillError, Described | DistillError]]:
        """What `storage` and `array` tell of each, or what they raise."""
        return [(_told(self.storage, name), _told(self.array, name, declared)) for name in names]

    def attributes(self) -> dict[str, Attribute]:
        """Those of the root group."""
        with library(self._where):
            return attributes_of(self._root)

    def words(self) -> dict[str, str]:
        """The texts of a fixed length that are attached to the root group."""
        with library(self._where):
            return words_of(self._root)

    def members(self, name: str) -> list[str] | None:
        """The full names of what a group holds, in natural order; None for a dataset.

        Raises:
            MissingError: there is nothing of this name.
        """
        where = f"{self._where}::{name}"
        with library(self._where):
            group = find(self._root, name, self._where, where)
            if not isinstance(group, h5py.h5g.GroupID):
                return None
            names = sorted(link_names(group, LINKS), key=natural_key)
            if len(names) == LINKS:
                raise FormatError(where, f"holds {LINKS:,} links or more")
            return [f"{name}/{below}" if name else below for below in names]


def _told(method: Callable[..., T], *arguments: Any) -> T | DistillError:
    try:
        return method(*arguments)
    except DistillError as error:
        return error


def _info(name: str, dataset: Any, declared: str | None) -> ArrayInfo:
    shape = tuple(dataset.shape or ())
    return ArrayInfo(name, shape, *listed(type_code(dataset.get_type()), declared))
