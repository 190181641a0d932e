"""Arrays cut into chunks, each packed on its own, read from where they lie in the file.

Nothing is unpacked beyond the size of a chunk, whatever the packed bytes would give.
"""

import itertools
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from distillcli.errors import FormatError
from distillcli.formats import inflating
from distillcli.formats.elements import Array, Element
from distillcli.formats.readers import boxes
from distillcli.formats.strided import ByteSource

HELD_LIMIT = 64 << 20  # unpacked chunks kept for the next read
LITTLE = sys.byteorder == "little"

Cell = tuple[int, ...]


@dataclass(frozen=True)
class ChunkTable:
    """Where the chunks of an array lie, on the grid of its chunks."""

    shape: tuple[int, ...]  # of one chunk
    filters: tuple[str, ...]  # in the order of packing: shuffle, gzip, fletcher32
    offsets: Array  # int64, by cell of the grid
    sizes: Array  # int64, bytes as stored
    skipped: Array  # uint32, bit i: filter i was left out

    def bytes(self, itemsize: int) -> int:
        """Bytes of one unpacked chunk."""
        return prod(self.shape) * itemsize


@dataclass
class ChunkedArray:
    """An array in chunks, or one part of it along its first axis (`prefix`)."""

    source: ByteSource
    whole: tuple[int, ...]
    table: ChunkTable
    element: Element
    swapped: bool
    where: str
    prefix: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self._held: dict[Cell, Array] = {}

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape, without the axes that the prefix fixes."""
        return self.whole[len(self.prefix) :]

    def layer(self, index: int) -> "ChunkedArray":
        """The part at one index of the first axis."""
        prefix = (*self.prefix, index)
        return ChunkedArray(
            self.source, self.whole, self.table, self.element, self.swapped, self.where, prefix
        )

    def grain(self, lead: int) -> int:
        """The rows of a chunk; 1 where a part of a chunk can be read, and is whole rows."""
        first = len(self.prefix)
        if not self.table.filters and self.table.shape[first + 1 :] == self.whole[first + 1 :]:
            return 1
        return self._rows_of_chunk(lead)

    def _rows_of_chunk(self, lead: int) -> int:
        return self.table.shape[len(self.prefix)] * prod(self.shape[1:lead])

    def expect(self, start: int, stop: int, lead: int) -> None:
        """Have the system fetch chunks that will be read soon, where they lie close together."""
        rows = self._rows_of_chunk(lead)
        fixed = (index // n for index, n in zip(self.prefix, self.table.shape, strict=False))
        cells: tuple[Any, ...] = (*fixed, slice(start // rows, -(-stop // rows)))
        offsets, sizes = self.table.offsets[cells], self.table.sizes[cells]
        begin, end = int(offsets.min()), int((offsets + sizes).max())
        if end - begin <= 2 * int(sizes.sum()):
            self.source.expect(begin, end)

    def read(self, start: int, stop: int, out: Array, lead: int) -> None:
        """Rows [start, stop) of the array with its first `lead` axes flattened, into `out`."""
        used = dict(self._held)
        for box, span in boxes(self.shape[:lead], start, stop):
            rest = tuple(slice(0, n) for n in self.shape[lead:])
            fixed = tuple(slice(index, index + 1) for index in self.prefix)
            region = (*fixed, *box, *rest)
            self._read_region(region, out[span].reshape([s.stop - s.start for s in region]), used)
        if self.table.filters:
            self._hold(used, stop, lead)
        if self.swapped:
            out.byteswap(inplace=True)

    def _read_region(
        self, region: tuple[slice, ...], target: Array, used: dict[Cell, Array]
    ) -> None:
        for cell, inside, place in _cells(region, self.table.shape):
            if not self.table.filters:
                self._read_plain(cell, inside, target[place])
                continue
            if cell not in used:
                used[cell] = self._unpacked(cell)
            target[place] = used[cell][inside]

    def _read_plain(self, cell: Cell, inside: tuple[slice, ...], target: Array) -> None:
        """Read those rows of a plain chunk that are wanted, straight to their place if whole."""
        offset = int(self.table.offsets[cell]) + inside[0].start * self._row_bytes
        if target.shape[1:] == self.table.shape[1:] and target.flags.c_contiguous:
            self.source.read_into(target, offset)
            return
        rows = np.empty((len(target), *self.table.shape[1:]), self.element.dtype)
        self.source.read_into(rows, offset)
        target[...] = rows[(slice(None), *inside[1:])]

    @cached_property
    def _row_bytes(self) -> int:
        """Bytes of a chunk at one index of the first axis."""
        return prod(self.table.shape[1:]) * self.element.itemsize

    def _unpacked(self, cell: Cell) -> Array:
        packed = np.empty(int(self.table.sizes[cell]), np.uint8)
        self.source.read_into(packed, int(self.table.offsets[cell]))
        size = self.table.bytes(self.element.itemsize)
        try:
            skipped = int(self.table.skipped[cell])
            data = unpack(packed, self.table.filters, skipped, size, self.element.itemsize)
        except ValueError as error:
            raise FormatError(f"{self.where}, chunk {list(cell)}", str(error)) from error
        return data.view(self.element.dtype).reshape(self.table.shape)

    def _hold(self, used: Mapping[Cell, Array], stop: int, lead: int) -> None:
        """Keep the chunks that the next rows are in, too, as far as there is room.

        Those of an earlier read stay where there are none: of pieces that are read at once on
        several threads, the last alone ends within a chunk.
        """
        axis, rows = len(self.prefix), self._rows_of_chunk(lead)
        end = prod(self.shape[:lead])
        cut = [cell for cell in used if cell[axis] == stop // rows and stop % rows and stop < end]
        if cut:
            most = max(1, HELD_LIMIT // self.table.bytes(self.element.itemsize))
            self._held = {cell: used[cell] for cell in cut[:most]}


def _cells(
    region: tuple[slice, ...], chunk: tuple[int, ...]
) -> Iterator[tuple[Cell, tuple[slice, ...], tuple[slice, ...]]]:
    """The cells of the chunk grid that a region touches.

    Yields: the cell, the part of its chunk that is wanted, and the part of the region it fills.
    """
    axes = (list(_along(part, size)) for part, size in zip(region, chunk, strict=True))
    for parts in itertools.product(*axes):
        cell, inside, place = zip(*parts, strict=True)
        yield cell, inside, place


def _along(part: slice, size: int) -> Iterator[tuple[int, slice, slice]]:
    """The same along one axis."""
    for index in range(part.start // size, -(-part.stop // size)):
        origin = index * size
        start, stop = max(part.start, origin), min(part.stop, origin + size)
        inside, place = (slice(start - by, stop - by) for by in (origin, part.start))
        yield index, inside, place


def unpack(
    packed: Array, filters: tuple[str, ...], skipped: int, size: int, itemsize: int
) -> Array:
    """Undo the filters of one chunk, last one first.

    Raises:
        ValueError: it is damaged, or does not unpack to `size` bytes.
    """
    data = packed
    for index, name in reversed(list(enumerate(filters))):
        if not skipped >> index & 1:
            data = _UNDO[name](data, size, itemsize)
    if len(data) != size:
        raise ValueError(f"unpacks to {len(data):,} bytes, {size:,} are declared")
    return data


def _inflate(data: Array, size: int, itemsize: int) -> Array:
    limit = size + 4  # a checksum may stand behind the values
    stream = inflating.stream()
    try:
        values = stream.decompress(data.data, limit + 1)
    except inflating.Damaged as error:
        raise ValueError(f"is damaged: {error}") from error
    if len(values) > limit:
        raise ValueError(f"unpacks to more than the {size:,} bytes that are declared")
    if not stream.eof:
        raise ValueError("is damaged: its packed bytes end early")
    return np.frombuffer(values, np.uint8)


def _unshuffle(data: Array, size: int, itemsize: int) -> Array:
    """Bring together the bytes of each value: first all first bytes are stored, then all second.

    Neighbours are joined to words of twice the width until there is one word a value: several
    times as fast as one transposition.
    """
    if len(data) % itemsize:
        raise ValueError(f"unpacks to {len(data):,} bytes, {size:,} are declared")
    planes = data.reshape(itemsize, -1)
    while len(planes) > 1:
        low, high = (planes[::2], planes[1::2]) if LITTLE else (planes[1::2], planes[::2])
        bits = 8 * planes.itemsize
        planes = high.astype(f"u{2 * planes.itemsize}")
        planes <<= bits
        planes |= low
    return planes.reshape(-1).view(np.uint8)


def _check_sum(data: Array, size: int, itemsize: int) -> Array:
    """Take off and compare the Fletcher-32 checksum."""
    if len(data) < 4:
        raise ValueError("is damaged: its checksum is missing")
    stored = int(data[-4:].view("<u4")[0])
    if any((a - b) % 65535 for a, b in zip(fletcher32(data[:-4]), _halves(stored), strict=True)):
        raise ValueError("is damaged: its checksum is wrong")
    return data[:-4]


def _halves(stored: int) -> tuple[int, int]:
    return stored & 0xFFFF, stored >> 16


def fletcher32(data: Array) -> tuple[int, int]:
    """Both sums of the checksum modulo 65535, over big-endian 16-bit words."""
    words = np.frombuffer(data.tobytes() + b"\0" * (len(data) % 2), ">u2")
    first = second = 0
    for begin in range(0, len(words), 1 << 16):
        block = words[begin : begin + (1 << 16)].astype(np.uint64)
        total = int(block.sum())
        weights = np.arange(len(block), 0, -1, dtype=np.uint64)
        second += len(block) * first + int((block * weights).sum())
        first = (first + total) % 65535
        second %= 65535
    return first, second


_UNDO = {"gzip": _inflate, "shuffle": _unshuffle, "fletcher32": _check_sum}
