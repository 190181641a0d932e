"""An open HDF5 file and the arrays in it."""

import os
from collections.abc import Mapping
from math import prod
from typing import Any

import h5py

from distillcli.errors import FormatError, MissingError
from distillcli.formats.chunks import ChunkedArray
from distillcli.formats.elements import Element, listed
from distillcli.formats.files import InputFile
from distillcli.formats.hdf5.checks import check_storage, chunk_table, filters, require_values
from distillcli.formats.hdf5.library import library
from distillcli.formats.hdf5.storage import attributes_of, storage_of
from distillcli.formats.hdf5.tree import LINKS, find, link_names, walk
from distillcli.formats.hdf5.types import element_type, type_code
from distillcli.formats.hdf5.unpacked import LibraryArray
from distillcli.formats.hdf5.words import words_of
from distillcli.formats.paths import natural_key
from distillcli.formats.readers import ArrayInfo, StoredArray
from distillcli.formats.storage import Attribute, Storage
from distillcli.formats.strided import StridedArray, contiguous_strides

# Sets of filters that are undone here, where no chunk can unpack to more than it declares.
_UNPACKED_HERE: tuple[set[str], ...] = (
    set(),
    {"gzip"},
    {"gzip", "shuffle"},
    {"fletcher32"},
    {"gzip", "fletcher32"},
    {"gzip", "shuffle", "fletcher32"},
)


class Hdf5File:
    """An open HDF5 file."""

    named = True

    def __init__(self, file: InputFile) -> None:
        self._file = file
        with library(file.where):
            if not h5py.is_hdf5(os.fsencode(file.path)):
                begin = file.read(8, 0)
                raise FormatError(file.where, f"is not an HDF5 file: it begins with {begin!r}")
            self._handle = h5py.File(file.path, "r", locking="best-effort")
            try:
                self._root = h5py.h5g.open(self._handle.id, b"/")
            except BaseException:
                self._handle.close()
                raise

    def close(self) -> None:
        """Give the library's handle back."""
        with library(self._file.where):
            self._handle.close()

    def names(self, declared: str | None) -> list[ArrayInfo]:
        """The datasets that hard links lead to, each once."""
        with library(self._file.where):
            return [
                _info(path, node, declared)
                for path, node in walk(self._root)
                if isinstance(node, h5py.h5d.DatasetID)
            ]

    def array(self, name: str | None, declared: str | None) -> StoredArray:
        """One dataset, checked.

        Raises:
            MissingError: there is none of this name. FormatError: it cannot be read, or not safely.
        """
        name = (name or "").strip("/")
        where = f"{self._file.where}::{name}"
        with library(where):
            dataset = self._find(name, where)
            if not isinstance(dataset, h5py.h5d.DatasetID):
                raise MissingError(where, "is a group, not a dataset")
            element, swapped = element_type(dataset.get_type(), declared, where)
            require_values(dataset, where)
            plist = dataset.get_create_plist()
            check_storage(dataset, plist, element, self._file.size, where)
            layout, packing = plist.get_layout(), filters(plist, where)
            if layout == h5py.h5d.CONTIGUOUS:
                return self._contiguous(dataset, element, swapped, where)
            if layout == h5py.h5d.CHUNKED and set(packing) in _UNPACKED_HERE:
                table = chunk_table(dataset, plist.get_chunk(), packing, element, self._file, where)
                shape = tuple(dataset.shape)
                return ChunkedArray(self._file, shape, table, element, swapped, where)
            return LibraryArray(dataset, element, swapped, where)

    def _contiguous(
        self, dataset: Any, element: Element, swapped: bool, where: str
    ) -> StridedArray:
        """The values lie in one piece: they are read from the file without the library."""
        offset, shape = dataset.get_offset(), tuple(dataset.shape)
        if offset is None and prod(shape):
            raise FormatError(where, "was never written", "its writer may have been stopped")
        offset = offset or 0
        missing = offset + prod(shape) * element.itemsize - self._file.size
        if missing > 0:
            raise FormatError(where, f"is cut short: the last {missing:,} bytes are not there")
        strides = contiguous_strides(shape, element.itemsize)
        return StridedArray(self._file, offset, shape, strides, element, swapped)

    def storage(self, name: str | None) -> Storage:
        """How one dataset is stored, readable or not.

        Raises:
            MissingError: there is none of this name. FormatError: its header is damaged.
        """
        where = f"{self._file.where}::{name}"
        with library(where):
            return storage_of(self._find(name or "", where))

    def attributes(self) -> Mapping[str, Attribute]:
        """Those of the root group."""
        with library(self._file.where):
            return attributes_of(self._root)

    def words(self) -> Mapping[str, str]:
        """The texts of a fixed length that are attached to the root group."""
        with library(self._file.where):
            return words_of(self._root)

    def members(self, name: str) -> list[str] | None:
        """The full names of what a group holds, in natural order; None for a dataset.

        Raises:
            MissingError: there is nothing of this name.
        """
        name = name.strip("/")
        with library(self._file.where):
            group = self._find(name, f"{self._file.where}::{name}")
            if not isinstance(group, h5py.h5g.GroupID):
                return None
            names = sorted(link_names(group, LINKS), key=natural_key)
            if len(names) == LINKS:
                raise FormatError(f"{self._file.where}::{name}", f"holds {LINKS:,} links or more")
            return [f"{name}/{below}" if name else below for below in names]

    def _find(self, name: str, where: str) -> Any:
        return find(self._root, name, self._file.where, where)


def _info(name: str, dataset: Any, declared: str | None) -> ArrayInfo:
    shape = tuple(dataset.shape or ())
    return ArrayInfo(name, shape, *listed(type_code(dataset.get_type()), declared))
