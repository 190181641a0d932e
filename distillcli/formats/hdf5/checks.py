"""What keeps an HDF5 dataset from being read: values elsewhere, missing, or without bound."""

from collections.abc import Sequence
from math import prod
from typing import Any

import h5py
import numpy as np

from distillcli.errors import FormatError
from distillcli.formats.chunks import ChunkTable
from distillcli.formats.elements import Array, Element
from distillcli.formats.hdf5.index import each_chunk
from distillcli.formats.hdf5.plugins import INSTALL, PLUGIN_FILTERS, available

BOMB_SIZE, BOMB_RATIO = 4 << 30, 1000
CHUNK_LIMIT = 256 << 20
SUPERBLOCK = 48  # bytes that a file begins with, at least

_FILTERS = {
    h5py.h5z.FILTER_DEFLATE: "gzip",
    h5py.h5z.FILTER_SHUFFLE: "shuffle",
    h5py.h5z.FILTER_FLETCHER32: "fletcher32",
    h5py.h5z.FILTER_LZF: "lzf",
    h5py.h5z.FILTER_SZIP: "szip",
}
_NAMES = {**_FILTERS, **PLUGIN_FILTERS}
REPACK = 'write it with compression="gzip" instead'


def require_values(dataset: Any, where: str) -> None:
    """Refuse a dataset without a shape."""
    if dataset.get_space().get_simple_extent_type() == h5py.h5s.NULL:
        raise FormatError(where, "holds nothing (a null dataspace)")


def check_storage(dataset: Any, plist: Any, element: Element, where: str) -> int:
    """Refuse values that lie elsewhere, are not there, or unpack without bound.

    Returns:
        How many chunks there are.
    """
    layout = plist.get_layout()
    if layout == h5py.h5d.VIRTUAL:
        raise FormatError(where, "is a virtual dataset", "copy it into a plain one: h5repack")
    if plist.get_external_count():
        raise FormatError(
            where, "keeps its values in other files", "copy it into one file: h5repack"
        )
    declared = prod(dataset.shape) * element.itemsize
    if declared > BOMB_SIZE and declared > BOMB_RATIO * (stored := dataset.get_storage_size()):
        problem = f"declares {declared:,} bytes, of which {stored:,} are stored"
        raise FormatError(where, f"{problem}: more than any real data would")
    if layout == h5py.h5d.CHUNKED and declared:
        return _chunks(dataset, plist.get_chunk(), element, where)
    return 0


def filters(plist: Any, where: str) -> tuple[str, ...]:
    """The names of the filters that the chunks pass through, in order of packing.

    Raises:
        FormatError: one is not known, or stands twice.
    """
    numbers = [plist.get_filter(index)[0] for index in range(plist.get_nfilters())]
    for number in numbers:
        if number not in _NAMES or not available(number):
            problem = f"is packed with HDF5 filter {filter_name(number)}, which cannot be read"
            known = f"{INSTALL}, or {REPACK}" if number in PLUGIN_FILTERS else REPACK
            raise FormatError(where, problem, known)
        if numbers.count(number) > 1:
            problem = f"is packed twice with HDF5 filter {filter_name(number)}"
            raise FormatError(where, problem, REPACK)
    return tuple(_NAMES[number] for number in numbers)


def filters_known() -> tuple[list[str], list[str], list[str]]:
    """The filters of chunks that can be read here, those of the extra, and those that cannot."""
    there = {name: bool(h5py.h5z.filter_avail(number)) for number, name in _FILTERS.items()}
    readable = [name for name, found in there.items() if found]
    missing = [name for name, found in there.items() if not found]
    return readable, list(PLUGIN_FILTERS.values()), missing


def library_version() -> str:
    """The version of the HDF5 library itself."""
    return str(h5py.version.hdf5_version)


def filter_name(number: int) -> str:
    """The name of a filter, with its number where it is one of a plug-in."""
    plugin = f"{PLUGIN_FILTERS[number]} ({number})" if number in PLUGIN_FILTERS else str(number)
    return _FILTERS.get(number, plugin)


def _chunks(dataset: Any, chunk: tuple[int, ...], element: Element, where: str) -> int:
    size = prod(chunk) * element.itemsize
    if size > CHUNK_LIMIT:
        problem = f"has chunks of {size >> 20:,} MiB; at most {CHUNK_LIMIT >> 20} are accepted"
        raise FormatError(where, problem, "write it in smaller chunks: h5repack -l CHUNK=...")
    expected = prod(_grid(dataset.shape, chunk))
    present = int(dataset.get_num_chunks())
    if present < expected:
        problem = f"lacks {expected - present:,} of its {expected:,} chunks"
        raise FormatError(where, problem, "its writer may have been stopped; write it again")
    return present


def _grid(shape: tuple[int, ...], chunk: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(-(-n // c) for n, c in zip(shape, chunk, strict=True))


def chunk_table(
    dataset: Any,
    chunk: tuple[int, ...],
    count: int,
    filters: tuple[str, ...],
    element: Element,
    file_size: int,
    where: str,
) -> ChunkTable:
    """Where each of `count` chunks lies, held against the file's size and the size of a chunk."""
    grid = _grid(dataset.shape, chunk)
    offsets, sizes = np.full(grid, -1, np.int64), np.zeros(grid, np.int64)
    skipped = np.zeros(grid, np.uint32)
    full = prod(chunk) * element.itemsize
    # The library adds what stands before the file's own beginning even to the place of nothing.
    least = h5py.h5i.get_file_id(dataset).get_create_plist().get_userblock() + SUPERBLOCK

    def enter(cells: Sequence[Array], masks: Array, places: Array, lengths: Array) -> None:
        within = [cell < n for cell, n in zip(cells, grid, strict=True)]
        inside = np.logical_and.reduce(within)  # or the dataset was made smaller
        absent = (places < least) | (places > file_size - lengths)
        wrong = lengths != full if not filters else lengths > full + full // 8 + 4096
        for index in np.flatnonzero(inside & (absent | wrong))[:1]:
            name = f"chunk {[int(cell[index]) for cell in cells]}"
            if absent[index]:
                raise FormatError(where, f"is cut short: {name} is not in the file")
            problem = f"{name} takes {lengths[index]:,} bytes for {full:,}"
            raise FormatError(where, f"is damaged: {problem}")
        to = tuple(cell[inside].astype(np.int64) for cell in cells)
        offsets[to], sizes[to], skipped[to] = places[inside], lengths[inside], masks[inside]

    each_chunk(dataset, chunk, count, enter)
    missing = int((offsets < 0).sum())
    if missing:
        raise FormatError(where, f"lacks {missing:,} of its {offsets.size:,} chunks")
    return ChunkTable(chunk, filters, offsets, sizes, skipped)
