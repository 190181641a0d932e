"""How rows come to the threads: cut and read in any way, they are the same, and unpacked once."""

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from format_files import source

from distillcli import slabs
from distillcli.backend import choose
from distillcli.batches.grid import Grid
from distillcli.batches.inputs import Input
from distillcli.batches.tiles import Tile
from distillcli.errors import FormatError
from distillcli.fold import Machine, in_row_order
from distillcli.formats import Reader, chunks, inflating, open_rows
from distillcli.slabs import Feed

ROWS, CLASSES = 3000, 50
SCORES = np.random.default_rng(0).normal(0, 2, (ROWS, CLASSES)).astype("<f4")


def _npy(path: Path, **options: Any) -> str:
    np.save(path / "a.npy", np.asarray(SCORES, **options))
    return "a.npy"


def _npz(save: Callable[..., Any]) -> Callable[[Path], str]:
    def make(path: Path) -> str:
        save(path / "a.npz", x=SCORES)
        return "a.npz"

    return make


def _hdf5(dtype: str = "<f4", **options: Any) -> Callable[[Path], str]:
    def make(path: Path) -> str:
        with h5py.File(path / "a.h5", "w") as file:
            file.create_dataset("x", data=SCORES.astype(dtype), **options)
        return "a.h5::x"

    return make


def _shards(path: Path) -> str:
    for index, part in enumerate(np.split(SCORES, [700, 701, 2000])):
        with h5py.File(path / f"a-{index}.h5", "w") as file:
            chunk = (min(100, len(part)), 30)
            file.create_dataset("x", data=part, chunks=chunk, compression="gzip")
    return "a-*.h5::x"


STORES: dict[str, Callable[[Path], str]] = {
    "npy": _npy,
    "npy Fortran": lambda path: _npy(path, order="F"),
    "npz": _npz(np.savez),
    "npz deflated": _npz(np.savez_compressed),
    "contiguous": _hdf5(),
    "chunks of whole rows": _hdf5(chunks=(70, CLASSES)),
    "chunks of parts of rows": _hdf5(chunks=(70, 20)),
    "gzip": _hdf5(chunks=(70, 20), compression="gzip"),
    "gzip as tiles": _hdf5(chunks=(64, CLASSES), compression="gzip", shuffle=True),
    "gzip, big-endian": _hdf5(">f4", chunks=(70, 20), compression="gzip", shuffle=True),
    "lzf": _hdf5(chunks=(70, 50), compression="lzf"),
    "shards": _shards,
}
EVERY_STORE = pytest.mark.parametrize("store", STORES)


@contextmanager
def opened(folder: Path, store: str, *, make: bool = True) -> Iterator[Reader]:
    """Rows of a store, which is made before or has been made."""
    text = STORES[store](folder) if make else {"npz deflated": "a.npz"}.get(store, "a.h5::x")
    where = source(folder, text)
    with open_rows(where, role="student", row_dims=1) as reader:
        yield reader


@EVERY_STORE
def test_pieces_are_the_rows(tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They follow one another without a gap, and may be read at once, in any order."""
    monkeypatch.setattr("distillcli.formats.readers.PIECE_BYTES", 2000)
    with opened(tmp_path, store) as reader, ThreadPoolExecutor(4) as pool:
        for start, stop in [(0, ROWS), (0, 1), (650, 1234), (2999, 3000)]:
            pieces = reader.pieces(start, stop)
            assert (pieces[0][0], pieces[-1][1]) == (start, stop)
            assert all(first[1] == second[0] for first, second in pairwise(pieces))
            assert all(at < end for at, end in pieces)
            out = reader.empty(stop - start)
            random.Random(start).shuffle(pieces)
            done = [
                pool.submit(reader.read, at, end, out[at - start : end - start])
                for at, end in pieces
            ]
            assert all(one.result() is not None for one in done)
            np.testing.assert_array_equal(out, SCORES[start:stop])


@EVERY_STORE
def test_rows_may_be_expected(tmp_path: Path, store: str) -> None:
    """It changes nothing, whether or not the system holds them."""
    with opened(tmp_path, store) as reader:
        for start, stop in [(0, 0), (0, ROWS), (ROWS, ROWS), (70, 2001)]:
            reader.expect(start, stop)
        np.testing.assert_array_equal(reader.read(0, ROWS, reader.empty(ROWS)), SCORES)


@pytest.mark.parametrize("least", [0, 2**40], ids=["tile by tile", "ahead"])
@pytest.mark.parametrize("threads", [1, 3])
@EVERY_STORE
def test_every_way_gives_the_same_tiles(
    tmp_path: Path, store: str, threads: int, least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In row order, each once, over many slabs that cut the chunks."""
    monkeypatch.setattr(slabs, "LEAST", least)
    with opened(tmp_path, store) as reader:
        item = Input("student", reader)
        grid = Grid(first=5, stop=2990, tile_rows=64, slab_rows=192)
        machine = Machine(choose("cpu"), threads, "float32")

        def work(tile: Tile) -> np.ndarray[Any, Any]:
            return np.array(tile.stored("student"))

        found = [rows for slab in in_row_order(work, [item], grid, machine) for rows in slab]
    np.testing.assert_array_equal(np.concatenate(found), SCORES[5:2990])


@pytest.mark.parametrize("chunk", [(64, 50), (70, 20), (500, 50), (3000, 7)])
def test_every_chunk_is_unpacked_once(
    tmp_path: Path, chunk: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However chunks, tiles and slabs lie on one another."""
    unpacked: list[int] = []

    def counting(packed: Any, *rest: Any) -> Any:
        unpacked.append(len(packed))
        return unpack(packed, *rest)

    unpack = chunks.unpack
    monkeypatch.setattr(chunks, "unpack", counting)
    monkeypatch.setitem(STORES, "counted", _hdf5(chunks=chunk, compression="gzip"))
    with opened(tmp_path, "counted") as reader:
        grid = Grid(first=0, stop=ROWS, tile_rows=64, slab_rows=192)
        machine = Machine(choose("cpu"), 2, "float32")
        items = [Input("student", reader)]
        list(in_row_order(lambda tile: tile.stored("student")[0, 0], items, grid, machine))
    assert len(unpacked) == -(-ROWS // chunk[0]) * -(-CLASSES // chunk[1])


@pytest.fixture(params=["zlib", "isal.isal_zlib"])
def inflate(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each of the libraries that inflate, in its turn."""
    library = import_module(request.param)
    monkeypatch.setattr(inflating, "_library", library)
    monkeypatch.setattr(inflating, "Damaged", library.error)
    return inflating.library()


def _damaged(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 64
    path.write_bytes(data)


@pytest.mark.parametrize("store", ["gzip", "gzip as tiles", "npz deflated"])
def test_each_library_inflates(tmp_path: Path, store: str, inflate: str) -> None:
    """The same rows, and the same kind of complaint about packed bytes that are damaged."""
    assert inflate in ("zlib", "ISA-L")
    with opened(tmp_path, store) as reader:
        np.testing.assert_array_equal(reader.read(0, ROWS, reader.empty(ROWS)), SCORES)
        (file,) = reader.files()
    _damaged(Path(file.path), file.size // 2)
    with opened(tmp_path, store, make=False) as reader, pytest.raises(FormatError) as error:
        reader.read(0, ROWS, reader.empty(ROWS))
    assert "is damaged" in error.value.problem or "wrong checksum" in error.value.problem


def test_what_a_thread_reads_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies together in larger units than a slab, and what is too little, is read ahead."""
    monkeypatch.setattr(slabs, "LEAST", 4 * CLASSES * 64)
    at_once = {}
    for store in STORES:
        folder = tmp_path / store
        folder.mkdir()
        with opened(folder, store) as reader:
            for rows in (64, 32):
                grid = Grid(first=0, stop=ROWS, tile_rows=rows, slab_rows=192)
                feed = Feed.of([Input("student", reader)], grid, choose("cpu"), 2)
                at_once[store, rows] = feed.at_once.get("student")
    assert {store: rows for (store, tile), rows in at_once.items() if rows and tile == 64} == {
        "npy": 64,
        "npz": 64,
        "contiguous": 64,
        "chunks of whole rows": 64,
        "chunks of parts of rows": 192,
        "gzip as tiles": 64,
    }
    assert all(at_once[store, 32] is None for store in STORES)


@pytest.mark.parametrize(
    ("store", "tile", "threads", "expected"),
    [
        ("npy", 64, 1, (64, 2)),
        ("npy", 64, 8, (64, 6)),
        ("npy", 64, 100, (64, 16)),
        ("npy", 192, 3, (192, 6)),
        ("chunks of parts of rows", 64, 2, (192, 4)),
        ("gzip", 64, 8, (64, 2)),
        ("gzip as tiles", 32, 1, (64, 2)),
        ("gzip as tiles", 16, 4, (64, 3)),
    ],
)
def test_every_thread_finds_something_to_do(
    tmp_path: Path,
    store: str,
    tile: int,
    threads: int,
    expected: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Slabs for two shares a thread, up to some; two where much is read ahead into buffers."""
    monkeypatch.setattr(slabs, "LEAST", 0)
    with opened(tmp_path, store) as reader:
        grid = Grid(first=0, stop=ROWS, tile_rows=tile, slab_rows=192)
        feed = Feed.of([Input("student", reader)], grid, choose("cpu"), threads)
    assert (feed.share, feed.computed) == expected


def test_batches_that_begin_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed rows are read by the threads only where batches end where chunks do."""
    monkeypatch.setattr(slabs, "LEAST", 0)
    with opened(tmp_path, "gzip as tiles") as reader:
        for first, expected in [(0, 64), (128, 64), (5, None), (32, None)]:
            grid = Grid(first, ROWS, tile_rows=64, slab_rows=192, origin=first, whole=True)
            feed = Feed.of([Input("student", reader)], grid, choose("cpu"), 2)
            assert feed.at_once.get("student") == expected


def test_tiles_that_are_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that lie together are read at once, up to a tile, and handed out piece by piece."""
    monkeypatch.setattr(slabs, "LEAST", 0)
    read: list[tuple[int, int]] = []
    expected = {"npy": 16, "chunks of parts of rows": 64, "gzip as tiles": 64, "gzip": None}
    for store, rows in expected.items():
        folder = tmp_path / store
        folder.mkdir()
        read.clear()
        with opened(folder, store) as reader:
            grid = Grid(first=5, stop=2990, tile_rows=64, slab_rows=192, piece_rows=16)
            assert grid.read_at_once(reader) == rows
            found = _pieces_of(reader, grid, read, monkeypatch)
        np.testing.assert_array_equal(np.concatenate(found), SCORES[5:2990])
        if rows is not None:
            aligned = [span for span in read if span[0] >= 64]
            assert aligned == [(at, min(at + rows, 2990)) for at in range(64, 2990, rows)]


def _pieces_of(
    reader: Reader, grid: Grid, read: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> list[np.ndarray[Any, Any]]:
    """All rows, asked for a piece at a time; what is read on the way is noted."""
    ask = reader.read

    def noted(start: int, stop: int, out: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        read.append((start, stop))
        return ask(start, stop, out)

    def work(tile: Tile) -> np.ndarray[Any, Any]:
        starts = range(tile.start, tile.stop, tile.at_once)
        pieces = [(start, min(tile.stop, start + tile.at_once)) for start in starts]
        return np.concatenate([tile.rows_of("student", *piece).copy() for piece in pieces])

    monkeypatch.setattr(reader, "read", noted)
    machine = Machine(choose("cpu"), 1, "float32")
    item = Input("student", reader)
    return [rows for slab in in_row_order(work, [item], grid, machine) for rows in slab]
