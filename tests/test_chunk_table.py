"""Where the chunks of an HDF5 dataset lie, as the library tells it, and what is refused of that."""

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import h5py
import numpy as np
import pytest

from distillcli.errors import FormatError
from distillcli.formats.chunks import ChunkTable
from distillcli.formats.hdf5 import index
from distillcli.formats.hdf5.described import Chunked
from distillcli.formats.hdf5.file import OpenFile
from distillcli.formats.hdf5.process import Process

VALUES = np.arange(13 * 7, dtype="<f4").reshape(13, 7)
CHUNK = (4, 3)
DAMAGED = 600  # files
TREE, LIBRARY = index._of_tree, index._of_library  # the two ways


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
    monkeypatch.setattr(index, "TOLD", told)
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


@pytest.mark.parametrize("before", [0, 512])
@pytest.mark.parametrize("way", ["tree", "library"])
def test_a_chunk_that_lies_nowhere(
    tmp_path: Path, way: str, before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused, also where the library takes its place for one in what stands before all."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="earliest", userblock_size=before) as file:
        _many(file, 10)
    data = bytearray(path.read_bytes())
    leaf = next(at for at in _nodes(bytes(data)) if data[at + 5] == 0)
    data[leaf + 56 : leaf + 64] = b"\xff" * 8
    path.write_bytes(data)
    if way == "library":
        monkeypatch.setattr(index, "_of_tree", _unusual)
    with pytest.raises(FormatError, match="is not in the file|lacks 1 of its 20 chunks"):
        table_of(path)


def _many(file: h5py.File, rows: int = 700, **options: object) -> h5py.Dataset:
    """Chunks that need a tree of two levels, or of three (of 5,000 rows and more)."""
    values = np.arange(rows * 3, dtype="<f4").reshape(rows, 3)
    return file.create_dataset("x", data=values, chunks=(1, 2), maxshape=(None, 3), **options)


def _described(file: h5py.File) -> None:
    """The header goes on elsewhere."""
    made = _many(file)
    for number in range(40):
        made.attrs[f"attribute {number}"] = "a" * 100


def _resized(file: h5py.File) -> None:
    _many(file).resize((333, 3))


def _backwards(file: h5py.File) -> None:
    made = file.create_dataset("x", (200, 3), "<f4", chunks=(1, 2))
    for row in range(199, -1, -1):
        made[row] = row


def _skipping(file: h5py.File) -> None:
    made = _many(file, 100, compression="gzip", shuffle=True)
    made.id.write_direct_chunk((7, 2), bytes(8), filter_mask=3)


def _axes(count: int) -> Callable[[h5py.File], None]:
    def make(file: h5py.File) -> None:
        shape = (70, 3, 4, 5)[:count]
        made = file.create_dataset("x", shape, "<i2", chunks=(3, 2, 4, 2)[:count])
        made[...] = np.arange(np.prod(shape)).reshape(shape)

    return make


TREES: dict[str, Callable[[h5py.File], object]] = {
    "two levels": _many,
    "three levels": lambda file: _many(file, 5000),
    "a header in parts": _described,
    "made smaller": _resized,
    "written backwards": _backwards,
    "a chunk that is not packed": _skipping,
    "one axis": _axes(1),
    "three axes": _axes(3),
    "four axes": _axes(4),
}


def _unusual(*_: object) -> NoReturn:
    raise index._Unusual


def by_library(path: Path, monkeypatch: pytest.MonkeyPatch) -> ChunkTable:
    """What the library alone tells."""
    with monkeypatch.context() as patch:
        patch.setattr(index, "_of_tree", _unusual)
        return table_of(path).table


def same(one: ChunkTable, other: ChunkTable) -> None:
    """All of both."""
    assert (one.shape, one.filters) == (other.shape, other.filters)
    for ours, theirs in zip(*((t.offsets, t.sizes, t.skipped) for t in (one, other)), strict=True):
        np.testing.assert_array_equal(ours, theirs, strict=True)


@pytest.mark.parametrize("told", [1, 100, 1 << 16])
@pytest.mark.parametrize("name", TREES)
def test_the_tree_tells_what_the_library_does(
    tmp_path: Path, name: str, told: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without asking the library for a single chunk."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="earliest") as file:
        TREES[name](file)
    monkeypatch.setattr(index, "TOLD", told)
    theirs = by_library(path, monkeypatch)
    monkeypatch.setattr(index, "_of_library", None)
    same(table_of(path).table, theirs)


LEFT: dict[str, dict[str, object]] = {
    "another index": {"libver": "latest"},
    "another header": {"libver": "v108"},
    "numbers from elsewhere": {"userblock_size": 512},
}


@pytest.mark.parametrize("name", LEFT)
def test_what_is_unusual_is_left_to_the_library(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is found there, all the same."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", **LEFT[name]) as file:
        _many(file)
    asked = []
    monkeypatch.setattr(index, "_of_library", lambda *those: asked.append(LIBRARY(*those)))
    table = table_of(path).table
    assert asked
    with h5py.File(path) as file:
        for row, column in ((0, 0), (0, 2), (699, 2)):
            info = file["x"].id.get_chunk_info_by_coord((row, column))
            assert table.offsets[row, column // 2] == info.byte_offset


class Beside:
    """A process that may be brought down: what it finds of a file, by tree and by library."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._numbers = folder, itertools.count()
        self._process: Process | None = None

    def __call__(self, data: bytes, way: str) -> Any:
        """Offsets, sizes and the filters left out; None where the file is refused."""
        if self._process is None or not self._process.runs:
            self._process = Process(lambda: self._find)
        path = self._folder / f"{next(self._numbers)}.h5"  # the library may still hold the last one
        path.write_bytes(data)
        try:
            return self._process.ask("a.h5", (10.0, 1 << 28), way, path)
        except FormatError:
            return None

    @staticmethod
    def _find(way: str, arguments: tuple[Any, ...]) -> Any:
        index._of_tree = TREE if way == "tree" else _unusual
        table = table_of(*arguments).table
        return [part.tolist() for part in (table.offsets, table.sizes, table.skipped)]

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.close()


def _nodes(data: bytes) -> Iterator[int]:
    """Where the tree's nodes begin."""
    at = data.find(b"TREE\x01")
    while at >= 0:
        yield at
        at = data.find(b"TREE\x01", at + 1)


def test_a_damaged_index_is_read_as_the_library_reads_it(tmp_path: Path) -> None:
    """Or refused with it: bytes of the header and of nodes are changed, one or two at a time."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="earliest") as file:
        _many(file, 100)
        header = h5py.h5o.get_info(file["x"].id).addr
    data, rng, beside = path.read_bytes(), np.random.default_rng(0), Beside(tmp_path)
    heads = [(header, 400), *((at, 24 + 40 * 4) for at in _nodes(data))]
    whole, told = beside(data, "library"), {"same": 0, "other": 0, "refused": 0}
    for _ in range(DAMAGED):
        changed = bytearray(data)
        at, size = heads[rng.integers(len(heads))]
        for place in at + rng.integers(size, size=rng.integers(1, 3)):
            changed[place] = rng.choice([0, 1, 255, changed[place] ^ 1 << rng.integers(8)])
        theirs = beside(changed, "library")
        assert beside(changed, "tree") == theirs
        told["refused" if theirs is None else "same" if theirs == whole else "other"] += 1
    beside.close()
    assert min(told.values()) > DAMAGED // 50, told


@pytest.mark.parametrize("child", ["itself", "a node below", "the last chunk"])
def test_a_tree_that_is_none(tmp_path: Path, child: str) -> None:
    """A node that is its own child, children that are all the same: the end comes, and soon."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="earliest") as file:
        _many(file, 100)
    data, beside = bytearray(path.read_bytes()), Beside(tmp_path)
    tops = [at for at in _nodes(bytes(data)) if data[at + 5] == 1]
    (root,) = tops
    first = int.from_bytes(data[root + 56 : root + 64], "little")
    to = {"itself": root, "a node below": first, "the last chunk": len(data) - 8}[child]
    for entry in range(int.from_bytes(data[root + 6 : root + 8], "little")):
        at = root + 24 + 40 * entry + 32
        data[at : at + 8] = to.to_bytes(8, "little")
    assert beside(data, "tree") is beside(data, "library") is None
    beside.close()
