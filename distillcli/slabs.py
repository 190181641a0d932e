"""Slabs of rows in row order, and how their bytes come to the threads that compute on them.

Two ways. Where any few rows can be read by themselves for the price of their bytes, the thread
that computes on a tile reads it just before: what it reads is then still in its cache. Of rows that
are packed together it reads what some neighbouring tiles need, and computes on all of these. What
is packed in larger units than that, or comes in order only, or is but a few bytes a tile, is read
ahead, a whole slab into a buffer that is used again, while earlier slabs are computed: in pieces on
several threads where it can be cut. Of what is not read ahead, the system is told to fetch the next
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
from distillcli.errors import DataError
from distillcli.formats import Reader

LEAST = 2**17  # bytes of a tile: less is not worth a read of its own
COMPUTED = 2, 16  # slabs at once, at least and at most: one being computed, one being finished

T = TypeVar("T")


@dataclass(frozen=True)
class Feed:
    """How the rows of a run come to its threads.

    Args:
        at_once: by role, how many rows a thread reads at once before it computes on them; the
            inputs that are not named are read ahead, slab by slab.
        share: how many rows one thread computes on before it takes others.
        computed: how many slabs are computed at once, at most.
    """

    at_once: Mapping[str, int]
    share: int
    computed: int

    @classmethod
    def of(cls, inputs: Sequence[Input], grid: Grid, backend: Backend, workers: int) -> "Feed":
        """For so many threads: each is to find another share when it is done with one."""
        least, most = COMPUTED
        if backend.device != "cpu":
            return cls({}, grid.tile_rows, least)
        worth = [item for item in inputs if grid.at_once * item.reader.row_bytes >= LEAST]
        found = {item.role: grid.read_at_once(item.reader) for item in worth}
        at_once = {role: rows for role, rows in found.items() if rows is not None}
        share = max(grid.tile_rows, *at_once.values(), 0)
        if len(at_once) < len(worth):
            return cls(at_once, share, least)
        shares = -(-grid.slab_rows // share)
        return cls(at_once, share, min(most, max(least, -(-2 * workers // shares))))

    @property
    def buffers(self) -> int:
        """For each slab that is computed, and one that is read."""
        return self.computed + 1


@dataclass
class _Rows:
    """Rows of one input that a thread has read."""

    start: int
    stop: int
    rows: Raw
    buffer: Raw

    def part(self, start: int, stop: int) -> Raw:
        return self.rows[start - self.start : stop - self.start]


class _Own(threading.local):
    """What a thread has read by itself, by role."""

    def __init__(self) -> None:
        self.rows: dict[str, _Rows] = {}

    def read(self, item: Input, start: int, stop: int) -> _Rows:
        """Rows of an input; they stand until the thread reads others of it."""
        held = self.rows.pop(item.role, None)
        buffer = None if held is None else held.buffer
        if buffer is None or len(buffer) < stop - start:
            buffer = item.reader.empty(stop - start)
        rows = item.reader.read(start, stop, buffer[: stop - start])
        self.rows[item.role] = held = _Rows(start, stop, rows, buffer)
        return held


@dataclass
class Slab:
    """The rows `start` to `stop` of every input; of those read ahead, in `buffers`."""

    start: int
    stop: int
    inputs: Mapping[str, Input]
    grid: Grid
    feed: Feed
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

    def shares(self, precision: npt.DTypeLike, backend: Backend) -> Iterator[list[Tile]]:
        """The tiles of the grid that lie in this slab, those together that are for one thread."""
        for start, stop in self.grid.cut(self.start, self.stop, self.feed.share):
            yield [
                Tile(*bounds, self.inputs, self._rows, precision, backend, self.grid.at_once)
                for bounds in self.grid.tiles(start, stop)
            ]

    def _rows(self, role: str, start: int, stop: int) -> Raw:
        if role in self.buffers:
            return self.buffers[role][start - self.start : stop - self.start]
        held = self.own.rows.get(role)
        if held is None or not held.start <= start <= stop <= held.stop:
            held = self.own.read(self.inputs[role], *self._at_once(role, start, stop))
        return held.part(start, stop)

    def _at_once(self, role: str, start: int, stop: int) -> tuple[int, int]:
        """What to read where rows are asked for: in this slab, all that lie together with them."""
        rows = self.feed.at_once[role]
        if rows == self.grid.at_once:
            return start, stop
        start, stop = self.grid.around(start, stop, rows)
        return max(start, self.start), min(stop, self.stop)


def _buffer(reader: Reader, rows: int, backend: Backend) -> Raw:
    """What a slab is read into; a GPU copies from memory of its own."""
    if backend.gpu is None:
        return reader.empty(rows)
    buffer: Raw = backend.gpu.buffer((rows, *reader.row_shape), reader.element.dtype)
    return buffer


def _done(read: Callable[[], Any]) -> Future[Any]:
    """What has been read on this thread; what goes wrong is told when its turn comes."""
    done: Future[Any] = Future()
    try:
        done.set_result(read())
    except DataError as error:
        done.set_exception(error)
    return done


class Slabs:
    """All slabs in row order; each is begun before it is needed, and given back after use."""

    def __init__(self, inputs: Sequence[Input], grid: Grid, backend: Backend, workers: int) -> None:
        self._inputs = {item.role: item for item in inputs}
        self._grid, self.feed = grid, Feed.of(inputs, grid, backend, workers)
        self._ahead = [item for item in inputs if item.role not in self.feed.at_once]
        self._own = _Own()
        self._bounds = grid.slabs()
        rows = min(grid.slab_rows, grid.rows)
        self._free = deque(
            {item.role: _buffer(item.reader, rows, backend) for item in self._ahead}
            for _ in range(self.feed.buffers)
        )

    def begin(self, pool: Executor) -> Slab | None:
        """The next slab, whose reading has begun on threads of the pool; None at the end.

        What is little is read at once: to wake a thread for it takes longer.

        Raises:
            ChangedError: a file is not as it was when it was opened.
        """
        bounds = next(self._bounds, None)
        if bounds is None:
            return None
        buffers = self._free.popleft()
        slab = Slab(*bounds, self._inputs, self._grid, self.feed, buffers, self._own)
        slab.check_unchanged()
        slab.reads = [
            one
            for role, item in self._inputs.items()
            for one in self._begun(slab, role, item, pool)
        ]
        return slab

    def _begun(self, slab: Slab, role: str, item: Input, pool: Executor) -> Iterator[Future[Any]]:
        reader = item.reader
        if role not in slab.buffers:
            yield _done(partial(reader.expect, slab.start, slab.stop))
            return
        little = (slab.stop - slab.start) * reader.row_bytes < LEAST
        for start, stop in reader.pieces(slab.start, slab.stop):
            out = slab.buffers[role][start - slab.start : stop - slab.start]
            read = partial(reader.read, start, stop, out)
            yield _done(read) if little else pool.submit(read)

    def release(self, slab: Slab) -> None:
        """Take a slab's buffers back."""
        self._free.append(slab.buffers)
