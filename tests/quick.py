"""A small run of quick use for the tests of the command line: its files, its flags, its errors."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import Ended, distill, saved

from distillcli.backend import Probe, choice

ROWS, CLASSES = 23, 7
QUICK = ("score", "--teacher", "teacher.npy", "--student", "student.npy")
NO_GPU = Probe((("CuPy", "not installed"),), "CuPy is not installed", "install it")
CONFIG: dict[str, Any] = {
    "strategy": "response",
    "teacher": "teacher.npy",
    "student": "student.npy",
    "labels": "labels.npy",
    "batch_size": 10,
    "response": {"alpha": 0.4, "soft_loss": {"name": "kl", "temperature": 2.0}},
}


def quick_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder from now on, with teacher, student and labels; no machine has a GPU."""
    rng = np.random.default_rng(0)
    scores = {name: rng.normal(0, 2, (ROWS, CLASSES)) for name in ("teacher", "student")}
    saved(folder, "float32", **scores, labels=rng.integers(0, CLASSES, ROWS))
    monkeypatch.setattr(choice, "probe_gpu", lambda index=0: NO_GPU)
    monkeypatch.chdir(folder)
    return folder


def refused(done: Ended, code: int = 2) -> list[str]:
    """The errors of a command that failed as one should: words on stderr, one line for each."""
    assert done.code == code
    assert done.out == ""
    assert "Traceback" not in done.err
    assert all(line.startswith("distill: ") for line in done.err.splitlines())
    assert done.errors
    return done.errors


def facts(*arguments: str | Path, variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The facts of a run that works."""
    done = distill("score", *arguments, "--format", "json", variables=variables)
    assert done.code == 0, done.err
    return {**done.data["facts"], "data": done.data}
