"""HDF5 files that hold up: checksummed chunks, old readers, and a disk that may fill up."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import h5py
import numpy as np

from distillcli.formats.elements import Array
from distillcli.formats.hdf5.words import attach

COMPRESSIONS = ("none", "gzip", "lzf")
GZIP_LEVEL = 4
CHUNK_BYTES = 1 << 20  # between 0.25 and 4 MB, whatever the width of a row
LARGEST_CHUNK = 4 << 20


@dataclass(frozen=True)
class Planned:
    """A dataset to be written."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def chunk(self) -> tuple[int, ...]:
        """The shape of a chunk: a power of two of rows, or a part of a row that is very long."""
        row = prod(self.shape[1:]) * self.dtype.itemsize
        if row > LARGEST_CHUNK:
            parts = -(-row // CHUNK_BYTES)
            return 1, -(-self.shape[1] // parts)
        rows = 1 << max(0, (CHUNK_BYTES // row).bit_length() - 1)
        return min(rows, self.shape[0]), *self.shape[1:]


class Hdf5Writer:
    """Writes datasets row after row, each chunk once.

    The library never sees the disk refuse a write: it could not be closed then, and would fail
    again when the process ends. What the disk refuses is kept and raised by `close`.
    """

    def __init__(self, fd: int, plan: Mapping[str, Planned], compression: str) -> None:
        """Begin a file.

        Args:
            fd: an empty file open for reading and writing; it stays the caller's.
            plan: the datasets by name.
            compression: one of COMPRESSIONS.
        """
        self._sink = _Sink(fd)
        self._file = h5py.File(self._sink, "w", libver=("v110", "v110"))
        self._datasets = {
            name: _Rows(_create(self._file.id, name, planned, compression), planned)
            for name, planned in plan.items()
        }

    @property
    def refused(self) -> OSError | None:
        """What the disk said when it first refused a write."""
        return self._sink.refused

    def append(self, name: str, rows: Array) -> None:
        """Write the rows that follow in a dataset.

        Raises:
            OSError: the disk refuses.
        """
        self._datasets[name].append(rows)
        self._raise_refusal()

    def close(self, words: Mapping[str, str] | None = None) -> None:
        """End the file, with these texts as its attributes.

        Raises:
            OSError: the disk refused something.
        """
        try:
            if words is not None:
                attach(self._file["/"].id, dict(words))
        finally:
            self._datasets.clear()
            self._file.close()
        self._raise_refusal()

    def _raise_refusal(self) -> None:
        if self._sink.refused is not None:
            raise self._sink.refused


class _Rows:
    """Rows on their way into one dataset, held back until they fill a chunk."""

    def __init__(self, dataset: Any, planned: Planned) -> None:
        self._dataset, self._planned = dataset, planned
        self._waiting: list[Array] = []
        self._count = self._done = 0

    def append(self, rows: Array) -> None:
        self._waiting.append(rows)
        self._count += len(rows)
        step = self._planned.chunk[0]
        last = self._done + self._count == self._planned.shape[0]
        ready = self._count if last else self._count - self._count % step
        if ready:
            held = np.concatenate(self._waiting) if len(self._waiting) > 1 else self._waiting[0]
            for start in range(0, ready, step):
                self._write(held[start : min(start + step, ready)])
            self._count -= ready
            self._waiting = [held[ready:]] if self._count else []

    def _write(self, rows: Array) -> None:
        target = self._dataset.get_space()
        target.select_hyperslab((self._done, *(0 for _ in rows.shape[1:])), rows.shape)
        memory = h5py.h5s.create_simple(rows.shape)
        self._dataset.write(memory, target, np.ascontiguousarray(rows))
        self._done += len(rows)


def _create(file: Any, name: str, planned: Planned, compression: str) -> Any:
    """A dataset whose chunks end in a checksum, taken of what lies in the file."""
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk(planned.chunk)
    plist.set_obj_track_times(False)
    plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    if compression != "none":
        plist.set_shuffle()
    if compression == "gzip":
        plist.set_deflate(GZIP_LEVEL)
    if compression == "lzf":
        plist.set_filter(h5py.h5z.FILTER_LZF, h5py.h5z.FLAG_OPTIONAL)
    plist.set_fletcher32()
    kind = h5py.h5t.py_create(planned.dtype.newbyteorder("<"))
    space = h5py.h5s.create_simple(planned.shape)
    return h5py.h5d.create(file, name.encode("ascii"), kind, space, plist)


class _Sink:
    """A file as the library's driver for Python files wants it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._at = 0
        self._end = os.fstat(fd).st_size
        self.refused: OSError | None = None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._end}[whence]
        self._at = origin + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        count = len(view)
        try:
            offset = self._at
            while self.refused is None and len(view):
                done = os.pwrite(self._fd, view, offset)
                view, offset = view[done:], offset + done
        except OSError as error:
            self.refused = error
        self._at += count
        self._end = max(self._end, self._at)
        return count

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = b"" if self.refused is not None else os.pread(self._fd, len(view), self._at)
        view[: len(data)] = data
        view[len(data) :] = bytes(len(view) - len(data))
        self._at += len(view)
        return len(view)

    def read(self, count: int) -> bytes:
        buffer = bytearray(count)
        self.readinto(buffer)
        return bytes(buffer)

    def truncate(self, size: int | None = None) -> int:
        self._end = self._at if size is None else size
        try:
            if self.refused is None:
                os.ftruncate(self._fd, self._end)
        except OSError as error:
            self.refused = error
        return self._end

    def flush(self) -> None:
        """The caller syncs the file once it is whole."""
