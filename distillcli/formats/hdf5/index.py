"""Where the chunks of a dataset lie, read from its index some thousands at a time.

The library tells chunks one by one, and h5py makes an object of each: that takes several times as
long as all else. The index that most files have, a tree of version 1, is a table of plain numbers
in each of its nodes. Every other index, and whatever is unusual in this one, is left to the
library, which has looked at every node in any case: it has counted the chunks.

Source: HDF5 File Format Specification 3.0, III.A.1 (version 1 B-trees), IV.A.1.a (version 1 object
headers), IV.A.2.i (data layout message).
"""

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import h5py
import numpy as np

from distillcli.formats.elements import Array

TOLD = 1 << 16  # chunks that are handed over together, at most; of some 300 bytes by the library
ENTRIES = 64  # of a node, at most, where the file does not say otherwise
PARTS, PART = 16, 1 << 16  # of a header at most, and bytes of each
MOST = np.uint64(2**63 - 1)

_CONTINUED, _LAYOUT = 0x10, 0x08  # types of messages in a header
_HEADER = struct.Struct("<BxHII4x")  # version, messages, references, bytes of its first part
_MESSAGE = struct.Struct("<HHB3x")  # type, bytes, flags
_PART = struct.Struct("<QQ")  # offset and bytes of another part
_CHUNKED = struct.Struct("<BBBQ")  # version, class, numbers in the shape of a chunk, root
_NODE = np.dtype([("name", "S4"), ("type", "u1"), ("level", "u1"), ("used", "<u2"), ("_", "V16")])
_SHARED = 2  # a flag: the message stands elsewhere

# Of n chunks, each as an array [n]: their cells on the grid of chunks, axis by axis, the filters
# that were left out, their places in the file, their bytes there.
Take = Callable[[Sequence[Array], Array, Array, Array], None]


class _Unusual(Exception):
    """The index is none that is read here."""


def each_chunk(dataset: Any, chunk: tuple[int, ...], count: int, take: Take) -> None:
    """Hand over all chunks, which the library has counted; some of them twice, perhaps."""
    try:
        _of_tree(dataset, chunk, count, take)
    except _Unusual:
        _of_library(dataset, chunk, take)


def _of_library(dataset: Any, chunk: tuple[int, ...], take: Take) -> None:
    found: list[Any] = []

    def one(info: Any) -> None:
        if None in info:  # it lies nowhere; so it is one of those that are lacking
            return
        found.append(info)
        if len(found) == TOLD:
            enough()

    def enough() -> None:
        begins, *others = zip(*found, strict=True)
        axes = zip(zip(*begins, strict=True), chunk, strict=True)
        cells = [np.fromiter(begin, np.uint64) // size for begin, size in axes]
        take(cells, *(_signed(np.fromiter(column, np.uint64)) for column in others))
        found.clear()

    dataset.chunk_iter(one)
    if found:
        enough()


def _signed(numbers: Array) -> Array:
    return np.minimum(numbers, MOST).astype(np.int64)


def _of_tree(dataset: Any, chunk: tuple[int, ...], count: int, take: Take) -> None:
    file = h5py.h5i.get_file_id(dataset)
    plan, driver = file.get_create_plist(), file.get_access_plist().get_driver()
    header, beyond = h5py.h5g.get_objinfo(dataset, b".").objno  # h5o.get_info looks at all nodes
    if driver != h5py.h5fd.SEC2 or plan.get_userblock() or plan.get_sizes() != (8, 8) or beyond:
        raise _Unusual("places are not told as numbers of 8 bytes from the beginning of the file")
    fd, shape = file.get_vfd_handle(), (*chunk, dataset.get_type().get_size())
    root = _root(fd, header, shape)
    for found in _leaves(fd, root, len(shape), count):
        *begins, last = found["begin"].T
        cells = [begin // size for begin, size in zip(begins, chunk, strict=True)]
        at = zip(cells, chunk, begins, strict=True)
        if last.any() or any((cell * size != begin).any() for cell, size, begin in at):
            raise _Unusual("a chunk begins beside the grid")
        take(cells, *(_signed(found[name]) for name in ("mask", "at", "size")))
        count -= len(found)
    if count:
        raise _Unusual("the library counts other chunks")


def _root(fd: int, header: int, shape: tuple[int, ...]) -> int:
    """The place of the tree, told in the header of the dataset."""
    layouts = [(flags, body) for kind, flags, body in _messages(fd, header) if kind == _LAYOUT]
    form = struct.Struct(f"<{len(shape)}I")
    if len(layouts) != 1 or layouts[0][0] & _SHARED:
        raise _Unusual("the layout stands elsewhere")
    body = layouts[0][1].ljust(_CHUNKED.size + form.size)
    *known, root = _CHUNKED.unpack_from(body)
    if known != [3, 2, len(shape)] or form.unpack_from(body, _CHUNKED.size) != shape:
        raise _Unusual("another layout")
    return int(root)


def _messages(fd: int, header: int) -> Iterator[tuple[int, int, bytes]]:
    """The messages in a header: type, flags, bytes."""
    version, _, _, size = _HEADER.unpack(_read(fd, _HEADER.size, header))
    if version != 1:
        raise _Unusual("a header of another version")
    parts = [(header + _HEADER.size, size)]
    for at, size in parts:
        data = _read(fd, size, at)
        while len(data) >= _MESSAGE.size:
            kind, length, flags = _MESSAGE.unpack_from(data)
            body, data = data[_MESSAGE.size :][:length], data[_MESSAGE.size + length :]
            if kind == _CONTINUED and len(body) >= _PART.size and len(parts) < PARTS:
                parts.append(_PART.unpack_from(body))
            yield kind, flags, body


def _read(fd: int, size: int, at: int) -> bytes:
    if size > PART or at > MOST:
        raise _Unusual("no header is as large, no file as long")
    data = os.pread(fd, size, at)
    if len(data) < size:
        raise _Unusual("the file ends before")
    return data


def _leaves(fd: int, root: int, axes: int, most: int) -> Iterator[Array]:
    """What a tree tells of chunks, in its order; no level of it has more than `most` nodes."""
    form = np.dtype([("size", "<u4"), ("mask", "<u4"), ("begin", "<u8", (axes,)), ("at", "<u8")])
    height, nodes = _read(fd, _NODE.itemsize, root)[5], np.array([root], np.uint64)
    for level in range(height, 0, -1):
        nodes = np.concatenate([found["at"] for found in _entries(fd, nodes, level, form)])
        if not 0 < len(nodes) <= most:
            raise _Unusual("no nodes, or more than chunks")
    yield from _entries(fd, nodes, 0, form)


def _entries(fd: int, nodes: Array, level: int, form: np.dtype[Any]) -> Iterator[Array]:
    """What stands in nodes of one level."""
    step = max(1, TOLD // ENTRIES)
    if (nodes > MOST).any():
        raise _Unusual("no file is as long")
    for start in range(0, len(nodes), step):
        places = nodes[start : start + step].tolist()
        lines = np.zeros((len(places), _NODE.itemsize + ENTRIES * form.itemsize), np.uint8)
        for line, at in zip(lines, places, strict=True):
            os.preadv(fd, [line.data], at)
        heads = lines[:, : _NODE.itemsize].view(_NODE)
        named = (heads["name"] == b"TREE") & (heads["type"] == 1) & (heads["level"] == level)
        if not (named & (heads["used"] <= ENTRIES)).all():
            raise _Unusual("no node, or one of another kind")
        entries = lines[:, _NODE.itemsize :].view(form)
        yield entries[np.arange(ENTRIES) < heads["used"]]
