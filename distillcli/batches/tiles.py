"""The rows of every input that one thread computes on at once, with what was made of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from distillcli.backend import Array, Backend
from distillcli.batches.inputs import Input, Mask
from distillcli.errors import DataError
from distillcli.formats import widen
from distillcli.numerics.arrays import all_within
from distillcli.numerics.scores import Logits
from distillcli.numerics.stored import Stored, Unread, widened

EXACT = 2**53  # float64 holds every integer up to here

Raw = npt.NDArray[Any]
Columns = npt.NDArray[np.int64] | None  # the classes that are compared, if not all are
RowsOf = Callable[[str, int, int], Raw]  # (role, start, stop) -> the rows as they are stored
T = TypeVar("T")


@dataclass
class Tile:
    """The rows `start` to `stop` of every input, in the type of the arithmetic.

    What is asked for is made once and kept, so that all losses of a tile share one log-softmax.
    """

    start: int
    stop: int
    inputs: Mapping[str, Input]
    rows_of: RowsOf
    precision: npt.DTypeLike
    backend: Backend
    at_once: int  # how many rows to read at a time where a kernel goes through them row by row
    memo: dict[str, Any] = field(default_factory=dict)

    def __contains__(self, role: str) -> bool:
        return role in self.inputs

    def halves(self, together: int = 1) -> tuple["Tile", "Tile"]:
        """The same rows as two tiles, of which nothing is known yet; see `Grid.together`."""
        middle = self.start + (self.stop - self.start) // together // 2 * together
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
        return gpu is None or item.reader.element.name in gpu.stored

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
        if all_within(labels, classes):
            return
        row = int(np.argmax((labels < 0) | (labels >= classes)))
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
        elif columns is None and self.at_once < self.stop - self.start:
            return Stored(self._unread(role), str(element), self.precision, wide)
        bits = self.backend.to_device(self._columns(role, columns))
        return Stored(bits, str(element), self.precision, wide)

    def _unread(self, role: str) -> Unread:
        read = partial(_part, self.rows_of, role, self.start)
        return Unread((self.stop - self.start, self.inputs[role].width), read, self.at_once)

    def _columns(self, role: str, numbers: Columns) -> Raw:
        raw = self._raw(role)
        return raw if numbers is None else raw[:, _slice_or_list(numbers)]


def _part(rows_of: RowsOf, role: str, origin: int, start: int, stop: int) -> Raw:
    """Rows counted from those of a tile, to which nothing here may refer: see `Softened`."""
    return rows_of(role, origin + start, origin + stop)


def _slice_or_list(numbers: npt.NDArray[np.int64]) -> Any:
    """Neighbours as a slice: what it takes of an array is not copied."""
    first, last = int(numbers[0]), int(numbers[-1])
    if last - first + 1 == len(numbers) and (np.diff(numbers) == 1).all():
        return slice(first, last + 1)
    return numbers
