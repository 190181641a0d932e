"""A file that changes during the run ends it: exit 2, one line, no number, whatever the moment."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from format_files import safetensors_bytes
from runs import ROOT, distill, written
from test_hostile import sparse

from distillcli.batches import grid
from distillcli.formats.readers import Reader

ROWS, CLASSES = 20_000, 60  # several tiles
SCORES = np.random.default_rng(0).normal(0, 2, (ROWS, CLASSES)).astype("<f4")


def _npy(folder: Path) -> str:
    np.save(folder / "s.npy", SCORES)
    return "s.npy"


def _npz(folder: Path) -> str:
    np.savez(folder / "s.npz", x=SCORES)
    return "s.npz"


def _deflated(folder: Path) -> str:
    np.savez_compressed(folder / "s.npz", x=SCORES)
    return "s.npz"


def _safetensors(folder: Path) -> str:
    (folder / "s.safetensors").write_bytes(safetensors_bytes({"x": SCORES}))
    return "s.safetensors"


def _hdf5(**options: Any) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        with h5py.File(folder / "s.h5", "w") as file:
            file.create_dataset("x", data=SCORES, **options)
        return "s.h5::x"

    return make


def _shards(folder: Path) -> str:
    for index, part in enumerate(np.split(SCORES, 20)):
        np.save(folder / f"s-{index}.npy", part)
    return "s-*.npy"


STORES = {
    "npy": _npy,
    "npz": _npz,
    "npz deflated": _deflated,
    "safetensors": _safetensors,
    "hdf5": _hdf5(),
    "hdf5 gzip": _hdf5(chunks=(100, 7), compression="gzip"),
    "hdf5 lzf": _hdf5(chunks=(100, 60), compression="lzf"),
    "shards": _shards,
}


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def _replace(path: Path) -> None:
    other = path.with_suffix(".new")
    other.write_bytes(path.read_bytes())
    other.rename(path)


def _touch(path: Path) -> None:
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1))


def _write(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"x")
    _touch(path)  # the clock of a file system may stand still for some milliseconds


CHANGES = [_cut, _append, _replace, _touch, _write, Path.unlink]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A teacher, in a run that reads one tile at a time."""
    np.save(tmp_path / "t.npy", SCORES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(grid, "SLAB_BYTES", 1)
    return tmp_path


def changing(
    monkeypatch: pytest.MonkeyPatch,
    path: Path,
    change: Callable[[Path], None],
    at: int,
    *,
    behind: bool = False,
) -> list[Reader]:
    """Change the file at the so-manieth look at it: just before, or just behind."""
    looks: list[Reader] = []
    look = Reader.check_unchanged
    named = str(path)

    def watched(reader: Reader) -> None:
        if all(file.path != named for file in reader.files()):
            return look(reader)
        looks.append(reader)
        now = len(looks) == at + 1
        if now and not behind:
            change(path)
        look(reader)
        if now and behind:
            change(path)
        return None

    monkeypatch.setattr(Reader, "check_unchanged", watched)
    return looks


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("store", STORES)
def test_a_change_during_the_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, store: str, change: Callable[[Path], None]
) -> None:
    """Before the first look, between it and the read, before the last look."""
    source = STORES[store](folder)
    path = folder / source.partition("::")[0].replace("*", "0")
    command = ("score", "--teacher", "t.npy", "--student", source, "--device", "cpu")
    with monkeypatch.context() as patch:
        looks = changing(patch, path, lambda path: None, 0)
        assert distill(*command).code == 0
        last = len(looks) - 1
    assert last > 2
    for at, behind in ((0, False), (0, True), (last, False)):
        STORES[store](folder)
        with monkeypatch.context() as patch:
            changing(patch, path, change, at, behind=behind)
            done = distill(*command, "--per-row", "rows.npy", "--export", "json=out.json")
        assert (done.code, done.out) == (2, ""), (at, behind)
        (error,) = done.errors
        assert error.startswith("student in s")
        assert "while it was read" in error or "while read" in error
        assert not (folder / "rows.npy").exists()
        assert not (folder / "out.json").exists()


def test_a_change_between_two_passes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the first pass has read is not what the second one reads."""
    for name in ("a", "b", "s"):
        np.save(folder / f"{name}.npy", SCORES)
    np.save(folder / "labels.npy", np.zeros(ROWS, int))
    config = {
        "strategy": "ensemble",
        "teachers": ["a.npy", "b.npy"],
        "student": "s.npy",
        "labels": "labels.npy",
        "device": "cpu",
        "ensemble": {"weights": "accuracy"},
    }
    path = written(folder / "c.yaml", config)
    with monkeypatch.context() as patch:
        looks = changing(patch, folder / "a.npy", lambda path: None, 0)
        assert distill("score", path).code == 0
    changing(monkeypatch, folder / "a.npy", _touch, len(looks) // 2)
    done = distill("score", path)
    assert (done.code, done.out) == (2, "")
    assert "was written to while it was read" in done.errors[0]


@pytest.mark.parametrize("change", [_append, _cut])
def test_a_long_run(tmp_path: Path, change: Callable[[Path], None]) -> None:
    """The installed command on files of gigabytes, changed by another process."""
    for name in ("t", "s"):
        sparse(tmp_path / f"{name}.npy", (5_000_000, 100))
    arguments = ("score", "--teacher", "t.npy", "--student", "s.npy", "--device", "cpu")
    with subprocess.Popen(
        [sys.executable, "-m", "distillcli", *arguments, "--format", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as running:
        assert running.stderr is not None
        running.stderr.readline()
        time.sleep(0.2)
        change(tmp_path / "s.npy")
        out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (2, "")
    assert err.startswith("distill: error: student in s.npy: ")
    assert len(err.splitlines()) == 1
