"""Aligned readers -> slabs of rows, read ahead of the work -> tiles that fit in the cache.

Two cuts, neither of which a figure can depend on: a slab is what is read at once (about 32 MB over
all inputs), a tile what one thread computes on at once. The tiles lie on a grid from row 0 of the
dump whose step depends on the width of the rows alone, so a row is always computed in the company
of the same rows. The user's `batch_size` cuts the report, not the work.
"""

import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from distillcli.backend import Array, Backend
from distillcli.errors import DataError
from distillcli.formats import Reader, widen
from distillcli.numerics import Kind, Logits

SLAB_BYTES = 32 * 2**20
SLAB_ROWS = 2**17  # at most: with few classes the values of the rows are larger than the rows
TILE_BYTES = 2**20  # smaller ones lie in a nearer cache, but Python's part of the work grows
TILE_ROWS = 16384  # at most; a power of two, so that tiles and blocks of rows fit into each other
PRODUCT_ROWS = 512  # at least, where rows are multiplied by a matrix that must be read each time
PADDING = -100  # the label that PyTorch's cross-entropy ignores
EXACT = 2**53  # float64 holds every integer up to here
BUFFERS = 3  # one being read, one being computed, one being finished

Raw = npt.NDArray[Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Input:
    """One array of the run and the part it plays, such as `teacher` or `student_hidden[1]`.

    Args:
        top_of: how many classes there are, of which the array holds the largest of each row.
        is_part: whether it only completes another one, as the indices of such classes do.
    """

    role: str
    reader: Reader
    kind: Kind = "logits"
    temperature: float = 1.0
    top_of: int | None = None
    is_part: bool = False

    @property
    def is_label(self) -> bool:
        return not self.reader.row_shape and not self.is_part

    @property
    def is_hidden(self) -> bool:
        return "_hidden[" in self.role

    @property
    def is_scores(self) -> bool:
        """Whether it holds the scores of all classes."""
        whole = self.top_of is None and not self.is_part
        return whole and not self.is_hidden and not self.is_label

    @property
    def classes(self) -> int | None:
        """How many classes it tells of, if it does."""
        return self.width if self.is_scores else self.top_of

    @property
    def width(self) -> int:
        """Numbers per row."""
        return self.reader.width


@dataclass(frozen=True)
class Grid:
    """How a run is cut: rows `first` to `stop`, tiles and slabs of so many rows."""

    first: int
    stop: int
    tile_rows: int
    slab_rows: int

    @classmethod
    def of(
        cls, inputs: Sequence[Input], *, first: int, stop: int, itemsize: int, products: bool
    ) -> "Grid":
        """The cut for these inputs, computed on numbers of `itemsize` bytes."""
        widest = max(item.width for item in inputs) * itemsize
        tile = min(TILE_ROWS, _power_of_two(TILE_BYTES // widest))
        if products:
            tile = max(tile, PRODUCT_ROWS)
        slab = min(SLAB_ROWS, SLAB_BYTES // sum(item.reader.row_bytes for item in inputs))
        return cls(first, stop, tile, max(tile, slab - slab % tile))

    @property
    def rows(self) -> int:
        return self.stop - self.first

    def slabs(self) -> Iterator[tuple[int, int]]:
        return _steps(self.first, self.stop, self.slab_rows)

    def tiles(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        return _steps(start, stop, self.tile_rows)


def _power_of_two(number: int) -> int:
    return 1 << max(0, number.bit_length() - 1)


def _steps(start: int, stop: int, step: int) -> Iterator[tuple[int, int]]:
    """`start` to `stop`, cut at the multiples of `step`."""
    while start < stop:
        end = min(stop, (start // step + 1) * step)
        yield start, end
        start = end


@dataclass
class Tile:
    """The rows `start` to `stop` of every input, in the type of the arithmetic.

    What is asked for is made once and kept, so that all losses of a tile share one log-softmax.
    """

    start: int
    stop: int
    slab: "Slab"
    precision: npt.DTypeLike
    backend: Backend
    memo: dict[str, Any] = field(default_factory=dict)

    def __contains__(self, role: str) -> bool:
        return role in self.slab.inputs

    def labels(self) -> Array:
        """int64 [rows], on the device.

        Raises:
            DataError: a label outside [0, classes).
        """
        return self.once("labels", self._checked_labels)

    def integers(self, role: str) -> Array:
        """float64 [rows], every integer exactly, on the device.

        Raises:
            DataError: one that float64 cannot hold.
        """
        raw = self._raw(role)
        outside = (raw > EXACT) | (raw < -EXACT) if raw.dtype.kind == "i" else raw > EXACT
        if outside.any():
            row = int(np.argmax(outside))
            raise DataError(
                self.slab.inputs[role].reader.where,
                f"row {self.start + row}: {raw[row]} is beyond 2^53",
                "number the groups with smaller integers",
            )
        return self.backend.to_device(raw.astype(np.float64))

    def features(self, role: str) -> Array:
        """[rows, dim], on the device."""
        return self.once(role, lambda: self._widened(role))

    def logits(self, role: str) -> Logits:
        """[rows, classes], on the device, with all that is derived from them."""
        return self.once(role, lambda: self._scores(role))

    def _scores(self, role: str) -> Logits:
        item = self.slab.inputs[role]
        return Logits(self._widened(role), item.kind, temperature=item.temperature)

    def _checked_labels(self) -> Array:
        raw, classes = self._raw("labels"), self.slab.classes
        outside = (raw < 0) | (raw >= classes)
        if outside.any():
            row = int(np.argmax(outside))
            hint = f"the logits have {classes} classes, counted from 0"
            if raw[row] == PADDING:
                hint = f"{PADDING} marks padding in PyTorch; save the dump without such positions"
            raise DataError(
                self.slab.inputs["labels"].reader.where,
                f"row {self.start + row}: label {raw[row]} is outside 0 to {classes - 1}",
                hint,
            )
        return self.backend.to_device(raw.astype(np.int64))

    def once(self, key: str, make: Callable[[], T]) -> T:
        """What `make` returns, made at the first call with this key."""
        if key not in self.memo:
            self.memo[key] = make()
        made: T = self.memo[key]
        return made

    def stored(self, role: str) -> Raw:
        """The rows as they are stored, on the host."""
        return self._raw(role)

    def exactly(self, role: str) -> Array:
        """The rows as float64, on the device, whatever the type of the arithmetic."""
        element = self.slab.inputs[role].reader.element
        return self.backend.to_device(widen(self._raw(role), element, np.float64))

    def _raw(self, role: str) -> Raw:
        offset = self.slab.start
        return self.slab.raw[role][self.start - offset : self.stop - offset]

    def _widened(self, role: str) -> Array:
        element = self.slab.inputs[role].reader.element
        return self.backend.to_device(widen(self._raw(role), element, self.precision))


@dataclass
class Slab:
    """The stored rows `start` to `stop` of every input; `release` gives its buffers back."""

    start: int
    stop: int
    inputs: dict[str, Input]
    raw: dict[str, Raw]
    release: Callable[[], None]

    @property
    def classes(self) -> int:
        """How many classes the logits have."""
        return next(item.width for item in self.inputs.values() if item.is_scores)

    def tiles(self, grid: Grid, precision: npt.DTypeLike, backend: Backend) -> Iterator[Tile]:
        """The tiles of the grid that lie in this slab."""
        for start, stop in grid.tiles(self.start, self.stop):
            yield Tile(start, stop, self, precision, backend)


def slabs(inputs: Sequence[Input], grid: Grid) -> Generator[Slab, None, None]:
    """All slabs in row order, read by a thread of their own while earlier ones are computed.

    Raises:
        ChangedError: a file changed while it was read.
        DataError: a file turned out to be broken.
    """
    free: queue.Queue[dict[str, Raw]] = queue.Queue()
    ready: queue.Queue[Slab | BaseException | None] = queue.Queue()
    stopped = threading.Event()
    rows = min(grid.slab_rows, grid.rows)
    for _ in range(BUFFERS):
        free.put({item.role: item.reader.empty(rows) for item in inputs})
    by_role = {item.role: item for item in inputs}

    def read() -> None:
        try:
            for start, stop in grid.slabs():
                buffers = free.get()
                if stopped.is_set():
                    return
                raw = {role: buffer[: stop - start] for role, buffer in buffers.items()}
                for item in inputs:
                    item.reader.check_unchanged()
                    item.reader.read(start, stop, raw[item.role])
                    item.reader.check_unchanged()
                ready.put(Slab(start, stop, by_role, raw, partial(free.put, buffers)))
            ready.put(None)
        except BaseException as error:  # whatever it is belongs to the thread that asked
            ready.put(error)

    thread = threading.Thread(target=read, name="read-ahead", daemon=True)
    thread.start()
    try:
        while (slab := ready.get()) is not None:
            if isinstance(slab, BaseException):
                raise slab
            yield slab
    finally:
        stopped.set()
        free.put({})
        thread.join()
