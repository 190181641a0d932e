"""Where the chunks of an HDF5 dataset lie, as the library tells it, and what is refused of that."""

import re
from pathlib import Path

import h5py
import numpy as np
import pytest

from distillcli.errors import FormatError
from distillcli.formats.hdf5 import checks
from distillcli.formats.hdf5.described import Chunked
from distillcli.formats.hdf5.file import OpenFile

VALUES = np.arange(13 * 7, dtype="<f4").reshape(13, 7)
CHUNK = (4, 3)


def table_of(path: Path) -> Chunked:
    """What is found of the dataset `x`."""
    file = OpenFile("a.h5", str(path), path.stat().st_size, b"")
    try:
        found = file.array("x", None)
    finally:
        file.close()
    assert isinstance(found, Chunked)
    return found


@pytest.mark.parametrize("told", [1, 3, 12, 1000])
@pytest.mark.parametrize("rows", [13, 5])
@pytest.mark.parametrize("gzip", [None, "gzip"])
def test_every_chunk_has_its_place(
    tmp_path: Path, gzip: str | None, rows: int, told: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many are looked at together; those beyond a shape that was made smaller are gone."""
    monkeypatch.setattr(checks, "TOLD", told)
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as file:
        made = file.create_dataset(
            "x", data=VALUES, chunks=CHUNK, maxshape=(13, 7), compression=gzip
        )
        made.resize((rows, 7))
    table = table_of(path).table
    assert table.offsets.shape == (-(-rows // 4), 3)
    with h5py.File(path) as file:
        for cell in np.ndindex(table.offsets.shape):
            begin = tuple(at * size for at, size in zip(cell, CHUNK, strict=True))
            info = file["x"].id.get_chunk_info_by_coord(begin)
            assert table.offsets[cell] == info.byte_offset
            assert table.sizes[cell] == info.size
            assert table.skipped[cell] == info.filter_mask


def test_a_chunk_that_takes_too_much(tmp_path: Path) -> None:
    """It is named, with what it takes and what it may."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        made = file.create_dataset("x", data=VALUES, chunks=CHUNK, compression="gzip")
        made.id.write_direct_chunk((4, 3), bytes(5000))
    refused = "a.h5::x: is damaged: chunk [1, 1] takes 5,000 bytes for 48"
    with pytest.raises(FormatError, match=re.escape(refused)):
        table_of(path)


def test_a_chunk_that_is_not_in_the_file(tmp_path: Path) -> None:
    """The last one, of a file of which the end is missing."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        last = file.create_dataset("x", data=VALUES, chunks=CHUNK).id.get_chunk_info(11)
    size = last.byte_offset + last.size - 1
    file = OpenFile("a.h5", str(path), size, b"")
    with pytest.raises(FormatError, match=r"is cut short: chunk \[3, 2\] is not in the file"):
        file.array("x", None)
    file.close()
