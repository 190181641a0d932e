"""Arrays cut into chunks, each packed on its own, read from where they lie in the file.

Nothing is unpacked beyond the size of a chunk, whatever the packed bytes would give.
"""

import itertools
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from distillcli.errors import FormatError
from distillcli.formats.elements import Array, Element
from distillcli.formats.readers import boxes
from distillcli.formats.strided import ByteSource

HELD_LIMIT = 64 << 20  # unpacked chunks kept for the next read

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

    def read(self, start: int, stop: int, out: Array, lead: int) -> None:
        """Rows [start, stop) of the array with its first `lead` axes flattened, into `out`."""
        used: dict[Cell, Array] = {}
        for box, span in boxes(self.shape[:lead], start, stop):
            rest = tuple(slice(0, n) for n in self.shape[lead:])
            fixed = tuple(slice(index, index + 1) for index in self.prefix)
            region = (*fixed, *box, *rest)
            self._read_region(region, out[span].reshape([s.stop - s.start for s in region]), used)
        self._held = self._worth_holding(used, stop, lead)
        if self.swapped:
            out.byteswap(inplace=True)

    def _read_region(
        self, region: tuple[slice, ...], target: Array, used: dict[Cell, Array]
    ) -> None:
        for cell in _cells(region, self.table.shape):
            origin = [index * size for index, size in zip(cell, self.table.shape, strict=True)]
            common = [
                slice(max(r.start, o), min(r.stop, o + n))
                for r, o, n in zip(region, origin, self.table.shape, strict=True)
            ]
            inside = tuple(_moved(c, o) for c, o in zip(common, origin, strict=True))
            place = tuple(_moved(c, r.start) for c, r in zip(common, region, strict=True))
            if self.table.filters:
                used[cell] = self._unpacked(cell, used)
                target[place] = used[cell][inside]
            else:
                self._copy_plain(cell, inside, target[place])

    def _copy_plain(self, cell: Cell, inside: tuple[slice, ...], target: Array) -> None:
        """Read those rows of a plain chunk that are wanted, straight to their place if whole."""
        first = inside[0]
        row_bytes = prod(self.table.shape[1:]) * self.element.itemsize
        offset = int(self.table.offsets[cell]) + first.start * row_bytes
        if target.shape[1:] == self.table.shape[1:] and target.flags.c_contiguous:
            self.source.read_into(target.reshape(-1).view(np.uint8), offset)
            return
        rows = np.empty((first.stop - first.start, *self.table.shape[1:]), self.element.dtype)
        self.source.read_into(rows.reshape(-1).view(np.uint8), offset)
        target[...] = rows[(slice(None), *inside[1:])]

    def _unpacked(self, cell: Cell, used: dict[Cell, Array]) -> Array:
        for known in (used, self._held):
            if cell in known:
                return known[cell]
        packed = np.empty(int(self.table.sizes[cell]), np.uint8)
        self.source.read_into(packed, int(self.table.offsets[cell]))
        size = self.table.bytes(self.element.itemsize)
        try:
            skipped = int(self.table.skipped[cell])
            data = unpack(packed, self.table.filters, skipped, size, self.element.itemsize)
        except ValueError as error:
            raise FormatError(f"{self.where}, chunk {list(cell)}", str(error)) from error
        return data.view(self.element.dtype).reshape(self.table.shape)

    def _worth_holding(self, used: dict[Cell, Array], stop: int, lead: int) -> dict[Cell, Array]:
        """Of the chunks just used, those with rows still to come, as far as there is room."""
        held: dict[Cell, Array] = {}
        room = HELD_LIMIT
        inner = prod(self.shape[1:lead])
        for cell, values in used.items():
            axis = len(self.prefix)
            end = min((cell[axis] + 1) * self.table.shape[axis], self.shape[0]) * inner
            room -= values.nbytes
            if end > stop and room >= 0:
                held[cell] = values
        return held


def _moved(part: slice, by: int) -> slice:
    return slice(part.start - by, part.stop - by)


def _cells(region: tuple[slice, ...], chunk: tuple[int, ...]) -> Iterator[Cell]:
    """The cells of the chunk grid that a region touches."""
    ranges = (range(r.start // n, -(-r.stop // n)) for r, n in zip(region, chunk, strict=True))
    return itertools.product(*ranges)


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
    stream = zlib.decompressobj()
    try:
        values = stream.decompress(data.data, limit + 1)
    except zlib.error as error:
        raise ValueError(f"is damaged: {error}") from error
    if len(values) > limit:
        raise ValueError(f"unpacks to more than the {size:,} bytes that are declared")
    if not stream.eof:
        raise ValueError("is damaged: its packed bytes end early")
    return np.frombuffer(values, np.uint8)


def _unshuffle(data: Array, size: int, itemsize: int) -> Array:
    if len(data) % itemsize:
        raise ValueError(f"unpacks to {len(data):,} bytes, {size:,} are declared")
    return np.ascontiguousarray(data.reshape(itemsize, -1).T).reshape(-1)


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
