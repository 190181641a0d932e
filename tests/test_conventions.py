"""The line that says what the numbers mean: what terms share is said once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import distill, saved, scored, written

ENDING = "natural logarithm, sums over classes, means over rows"
SOFTENED = "P = softmax(teacher / T), Q = softmax(student / T)"
KL = "T^2 * sum P log(P / Q)"


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    """Logits, labels and two layers."""
    chance = np.random.default_rng(0)
    saved(tmp_path, t=chance.normal(size=(30, 4)), s=chance.normal(size=(30, 4)))
    saved(tmp_path, labels=chance.integers(0, 4, 30))
    return {"strategy": "response", "teacher": "t.npy", "student": "s.npy", "labels": "labels.npy"}


def told(folder: Path, config: dict[str, Any], *losses: dict[str, Any]) -> list[str]:
    """The parts of the line, without its end."""
    more = {"losses": list(losses)} if losses else {}
    parts: list[str] = scored(folder, {**config, **more}).facts["conventions"].split("; ")
    assert parts.pop() == ENDING
    return parts


def test_a_response(tmp_path: Path, config: dict[str, Any]) -> None:
    """One temperature for all."""
    assert told(tmp_path, config) == [
        f"soft = {KL}",
        "hard = -log softmax(student)[label] at T = 1",
        f"{SOFTENED}, T = 4",
        "KL metrics = KL(P || Q), without T^2",
        "other metrics at T = 1",
    ]


def test_terms_of_one_formula_share_it(tmp_path: Path, config: dict[str, Any]) -> None:
    """Each says what is its own; what most have is told once."""
    losses = [
        {"name": "kl"},
        {"name": "kl", "as": "cold", "temperature": 1},
        {"name": "kl", "as": "even", "standardize": True},
        {"name": "kl", "as": "plain", "temperature_squared": False},
        {"name": "jsd", "kl_at_ends": True},
        {"name": "jsd", "as": "jsd_2", "beta": 0.2, "temperature": 2},
        {"name": "mse", "sum": True},
    ]
    parts = told(tmp_path, config, *losses)
    assert parts[:4] == [
        f"kl, cold (T = 1), even (logits standardized by row) = {KL}",
        "plain (without T^2) = sum P log(P / Q)",
        "jsd (b = 0.5, kl at ends), jsd_2 (T = 2, b = 0.2) = T^2 * [b KL(P || M) + (1 - b) "
        "KL(Q || M)], M = b P + (1 - b) Q",
        "mse = sum over classes of (teacher - student)^2, raw outputs",
    ]
    assert parts[4] == f"{SOFTENED}, T = 4 unless given"
    assert parts[5] == "KL metrics = KL(P || Q), without T^2"


def test_without_a_temperature(tmp_path: Path, config: dict[str, Any]) -> None:
    """The letters of the metrics are told all the same, and only where there are any."""
    losses = [{"name": "mse"}]
    parts = told(tmp_path, config, *losses)
    assert parts[1:] == [SOFTENED, "KL metrics = KL(P || Q) at T = 1, without T^2"]
    assert told(tmp_path, {**config, "metrics": "none"}, *losses) == parts[:1]


def test_batches_and_layers_are_told_once(tmp_path: Path, config: dict[str, Any]) -> None:
    """With the names that they hold for."""
    layers = {"teacher_hidden": ["t.npy"], "student_hidden": ["s.npy"], "batch_size": 15}
    config |= {"strategy": "progressive", **layers, "progressive": {"layer_mapping": [[0, 0]]}}
    losses = [{"name": "l1"}, {"name": "pkt"}, {"name": "dist"}, {"name": "nst", "on": "logits"}]
    parts = told(tmp_path, config, *losses)
    assert "l1, pkt summed over pairs of layers by their weights" in parts
    assert "pkt, dist, nst in batches of 15 rows" in parts
    path = written(tmp_path / "c.yaml", {**config, "losses": losses})
    for command in ("score", "validate"):
        done = distill(command, path)
        (line,) = [one for one in done.out.splitlines() if one.startswith("conventions")]
        assert line.split(maxsplit=1)[1] == "; ".join([*parts, ENDING])
