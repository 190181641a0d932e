"""Figures have the same bits however the work is cut and however the arrays are stored.

The dump is longer than a tile and than a block of sums, its rows are no multiple of either, and a
few of its rows are bad and skipped.
"""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest
from format_files import safetensors_bytes
from runs import scored

from distillcli.batches import grid
from distillcli.result import Result
from distillcli.sums.rows import BLOCK

ROWS, CLASSES = 9001, 40
WIDTHS = {"student": (24, 32), "teacher": (32, 40)}

Array = npt.NDArray[Any]
Store = Callable[[Path, str, Array], Any]  # writes an array and returns its source


@cache
def arrays() -> dict[str, Array]:
    """Class scores with a masked class, labels and hidden states, float32."""
    rng = np.random.default_rng(7)
    names = ("teacher", "teacher_b", "teacher_c", "student")
    found = {name: rng.normal(0, 3, (ROWS, CLASSES)).astype("float32") for name in names}
    for scores in found.values():
        scores[:, 11] = -np.inf
    found["student"][[5, 4095, 8999]] = np.nan
    found["teacher"][6, 3] = np.inf
    found["labels"] = rng.integers(12, CLASSES, ROWS)
    for side, widths in WIDTHS.items():
        for index, width in enumerate(widths):
            found[f"{side}_hidden{index}"] = rng.normal(0, 1, (ROWS, width)).astype("float32")
    found["student_hidden1"][4100] = np.nan
    return found


SOFT = {"soft_loss": {"name": "kl", "temperature": 2.0}, "alpha": 0.7}
PAIRS = {"layer_mapping": [[0, 0], [1, 0], [1, 1]], "loss": "normalized_mse"}
STRATEGIES: dict[str, dict[str, Any]] = {
    "response": {"strategy": "response", "response": SOFT},
    "compiled": {"strategy": "response", "response": SOFT, "kernel": "fast"},
    "jsd": {"strategy": "response", "response": {"soft_loss": {"name": "jsd", "beta": 0.3}}},
    "xavier": {
        "strategy": "progressive",
        "progressive": {**PAIRS, "projection": {"init": "xavier_uniform", "seed": 3}},
        "response": SOFT,
    },
    "least_squares": {
        "strategy": "progressive",
        "progressive": {**PAIRS, "projection": {"init": "least_squares", "ridge": 0.1}},
    },
    "ensemble": {
        "strategy": "ensemble",
        "ensemble": {"combine": "probabilities", "weights": "confidence", "temperature": 2.0},
    },
    "compiled ensemble": {"strategy": "ensemble", "ensemble": {}, "kernel": "fast"},
    "ensemble by accuracy": {
        "strategy": "ensemble",
        "ensemble": {"combine": "logits", "weights": "accuracy"},
    },
}


def sources(strategy: str, take: Callable[[str], Any]) -> dict[str, Any]:
    """The inputs of a strategy; `take` gives the source of an array by its name."""
    if strategy == "ensemble":
        teachers = [take(name) for name in ("teacher", "teacher_b", "teacher_c")]
        found: dict[str, Any] = {"teachers": teachers}
    else:
        found = {"teacher": take("teacher")}
    found |= {"student": take("student"), "labels": take("labels")}
    if strategy == "progressive":
        for side in WIDTHS:
            found[f"{side}_hidden"] = [take(f"{side}_hidden{index}") for index in (0, 1)]
    return found


def npy(folder: Path, name: str, array: Array) -> str:
    np.save(folder / f"{name}.npy", array)
    return f"{name}.npy"


def npy_in_columns(folder: Path, name: str, array: Array) -> str:
    return npy(folder, name, np.asfortranarray(array))


def npz(folder: Path, name: str, array: Array) -> str:
    np.savez(folder / f"{name}.npz", **{name: array})
    return f"{name}.npz"


def npz_deflated(folder: Path, name: str, array: Array) -> str:
    np.savez_compressed(folder / f"{name}.npz", values=array, note=np.array("x"))
    return f"{name}.npz::values"


def safetensors(folder: Path, name: str, array: Array) -> str:
    (folder / f"{name}.safetensors").write_bytes(safetensors_bytes({name: array}))
    return f"{name}.safetensors"


def hdf5(**options: Any) -> Store:
    def store(folder: Path, name: str, array: Array) -> str:
        with h5py.File(folder / "all.h5", "a") as file:
            chunks = tuple(map(min, (1009, 7), array.shape)) if "chunks" in options else None
            file.create_dataset(f"run/{name}", data=array, **{**options, "chunks": chunks})
        return f"all.h5::run/{name}"

    return store


def shards(folder: Path, name: str, array: Array) -> Any:
    """Each array cut at other rows: some parts tiny, some across tiles; by a glob or as a list."""
    rng = np.random.default_rng(sum(name.encode()))
    cuts = np.unique(np.concatenate([[1, 2], rng.integers(3, ROWS, 11)]))
    files = [
        npy(folder, f"{name}-{index}", part) for index, part in enumerate(np.split(array, cuts))
    ]
    return f"{name}-*.npy" if len(name) % 2 else files


def mixed_shards(folder: Path, name: str, array: Array) -> Any:
    """The parts of one array in files of different formats."""
    first, second, third = np.split(array, [4097, 4098])
    gzip = hdf5(chunks=True, compression="gzip")
    return [
        npy(folder, f"{name}a", first),
        gzip(folder, f"{name}b", second),
        npz_deflated(folder, f"{name}c", third),
    ]


def big_endian(folder: Path, name: str, array: Array) -> str:
    return npy(folder, name, array.astype(array.dtype.newbyteorder(">")))


STORES: dict[str, Store] = {
    "npy in columns": npy_in_columns,
    "npy big-endian": big_endian,
    "npz": npz,
    "npz deflated": npz_deflated,
    "safetensors": safetensors,
    "hdf5": hdf5(),
    "hdf5 chunked": hdf5(chunks=True),
    "hdf5 gzip": hdf5(chunks=True, compression="gzip", shuffle=True, fletcher32=True),
    "shards": shards,
    "mixed shards": mixed_shards,
}


def bits(result: Result) -> str:
    """Every figure of the run, each number to its last bit."""
    data = result.as_dict()
    teachers = [{**one, "source": ""} for one in data.get("teachers", ())]
    keys = ("rows", "rows_skipped", "loss", "terms", "metrics", "layers", "nonfinite")
    return json.dumps([{key: data.get(key) for key in keys}, teachers])


def run(folder: Path, name: str, take: Callable[[str], Any], **settings: Any) -> Result:
    config = STRATEGIES[name]
    given = sources(config["strategy"], take)
    return scored(folder, {**config, **given, "on_bad_rows": "skip", **settings})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All arrays as npy files."""
    path = tmp_path_factory.mktemp("npy")
    for name, array in arrays().items():
        npy(path, name, array)
    return path


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, Result]:
    """The result of each strategy, from npy files in one batch on one thread."""
    found = {name: run(folder, name, "{}.npy".format, threads=1) for name in STRATEGIES}
    assert found["response"].rows == found["ensemble"].rows == ROWS - 4
    assert found["xavier"].rows == ROWS - 5
    return found


def test_the_dump_is_cut_in_several_places() -> None:
    """It holds several tiles and several blocks of sums, and ends within one of each."""
    tile = grid.TILE_BYTES // (CLASSES * 4)  # or fewer rows
    assert ROWS % BLOCK
    assert 2 * max(BLOCK, tile // 2) < ROWS
    assert tile < ROWS


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batch_size", [1, 7, 64, ROWS])
def test_batch_sizes_and_threads(
    folder: Path, expected: dict[str, Result], name: str, threads: int, batch_size: int
) -> None:
    """The batch size and the number of threads change no bit; the latter none of a batch either."""
    result = run(folder, name, "{}.npy".format, threads=threads, batch_size=batch_size)
    assert bits(result) == bits(expected[name])
    if batch_size == ROWS:
        assert result.batches == expected[name].batches


@pytest.mark.parametrize("name", STRATEGIES)
def test_what_is_read_at_once(
    folder: Path, expected: dict[str, Result], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading a tile at a time instead of everything changes no bit."""
    monkeypatch.setattr(grid, "SLAB_BYTES", 1)
    assert bits(run(folder, name, "{}.npy".format, threads=2)) == bits(expected[name])


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("store", STORES)
def test_formats_and_shards(
    tmp_path: Path, expected: dict[str, Result], name: str, store: str
) -> None:
    """The file format, the order in memory and the cut into shards change no bit."""

    def take(array: str) -> Any:
        return STORES[store](tmp_path, array, arrays()[array])

    result = run(tmp_path, name, take)
    assert bits(result) == bits(expected[name])
    assert result.batches == expected[name].batches


def test_a_changed_bit_would_be_seen(
    folder: Path, tmp_path: Path, expected: dict[str, Result]
) -> None:
    """One number of the dump that is another one by its last bit shows in the figures."""
    spoilt = arrays()["student"].copy()
    spoilt[8000, 0] = np.nextafter(spoilt[8000, 0], np.float32(9))
    npy(tmp_path, "student", spoilt)

    def take(name: str) -> str:
        return str((tmp_path if name == "student" else folder) / f"{name}.npy")

    assert bits(run(tmp_path, "response", take)) != bits(expected["response"])
