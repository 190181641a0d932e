"""The inputs of a run, the grid that it is cut by, and the tiles of rows that it is computed on.

Two cuts, neither of which a figure can depend on: a tile is what one thread computes on at once,
small enough for its cache; a slab, some tiles (about 32 MB over all inputs), is what is looked
after at once, see `slabs.py`. The tiles lie on a grid from row 0 of the dump whose step depends on
the width of the rows alone, so a row is always computed in the company of the same rows. The
user's `batch_size` cuts the report, not the work.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from distillcli.backend import Array, Backend
from distillcli.errors import DataError
from distillcli.formats import Reader, widen
from distillcli.numerics.scores import Kind, Logits
from distillcli.numerics.stored import Stored, widened

SLAB_BYTES = 32 * 2**20
SLAB_ROWS = 2**17  # at most: with few classes the values of the rows are larger than the rows
TILE_BYTES = 2**20  # smaller ones lie in a nearer cache, but Python's part of the work grows
STREAMED_BYTES = 2**22  # where a kernel goes row by row, and no tile must lie in a near cache
STREAMED_ROWS = 32768
TILE_ROWS = 16384  # at most; a power of two, so that tiles and blocks of rows fit into each other
PRODUCT_ROWS = 512  # at least, where rows are multiplied by a matrix that must be read each time
EXACT = 2**53  # float64 holds every integer up to here

Raw = npt.NDArray[Any]
Columns = npt.NDArray[np.int64] | None  # the classes that are compared, if not all are
Mask = npt.NDArray[np.bool_]
T = TypeVar("T")


@dataclass(frozen=True)
class Input:
    """One array of the run and the part it plays, such as `teacher` or `student_hidden[1]`.

    Args:
        top_of: how many classes there are, of which the array holds the largest of each row.
        floored: whether the classes at the lowest value of a row have at most that.
        is_part: whether it only completes another one, as the indices of such classes do.
        compared: of class scores: the numbers of the classes that are compared; None for all. Of
            labels: the place of each class among those, -1 for one that is not.
        counts: tells which rows of a tile count, bool [rows], on the host; None where it leaves
            none out.
    """

    role: str
    reader: Reader
    kind: Kind = "logits"
    temperature: float = 1.0
    top_of: int | None = None
    floored: bool = False
    is_part: bool = False
    compared: npt.NDArray[np.int64] | None = None
    counts: Callable[["Tile"], Mask] | None = None

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
    def lacks_classes(self) -> bool:
        """Whether it does not tell the score of every class."""
        return self.top_of is not None or self.floored

    @property
    def classes(self) -> int | None:
        """How many classes it is compared by, if it is."""
        if self.is_scores:
            return self.width if self.compared is None else len(self.compared)
        return self.top_of

    @property
    def width(self) -> int:
        """Numbers per row."""
        return self.reader.width


@dataclass(frozen=True)
class Grid:
    """How a run is cut: rows `first` to `stop`, tiles and slabs of so many rows.

    Args:
        origin: the row that tiles and slabs are counted from.
        whole: whether what is found depends on the rows of a tile being together.
        streamed: whether a kernel goes through a tile row by row, and nothing else does.
    """

    first: int
    stop: int
    tile_rows: int
    slab_rows: int
    origin: int = 0
    whole: bool = False
    streamed: bool = False

    @classmethod
    def of(
        cls,
        inputs: Sequence[Input],
        *,
        first: int,
        stop: int,
        itemsize: int,
        products: bool,
        batch: int | None = None,
        device_bytes: int | None = None,
        streamed: bool = False,
    ) -> "Grid":
        """The cut for these inputs, computed on numbers of `itemsize` bytes.

        Args:
            products: whether rows are multiplied by a matrix.
            batch: rows that must be computed at once, counted from `first`.
            device_bytes: how much a GPU takes at once, for which a tile is a slab; None without.
            streamed: see there.
        """
        row_bytes = sum(item.reader.row_bytes for item in inputs)
        if device_bytes is not None:
            rows = batch or _power_of_two(min(SLAB_ROWS, device_bytes // row_bytes))
            return cls(first, stop, rows, rows, first if batch else 0, whole=batch is not None)
        widest = max(item.width for item in inputs) * itemsize
        at_most, size = (STREAMED_ROWS, STREAMED_BYTES) if streamed else (TILE_ROWS, TILE_BYTES)
        tile = min(at_most, _power_of_two(size // widest))
        if products:
            tile = max(tile, PRODUCT_ROWS)
        tile = tile if batch is None else batch
        slab = min(SLAB_ROWS, SLAB_BYTES // row_bytes)
        origin = 0 if batch is None else first
        whole = batch is not None
        return cls(first, stop, tile, max(tile, slab - slab % tile), origin, whole, streamed)

    @property
    def rows(self) -> int:
        return self.stop - self.first

    def slabs(self) -> Iterator[tuple[int, int]]:
        return _steps(self.first, self.stop, self.slab_rows, self.origin)

    def tiles(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        return _steps(start, stop, self.tile_rows, self.origin)


def _power_of_two(number: int) -> int:
    return 1 << max(0, number.bit_length() - 1)


def _steps(start: int, stop: int, step: int, origin: int) -> Iterator[tuple[int, int]]:
    """`start` to `stop`, cut at the multiples of `step` from `origin`."""
    while start < stop:
        end = min(stop, origin + ((start - origin) // step + 1) * step)
        yield start, end
        start = end


@dataclass
class Tile:
    """The rows `start` to `stop` of every input, in the type of the arithmetic.

    What is asked for is made once and kept, so that all losses of a tile share one log-softmax.
    """

    start: int
    stop: int
    inputs: Mapping[str, Input]
    rows_of: Callable[[str, int, int], Raw]  # (role, start, stop) -> the rows as they are stored
    precision: npt.DTypeLike
    backend: Backend
    memo: dict[str, Any] = field(default_factory=dict)

    def __contains__(self, role: str) -> bool:
        return role in self.inputs

    def halves(self) -> tuple["Tile", "Tile"]:
        """The same rows as two tiles, of which nothing is known yet."""
        middle = (self.start + self.stop) // 2
        return replace(self, stop=middle, memo={}), replace(self, start=middle, memo={})

    def masked(self) -> Mask | None:
        """The rows that are not to count: bool [rows], on the host; None where all do.

        Whatever they hold, nothing may come of it: no figure, no error.
        """
        return self.once("masked", self._masked)

    def _masked(self) -> Mask | None:
        counts = [item.counts(self) for item in self.inputs.values() if item.counts is not None]
        masked = ~np.all(counts, axis=0) if counts else None
        return masked if masked is not None and masked.any() else None

    def but_masked(self, rows: Raw) -> Raw:
        """The rows, with zeros where they are masked."""
        masked = self.masked()
        if masked is None:
            return rows
        return np.where(masked.reshape(-1, *[1] * (rows.ndim - 1)), rows.dtype.type(0), rows)

    def labels(self) -> Array:
        """int64 [rows], on the device; 0 for rows that are masked. Any integers where no input has
        classes.

        Raises:
            DataError: a label outside [0, classes).
        """
        return self.once("labels", self._checked_labels)

    def integers(self, role: str) -> Array:
        """float64 [rows], every integer exactly, on the device; 0 for rows that are masked.

        Raises:
            DataError: one that float64 cannot hold.
        """
        raw = self.but_masked(self._raw(role))
        outside = (raw > EXACT) | (raw < -EXACT) if raw.dtype.kind == "i" else raw > EXACT
        if outside.any():
            row = int(np.argmax(outside))
            raise DataError(
                self.inputs[role].reader.where,
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
        item = self.inputs[role]
        made = self._as_stored if self._is_read_as_stored(item) else self._widened
        return Logits(made(role, item.compared), item.kind, temperature=item.temperature)

    def _is_read_as_stored(self, item: Input) -> bool:
        gpu = self.backend.gpu
        if gpu is None:
            return self.backend.kernel == "fast"
        return item.reader.element.name in gpu.stored

    def others(self, role: str) -> Logits:
        """The scores of the classes that are not compared, of which there must be some."""
        item = self.inputs[role]
        assert item.compared is not None
        numbers = np.delete(np.arange(item.width), item.compared)
        return Logits(self._widened(role, numbers), item.kind, temperature=item.temperature)

    def _checked_labels(self) -> Array:
        raw, places = self.but_masked(self._raw("labels")), self.inputs["labels"].compared
        classes = self._classes if places is None else len(places)
        if classes is not None:
            self._check_range(raw, classes)
        if places is not None:
            raw = self._placed(raw, places)
        return self.backend.to_device(raw.astype(np.int64))

    def _check_range(self, labels: Raw, classes: int) -> None:
        outside = (labels < 0) | (labels >= classes)
        if not outside.any():
            return
        row = int(np.argmax(outside))
        label = labels[row]
        hint = f"the logits are compared by {classes} classes, counted from 0"
        if label < 0:
            hint += f"; if {label} marks padding, say ignore_index: {label}"
        problem = f"row {self.start + row}: label {label} is outside 0 to {classes - 1}"
        raise DataError(self.inputs["labels"].reader.where, problem, hint)

    def _placed(self, labels: Raw, places: npt.NDArray[np.int64]) -> Raw:
        """The labels as numbers among the classes that are compared."""
        placed = self.but_masked(places[labels])
        if (placed < 0).any():
            row = int(np.argmin(placed))
            raise DataError(
                self.inputs["labels"].reader.where,
                f"row {self.start + row}: label {labels[row]} is a class that is not compared",
                "leave such rows out: give them the label of ignore_index, or a mask",
            )
        return placed

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
        element = self.inputs[role].reader.element
        return self.backend.to_device(widen(self._raw(role), element, np.float64))

    @property
    def _classes(self) -> int | None:
        """How many classes the logits are compared by; None where there are none."""
        found = (item.classes for item in self.inputs.values() if item.classes is not None)
        return next(found, None)

    def _raw(self, role: str) -> Raw:
        return self.once(f"{role} as stored", lambda: self.rows_of(role, self.start, self.stop))

    def _widened(self, role: str, columns: Columns = None) -> Array:
        element = self.inputs[role].reader.element
        return self.backend.to_device(widen(self._columns(role, columns), element, self.precision))

    def _as_stored(self, role: str, columns: Columns = None) -> Stored:
        """For a kernel that widens while it computes."""
        element = self.inputs[role].reader.element
        wide = partial(widen, element=element, dtype=self.precision)
        if self.backend.gpu is not None:
            wide = partial(widened, element=element.name, dtype=self.precision)
        bits = self.backend.to_device(self._columns(role, columns))
        return Stored(bits, str(element), self.precision, wide)

    def _columns(self, role: str, numbers: Columns) -> Raw:
        raw = self._raw(role)
        return raw if numbers is None else raw[:, _slice_or_list(numbers)]


def _slice_or_list(numbers: npt.NDArray[np.int64]) -> Any:
    """Neighbours as a slice: what it takes of an array is not copied."""
    first, last = int(numbers[0]), int(numbers[-1])
    if last - first + 1 == len(numbers) and (np.diff(numbers) == 1).all():
        return slice(first, last + 1)
    return numbers
