"""NPY files written row after row, with a checksum for each block of rows."""

import io
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from distillcli.formats.elements import Array
from distillcli.formats.sidecar import BLOCK_BYTES, Blocks, crc_of, written_crc


class NpyWriter:
    """Writes one array [rows, width]."""

    def __init__(self, fd: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        """Begin a file.

        Args:
            fd: an empty file open for writing; it stays the caller's.
            dtype, shape: of the array.
        """
        self._fd = fd
        self._rows = max(1, BLOCK_BYTES // (dtype.itemsize * shape[1]))
        self._sums: list[str] = []
        self._crc = self._summed = 0  # of the block that is not whole yet, and its rows
        header = io.BytesIO()
        fields = {"descr": dtype.newbyteorder("<").str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(header, fields)
        self._write(header.getvalue())

    def append(self, name: str, rows: Array) -> None:
        """Write the rows that follow.

        Raises:
            OSError: the disk refuses.
        """
        self._write(np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data)
        while len(rows):
            part, rows = np.split(rows, [self._rows - self._summed])
            self._crc, self._summed = crc_of(part, self._crc), self._summed + len(part)
            if self._summed == self._rows:
                self._sums.append(written_crc(self._crc))
                self._crc = self._summed = 0

    def blocks(self) -> Blocks:
        """The checksums, once all rows are written."""
        last = [written_crc(self._crc)] if self._summed else []
        return Blocks(self._rows, (*self._sums, *last))

    def close(self, words: Mapping[str, str] | None = None) -> None:
        """Nothing is held back; words stand in a file beside this one."""

    def _write(self, data: Any) -> None:
        view = memoryview(data)
        while len(view):
            view = view[os.write(self._fd, view) :]
