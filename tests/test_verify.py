"""`distill verify`, and what reading makes of a damaged soft-target file.

Shortened in the suite; `pytest tests/test_verify.py --full` flips 1,000 bytes of each file.
"""

import json
import os
import random
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from ensembles import config, dumps, held, written
from runs import distill

FILES = {
    "plain.h5": (),
    "gzip.h5": ("--compression", "gzip", "--copy-labels"),
    "lzf.h5": ("--compression", "lzf", "--kind", "probabilities"),
    "top.h5": ("--top-k", "3", "--copy-labels"),
    "half.npy": ("--dtype", "float16"),
    "single.npy": ("--kind", "log_probabilities"),
}


@pytest.fixture(params=FILES)
def target(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A whole file."""
    dumps(tmp_path)
    written(tmp_path, request.param, *FILES[request.param], weights="fit", student=True)
    return tmp_path / request.param


def test_a_whole_file_is_accepted(target: Path) -> None:
    """And described."""
    done = distill("verify", target, "--format", "json")
    assert done.code == 0, done.err
    assert done.data["schema"] == "distillcli.verify/1"
    assert (done.data["rows"], done.data["classes"]) == (60, 7)
    assert sum(done.data["weights"]) == pytest.approx(1.0)
    table = distill("verify", target)
    assert "60 of 7 classes" in table.out
    assert "every dataset and every attribute matches" in table.out


def content(path: Path) -> Any:
    """All that a file holds, to the last bit; None where it cannot be read."""
    try:
        found = {name: (a.dtype.str, a.shape, a.tobytes()) for name, a in held(path).items()}
        if path.suffix == ".npy":
            return found, None
        with h5py.File(path) as file:
            return found, {name: bytes(file.attrs[name]) for name in file.attrs}
    except Exception:
        return None


def loss(target: Path) -> Any:
    """What `score` makes of it: a loss, or an error of one line."""
    data = {
        "strategy": "response",
        "teacher": target.name,
        "student": "student.npy",
        "labels": "labels.npy",
        "device": "cpu",
        "response": {"soft_loss": {"name": "kl", "temperature": 2.0}},
    }
    where = target.with_name("response.yaml")
    where.write_text(json.dumps(data))
    done = distill("score", where, "--format", "json", "--quiet")
    assert done.code in (0, 2), done.err
    return (done.data["loss"], done.data["metrics"]) if done.code == 0 else None


def test_single_bytes_that_change(target: Path, full: bool) -> None:
    """Nothing that changes data is accepted, and no number is ever silently another one."""
    data = target.read_bytes()
    whole, right = content(target), loss(target)
    assert right is not None
    beside = target.with_name(target.name + ".json")
    files = [target, beside] if beside.exists() else [target]
    rng = random.Random(0)
    for _ in range(1000 if full else 25):
        path = rng.choice(files)
        data = path.read_bytes()
        at, flip = rng.randrange(len(data)), rng.randrange(1, 256)
        path.write_bytes(data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :])
        verified = distill("verify", target, "--quiet")
        assert verified.code in (0, 2), verified.err
        if verified.code == 0:
            assert content(target) == whole, f"byte {at} of {path.name}"
        assert loss(target) in (None, right), f"byte {at} of {path.name}"
        path.write_bytes(data)
    assert distill("verify", target).code == 0


@pytest.mark.parametrize("cut", [1, 100, 0.5, 0.99])
def test_a_file_that_was_cut(target: Path, cut: float) -> None:
    """Wherever: it is refused."""
    size = target.stat().st_size
    os.truncate(target, size - int(cut) if cut >= 1 else int(size * cut))
    done = distill("verify", target)
    assert done.code == 2
    assert len(done.errors) == 1


def test_what_another_program_changes_is_noticed(tmp_path: Path) -> None:
    """Though it mends the checksums of HDF5 itself."""
    dumps(tmp_path)

    def fresh(*options: str) -> Path:
        written(tmp_path, "a.h5", "--overwrite", *options)
        return tmp_path / "a.h5"

    def refused(path: Path) -> str:
        done = distill("verify", path)
        assert done.code == 2
        return done.errors[0]

    with h5py.File(fresh(), "r+") as file:
        file["targets"][3, 3] += 1e-3
    assert "a.h5::targets: does not match its checksum" in refused(tmp_path / "a.h5")
    with h5py.File(fresh(), "r+") as file:
        file.attrs["temperature"] = np.bytes_("4.0")
    assert "its attributes do not match their checksum" in refused(tmp_path / "a.h5")
    assert loss(tmp_path / "a.h5") is None
    with h5py.File(fresh(), "r+") as file:
        file["more"] = np.zeros(3)
    assert "holds undeclared dataset 'more'" in refused(tmp_path / "a.h5")
    with h5py.File(fresh("--copy-labels"), "r+") as file:
        del file["labels"]
    assert "lacks dataset 'labels'" in refused(tmp_path / "a.h5")
    with h5py.File(fresh(), "r+") as file:
        values = file["targets"][:]
        del file["targets"]
        file["targets"] = values.astype("float64")
    assert "is float64 [60, 7], declared is float32 [60, 7]" in refused(tmp_path / "a.h5")


def test_files_that_are_no_soft_targets(tmp_path: Path) -> None:
    """A plain dump, a text, nothing at all."""
    dumps(tmp_path)
    config(tmp_path)
    for name, words in (
        ("t0.npy", "does not say that it is a soft-target file"),
        ("config.yaml", "is of an unknown format"),
        ("none.h5", "there is no such file"),
    ):
        done = distill("verify", tmp_path / name)
        assert done.code == 2
        assert words in done.errors[0]


def test_a_later_schema_is_told_from_a_damaged_file(tmp_path: Path) -> None:
    """With the way out."""
    dumps(tmp_path)
    written(tmp_path, "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file.attrs["schema"] = np.bytes_("distillcli.soft_targets/2")
    assert (
        "read it with the version of distill that wrote it"
        in distill("verify", tmp_path / "a.h5").err
    )


def test_an_npy_file_and_the_words_of_another_one(tmp_path: Path) -> None:
    """They are not taken for each other's; without words it is a plain dump."""
    dumps(tmp_path)
    written(tmp_path, "a.npy", student=True)
    first = (tmp_path / "a.npy.json").read_bytes()
    written(tmp_path, "a.npy", "--overwrite", student=True, temperature=3.0)
    (tmp_path / "a.npy.json").write_bytes(first)
    assert "is not the file that a.npy.json describes" in distill("verify", tmp_path / "a.npy").err
    assert loss(tmp_path / "a.npy") is None
    nameless = first.replace(b'"schema": "distillcli.', b'"schema": "distillcly.')
    written(tmp_path, "a.npy", "--overwrite", student=True)
    (tmp_path / "a.npy.json").write_bytes(nameless)
    assert "does not say what it is" in distill("verify", tmp_path / "a.npy").err
    assert loss(tmp_path / "a.npy") is None
    os.unlink(tmp_path / "a.npy.json")
    assert loss(tmp_path / "a.npy") is not None
