"""Soft-target files as teachers of `distill score`."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from ensembles import CLASSES, ROWS, config, dumps, written
from runs import Ended, distill

T = 2.0
KINDS = ("logits", "probabilities", "log_probabilities")


def response(folder: Path, teacher: Any, **soft: Any) -> Path:
    """A config with a soft-target file as teacher."""
    data = {
        "strategy": "response",
        "teacher": teacher,
        "student": "student.npy",
        "labels": "labels.npy",
        "device": "cpu",
        "response": {"alpha": 0.7, "soft_loss": {"name": "kl", "temperature": T, **soft}},
    }
    path = folder / "response.yaml"
    path.write_text(json.dumps(data))
    return path


def scored(folder: Path, teacher: Any, **soft: Any) -> Ended:
    return distill("score", response(folder, teacher, **soft), "--format", "json")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("dtype", "loose"), [("float16", 2e-3), ("float32", 2e-6), ("float64", 1e-11)]
)
@pytest.mark.parametrize("combine", KINDS)
@pytest.mark.parametrize("output", ["a.h5", "a.npy"])
def test_the_loss_is_that_of_the_ensemble(
    tmp_path: Path, kind: str, dtype: str, loose: float, combine: str, output: str
) -> None:
    """Kind and temperature come from the file."""
    dumps(tmp_path)
    where = config(tmp_path, student=True, combine=combine, weights=[1, 2, 3])
    want = distill("score", where, "--format", "json").data
    options = ("--kind", kind, "--dtype", dtype)
    done = distill("ensemble", where, "--output", tmp_path / output, *options)
    assert done.code == 0, done.err
    got = scored(tmp_path, output).data
    assert got["loss"] == pytest.approx(want["loss"], rel=loose)
    assert got["metrics"]["kl_mean"] == pytest.approx(want["metrics"]["kl_mean"], rel=loose)
    (note,) = [n for n in got["facts"]["notes"] if "read as" in n]
    assert f"read as {kind} formed at temperature 2" in note


def bucketed(row: list[float], chosen: list[int]) -> list[float]:
    """Log-probabilities of the chosen classes and of all others together."""
    logs = reference.log_softmax(row, T)
    rest = [math.exp(p) for index, p in enumerate(logs) if index not in chosen]
    total = math.fsum(rest)
    return [*(logs[index] for index in chosen), math.log(total) if total else -math.inf]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [1, 2, 5, CLASSES - 1, CLASSES])
def test_the_largest_classes_and_a_tail_bucket(tmp_path: Path, kind: str, k: int) -> None:
    """KL and reverse KL are those of the bucketed rows; the KL is at most that of whole rows."""
    dumps(tmp_path)
    written(tmp_path, "whole.npy", "--dtype", "float64")
    written(tmp_path, "k.h5", "--kind", kind, "--dtype", "float64", "--top-k", str(k))
    teacher = np.load(tmp_path / "whole.npy").tolist()
    student = np.load(tmp_path / "student.npy").tolist()
    forward, backward, whole = [], [], []
    for t, s in zip(teacher, student, strict=True):
        chosen = sorted(range(CLASSES), key=lambda index: -t[index])[:k]
        p, q = bucketed(t, chosen), bucketed(s, chosen)
        forward.append(reference.divergence(p, q))
        backward.append(reference.divergence(q, p))
        whole.append(reference.divergence(reference.log_softmax(t, T), reference.log_softmax(s, T)))
    result = scored(tmp_path, "k.h5").data
    assert result["metrics"]["kl_mean"] == pytest.approx(math.fsum(forward) / ROWS, rel=1e-9)
    assert result["terms"]["soft"] == pytest.approx(T * T * math.fsum(forward) / ROWS, rel=1e-9)
    assert result["metrics"]["kl_mean"] <= math.fsum(whole) / ROWS * (1 + 1e-12)
    if k == CLASSES:
        assert result["metrics"]["kl_mean"] == pytest.approx(math.fsum(whole) / ROWS, rel=1e-9)
    reverse = scored(tmp_path, "k.h5", name="reverse_kl").data["terms"]["soft"]
    assert reverse == pytest.approx(T * T * math.fsum(backward) / ROWS, rel=1e-9)


def test_what_a_top_k_file_cannot_tell_is_named(tmp_path: Path) -> None:
    """Figures that need every class at T = 1 are left out; the top class is known all the same."""
    dumps(tmp_path)
    written(tmp_path, "whole.h5")
    written(tmp_path, "k.h5", "--top-k", "3")
    result, whole = (scored(tmp_path, name).data for name in ("k.h5", "whole.h5"))
    missing = {"acceptance_rate", "teacher_nll", "teacher_perplexity", "teacher_entropy"}
    missing |= {"teacher_ece", "perplexity_ratio", "perplexity_ratio_stderr"}
    missing |= {"label_probability_rms"}
    assert set(result["facts"]["unavailable"]) == missing
    assert "teacher_nll" not in result["metrics"]
    for name in ("top1_agreement", "top5_agreement", "teacher_accuracy", "student_nll"):
        assert result["metrics"][name] == whole["metrics"][name]
    assert any("the teacher's 3 largest of 7 classes" in note for note in result["facts"]["notes"])


def test_a_tail_of_sixteen_bits_is_no_noise(tmp_path: Path) -> None:
    """log_z belongs to the values as they are stored, so a rounded row has its mass still."""
    dumps(tmp_path)
    losses = {}
    for dtype in ("float16", "float64"):
        written(tmp_path, "k.h5", "--top-k", "6", "--dtype", dtype, "--overwrite")
        losses[dtype] = scored(tmp_path, "k.h5").data["metrics"]["kl_mean"]
    assert losses["float16"] == pytest.approx(losses["float64"], rel=2e-3)


@pytest.mark.parametrize(
    ("soft", "words"),
    [
        ({"temperature": 3.0}, "is 3, and teacher in k.h5::values was written at 2"),
        ({"name": "jsd", "temperature": 1.0}, "is 1, and teacher in k.h5::values was written at 2"),
        (
            {"name": "combined_kl_mse"},
            "combined_kl_mse needs every class, and teacher in k.h5::values holds the largest only",
        ),
    ],
)
def test_what_a_top_k_file_cannot_do_is_refused(
    tmp_path: Path, soft: dict[str, Any], words: str
) -> None:
    """Another temperature, and losses on the raw outputs."""
    dumps(tmp_path)
    written(tmp_path, "k.h5", "--top-k", "3")
    done = scored(tmp_path, "k.h5", **soft)
    assert done.code == 2
    assert words in done.err


def test_a_top_k_file_is_none_of_several_teachers(tmp_path: Path) -> None:
    """They are blended from whole rows."""
    dumps(tmp_path)
    written(tmp_path, "k.h5", "--top-k", "3")
    where = config(tmp_path, student=True)
    done = distill("score", where, "--set", f"teachers=[{tmp_path / 'k.h5'}, student.npy]")
    assert done.code == 2
    assert "an ensemble needs all" in done.err


def test_what_a_config_says_otherwise_is_an_error(tmp_path: Path) -> None:
    """Unless it says the same."""
    dumps(tmp_path)
    written(tmp_path, "p.h5", "--kind", "probabilities")
    same = {"path": "p.h5", "kind": "probabilities", "temperature": 2.0}
    assert scored(tmp_path, same).code == 0
    for other in ({**same, "temperature": 1.0}, {**same, "kind": "log_probabilities"}):
        done = scored(tmp_path, other)
        assert done.code == 2
        assert "holds probabilities at temperature 2; the config says" in done.err


@pytest.mark.parametrize("top", [(), ("--top-k", "3")])
def test_shards_of_soft_targets(tmp_path: Path, top: tuple[str, ...]) -> None:
    """Files of one kind join; of two kinds they do not."""
    dumps(tmp_path)
    written(tmp_path, "whole.h5", *top)
    written(tmp_path, "part-1.h5", *top, "--rows", ":25")
    written(tmp_path, "part-2.h5", *top, "--rows", "25:")
    joined, whole = (scored(tmp_path, name).data for name in ("part-*.h5", "whole.h5"))
    assert joined["loss"] == whole["loss"]
    written(tmp_path, "part-2.h5", *top, "--rows", "25:", "--overwrite", temperature=4.0)
    done = scored(tmp_path, "part-*.h5")
    assert done.code == 2
    assert "shards must be of one kind" in done.err
