"""The loss of every row has the same bits however the work is cut, and in any piece of the dump.

The dump is that of `test_same_bits`; here are all rules of weights, all losses, and `--rows`.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import distill, written
from test_same_bits import (
    CLASSES,
    PAIRS,
    ROWS,
    SOFT,
    STORES,
    STRATEGIES,
    arrays,
    npy,
    sources,
)

from distillcli.batches import grid

WEIGHTS: tuple[Any, ...] = (
    "uniform",
    [1, 2, 3],
    "accuracy",
    "confidence",
    "fit",
    "confidence_per_row",
    "best_per_row",
)
MORE: dict[str, dict[str, Any]] = {
    **{name: one for name, one in STRATEGIES.items() if name != "ensemble"},
    "reverse_kl": {
        "strategy": "response",
        "response": {"soft_loss": {"name": "reverse_kl", "temperature": 0.3}, "alpha": 1},
    },
    "cosine and a saved projection": {
        "strategy": "progressive",
        "progressive": {**PAIRS, "loss": "cosine", "projection": {"path": "w.npy"}},
        "response": SOFT,
    },
    **{
        f"ensemble {weights} {combine}": {
            "strategy": "ensemble",
            "ensemble": {"combine": combine, "weights": weights, "temperature": 2.0},
        }
        for weights in WEIGHTS
        for combine in ("logits", "probabilities", "log_probabilities")
        if combine == "probabilities" or weights in ("uniform", "best_per_row")
    },
}
# What is found in a first pass over the rows taken is another thing for other rows.
FITTED = ("least_squares", "accuracy", "confidence", "fit")
# Where all pairs of layers have matrices of their own, one saved matrix does not fit them all.
ONE_PAIR = [[0, 0]]


def config(name: str, take: Callable[[str], Any]) -> dict[str, Any]:
    found = {**MORE[name], **sources(MORE[name]["strategy"], take), "on_bad_rows": "skip"}
    if "saved" in name:
        found["progressive"] = {**found["progressive"], "layer_mapping": ONE_PAIR}
    return {**found, "device": "cpu"}


def rows_and_figures(folder: Path, data: dict[str, Any], *flags: str) -> tuple[bytes, str]:
    """The file of row values, and every figure that is no matter of the cut."""
    path = written(folder / "c.yaml", data)
    done = distill("score", path, "--per-row", folder / "r.npy", "--format", "json", *flags)
    assert done.code == 0, done.err
    found = done.data
    for teacher in found.get("teachers", ()):
        teacher.pop("source")
    keys = ("rows", "rows_skipped", "loss", "terms", "weights", "metrics", "layers", "teachers")
    figures = json.dumps([found.get(key) for key in (*keys, "nonfinite")])
    return np.load(folder / "r.npy").tobytes(), figures


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All arrays as npy files."""
    path = tmp_path_factory.mktemp("rows")
    for name, array in arrays().items():
        npy(path, name, array)
    matrix = np.random.default_rng(3).normal(0, 0.2, (24, 32)).astype("float32")
    np.save(path / "w.npy", matrix)
    return path


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, tuple[bytes, str]]:
    """Of every strategy, from npy files in one batch on one thread."""
    flags = ("--threads", "1", "--batch-size", str(ROWS))
    return {name: rows_and_figures(folder, config(name, "{}.npy".format), *flags) for name in MORE}


@pytest.mark.parametrize("name", MORE)
@pytest.mark.parametrize(("threads", "size", "slab"), [(3, 2, 1), (2, 1000, 1 << 18)])
def test_cuts(
    folder: Path,
    expected: dict[str, tuple[bytes, str]],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    threads: int,
    size: int,
    slab: int,
) -> None:
    """Batches of 2 and of 1000, more threads than processors, less read at once."""
    monkeypatch.setattr(grid, "SLAB_BYTES", slab)
    flags = ("--threads", str(threads), "--batch-size", str(size))
    found = rows_and_figures(folder, config(name, "{}.npy".format), *flags)
    assert found == expected[name]


# The figures of the strategies there are held by test_same_bits in every store.
STORED = [
    (store, name)
    for store in ("npy in columns", "hdf5 gzip", "mixed shards")
    for name in MORE
    if name not in STRATEGIES or store == "npy in columns"
]


@pytest.mark.parametrize(("store", "name"), STORED)
def test_stores(
    tmp_path: Path, folder: Path, expected: dict[str, tuple[bytes, str]], store: str, name: str
) -> None:
    """Columns first, chunks across rows and columns, parts in files of three formats."""

    def take(array: str) -> Any:
        return STORES[store](tmp_path, array, arrays()[array])

    data = config(name, take)
    if "saved" in name:
        data["progressive"]["projection"] = {"path": f"{folder}/w.npy"}
    assert rows_and_figures(tmp_path, data) == expected[name]


@pytest.mark.parametrize("name", [n for n in MORE if not any(f in n for f in FITTED)])
def test_pieces(folder: Path, expected: dict[str, tuple[bytes, str]], name: str) -> None:
    """Rows taken by --rows and --limit have the values that they have among all."""
    whole = np.frombuffer(expected[name][0])
    assert len(whole) == ROWS
    assert np.isnan(whole).sum() in (4, 5)
    data = config(name, "{}.npy".format)
    for flags, start, stop in (
        (("--rows", "0:1"), 0, 1),
        (("--rows", "4090:4102", "--threads", "2"), 4090, 4102),
        (("--rows", "8998:"), 8998, ROWS),
        (("--rows", "777:", "--limit", "5000"), 777, 5777),
        (("--limit", "6"), 0, 6),
    ):
        found, _ = rows_and_figures(folder, data, *flags)
        assert found == whole[start:stop].tobytes(), flags


def test_all_strategies_differ(expected: dict[str, tuple[bytes, str]]) -> None:
    """None of them is another one under a second name."""
    assert len({rows for rows, _ in expected.values()}) == len(MORE)
    assert CLASSES > 5
