"""The largest classes of each row, as teacher, as student, and as both."""

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import reference
from checks import baseline, check
from runs import distill, scored, written

from distillcli.result import Result

ROWS, CLASSES = 17, 12

Config = dict[str, Any]

TEACHER = np.random.default_rng(1).normal(0, 2.5, (ROWS, CLASSES))
STUDENT = TEACHER + np.random.default_rng(2).normal(0, 1.5, (ROWS, CLASSES))
LABELS = np.random.default_rng(3).integers(0, CLASSES, ROWS)


def largest(scores: Any, k: int) -> Any:
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def log_z(scores: Any, temperature: float = 1.0) -> Any:
    top = scores.max(axis=1, keepdims=True)
    return (top[:, 0] / temperature) + np.log(np.exp((scores - top) / temperature).sum(axis=1))


def dump(
    path: Path,
    scores: Any,
    k: int,
    kind: str = "logits",
    temperature: float = 1.0,
    *,
    mass: bool = True,
) -> Config:
    """The k largest classes of each row, in an order of no meaning; the source that names them."""
    indices = largest(scores, k)[:, np.random.default_rng(k).permutation(k)]
    values = np.take_along_axis(scores, indices, axis=1)
    total = log_z(scores, temperature)
    if kind != "logits":
        values = values / temperature - total[:, None]
        values = np.exp(values) if kind == "probabilities" else values
    arrays = {"values": values, "indices": indices}
    if mass and kind == "logits":
        arrays["log_z"] = total
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    source: Config = {"path": path.name, "classes": CLASSES}
    if kind != "logits":
        source["kind"] = kind
    if temperature != 1.0:
        source["temperature"] = temperature
    return source


def response(temperature: float = 1.0, name: str = "kl", alpha: float = 1.0) -> Config:
    loss = {"name": name, "temperature": temperature, "temperature_squared": False}
    return {"strategy": "response", "response": {"alpha": alpha, "soft_loss": loss}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    np.save(tmp_path / "teacher.npy", TEACHER)
    np.save(tmp_path / "student.npy", STUDENT)
    np.save(tmp_path / "labels.npy", LABELS)
    return tmp_path


def bucketed(row: Sequence[float], chosen: Sequence[int], temperature: float) -> list[float]:
    """Log-probabilities of the chosen classes, and of all others together."""
    logs = reference.log_softmax(list(row), temperature)
    rest = math.fsum(math.exp(p) for i, p in enumerate(logs) if i not in chosen)
    return [*(logs[i] for i in chosen), math.log(rest) if rest else -math.inf]


def slow(chosen: Any, temperature: float = 1.0) -> float:
    """The mean KL of both sides over some classes of each row and a bucket."""
    rows = zip(TEACHER.tolist(), STUDENT.tolist(), chosen.tolist(), strict=True)
    return reference.mean(
        [
            reference.divergence(bucketed(t, own, temperature), bucketed(s, own, temperature))
            for t, s, own in rows
        ]
    )


def whole(temperature: float = 1.0) -> float:
    rows = zip(TEACHER.tolist(), STUDENT.tolist(), strict=True)
    parts = {"temperature": temperature, "temperature_squared": False}
    return reference.mean([reference.kl(teacher=t, student=s, **parts) for t, s in rows])


# --- one side -------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["h5", "npz"])
@pytest.mark.parametrize("kind", ["logits", "log_probabilities", "probabilities"])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("side", ["teacher", "student"])
def test_a_tail_bucket(folder: Path, side: str, kind: str, temperature: float, suffix: str) -> None:
    """KL over the classes that are stored and one for all others, in files of several arrays."""
    scores = TEACHER if side == "teacher" else STUDENT
    source = dump(folder / f"top.{suffix}", scores, 4, kind, temperature)
    sides = {"teacher": "teacher.npy", "student": "student.npy", side: source}
    result = scored(folder, {**response(temperature), **sides})
    expected = slow(largest(scores, 4), temperature)
    assert result.terms["soft"] == pytest.approx(expected, rel=1e-9)
    assert result.metrics["kl_mean"] == pytest.approx(expected, rel=1e-9)
    tail = result.facts["tail"]
    assert (tail["rule"], tail["classes"], tail["stored"]) == ("bucket", CLASSES, {side: 4})
    for role, one in (("teacher", TEACHER), ("student", STUDENT)):
        rows = zip(one.tolist(), largest(scores, 4).tolist(), strict=True)
        outside = [math.exp(bucketed(row, own, temperature)[-1]) for row, own in rows]
        assert tail["mass"][role] == pytest.approx(reference.mean(outside), rel=1e-9)
    assert f"outside the {side}'s top 4 is one class" in result.facts["conventions"]


@pytest.mark.parametrize("sides", [("teacher",), ("student",), ("teacher", "student")])
@pytest.mark.parametrize("name", ["kl", "reverse_kl", "jsd"])
def test_more_classes_tell_more(folder: Path, sides: tuple[str, ...], name: str) -> None:
    """Between 0 and what whole rows give, towards which it grows with k; equal to it at the end."""
    both = {"teacher": "teacher.npy", "student": "student.npy"}
    limit = scored(folder, {**response(name=name), **both}).loss
    assert limit is not None
    found = []
    for k in range(1, CLASSES + 1):
        own = {
            side: dump(folder / f"{side}{k}.h5", {"teacher": TEACHER, "student": STUDENT}[side], k)
            for side in sides
        }
        found.append(scored(folder, {**response(name=name), **both, **own}).loss)
    assert all(loss is not None and 0 <= loss <= limit * (1 + 1e-12) for loss in found)
    assert all(more >= less * (1 - 1e-12) for less, more in pairwise(found))
    assert found[-1] == pytest.approx(limit, rel=1e-9)


def test_renormalised(folder: Path) -> None:
    """The teacher's classes alone, without any mass of others; at any temperature."""
    source = dump(folder / "top.npz", TEACHER, 4, mass=False)
    for temperature in (1.0, 3.0):
        config = {**response(temperature), "teacher": source, "student": "student.npy"}
        result = scored(folder, {**config, "tail": "renormalize"})
        chosen = largest(TEACHER, 4)
        sides = (np.take_along_axis(one, chosen, axis=1).tolist() for one in (TEACHER, STUDENT))
        parts = {"temperature": temperature, "temperature_squared": False}
        rows = [reference.kl(teacher=t, student=s, **parts) for t, s in zip(*sides, strict=True)]
        assert result.metrics["kl_mean"] == pytest.approx(reference.mean(rows), rel=1e-9)
        assert "over the teacher's top 4, renormalised" in result.facts["conventions"]
        assert set(result.facts["tail"]["mass"]) == {"student"}
    told = scored(
        folder,
        {**response(), "teacher": dump(folder / "told.h5", TEACHER, 4), "student": "student.npy",
         "tail": "renormalize"},
    )  # fmt: skip
    assert set(told.facts["tail"]["mass"]) == {"student", "teacher"}


def test_what_is_known_all_the_same(folder: Path) -> None:
    """Top classes; and what needs every class is named."""
    plain = scored(
        folder,
        {**response(), "teacher": "teacher.npy", "student": "student.npy", "labels": "labels.npy"},
    )
    sources = {
        "teacher": dump(folder / "t.h5", TEACHER, 6),
        "student": dump(folder / "s.h5", STUDENT, 6),
    }
    result = scored(folder, {**response(), **sources, "labels": "labels.npy"})
    for name in ("top1_agreement", "top5_agreement", "teacher_accuracy", "student_accuracy"):
        assert result.metrics[name] == plain.metrics[name]
    assert {"student_nll", "teacher_nll", "acceptance_rate"} <= set(result.facts["unavailable"])
    few = {**sources, "student": dump(folder / "f.h5", STUDENT, 3)}
    assert "top5_agreement" in scored(folder, {**response(), **few}).facts["unavailable"]


def test_equal_scores(folder: Path) -> None:
    """The lowest class of the highest score is the top one, wherever it is stored."""
    with h5py.File(folder / "t.h5", "w") as file:
        file["values"] = np.log([[0.4, 0.4, 0.1], [0.1, 0.3, 0.3]])
        file["indices"] = [[7, 2, 0], [0, 9, 4]]
    np.save(folder / "student.npy", np.eye(CLASSES)[[2, 9]])
    np.save(folder / "labels.npy", np.array([2, 4]))
    source = {"path": "t.h5", "classes": CLASSES, "kind": "log_probabilities"}
    config = {**response(), "teacher": source, "student": "student.npy", "labels": "labels.npy"}
    result = scored(folder, config)
    assert (result.metrics["teacher_accuracy"], result.metrics["top1_agreement"]) == (1.0, 0.5)


def test_names_of_the_arrays(folder: Path) -> None:
    """They default to the keys, and may be in groups."""
    plain = dump(folder / "t.h5", TEACHER, 4)
    with h5py.File(folder / "t.h5") as file, h5py.File(folder / "u.h5", "w") as other:
        for name in ("values", "indices", "log_z"):
            other[f"run/top_{name}"] = file[name][...]
    named = {"path": "u.h5", "classes": CLASSES}
    named |= {name: f"run/top_{name}" for name in ("values", "indices", "log_z")}
    config = {**response(), "student": "student.npy"}
    one, two = (scored(folder, {**config, "teacher": source}) for source in (plain, named))
    assert one.loss == two.loss
    again = two.facts["config"]["teacher"]
    assert scored(folder, {**config, "teacher": again}).loss == one.loss


def test_sequences_masks_and_shards(folder: Path) -> None:
    """[rows, positions, k] in shards; what is masked may hold any indices and values."""
    source = dump(folder / "t.h5", TEACHER[:16], 4)
    np.save(folder / "student.npy", STUDENT[:16])
    mask = np.ones(16, bool)
    mask[[3, 9]] = False
    config = {**response(), "student": "student.npy"}
    np.save(folder / "mask.npy", mask)
    flat = scored(folder, {**config, "teacher": source, "mask": "mask.npy"})
    with h5py.File(folder / "t.h5") as file:
        arrays = {name: file[name][...] for name in file}
    arrays["indices"][3] = 99
    arrays["indices"][9] = 1
    arrays["values"][9] = np.nan
    for index, part in enumerate((slice(0, 3), slice(3, 4))):
        with h5py.File(folder / f"part-{index}.h5", "w") as file:
            for name, array in arrays.items():
                file[name] = array.reshape(4, 4, *array.shape[1:])[part]
    np.save(folder / "student.npy", STUDENT[:16].reshape(4, 4, CLASSES))
    np.save(folder / "mask.npy", mask.reshape(4, 4))
    shards = {**source, "path": "part-*.h5"}
    parts = scored(folder, {**config, "teacher": shards, "mask": "mask.npy"})
    assert (parts.loss, parts.rows, parts.rows_masked) == (flat.loss, 14, 2)


# --- both sides -----------------------------------------------------------------------------------


def united(folder: Path, teacher: Any, student: Any, k: int, name: str = "kl") -> Result:
    sources = {
        "teacher": dump(folder / "t.h5", teacher, k),
        "student": dump(folder / "s.h5", student, k),
    }
    return scored(folder, {**response(name=name), **sources})


def rivals(teacher: Any, student: Any, k: int, count: int = 4000) -> list[float]:
    """KL of whole rows that have the same largest classes with the same probabilities."""
    random = np.random.default_rng(11)
    found = []
    for _ in range(count):
        sides = []
        for scores in (teacher, student):
            p = np.exp(scores - scores.max())
            p /= p.sum()
            own = np.argsort(-p)[:k]
            others = np.setdiff1d(np.arange(CLASSES), own)
            rest, least = p[others].sum(), p[own].min()
            share = random.dirichlet(np.full(len(others), random.choice([0.1, 1.0, 10.0])))
            share = np.minimum(share * rest, least)
            for _ in range(50):  # what is above the least stored one goes to those with room
                missing = rest - share.sum()
                room = least - share
                share += room * min(1.0, missing / room.sum()) if room.sum() > 0 else 0.0
            p[others] = np.maximum(share, 1e-300)
            sides.append(np.log(p).tolist())
        found.append(reference.divergence(*sides))
    return found


@pytest.mark.parametrize("k", [1, 2, 3, 5, 8, 11])
def test_the_least_that_is_possible(folder: Path, k: int) -> None:
    """No whole rows with these largest classes are closer; the bucket of shared classes is not."""
    rows = [0, 4, 9]
    per_row = []
    for row in rows:
        teacher, student = TEACHER[[row]], STUDENT[[row]][:, ::-1]
        bound = united(folder, teacher, student, k).loss
        assert bound is not None
        own = set(largest(teacher, k)[0].tolist())
        shared = sorted(own & set(largest(student, k)[0].tolist()))
        pair = (bucketed(side[0].tolist(), shared, 1.0) for side in (teacher, student))
        assert bound >= reference.divergence(*pair) - 1e-12
        assert bound <= min(rivals(teacher[0], student[0], k, count=300)) + 1e-9
        per_row.append(bound)
    assert max(per_row) > 0


def test_the_bound_is_reached(folder: Path) -> None:
    """There are rows of those classes that are as close as it says, and none closer."""
    teacher = np.log(np.array([[0.5, 0.2, 0.1, 0.1, 0.06, 0.04, *[1e-12] * 6]]))
    student = teacher[:, [3, 1, 2, 0, 4, 5, *range(6, 12)]]
    bound = united(folder, teacher, student, 2).loss
    # Stored: 0.5, 0.2 of classes 0 and 1; 0.5 and 0.2 of 3 and 1. Of what is left, 0.3 on each
    # side, the other's first class can have 0.2 at most, and does.
    expected = 0.5 * math.log(0.5 / 0.2) + 0.2 * math.log(0.2 / 0.5)
    assert bound == pytest.approx(expected, rel=1e-6)


def test_nothing_in_common(folder: Path) -> None:
    """Sides that agree on nothing are far apart, though they have stored no class together."""
    teacher = np.zeros((1, CLASSES))
    teacher[0, :2] = 8.0
    student = teacher[:, ::-1].copy()
    result = united(folder, teacher, student, 2)
    full = reference.kl(teacher=teacher[0].tolist(), student=student[0].tolist())
    assert 6.0 < (result.metrics["kl_mean"] or 0.0) < full < 8.0
    assert result.facts["tail"]["stored"] == {"teacher": 2, "student": 2}
    assert "a lower bound" in result.facts["conventions"]


def test_stored_classes_that_are_not_the_largest(folder: Path) -> None:
    """A label's value beside the largest ones says nothing of what else there is."""
    teacher, student = TEACHER[[0]], STUDENT[[0]]
    for side, scores in (("t", teacher), ("s", student)):
        least = int(scores[0].argmin())
        indices = np.append(largest(scores, 3)[0], least)[None]
        with h5py.File(folder / f"{side}.h5", "w") as file:
            file["indices"], file["log_z"] = indices, log_z(scores)
            file["values"] = np.take_along_axis(scores, indices, axis=1)
    sources = {
        role: {"path": f"{role[0]}.h5", "classes": CLASSES} for role in ("teacher", "student")
    }
    loss = scored(folder, {**response(), **sources}).loss
    full = reference.kl(teacher=teacher[0].tolist(), student=student[0].tolist())
    assert loss is not None
    assert 0 <= loss <= full


# --- what is refused ------------------------------------------------------------------------------


def refused(folder: Path, config: Config) -> str:
    done = distill("score", written(folder / "config.yaml", {"device": "cpu", **config}))
    assert (done.code, done.out, len(done.errors)) == (2, "", 1), done
    return done.errors[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"indices": [[0, 1, 12]]}, "row 0: an index is outside 0 to 11"),
        ({"indices": [[0, -1, 2]]}, "row 0: an index is outside 0 to 11"),
        ({"indices": [[5, 1, 5]]}, "row 0: class 5 stands twice"),
        ({"indices": [[0, 1]]}, "shape is [1, 2], that of the values [1, 3]"),
        ({"indices": [[0.0, 1, 2]]}, "holds float64, indices must be integers"),
        ({"log_z": [[0.0, 1.0]]}, "2 rows"),
        ({"log_z": [-5.0]}, "hold more than all of the mass"),
        ({"values": [[1.0, np.nan, 0.0]]}, "row 0: NaN"),
        ({"values": [[1, 2, 3]]}, "holds int64, where floating-point numbers are needed"),
    ],
)
def test_arrays_that_will_not_do(folder: Path, change: Config, words: str) -> None:
    arrays = {"values": [[2.0, 1.0, 0.0]], "indices": [[3, 1, 2]], "log_z": [2.6]} | change
    with h5py.File(folder / "t.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
    np.save(folder / "student.npy", STUDENT[:1])
    config = {**response(), "teacher": {"path": "t.h5", "classes": 12}, "student": "student.npy"}
    error = refused(folder, config)
    assert words in error, error


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (response(2.0), ["is 2, and teacher in t.h5::values was written at 1", "log_z at 2"]),
        (
            {"response": {"alpha": 1, "soft_loss": {"name": "mse"}}},
            ["mse needs every class", "holds the largest only"],
        ),
        ({**response(), "vocabulary": "common"}, ["vocabulary is for whole rows"]),
        ({"teacher": {"path": "t.h5", "classes": 11}}, ["12 classes, teacher has 11"]),
        ({"teacher": {"path": "t.h5", "classes": 3}}, ["holds 4 classes of each row"]),
        ({**response(), "teacher": {"path": "t.h5", "indices": "i"}}, ["add classes: N"]),
        (
            {**response(), "teacher": {"path": "t.h5::values", "classes": 12}},
            ["names one dataset, and the largest classes are in several"],
        ),
        (
            {**response(), "teacher": {"path": "t.h5", "classes": 12, "log_z": "lz"}},
            ["no dataset 'lz'", "it holds"],
        ),
        ({**response(), "teacher": {"path": "teacher.npy", "classes": 12}}, ["no datasets"]),
        (
            {**response(), "student": {"path": "t.h5", "classes": 12}, "tail": "renormalize"},
            ["tail: renormalize takes the student's scores"],
        ),
        (
            {**response(), "teacher": "teacher.npy", "tail": "renormalize"},
            ["a teacher of whom only the largest classes are stored, and there is none"],
        ),
        (
            {
                **response(alpha=0.5), "teacher": "teacher.npy", "labels": "labels.npy",
                "student": {"path": "t.h5", "classes": 12},
            },
            ["response.alpha: leaves cross-entropy a weight", "set alpha to 1"],
        ),
        ({**response(), "tail": "bukket"}, ["must be bucket or renormalize"]),
    ],
)  # fmt: skip
def test_what_cannot_be_had(folder: Path, config: Config, words: list[str]) -> None:
    """Each refusal has its reason and its way out."""
    dump(folder / "t.h5", TEACHER, 4)
    sides = {"teacher": {"path": "t.h5", "classes": 12}, "student": "student.npy"}
    error = refused(folder, {**response(), **sides, **config})
    assert all(one in error for one in words), error


@pytest.mark.parametrize("kind", ["probabilities", "log_probabilities"])
def test_logits_that_are_called_something_else(folder: Path, kind: str) -> None:
    """Positive logarithms and probabilities above 1 are noticed, with and without log_z."""
    for mass in (True, False):
        source = {**dump(folder / "t.h5", TEACHER + 9, 4, mass=mass), "kind": kind}
        error = refused(folder, {**response(), "teacher": source, "student": "student.npy"})
        assert "hold more than all of the mass" in error


def test_logits_without_their_mass(folder: Path) -> None:
    source = dump(folder / "t.npz", TEACHER, 4, mass=False)
    error = refused(folder, {**response(), "teacher": source, "student": "student.npy"})
    assert "no log_z, so the mass of the others is not known" in error
    assert "set tail: renormalize" in error
    assert "if they are log-probabilities, say kind: log_probabilities" in error


def test_a_dump_that_is_not_said_to_be_of_the_largest_classes(folder: Path) -> None:
    """Its values alone look like scores of a few classes."""
    dump(folder / "t.npz", TEACHER, 4)
    error = refused(folder, {**response(), "teacher": "t.npz", "student": "student.npy"})
    assert "12 classes, teacher has 4" in error
    assert "say how many there are: {path: ..., classes: 12}" in error


def test_other_parts_of_the_classes_are_not_alike(folder: Path) -> None:
    """A check holds no divergence against one of another tail, or over other classes."""
    few, more = (dump(folder / f"t{k}.npz", TEACHER, k) for k in (3, 4))
    own: Config = {**response(), "teacher": few, "student": "student.npy", "device": "cpu"}
    base = baseline(folder, written(folder / "own.yaml", own))
    assert check(folder / "own.yaml", base).code == 0
    changes: list[tuple[Config, str]] = [
        ({"tail": "renormalize"}, "tail bucket, now renormalize"),
        ({"teacher": more}, "teacher's classes top 3, now top 4"),
        ({"teacher": "teacher.npy"}, "teacher's classes top 3, now all"),
    ]
    for change, words in changes:
        done = check(written(folder / "now.yaml", {**own, **change}), base)
        assert done.code == 2
        assert words in done.err
    assert check(folder / "now.yaml", base, "--allow", "classes").code in (0, 1)
    done = distill("check", folder / "now.yaml", "--baseline", base, "--allow", "classes")
    (told,) = [line for line in done.out.splitlines() if "conventions" in line]
    before, now = told.split(", now ...")
    assert "the teacher's top 3" in before
    assert "the teacher's top 3" not in now


def test_progressive_at_another_temperature(folder: Path) -> None:
    """KL metrics without a loss are at T = 1, where nothing is known of a dump at T = 2."""
    source = dump(folder / "t.h5", TEACHER, 4, temperature=2.0)
    config = {
        "strategy": "progressive", "teacher_hidden": ["teacher.npy"],
        "student_hidden": ["student.npy"], "progressive": {"layer_mapping": [[0, 0]]},
        "teacher": source, "student": "student.npy",
    }  # fmt: skip
    assert "was written at 2" in refused(folder, config)
