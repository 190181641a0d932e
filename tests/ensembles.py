"""Ensembles in tests: small dumps, a config on them, and processes that fail when told to."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from runs import distill

Floats = npt.NDArray[np.float64]

ROWS, CLASSES, TEACHERS = 60, 7, 3


def dumps(
    folder: Path, *, rows: int = ROWS, classes: int = CLASSES, dtype: str = "float64", seed: int = 0
) -> list[Floats]:
    """Three teachers, a student and labels as NPY files; the scores of the teachers."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows)
    teachers = []
    for index in range(TEACHERS):
        scores = rng.normal(0, 1 + index, (rows, classes))
        scores[np.arange(rows), labels] += 2.0 - 0.5 * index
        scores = scores.astype(dtype).astype("float64")
        np.save(folder / f"t{index}.npy", scores.astype(dtype))
        teachers.append(scores)
    np.save(folder / "student.npy", rng.normal(0, 2, (rows, classes)).astype(dtype))
    np.save(folder / "labels.npy", labels)
    return teachers


def config(folder: Path, *, student: bool = False, labels: bool = True, **part: Any) -> Path:
    """A config on these dumps; JSON is YAML."""
    data = {
        "strategy": "ensemble",
        "teachers": [f"t{index}.npy" for index in range(TEACHERS)],
        "device": "cpu",
        **({"student": "student.npy"} if student else {}),
        **({"labels": "labels.npy"} if labels else {}),
        "ensemble": {"temperature": 2.0, "combine": "probabilities", **part},
    }
    path = folder / "config.yaml"
    path.write_text(json.dumps(data))
    return path


def written(folder: Path, output: str, *options: str, **part: Any) -> dict[str, Any]:
    """The result of writing soft targets in this process."""
    where = config(folder, student=bool(part.pop("student", False)), **part)
    done = distill(
        "ensemble", where, "--output", folder / output, "--format", "json", "--quiet", *options
    )
    assert done.code == 0, done.err
    return done.data


def held(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The datasets of a file."""
    if path.suffix == ".npy":
        return {"targets": np.load(path)}
    with h5py.File(path) as file:
        return {name: file[name][:] for name in file}


# Runs the command line in a process of its own, in pieces of few rows. One call of an operation of
# the system, counted from 1, ends in `fault`: kill, or the number of an error.
CHILD = """
import json, os, signal, sys
options = json.loads(sys.argv[1])
from distillcli.targets import gathering
from distillcli.batches import grid
gathering.PIECE_BYTES = options["piece"]
grid.TILE_ROWS = 16
grid.SLAB_ROWS = 32
count = 0

def failing(name, call):
    def fails(*arguments, **more):
        global count
        if name == "open" and not (len(arguments) > 1 and arguments[1] & (os.O_CREAT | os.O_RDWR)):
            return call(*arguments, **more)
        count += 1
        if count == options["at"]:
            if options["fault"] == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if options["fault"] == "before":
                os.kill(os.getpid(), options["signal"])
                return call(*arguments, **more)
            raise OSError(options["fault"], os.strerror(options["fault"]))
        return call(*arguments, **more)
    return fails

for name in options["names"]:
    setattr(os, name, failing(name, getattr(os, name)))
from distillcli.cli import main
sys.argv = ["distill", *options["arguments"]]
main()
"""


def child(
    arguments: Sequence[str | Path],
    *,
    names: Sequence[str] = (),
    at: int = 0,
    fault: Any = "kill",
    piece: int = 1 << 9,
    prepare: Any = None,
    **more: Any,
) -> "subprocess.CompletedProcess[str]":
    """A run in a process of its own; the `at`-th call of the operations `names` of os fails."""
    return subprocess.run(
        command(arguments, names=names, at=at, fault=fault, piece=piece, **more),
        capture_output=True,
        text=True,
        preexec_fn=prepare,
        env=plain_environment(),
        timeout=120,
        check=False,
    )


def command(arguments: Sequence[str | Path], **options: Any) -> list[str]:
    """The command line of such a process."""
    given = {"names": [], "at": 0, "fault": "kill", "piece": 1 << 9, **options}
    told = json.dumps({**given, "arguments": [str(one) for one in arguments]})
    return [sys.executable, "-c", CHILD, told]


def plain_environment() -> Mapping[str, str]:
    """No settings from outside."""
    return {key: text for key, text in os.environ.items() if not key.startswith("DISTILL_")}
