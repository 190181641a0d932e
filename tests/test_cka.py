"""CKA of layers over all rows, summed as they come, against its definition over all pairs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from runs import distill, saved, written

ROWS = 3000
NAMES = ("cka", "cka_unbiased")


def layers(seed: int = 0, rows: int = ROWS, offset: float = 0.0) -> tuple[Any, Any]:
    """A student and a teacher that share some of what they hold, far from 0 or not."""
    chance = np.random.default_rng(seed)
    shared = chance.normal(size=(rows, 3))
    student = shared @ chance.normal(size=(3, 5)) + chance.normal(size=(rows, 5))
    teacher = shared @ chance.normal(size=(3, 7)) + chance.normal(size=(rows, 7))
    return student + offset, teacher - offset


def scored(folder: Path, student: Any, teacher: Any, *flags: str, **more: Any) -> Any:
    saved(folder, s=student, t=teacher)
    config = {
        "strategy": "progressive",
        "teacher_hidden": ["t.npy"],
        "student_hidden": ["s.npy"],
        "progressive": {"layer_mapping": [[0, 0]], "loss": "linear_cka"},
        "metrics": list(NAMES),
        "batch_size": 1000,
        **more,
    }
    path = written(folder / "c.yaml", config)
    done = distill("score", path, "--device", "cpu", "--format", "json", *flags)
    assert done.code == 0, done.err
    return done.data


def slow(student: Any, teacher: Any) -> dict[str, float]:
    """1 - the losses of all rows as one batch, in arrays, since the rows are many."""
    grams = []
    for rows in (student, teacher):
        rows = rows - rows.mean(axis=0)
        grams.append(rows @ rows.T)
    biased = (grams[0] * grams[1]).sum() / np.sqrt((grams[0] ** 2).sum() * (grams[1] ** 2).sum())
    one, other = (gram - np.diag(np.diag(gram)) for gram in grams)

    def hsic(a: Any, b: Any) -> float:
        n = len(a)
        sums = a.sum() * b.sum() / ((n - 1) * (n - 2))
        return float((a * b).sum() + sums - 2 / (n - 2) * (a.sum(axis=0) @ b.sum(axis=0)))

    unbiased = hsic(one, other) / np.sqrt(hsic(one, one) * hsic(other, other))
    return {"cka": float(biased), "cka_unbiased": float(unbiased)}


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_it_is_that_of_all_rows_at_once(tmp_path: Path, offset: float) -> None:
    """Also where the layers lie far from 0, which no product of theirs would forgive."""
    student, teacher = layers(offset=offset)
    found = scored(tmp_path, student, teacher)
    right = slow(student, teacher)
    assert found["metrics"] == pytest.approx(right, rel=1e-10 if offset else 1e-12)
    layer = found["layers"][0]
    assert {name: layer[name] for name in NAMES} == found["metrics"]


def test_the_reference_agrees_with_that_of_the_losses(tmp_path: Path) -> None:
    """On few rows, by the loops that the losses are held against; the unbiased may be negative."""
    for seed in range(5):
        student, teacher = (x.round(3) for x in layers(seed, rows=9))
        found = scored(tmp_path, student, teacher, batch_size=9)["metrics"]
        rows = {"teacher": teacher.tolist(), "student": student.tolist()}
        assert found["cka"] == pytest.approx(1 - reference.linear_cka(**rows), rel=1e-9)
        unbiased = 1 - reference.linear_cka_unbiased(**rows)
        assert found["cka_unbiased"] == pytest.approx(unbiased, rel=1e-9)


def test_it_does_not_depend_on_the_batch(tmp_path: Path) -> None:
    """Where the loss of the same name does; nor on threads or other losses, to the last bit."""
    student, teacher = layers()
    whole = scored(tmp_path, student, teacher, batch_size=ROWS)
    parts = scored(tmp_path, student, teacher, batch_size=50)
    assert parts["metrics"] == whole["metrics"]
    assert whole["metrics"]["cka"] == pytest.approx(1 - whole["loss"], rel=1e-12)
    assert abs(1 - parts["loss"] - parts["metrics"]["cka"]) > 0.01
    more = {"progressive": {"layer_mapping": [[0, 0]], "loss": "nst"}}
    one, several = (scored(tmp_path, student, teacher, threads=n, **more) for n in (1, 4))
    assert one["metrics"] == several["metrics"]
    more = {"progressive": {"layer_mapping": [[0, 0]], "loss": "mse"}}
    more["progressive"]["projection"] = {"init": "xavier_uniform"}
    assert scored(tmp_path, student, teacher, **more)["metrics"] == whole["metrics"]


def test_rows_that_do_not_count(tmp_path: Path) -> None:
    """Bad rows are left out, masked ones too, and those that are not taken."""
    student, teacher = layers()
    keep = np.ones(ROWS, bool)
    student[[0, 5]] = np.nan
    teacher[7] = np.inf
    mask = np.ones(ROWS, int)
    mask[100:200] = 0
    np.save(tmp_path / "m.npy", mask)
    keep[[0, 5, 7]] = keep[100:200] = keep[2500:] = False
    more = {"on_bad_rows": "skip", "mask": "m.npy"}
    found = scored(tmp_path, student, teacher, "--limit", "2500", **more)
    assert found["metrics"] == pytest.approx(slow(student[keep], teacher[keep]), rel=1e-12)


def test_without_spread_it_is_0(tmp_path: Path) -> None:
    """A layer whose rows are all the same aligns only with another; few have no estimate."""
    student, teacher = layers(rows=50)
    flat = np.tile([0.1, 0.7, 1e9], (50, 1))
    found = scored(tmp_path, flat, teacher, batch_size=50)
    assert found["metrics"] == {"cka": 0.0, "cka_unbiased": 0.0}
    found = scored(tmp_path, flat, np.tile([0.3, 0.1], (50, 1)), batch_size=50)
    assert (found["metrics"], found["loss"]) == ({"cka": 1.0, "cka_unbiased": 1.0}, 0)
    few = scored(tmp_path, student[:3], teacher[:3], batch_size=3)["metrics"]
    assert few["cka_unbiased"] == 0
    assert few["cka"] > 0


def test_without_spread_beside_a_row_that_does_not_count(tmp_path: Path) -> None:
    """That row is not what the others are told from; metric and loss have one convention."""
    flat, other = (np.tile(row, (50, 1)) for row in ([0.1, 0.7, 1.3], [0.3, -7.7]))
    flat[0], other[0] = [5.1, 0.3, 0.9], [-3.3, 9.1]
    np.save(tmp_path / "m.npy", [0] + [1] * 49)
    teacher = layers(rows=50)[1]
    for loss in ("linear_cka", "linear_cka_unbiased"):
        progressive = {"layer_mapping": [[0, 0]], "loss": loss}
        more = {"batch_size": 50, "mask": "m.npy", "progressive": progressive}
        one = scored(tmp_path, flat, teacher, **more)
        assert (one["metrics"], one["loss"]) == ({"cka": 0.0, "cka_unbiased": 0.0}, 1)
        both = scored(tmp_path, flat, other, **more)
        assert (both["metrics"], both["loss"]) == ({"cka": 1.0, "cka_unbiased": 1.0}, 0)


def test_it_is_asked_for_by_name(tmp_path: Path) -> None:
    """It takes the time of three matrix products, so `all` leaves it out, and may stand beside."""
    student, teacher = layers(rows=20)
    assert scored(tmp_path, student, teacher, metrics="all")["metrics"] == {}
    found = scored(tmp_path, student, teacher, metrics=["all", "cka"], batch_size=20)
    assert list(found["metrics"]) == ["cka"]
    assert found["facts"]["unavailable"].keys() >= {"kl_mean"}
    for name in ("s", "t"):
        np.save(tmp_path / f"{name}.npy", np.zeros((4, 3, 3)) + np.arange(3))
    sequences = {"layer_mapping": [[0, 0]], "loss": "attention"}
    path = written(
        tmp_path / "c.yaml",
        {
            "strategy": "progressive",
            "teacher_hidden": ["t.npy"],
            "student_hidden": ["s.npy"],
            "progressive": sequences,
            "metrics": ["cka"],
        },
    )
    done = distill("score", path, "--device", "cpu", "--format", "json")
    assert (done.code, done.data["metrics"]) == (0, {})
    assert "single positions" in done.data["facts"]["unavailable"]["cka"]


def test_a_plan_counts_its_memory(tmp_path: Path) -> None:
    """And names the part."""
    saved(tmp_path, s=np.zeros((600, 300)), t=np.zeros((600, 200)))
    config = {
        "strategy": "progressive",
        "teacher_hidden": ["t.npy"],
        "student_hidden": ["s.npy"],
        "progressive": {"layer_mapping": [[0, 0]], "projection": {"init": "xavier_uniform"}},
        "metrics": ["all", "cka"],
    }
    plan = distill("validate", written(tmp_path / "c.yaml", config), "--format", "json").data
    (part,) = [one for one in plan["memory"] if one["name"] == "CKA"]
    assert part["bytes"] >= 3 * (300**2 + 300 * 200 + 200**2) * 8
    assert "cka" in plan["metrics"]
