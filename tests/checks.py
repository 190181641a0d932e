"""Small dumps and their baselines for the tests of `check` and `diff`."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from runs import Ended, distill, saved, written

from distillcli.config import Check, Tolerance
from distillcli.result import Result

Data = dict[str, Any]

ROWS, CLASSES = 60, 7


def dump(folder: Path, *, rows: int = ROWS, classes: int = CLASSES, worse: float = 0.0) -> Path:
    """A config over a teacher, a student near it, and labels; a worse student is further away."""
    random = np.random.RandomState(7)
    teacher = random.normal(0.0, 3.0, (rows, classes))
    noise = random.normal(0.0, 1.0, (rows, classes))
    labels = teacher.argmax(axis=1)
    labels[::5] = (labels[::5] + 1) % classes
    names = saved(folder, teacher=teacher, student=teacher + (0.5 + worse) * noise, labels=labels)
    return written(folder / "config.yaml", {"strategy": "response", "device": "cpu", **names})


def baseline(folder: Path, config: Path, *options: str) -> Path:
    """The saved result of a config."""
    path = folder / "base.json"
    done = distill("check", config, "--baseline", path, "--update-baseline", *options)
    assert done.code == 0, done.err
    return path


def changed(path: Path, change: Callable[[Data], object]) -> None:
    """Change a saved result in place."""
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def check(config: Path, base: Path, *options: str) -> Ended:
    """Run `distill check` with its verdict as JSON."""
    return distill("check", config, "--baseline", base, "--format", "json", *options)


def verdicts(done: Ended) -> dict[str, str]:
    """The verdict of each number, in the order in which they are told."""
    return {row["name"]: row["verdict"] for row in done.data["numbers"]}


def numbers(loss: float | None, metrics: Mapping[str, float | None], **more: Any) -> Result:
    """A result with these figures and nothing else."""
    return Result(
        command="score",
        strategy="response",
        rows=10,
        rows_skipped=0,
        loss=loss,
        terms={},
        weights={},
        metrics=metrics,
        batches=(),
        nonfinite=more.pop("nonfinite", {}),
        facts=more,
    )


def limits(rel: float = 0.0, abs: float = 0.0, **more: Any) -> Check:
    """The same limit for every number."""
    return Check(default=Tolerance(rel, abs), **more)
