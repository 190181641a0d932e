"""Arrays cut into chunks, each packed on its own, read from where they lie in the file.

Nothing is unpacked beyond the size of a chunk, whatever the packed bytes would give.
"""

import itertools
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from distillcli.errors import FormatError
from distillcli.formats.elements import Array, Element
from distillcli.formats.files import InputFile
from distillcli.formats.pieces import Parts, address
from distillcli.formats.readers import Grain, boxes
from distillcli.formats.strided import contiguous_strides
from distillcli.formats.unpacking import unpack

HELD_LIMIT = 64 << 20  # unpacked chunks kept for the next read
LINE = 512  # bytes: shorter parts of rows are copied by way of a place in the cache
SCRATCH = 1 << 18  # bytes of that place

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

    source: InputFile
    whole: tuple[int, ...]
    table: ChunkTable
    element: Element
    swapped: bool
    where: str
    prefix: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self._held: dict[Cell, Array] = {}
        self._last = _Last()

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

    def grain(self, lead: int) -> Grain:
        """The rows of a chunk; one where a part of a chunk can be read, and is whole rows."""
        first = len(self.prefix)
        if not self.table.filters and self.table.shape[first + 1 :] == self.whole[first + 1 :]:
            return Grain()
        return Grain(self._rows_of_chunk(lead), packed=bool(self.table.filters))

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
        if not self.table.filters:
            self._read_plain(region, target)
            return
        for cell, inside, place in _cells(region, self.table.shape):
            if cell not in used:
                used[cell] = self._unpacked(cell)
            target[place] = used[cell][inside]

    def _read_plain(self, region: tuple[slice, ...], target: Array) -> None:
        """The same of chunks that lie in the file as they are, straight to their place."""
        *others, last = zip(region, self.table.shape, strict=True)
        axes = [list(_along(*axis)) for axis in others]
        for parts in itertools.product(*axes, list(_bands(*last))):
            cells, inside, place = zip(*parts, strict=True)
            self._read_band(self.table.offsets[cells], inside, target[place])

    def _read_band(self, offsets: Array, inside: tuple[slice, ...], target: Array) -> None:
        """One part of each of the chunks at `offsets`, which are neighbours along the last axis."""
        if target.shape[1:] == self.table.shape[1:] and target.flags.c_contiguous:
            self.source.read_into(target, int(offsets[0]) + inside[0].start * self._row_bytes)
            return
        line = (inside[-1].stop - inside[-1].start) * self.element.itemsize
        if line < LINE and self._row_bytes <= SCRATCH:
            for part, offset in zip(np.split(target, len(offsets), -1), offsets, strict=True):
                self._copy(int(offset), inside, part)
            return
        within, parts = self._last.lines(self.table.shape, inside, target)
        self.source.read_parts(np.add.outer(offsets, within).reshape(-1), parts)

    def _copy(self, offset: int, inside: tuple[slice, ...], target: Array) -> None:
        """A part of one chunk, by way of rows of it that fit into the cache."""
        first, *others = inside
        step = max(1, SCRATCH // self._row_bytes)
        scratch = np.empty((min(step, len(target)), *self.table.shape[1:]), self.element.dtype)
        for start in range(0, len(target), step):
            rows = scratch[: len(target) - start]
            self.source.read_into(rows, offset + (first.start + start) * self._row_bytes)
            target[start : start + step] = rows[(slice(None), *others)]

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


class _Last(threading.local):
    """What `_lines` told a thread: the next part mostly goes to the same places."""

    def __init__(self) -> None:
        self._asked: tuple[Any, ...] = ()

    def lines(
        self, chunk: tuple[int, ...], inside: tuple[slice, ...], target: Array
    ) -> tuple[Array, Parts]:
        bounds = [(along.start, along.stop) for along in inside]
        asked = address(target), target.shape, target.strides, bounds
        if asked != self._asked:
            self._told, self._asked = _lines(chunk, bounds, target), asked
        return self._told


def _lines(
    chunk: tuple[int, ...], inside: list[tuple[int, int]], target: Array
) -> tuple[Array, Parts]:
    """How one part of each of some chunks, neighbours along the last axis, comes to an array.

    Returns:
        Where its lines begin in a chunk, or the first of them where nothing lies between; and what
        follows each such beginning, for all chunks.
    """
    *others, (first, last) = inside
    line, within = (last - first) * target.itemsize, np.array(first * target.itemsize)
    to = address(target) + line * np.arange(target.shape[-1] // (last - first))
    steps = contiguous_strides(chunk, target.itemsize)
    for (start, stop), step, stride in zip(others, steps, target.strides, strict=False):
        within = np.add.outer(within, step * np.arange(start, stop))
        to = np.add.outer(to, stride * np.arange(stop - start))
    within, pieces = within.reshape(-1), np.stack([to, np.full_like(to, line)], axis=-1)
    if within[-1] - within[0] == line * (len(within) - 1):
        return within[:1], pieces.reshape(-1, len(within), 2)
    return within, pieces.reshape(-1, 1, 2)


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


def _bands(part: slice, size: int) -> Iterator[tuple[slice, slice, slice]]:
    """Along one axis again, chunks of which the same part is wanted together: one that is cut,
    all whole ones, one that is cut.
    """
    whole = -(-part.start // size) * size, part.stop // size * size
    edges = (min(part.stop, whole[0]), max(part.start, whole[1]))
    for start, stop in itertools.pairwise(sorted({part.start, *edges, part.stop})):
        first = start // size
        inside = slice(start - first * size, min(stop - first * size, size))
        place = slice(start - part.start, stop - part.start)
        yield slice(first, -(-stop // size)), inside, place
