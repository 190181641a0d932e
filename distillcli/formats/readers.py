"""Stored arrays as rows: what every format offers, and what the rest of the package reads."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any, Protocol, Self

import numpy as np

from distillcli.formats.declared import Declaration
from distillcli.formats.elements import Array, Element
from distillcli.formats.files import InputFile, sample_crc
from distillcli.formats.storage import Attribute, Storage

PIECE_BYTES = 1 << 20  # of what is read in pieces on several threads


@dataclass(frozen=True)
class ArrayInfo:
    """An array that a file holds; `element` is a name, or what keeps it from being read."""

    name: str
    shape: tuple[int, ...]
    element: str
    readable: bool


@dataclass(frozen=True)
class Grain:
    """How many rows lie together, and whether a part of them costs as much as all."""

    rows: int = 1
    packed: bool = True

    def splits(self, step: int, *, loosely: bool) -> bool:
        """Whether rows may be cut at multiples of `step`."""
        return step % self.rows == 0 or (loosely and not self.packed)


class StoredArray(Protocol):
    """An array in an open file, not yet in memory."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape as stored."""

    @property
    def element(self) -> Element:
        """Its element type."""

    def layer(self, index: int) -> "StoredArray":
        """The part at one index of the first axis."""

    def read(self, start: int, stop: int, out: Array, lead: int) -> None:
        """Rows [start, stop) of the array with its first `lead` axes flattened, into `out`."""

    def grain(self, lead: int) -> Grain | None:
        """How many rows lie together: one where each can be read by itself for the price of its
        bytes; None where rows come one after the other only."""

    def expect(self, start: int, stop: int, lead: int) -> None:
        """Have the system fetch rows that will be read soon, where it does not hold them."""


class Container(Protocol):
    """An open file of one format."""

    @property
    def named(self) -> bool:
        """Whether its arrays have names."""

    def names(self, declared: str | None) -> list[ArrayInfo]:
        """The arrays in it, as far as they can be listed, in view of a declared type."""

    def array(self, name: str | None, declared: str | None) -> StoredArray:
        """One array, checked; `name` is None where the file holds one array by its nature."""

    def storage(self, name: str | None) -> Storage:
        """How one array lies in the file, readable or not."""

    def expect(self, names: Sequence[str | None], declared: str | None) -> None:
        """Get ready for `storage` and `array` of each of these, where that saves work."""

    def attributes(self) -> Mapping[str, Attribute]:
        """Short texts and numbers attached to the file as a whole."""

    def words(self) -> Mapping[str, str]:
        """The texts in which the file says what it is, in full; none where there are none."""

    def declaration(self) -> Declaration | None:
        """What the file, or its format, says of its scores; None where it says nothing."""

    def members(self, name: str) -> list[str] | None:
        """The full names of the arrays of a group in natural order; None if it is no group."""

    def close(self) -> None:
        """Give everything back but the file."""


class Reader(ABC):
    """Rows of one logical array. Reads may run on several threads at once."""

    name: str  # path as given, with ::dataset where there is one
    where: str  # the same with its role, for errors
    path: str  # path or pattern as given
    dataset: str | None
    shape: tuple[int, ...]  # the whole array as stored
    element: Element
    lead: int  # how many leading axes are flattened to rows
    declared: Declaration | None = None  # what a soft-target file says of itself

    @property
    def rows(self) -> int:
        """Rows after flattening."""
        return prod(self.shape[: self.lead])

    @property
    def row_shape(self) -> tuple[int, ...]:
        """() for labels, (width,) otherwise."""
        return self.shape[self.lead :]

    @property
    def width(self) -> int:
        """Elements per row; 1 for labels."""
        return prod(self.row_shape)

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return self.element.itemsize

    @property
    def row_bytes(self) -> int:
        """Bytes per row as stored."""
        return self.width * self.itemsize

    def empty(self, rows: int) -> Array:
        """A new array that `read` can fill with that many rows."""
        return np.empty((rows, *self.row_shape), self.element.dtype)

    @abstractmethod
    def read(self, start: int, stop: int, out: Array) -> Array:
        """Read rows [start, stop) and return `out`.

        Args:
            start, stop: rows after flattening, 0 <= start <= stop <= rows.
            out: C-ordered, of the element's dtype, [stop - start, *row_shape].

        Raises:
            ChangedError: the file became shorter. FormatError: damaged data. DataError: the disk.
        """

    @abstractmethod
    def splits(self, step: int, *, loosely: bool = False) -> bool:
        """Whether rows cut at multiples of `step` cost no more than all at once, in any order.

        `loosely`: or little more, where the steps are not small.
        """

    @abstractmethod
    def pieces(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Rows [start, stop) cut into pieces that may be read at once, each on its own thread."""

    @abstractmethod
    def expect(self, start: int, stop: int) -> None:
        """Have the system fetch rows that will be read soon, where it does not hold them."""

    @abstractmethod
    def files(self) -> Sequence[InputFile]:
        """The files behind the rows, in order."""

    @abstractmethod
    def close(self) -> None:
        """Give the files back; a second time does nothing."""

    def check_unchanged(self) -> None:
        """Raise ChangedError when a file is not as it was when it was opened."""
        for file in self.files():
            file.check_unchanged()

    def fingerprint(self) -> dict[str, Any]:
        """Size, dtype, shape and a CRC-32 of samples of the file, ready for JSON."""
        (file,) = self.files()
        return {**self._measures(), "crc32": f"{sample_crc(file):08x}"}

    def _measures(self) -> dict[str, Any]:
        size = sum(file.size for file in self.files())
        return {"size": size, "dtype": self.element.name, "shape": list(self.shape)}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ArrayReader(Reader):
    """Rows of one array in one file."""

    def __init__(
        self,
        file: InputFile,
        container: Container,
        array: StoredArray,
        *,
        dataset: str | None,
        lead: int,
        suffix: str = "",
        declared: Declaration | None = None,
    ) -> None:
        tail = (f"::{dataset}" if dataset else "") + suffix
        self.path, self.dataset = file.given, dataset
        self.name, self.where = file.given + tail, file.where + tail
        self.shape, self.element, self.lead = array.shape, array.element, lead
        self._file, self._container, self._array = file, container, array
        self.declared = declared

    def read(self, start: int, stop: int, out: Array) -> Array:
        """Read rows [start, stop) into `out` and return it."""
        check_request(self, start, stop, out)
        if stop > start:
            self._array.read(start, stop, out, self.lead)
        return out

    def splits(self, step: int, *, loosely: bool = False) -> bool:
        """Whether nothing that lies together is cut at multiples of `step`."""
        grain = self._array.grain(self.lead)
        return grain is not None and grain.splits(step, loosely=loosely)

    def pieces(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Cut between what is packed together, about a megabyte each."""
        grain = self._array.grain(self.lead)
        if grain is None:
            return [(start, stop)]
        step = grain.rows * max(1, PIECE_BYTES // (grain.rows * self.row_bytes))
        cuts = [start, *range((start // step + 1) * step, stop, step), stop]
        return list(pairwise(cuts))

    def expect(self, start: int, stop: int) -> None:
        """Have the system fetch rows that will be read soon, where it does not hold them."""
        if stop > start:
            self._array.expect(start, stop, self.lead)

    def files(self) -> Sequence[InputFile]:
        """The one file."""
        return (self._file,)

    def close(self) -> None:
        """Give the file back."""
        self._container.close()
        self._file.close()


def describe(reader: Reader) -> dict[str, Any]:
    """An input as a result names it, ready for JSON; `size` is in bytes of its files."""
    fingerprint = reader.fingerprint()
    return {
        "path": reader.path,
        "dataset": reader.dataset,
        "shape": list(reader.shape),
        "dtype": reader.element.name,
        "size": fingerprint["size"],
        "fingerprint": fingerprint,
    }


def check_request(reader: Reader, start: int, stop: int, out: Array) -> None:
    """Refuse what would write past a buffer: a mistake of the caller, not of the data."""
    if not 0 <= start <= stop <= reader.rows:
        raise IndexError(f"rows {start}:{stop} of {reader.rows}")
    if out.shape != (stop - start, *reader.row_shape) or out.dtype != reader.element.dtype:
        raise ValueError(f"out is {out.dtype} {out.shape} for rows {start}:{stop}")
    if not out.flags.c_contiguous:
        raise ValueError("out must be C-ordered")


def boxes(lead: Sequence[int], start: int, stop: int) -> Iterator[tuple[tuple[slice, ...], slice]]:
    """Cut a range of flattened rows into boxes over one or two leading axes.

    Yields: the box as slices over the leading axes, and the slice of the range that it fills.
    """
    if len(lead) == 1:
        yield (slice(start, stop),), slice(0, stop - start)
        return
    inner = lead[1]
    row = start
    while row < stop:
        first, within = divmod(row, inner)
        whole = (stop - row) // inner if within == 0 else 0
        if whole:
            box, end = (slice(first, first + whole), slice(0, inner)), row + whole * inner
        else:
            end = min(stop, row - within + inner)
            box = (slice(first, first + 1), slice(within, within + end - row))
        yield box, slice(row - start, end - start)
        row = end
