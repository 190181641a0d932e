"""Slabs of rows in row order, and how their bytes come to the threads that compute on them.

Two ways. Where any few rows can be read by themselves for the price of their bytes, the thread
that computes on a tile reads it just before: what it reads is then still in its cache. What is
packed in larger units, or comes in order only, or is but a few bytes a tile, is read ahead, a whole
slab into a buffer that is used again, while earlier slabs are computed: in pieces on several
threads where it can be cut. Of what is read tile by tile, the system is told to fetch the next
slab from the disk where it does not hold it already.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy.typing as npt

from distillcli.backend import Backend
from distillcli.batches.grid import Grid
from distillcli.batches.inputs import Input
from distillcli.batches.tiles import Raw, Tile
from distillcli.formats import Reader

BUFFERS = 3  # one being read, one being computed, one being finished
LEAST = 2**17  # bytes of a tile: less is not worth a read of its own

T = TypeVar("T")


def read_ahead(inputs: Sequence[Input], grid: Grid, backend: Backend) -> list[Input]:
    """The inputs that are read slab by slab; the others are read tile by tile."""
    return [item for item in inputs if not _by_tile(item, grid, backend)]


def _by_tile(item: Input, grid: Grid, backend: Backend) -> bool:
    worth = grid.at_once * item.reader.row_bytes >= LEAST
    return backend.device == "cpu" and worth and item.reader.splits(grid.at_once)


class _Own(threading.local):
    """The buffers that a thread reads its tiles into, by role."""

    def __init__(self) -> None:
        self.buffers: dict[str, Raw] = {}

    def read(self, item: Input, start: int, stop: int) -> Raw:
        """Rows of an input; they stand until the thread reads the next ones."""
        if len(self.buffers.get(item.role, ())) < stop - start:
            self.buffers[item.role] = item.reader.empty(stop - start)
        return item.reader.read(start, stop, self.buffers[item.role][: stop - start])


@dataclass
class Slab:
    """The rows `start` to `stop` of every input; of those read ahead, in `buffers`."""

    start: int
    stop: int
    inputs: Mapping[str, Input]
    buffers: dict[str, Raw]
    own: _Own
    reads: list[Future[Any]] = field(default_factory=list)

    def arrive(self) -> None:
        """Wait for what is read ahead.

        Raises:
            ChangedError: a file became shorter. DataError: a file turned out to be broken.
        """
        self.settled(self.reads)

    def settled(self, work: Sequence[Future[T]]) -> list[T]:
        """What came of work on this slab, once all of it has ended.

        Raises:
            ChangedError: a file is not as it was when it was opened, whatever else went wrong.
            What the work raises, the first of it first.
        """
        wait(work)
        self.check_unchanged()
        return [one.result() for one in work]

    def check_unchanged(self) -> None:
        """Raise ChangedError when a file is not as it was when it was opened."""
        for item in self.inputs.values():
            item.reader.check_unchanged()

    def tiles(self, grid: Grid, precision: npt.DTypeLike, backend: Backend) -> Iterator[Tile]:
        """The tiles of the grid that lie in this slab."""
        for start, stop in grid.tiles(self.start, self.stop):
            yield Tile(start, stop, self.inputs, self._rows, precision, backend, grid.at_once)

    def _rows(self, role: str, start: int, stop: int) -> Raw:
        if role in self.buffers:
            return self.buffers[role][start - self.start : stop - self.start]
        return self.own.read(self.inputs[role], start, stop)


def _buffer(reader: Reader, rows: int, backend: Backend) -> Raw:
    """What a slab is read into; a GPU copies from memory of its own."""
    if backend.gpu is None:
        return reader.empty(rows)
    buffer: Raw = backend.gpu.buffer((rows, *reader.row_shape), reader.element.dtype)
    return buffer


class Slabs:
    """All slabs in row order; each is begun before it is needed, and given back after use."""

    def __init__(self, inputs: Sequence[Input], grid: Grid, backend: Backend) -> None:
        self._inputs = {item.role: item for item in inputs}
        self._ahead = read_ahead(inputs, grid, backend)
        self._own = _Own()
        self._bounds = grid.slabs()
        rows = min(grid.slab_rows, grid.rows)
        self._free = deque(
            {item.role: _buffer(item.reader, rows, backend) for item in self._ahead}
            for _ in range(BUFFERS)
        )

    def begin(self, pool: Executor) -> Slab | None:
        """The next slab, whose reading has begun on threads of the pool; None at the end.

        Raises:
            ChangedError: a file is not as it was when it was opened.
        """
        bounds = next(self._bounds, None)
        if bounds is None:
            return None
        slab = Slab(*bounds, self._inputs, self._free.popleft(), self._own)
        slab.check_unchanged()
        slab.reads = [pool.submit(read) for read in self._reads(slab)]
        return slab

    def _reads(self, slab: Slab) -> Iterator[Callable[[], Any]]:
        """What is to be read ahead, each part on a thread of its own."""
        for role, item in self._inputs.items():
            if role in slab.buffers:
                for start, stop in item.reader.pieces(slab.start, slab.stop):
                    out = slab.buffers[role][start - slab.start : stop - slab.start]
                    yield partial(item.reader.read, start, stop, out)
            else:
                yield partial(item.reader.expect, slab.start, slab.stop)

    def release(self, slab: Slab) -> None:
        """Take a slab's buffers back."""
        self._free.append(slab.buffers)
