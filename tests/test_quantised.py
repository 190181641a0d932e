"""Integers with a scale for each row or class, which lies beside them in their file."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from format_files import Layers, safetensors_bytes, source
from runs import scored

from distillcli.errors import DataError
from distillcli.formats import open_layers, open_rows
from distillcli.formats.needs import SEQUENCES

RNG = np.random.default_rng(0)
STEPS = RNG.integers(-128, 128, (12, 7), dtype=np.int8)
ROW, CLASS = (RNG.uniform(0.01, 0.2, n).astype(np.float32) for n in (12, 7))


def as_safetensors(folder: Path, **arrays: Any) -> str:
    (folder / "a.safetensors").write_bytes(safetensors_bytes(arrays))
    return "a.safetensors"


def as_npz(folder: Path, **arrays: Any) -> str:
    np.savez_compressed(folder / "a.npz", **arrays)
    return "a.npz"


def as_hdf5(folder: Path, **arrays: Any) -> str:
    with h5py.File(folder / "a.h5", "w") as file:
        for name, array in arrays.items():
            packed = {"chunks": True, "compression": "gzip"} if array.ndim else {}
            file.create_dataset(name, data=array, **packed)
    return "a.h5"


STORES = (as_safetensors, as_npz, as_hdf5)


def read(folder: Path, text: str, **declared: Any) -> np.ndarray:
    stored = source(folder, text, **declared)
    with open_rows(stored, role="teacher", row_dims=1) as reader:
        assert reader.element.name == "float32"
        pieces = [(0, 5), (5, 6), (6, reader.rows)]
        return np.concatenate([reader.read(a, b, reader.empty(b - a)) for a, b in pieces])


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize(
    ("scale", "factors"),
    [
        (ROW, ROW[:, None]),
        (ROW[:, None], ROW[:, None]),
        (ROW.astype(np.float16), ROW.astype(np.float16)[:, None].astype(np.float32)),
        (CLASS, CLASS),
        (CLASS[None], CLASS),
        (np.array([0.5], np.float32), 0.5),
        (np.float32(0.25), 0.25),
    ],
    ids=["row", "row with an axis", "row of 16 bits", "class", "class with an axis", "one", "bare"],
)
def test_a_scale_for_each_row_or_class(
    tmp_path: Path, store: Any, scale: Any, factors: Any
) -> None:
    """(stored - zero point) * scale, in float32, rounded once."""
    text = store(tmp_path, x=STEPS, scale=np.asarray(scale))
    got = read(tmp_path, f"{text}::x", scale="scale", zero_point=3)
    exact = (STEPS.astype(np.float64) - 3) * factors
    np.testing.assert_array_equal(got, exact.astype(np.float32))


@pytest.mark.parametrize("store", STORES)
def test_positions_shards_and_the_only_integers(tmp_path: Path, store: Any) -> None:
    """[rows, positions] have a scale each; what is quantised need not be named."""
    steps, scales = STEPS.reshape(3, 4, 7), ROW.reshape(3, 4)
    text = store(tmp_path, x=steps, scale=scales)
    got = read(tmp_path, text, scale="scale")
    np.testing.assert_array_equal(got, STEPS.astype(np.float32) * ROW[:, None])


@pytest.mark.parametrize("store", STORES)
def test_layers(tmp_path: Path, store: Any) -> None:
    """Each layer of an array of all has its own."""
    text = store(tmp_path, x=STEPS.reshape(3, 4, 7), scale=ROW.reshape(3, 4))
    stored = source(tmp_path, f"{text}::x", scale="scale")
    layers = open_layers(Layers((stored,), single=True), role="hidden states")
    for index, reader in enumerate(layers):
        part = slice(4 * index, 4 * index + 4)
        with reader:
            got = reader.read(0, 4, reader.empty(4))
        np.testing.assert_array_equal(got, STEPS[part].astype(np.float32) * ROW[part, None])


@pytest.mark.parametrize("axis", [(), (1,)])
def test_whole_sequences(tmp_path: Path, axis: tuple[int, ...]) -> None:
    """Rows that are [positions, dim] have a scale for each position."""
    scales = ROW.reshape(3, 4, *axis)
    text = as_safetensors(tmp_path, x=STEPS.reshape(3, 4, 7), scale=scales)
    stored = source(tmp_path, f"{text}::x", scale="scale")
    with open_rows(stored, role="states", row_dims=2, need=SEQUENCES) as reader:
        got = reader.read(1, 3, reader.empty(2))
    expected = (STEPS.astype(np.float32) * ROW[:, None]).reshape(3, 4, 7)[1:]
    np.testing.assert_array_equal(got, expected)


def test_they_are_scored(tmp_path: Path) -> None:
    """The figures are those of the numbers that they stand for, to the last bit."""
    text = as_safetensors(tmp_path, x=STEPS, scale=ROW)
    np.save(tmp_path / "plain.npy", STEPS.astype(np.float32) * ROW[:, None])
    np.save(tmp_path / "student.npy", RNG.normal(size=STEPS.shape).astype(np.float32))
    config = {"strategy": "response", "student": "student.npy"}
    few = scored(tmp_path, {**config, "teacher": {"path": f"{text}::x", "scale": "scale"}})
    plain = scored(tmp_path, {**config, "teacher": "plain.npy"})
    assert (few.loss, few.metrics) == (plain.loss, plain.metrics)


@pytest.mark.parametrize(
    ("scale", "problem"),
    [
        (
            np.ones(5, np.float32),
            "a.safetensors::x: is [12, 7], and its scale scale is float32 [5]; "
            "floating-point numbers [12, 1] or [1, 7] are needed",
        ),
        (
            np.ones(12, np.int64),
            "a.safetensors::x: is [12, 7], and its scale scale is int64 [12]; "
            "floating-point numbers [12, 1] or [1, 7] are needed",
        ),
        (
            None,
            "a.safetensors: holds no array 'scale'; it holds x int8 [12, 7]",
        ),
    ],
)
def test_scales_that_do_not_fit(tmp_path: Path, scale: Any, problem: str) -> None:
    """One line with what is there and what is needed."""
    as_safetensors(tmp_path, x=STEPS, **({} if scale is None else {"scale": scale}))
    with pytest.raises(DataError) as caught:
        read(tmp_path, "a.safetensors::x", scale="scale")
    assert str(caught.value) == f"teacher in {problem}"


def test_as_many_rows_as_classes(tmp_path: Path) -> None:
    """Which of the two a scale is for has to be told by its shape."""
    square = STEPS[:7]
    as_safetensors(tmp_path, x=square, one=CLASS, rows=CLASS[:, None], classes=CLASS[None])
    for name, factors in (("rows", CLASS[:, None]), ("classes", CLASS)):
        got = read(tmp_path, "a.safetensors::x", scale=name)
        np.testing.assert_array_equal(got, square.astype(np.float32) * factors)
    with pytest.raises(DataError) as caught:
        read(tmp_path, "a.safetensors::x", scale="one")
    assert str(caught.value) == (
        "teacher in a.safetensors::x: has as many rows as classes, and one is one number for each; "
        "save it as [7, 1] or as [1, 7]"
    )


def test_an_npy_file_holds_no_scale(tmp_path: Path) -> None:
    """A number has to stand there."""
    np.save(tmp_path / "a.npy", STEPS)
    with pytest.raises(DataError) as caught:
        read(tmp_path, "a.npy", scale="scale")
    assert str(caught.value) == (
        "teacher in a.npy: has no dataset scale for a scale; "
        "write a number: {path: ..., scale: 0.05}"
    )
