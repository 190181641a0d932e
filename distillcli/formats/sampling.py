"""A few rows of an array from its beginning, middle and end, whatever its size."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from distillcli.formats.elements import Array, Element
from distillcli.formats.readers import StoredArray
from distillcli.formats.storage import Storage

ROW_LIMIT = 16 << 20  # bytes: longer rows are not sampled
UNPACK_LIMIT = 32 << 20  # bytes of chunks to unpack for one place, if there is to be more than one
UNPACK_MOST = 256 << 20  # the same, if there is to be one at all
READS = 100_000  # values of an array in Fortran order lie apart: so many are fetched for a place


@dataclass(frozen=True)
class Sample:
    """Some rows of an array.

    Args:
        values: as stored, [rows taken, width], or [rows taken] of a one-dimensional array.
        element: their element type.
        rows: rows of the whole array, its axes before the last one flattened.
    """

    values: Array
    element: Element
    rows: int

    @property
    def whole(self) -> bool:
        """Whether it is all of the array."""
        return len(self.values) == self.rows


def sample(array: StoredArray, storage: Storage, limit: int) -> Sample | None:
    """Read about `limit` bytes of rows, or one row where that takes more; all of a small array.

    Args:
        array: of one to four dimensions.
        storage: how it is stored.
        limit: bytes of values as stored.

    Returns: None where there is nothing to read, or where even one row would take too much.

    Raises:
        DataError: the values that were to be read are damaged.
    """
    if not 1 <= len(array.shape) <= 4 or 0 in array.shape:
        return None
    parts = _parts(array)
    taken = [values for part in parts for values in _read(part, storage, limit // len(parts))]
    if not taken:
        return None
    rows = prod(array.shape[:-1]) if len(array.shape) > 1 else array.shape[0]
    return Sample(np.concatenate(taken), array.element, rows)


def _parts(array: StoredArray) -> list[StoredArray]:
    """Of four dimensions the first, middle and last index of the first; else the array itself."""
    if len(array.shape) < 4:
        return [array]
    count = array.shape[0]
    return [array.layer(index) for index in sorted({0, count // 2, count - 1})]


def _read(array: StoredArray, storage: Storage, limit: int) -> Iterator[Array]:
    lead = max(1, len(array.shape) - 1)
    for start, stop in _places(array, storage, limit, lead):
        out = np.empty((stop - start, *array.shape[lead:]), array.element.dtype)
        array.read(start, stop, out, lead)
        yield out


def _places(array: StoredArray, storage: Storage, limit: int, lead: int) -> list[tuple[int, int]]:
    """Ranges of rows, apart from each other and in order; none where a row takes too much."""
    rows, width = prod(array.shape[:lead]), prod(array.shape[lead:])
    row_bytes = width * array.element.itemsize
    unpacked = _unpacked(array, storage)
    if row_bytes > ROW_LIMIT or unpacked > UNPACK_MOST:
        return []
    if rows * row_bytes <= limit:
        return [(0, rows)]
    if storage.fortran and width > READS:
        return []
    places = 1 if storage.layout == "stream" or unpacked > UNPACK_LIMIT else 3
    count = max(1, limit // places // row_bytes)
    if storage.fortran and lead > 1:
        count = max(1, min(count, READS // width))
    if count * places >= rows:
        return [(0, rows)]
    starts = (0, (rows - count) // 2, rows - count)
    return [(start, start + count) for start in starts[:places]]


def _unpacked(array: StoredArray, storage: Storage) -> int:
    """Bytes of the packed chunks that one row lies in; 0 where rows are read straight."""
    if storage.chunk is None or not storage.filters:
        return 0
    across = -(-storage.shape[-1] // storage.chunk[-1]) if len(storage.shape) > 1 else 1
    return prod(storage.chunk) * array.element.itemsize * across
