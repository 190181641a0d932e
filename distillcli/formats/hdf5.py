"""HDF5 files. The only file that names h5py.

An input may come from anywhere: what could make the library read other files, unpack without
bound or invent values is refused before any value is read.
"""

import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

from distillcli.errors import DistillError, FormatError, MissingError
from distillcli.formats.chunks import ChunkedArray, ChunkTable
from distillcli.formats.elements import Array, Element, element_of, listed
from distillcli.formats.files import InputFile
from distillcli.formats.paths import natural_key
from distillcli.formats.readers import ArrayInfo, StoredArray, boxes
from distillcli.formats.strided import StridedArray, contiguous_strides

# No plug-in is loaded from the environment's folders unless the user has set this.
os.environ.setdefault("HDF5_PLUGIN_PRELOAD", "::")

import h5py
import numpy as np

LINKS = 10_000
DEPTH = 64
BOMB_SIZE, BOMB_RATIO = 4 << 30, 1000
CHUNK_LIMIT = 256 << 20

_FILTERS = {
    h5py.h5z.FILTER_DEFLATE: "gzip",
    h5py.h5z.FILTER_SHUFFLE: "shuffle",
    h5py.h5z.FILTER_FLETCHER32: "fletcher32",
    h5py.h5z.FILTER_LZF: "lzf",
    h5py.h5z.FILTER_SZIP: "szip",
}
_PLUGIN_FILTERS = {
    307: "bzip2",
    32001: "blosc",
    32004: "lz4",
    32008: "bitshuffle",
    32013: "zfp",
    32015: "zstd",
    32026: "blosc2",
}
REPACK = 'write it with compression="gzip" instead'
# Sets of filters that are undone here, where no chunk can unpack to more than it declares.
_UNPACKED_HERE: tuple[set[str], ...] = (
    set(),
    {"gzip"},
    {"gzip", "shuffle"},
    {"fletcher32"},
    {"gzip", "fletcher32"},
    {"gzip", "shuffle", "fletcher32"},
)
_LIBRARY_ERRORS = (OSError, KeyError, RuntimeError, ValueError, TypeError, OverflowError)


@contextmanager
def _library(where: str) -> Iterator[None]:
    """Turn what the library raises into one line."""
    try:
        yield
    except DistillError:
        raise
    except _LIBRARY_ERRORS as error:
        text = " ".join(str(error).split())
        reason = text[text.find("(") + 1 : -1] if text.endswith(")") else text
        problem = f"the HDF5 library cannot read it: {reason[:200]}"
        raise FormatError(where, problem, "the file may be damaged or cut short") from error


class Hdf5File:
    """An open HDF5 file."""

    named = True

    def __init__(self, file: InputFile) -> None:
        self._file = file
        with _library(file.where):
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
        with _library(self._file.where):
            self._handle.close()

    def names(self, declared: str | None) -> list[ArrayInfo]:
        """The datasets that hard links lead to, each once."""
        with _library(self._file.where):
            return [
                _info(path, node, declared)
                for path, node in self._walk()
                if isinstance(node, h5py.h5d.DatasetID)
            ]

    def _walk(self) -> Iterator[tuple[str, Any]]:
        seen, queue, links = set(), deque([("", self._root, 0)]), 0
        while queue:
            path, group, depth = queue.popleft()
            for name, node in _children(group, LINKS - links):
                links += 1
                address = h5py.h5o.get_info(node).addr
                if address in seen:
                    continue
                seen.add(address)
                below = f"{path}/{name}" if path else name
                yield below, node
                if isinstance(node, h5py.h5g.GroupID) and depth < DEPTH:
                    queue.append((below, node, depth + 1))

    def array(self, name: str | None, declared: str | None) -> StoredArray:
        """One dataset, checked.

        Raises:
            MissingError: there is none of this name. FormatError: it cannot be read, or not safely.
        """
        name = (name or "").strip("/")
        where = f"{self._file.where}::{name}"
        with _library(where):
            dataset = self._find(name, where)
            if not isinstance(dataset, h5py.h5d.DatasetID):
                raise MissingError(where, "is a group, not a dataset")
            element, swapped = _element(dataset.get_type(), declared, where)
            _require_values(dataset, where)
            plist = dataset.get_create_plist()
            _check_storage(dataset, plist, element, self._file.size, where)
            layout, filters = plist.get_layout(), _filters(plist, where)
            if layout == h5py.h5d.CONTIGUOUS:
                return self._contiguous(dataset, element, swapped, where)
            if layout == h5py.h5d.CHUNKED and set(filters) in _UNPACKED_HERE:
                table = _chunk_table(
                    dataset, plist.get_chunk(), filters, element, self._file, where
                )
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

    def members(self, name: str) -> list[str] | None:
        """The full names of what a group holds, in natural order; None for a dataset.

        Raises:
            MissingError: there is nothing of this name.
        """
        name = name.strip("/")
        with _library(self._file.where):
            group = self._find(name, f"{self._file.where}::{name}")
            if not isinstance(group, h5py.h5g.GroupID):
                return None
            names = sorted(_link_names(group, LINKS), key=natural_key)
            if len(names) == LINKS:
                raise FormatError(f"{self._file.where}::{name}", f"holds {LINKS:,} links or more")
            return [f"{name}/{below}" if name else below for below in names]

    def _find(self, name: str, where: str) -> Any:
        node = self._root
        for step in (part for part in name.split("/") if part not in ("", ".")):
            if not isinstance(node, h5py.h5g.GroupID) or not _exists(node, step):
                raise MissingError(self._file.where, f"holds no dataset {name!r}")
            node = _follow(node, step, where)
        return node


def _exists(group: Any, name: str) -> bool:
    return bool(group.links.exists(_encode(name)))


def _follow(group: Any, name: str, where: str) -> Any:
    """The object behind a hard link."""
    kind = group.links.get_info(_encode(name)).type
    if kind != h5py.h5l.TYPE_HARD:
        external = kind == h5py.h5l.TYPE_EXTERNAL
        which, what = ("an external", "file and dataset") if external else ("a soft", "dataset")
        problem = f"{name!r} is {which} link; only what the file itself holds is read"
        raise FormatError(where, problem, f"name the {what} that it points to")
    return h5py.h5o.open(group, _encode(name))


def _children(group: Any, most: int) -> Iterator[tuple[str, Any]]:
    for name in _link_names(group, most):
        if group.links.get_info(_encode(name)).type == h5py.h5l.TYPE_HARD:
            yield name, h5py.h5o.open(group, _encode(name))


def _link_names(group: Any, most: int) -> list[str]:
    names: list[bytes] = []

    def take(name: bytes) -> bool | None:
        names.append(name)
        return True if len(names) >= most else None

    if most > 0:
        group.links.iterate(take)
    return [name.decode("utf-8", "surrogateescape") for name in names]


def _encode(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _info(name: str, dataset: Any, declared: str | None) -> ArrayInfo:
    shape = tuple(dataset.shape or ())
    return ArrayInfo(name, shape, *listed(_type_code(dataset.get_type()), declared))


def _element(kind: Any, declared: str | None, where: str) -> tuple[Element, bool]:
    """The element type, and whether it is stored in the other byte order."""
    element = element_of(_type_code(kind), declared, where)
    ordered = isinstance(kind, h5py.h5t.TypeFloatID | h5py.h5t.TypeIntegerID)
    return element, ordered and kind.get_order() != _NATIVE_ORDER and element.itemsize > 1


def _type_code(kind: Any) -> str:
    size = kind.get_size()
    if isinstance(kind, h5py.h5t.TypeOpaqueID):
        return f"V{size}"
    if isinstance(kind, h5py.h5t.TypeFloatID):
        return _float_code(kind, size)
    if isinstance(kind, h5py.h5t.TypeIntegerID) and kind.get_precision() == 8 * size:
        return f"{'u' if kind.get_sign() == h5py.h5t.SGN_NONE else 'i'}{size}"
    return _OTHER_CLASSES.get(kind.get_class(), f"class {kind.get_class()}")


_NATIVE_ORDER = h5py.h5t.NATIVE_INT32.get_order()
_OTHER_CLASSES = {
    h5py.h5t.STRING: "S",
    h5py.h5t.COMPOUND: "structured",
    h5py.h5t.ENUM: "b",
    h5py.h5t.REFERENCE: "references",
    h5py.h5t.VLEN: "O",
    h5py.h5t.TIME: "M",
}
# Sign position, exponent position and size, mantissa position and size, exponent bias.
_FLOAT_LAYOUTS = {
    (15, 10, 5, 0, 10, 15): "f2",
    (15, 7, 8, 0, 7, 127): "bf2",
    (31, 23, 8, 0, 23, 127): "f4",
    (63, 52, 11, 0, 52, 1023): "f8",
}


def _float_code(kind: Any, size: int) -> str:
    layout = (*kind.get_fields(), kind.get_ebias())
    code = _FLOAT_LAYOUTS.get(layout, "")
    plain = kind.get_precision() == 8 * size and kind.get_offset() == 0
    return code if plain and code.endswith(str(size)) else f"float of {size} bytes"


def _require_values(dataset: Any, where: str) -> None:
    if dataset.get_space().get_simple_extent_type() == h5py.h5s.NULL:
        raise FormatError(where, "holds nothing (a null dataspace)")


def _check_storage(dataset: Any, plist: Any, element: Element, size: int, where: str) -> None:
    """Refuse values that lie elsewhere, are not there, or unpack without bound."""
    layout = plist.get_layout()
    if layout == h5py.h5d.VIRTUAL:
        raise FormatError(where, "is a virtual dataset", "copy it into a plain one: h5repack")
    if plist.get_external_count():
        raise FormatError(
            where, "keeps its values in other files", "copy it into one file: h5repack"
        )
    declared = prod(dataset.shape) * element.itemsize
    stored = dataset.get_storage_size()
    if declared > BOMB_SIZE and declared > BOMB_RATIO * stored:
        problem = f"declares {declared:,} bytes, of which {stored:,} are stored"
        raise FormatError(where, f"{problem}: more than any real data would")
    if layout == h5py.h5d.CHUNKED and declared:
        _check_chunks(dataset, plist.get_chunk(), element, where)


def _filters(plist: Any, where: str) -> tuple[str, ...]:
    """The names of the filters that the chunks pass through, in order of packing.

    Raises:
        FormatError: one is not known, or stands twice.
    """
    numbers = [plist.get_filter(index)[0] for index in range(plist.get_nfilters())]
    for number in numbers:
        if number not in _FILTERS or not h5py.h5z.filter_avail(number):
            problem = f"is packed with HDF5 filter {_filter_name(number)}, which cannot be read"
            raise FormatError(where, problem, REPACK)
        if numbers.count(number) > 1:
            problem = f"is packed twice with HDF5 filter {_filter_name(number)}"
            raise FormatError(where, problem, REPACK)
    return tuple(_FILTERS[number] for number in numbers)


def _filter_name(number: int) -> str:
    plugin = f"{_PLUGIN_FILTERS[number]} ({number})" if number in _PLUGIN_FILTERS else str(number)
    return _FILTERS.get(number, plugin)


def _check_chunks(dataset: Any, chunk: tuple[int, ...], element: Element, where: str) -> None:
    size = prod(chunk) * element.itemsize
    if size > CHUNK_LIMIT:
        problem = f"has chunks of {size >> 20:,} MiB; at most {CHUNK_LIMIT >> 20} are accepted"
        raise FormatError(where, problem, "write it in smaller chunks: h5repack -l CHUNK=...")
    expected = prod(_grid(dataset.shape, chunk))
    present = dataset.get_num_chunks()
    if present < expected:
        problem = f"lacks {expected - present:,} of its {expected:,} chunks"
        raise FormatError(where, problem, "its writer may have been stopped; write it again")


def _grid(shape: tuple[int, ...], chunk: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(-(-n // c) for n, c in zip(shape, chunk, strict=True))


def _chunk_table(
    dataset: Any,
    chunk: tuple[int, ...],
    filters: tuple[str, ...],
    element: Element,
    file: InputFile,
    where: str,
) -> ChunkTable:
    """Where every chunk lies, checked against the file's size and the size of a chunk."""
    grid = _grid(dataset.shape, chunk)
    offsets, sizes = np.full(grid, -1, np.int64), np.zeros(grid, np.int64)
    skipped = np.zeros(grid, np.uint32)
    full = prod(chunk) * element.itemsize

    def take(info: Any) -> None:
        cell = tuple(at // n for at, n in zip(info.chunk_offset, chunk, strict=True))
        if any(index >= count for index, count in zip(cell, grid, strict=True)):
            return  # beyond the shape: the dataset was made smaller
        if not 0 <= info.byte_offset <= file.size - info.size:
            raise FormatError(where, f"is cut short: chunk {list(cell)} is not in the file")
        if info.size > full + full // 8 + 4096 or (not filters and info.size != full):
            problem = f"chunk {list(cell)} takes {info.size:,} bytes for {full:,}"
            raise FormatError(where, f"is damaged: {problem}")
        offsets[cell], sizes[cell], skipped[cell] = info.byte_offset, info.size, info.filter_mask

    dataset.chunk_iter(take)
    missing = int((offsets < 0).sum())
    if missing:
        raise FormatError(where, f"lacks {missing:,} of its {offsets.size:,} chunks")
    return ChunkTable(chunk, filters, offsets, sizes, skipped)


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
        with _library(f"{self._where}, rows {start:,} to {stop:,}"):
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
