"""The loss of every row in a file of its own, written as the rows come."""

import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from distillcli.sinks.details import LOSS
from distillcli.sums.rows import Collector, RowValues
from distillcli.writing.outputs import replacing

ROLE = "--per-row"


class PerRow(Collector):
    """Writes an NPY file: float64 [rows], NaN for rows that are skipped."""

    def __init__(self, file: BinaryIO, path: Path, rows: int) -> None:
        self._file, self._path, self._rows = file, path, rows
        self._crc = 0
        self._write(_header(rows))

    def of(self, rows: RowValues) -> bytes:
        losses = np.where(rows.keep, rows.column(LOSS), np.nan)
        return losses.astype("<f8", copy=False).tobytes()

    def take(self, found: bytes) -> None:
        self._write(found)

    def _write(self, data: bytes) -> None:
        self._crc = zlib.crc32(data, self._crc)
        self._file.write(data)

    def facts(self) -> dict[str, Any]:
        """What a result says about the file; the CRC-32 is that of the whole file."""
        return {"path": str(self._path), "crc32": f"{self._crc:08x}", "rows": self._rows}


@contextmanager
def per_row_file(path: Path, rows: int) -> Iterator[PerRow]:
    """A file of so many rows that takes its name when the block ends without an error.

    Raises:
        DataError: the disk is full, there is no permission, no such folder, and the like.
    """
    with replacing(path, role=ROLE) as file:
        yield PerRow(file, path, rows)


def _header(rows: int) -> bytes:
    header = io.BytesIO()
    form = {"descr": "<f8", "fortran_order": False, "shape": (rows,)}
    np.lib.format.write_array_header_1_0(header, form)
    return header.getvalue()
