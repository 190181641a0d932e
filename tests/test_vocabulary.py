"""Teacher and student of different classes: which are compared, and the mass of the others."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from runs import distill, saved, scored, written

ROWS, WIDE, NARROW = 19, 9, 6

Config = dict[str, Any]

TEACHER = np.random.default_rng(1).normal(0, 2, (ROWS, WIDE))
STUDENT = np.random.default_rng(2).normal(0, 2, (ROWS, NARROW))
LABELS = np.random.default_rng(3).integers(0, NARROW, ROWS)
PART = {"alpha": 0.5, "soft_loss": {"name": "kl", "temperature": 2.0}}
LOGITS: Config = {"strategy": "response", "teacher": "teacher.npy", "student": "student.npy"}
LABELLED: Config = {**LOGITS, "labels": "labels.npy", "response": PART}
COMMON: Config = {**LABELLED, "vocabulary": "common"}
# Of the student's classes two are not among the teacher's; the others stand elsewhere there.
MAP = np.array([8, -1, 0, 3, -1, 5])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    saved(tmp_path, teacher=TEACHER, student=STUDENT, labels=LABELS)
    np.save(tmp_path / "map.npy", MAP)
    return tmp_path


def expected(teacher: Any, student: Any, labels: Any) -> dict[str, float]:
    """What the classes that are compared give by the slow reference."""
    pairs = list(zip(teacher.tolist(), student.tolist(), strict=True))
    parts = {"temperature": 2.0, "temperature_squared": False}
    kl = [reference.kl(teacher=t, student=s, **parts) for t, s in pairs]
    return reference.metrics(teacher.tolist(), student.tolist(), labels.tolist(), kl)


def mass(scores: Any, kept: Any) -> float:
    """The mean probability of the classes that are not kept."""
    rows = []
    for row in scores.tolist():
        logs = reference.log_softmax(row)
        rows.append(math.fsum(math.exp(p) for i, p in enumerate(logs) if i not in kept))
    return reference.mean(rows)


def check(result: Any, metrics: dict[str, float]) -> None:
    for name, value in result.metrics.items():
        assert value == pytest.approx(metrics[name], rel=1e-9, abs=1e-12), name
    assert result.terms["soft"] == pytest.approx(4 * metrics["kl_mean"], rel=1e-12)
    assert result.terms["hard"] == pytest.approx(metrics["student_nll"], rel=1e-12)


def test_they_must_be_the_same(folder: Path) -> None:
    """The default, with the way out."""
    done = distill("score", written(folder / "config.yaml", LABELLED))
    assert done.code == 2
    assert "6 classes, teacher has 9; both must score the same classes" in done.errors[0]
    assert "vocabulary: common" in done.errors[0]


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("wider", ["teacher", "student"])
def test_common(folder: Path, wider: str, dtype: str) -> None:
    """The first classes that both have, renormalised; the mass of the others is told."""
    sides = {"teacher": TEACHER, "student": STUDENT}
    if wider == "student":
        sides = {"teacher": STUDENT, "student": TEACHER}
    sides = {name: side.astype(dtype) for name, side in sides.items()}
    for name, side in sides.items():
        np.save(folder / f"{name}.npy", side)
    result = scored(folder, {**COMMON, "precision": "float64"})
    exact = {name: side.astype("float64") for name, side in sides.items()}
    check(result, expected(exact["teacher"][:, :NARROW], exact["student"][:, :NARROW], LABELS))
    found = result.facts["vocabulary"]
    other = "student" if wider == "teacher" else "teacher"
    assert (found["rule"], found["compared"]) == ("common", NARROW)
    assert found["classes"] == {wider: WIDE, other: NARROW}
    lost = mass(exact[wider], range(NARROW))
    assert found["mass_lost"] == {wider: pytest.approx(lost, rel=1e-9), other: 0.0}
    assert "over the 6 first classes, renormalised" in result.facts["conventions"]
    assert any("mean mass of the others" in note for note in result.facts["notes"])


def test_common_of_the_same_classes(folder: Path) -> None:
    """Changes nothing and loses nothing."""
    np.save(folder / "teacher.npy", TEACHER[:, :NARROW])
    plain, common = scored(folder, LABELLED), scored(folder, COMMON)
    assert (plain.terms, plain.metrics) == (common.terms, common.metrics)
    assert common.facts["vocabulary"]["mass_lost"] == {"teacher": 0.0, "student": 0.0}


def test_padded_classes(folder: Path) -> None:
    """The usual case: more rows in one side's matrix than tokens; they may be masked, or tiny."""
    padded = np.concatenate([TEACHER[:, :NARROW], np.full((ROWS, 3), -np.inf)], axis=1)
    np.save(folder / "teacher.npy", padded)
    plain = scored(folder, COMMON)
    assert plain.facts["vocabulary"]["mass_lost"]["teacher"] == 0.0
    padded[:, NARROW:] = -50
    np.save(folder / "teacher.npy", padded)
    tiny = scored(folder, COMMON)
    assert tiny.metrics == plain.metrics
    assert 0 < tiny.facts["vocabulary"]["mass_lost"]["teacher"] < 1e-15


def test_probabilities(folder: Path) -> None:
    """Stored probabilities are renormalised like logits."""
    exps = np.exp(TEACHER)
    np.save(folder / "teacher.npy", exps / exps.sum(axis=1, keepdims=True))
    source = {"path": "teacher.npy", "kind": "probabilities"}
    result = scored(folder, {**COMMON, "teacher": source})
    check(result, expected(TEACHER[:, :NARROW], STUDENT, LABELS))
    assert result.facts["vocabulary"]["mass_lost"]["teacher"] == pytest.approx(
        mass(TEACHER, range(NARROW)), rel=1e-9
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_bad_numbers_among_the_others(folder: Path, value: float) -> None:
    """A class that is not compared is looked at all the same: the dump is damaged there."""
    teacher = TEACHER.copy()
    teacher[7, 8] = value
    np.save(folder / "teacher.npy", teacher)
    done = distill("score", written(folder / "config.yaml", COMMON))
    assert done.code == 2
    assert "row 7" in done.errors[0]


def test_a_label_beyond_the_common_classes(folder: Path) -> None:
    labels = LABELS.copy()
    labels[4] = NARROW
    saved(folder, labels=labels)
    done = distill("score", written(folder / "config.yaml", COMMON))
    assert "row 4: label 6 is outside 0 to 5" in done.errors[0]


def test_an_ensemble(folder: Path) -> None:
    """The first classes that all teachers and the student have."""
    np.save(folder / "other.npy", TEACHER[:, :7][::-1])
    config = {
        "strategy": "ensemble", "teachers": ["teacher.npy", "other.npy"],
        "student": "student.npy", "labels": "labels.npy", "vocabulary": "common",
    }  # fmt: skip
    result = scored(folder, config)
    for name in ("teacher", "other"):
        np.save(folder / f"{name}.npy", np.load(folder / f"{name}.npy")[:, :NARROW])
    cut = scored(folder, {**config, "vocabulary": "error"})
    assert (result.terms, result.metrics) == (cut.terms, cut.metrics)
    assert list(result.facts["vocabulary"]["mass_lost"]) == [
        "teachers[0]",
        "teachers[1]",
        "student",
    ]


# --- maps -----------------------------------------------------------------------------------------


def test_a_map(folder: Path) -> None:
    """Classes are compared that it pairs, whatever their numbers; labels are the student's."""
    own = np.flatnonzero(MAP >= 0)
    labels = own[np.arange(ROWS) % len(own)]
    saved(folder, labels=labels)
    config = {**LABELLED, "vocabulary": {"map": "map.npy"}}
    result = scored(folder, config)
    places = np.searchsorted(own, labels)
    check(result, expected(TEACHER[:, MAP[own]], STUDENT[:, own], places))
    lost = result.facts["vocabulary"]["mass_lost"]
    assert lost["teacher"] == pytest.approx(mass(TEACHER, MAP[own]), rel=1e-9)
    assert lost["student"] == pytest.approx(mass(STUDENT, own), rel=1e-9)
    assert result.facts["vocabulary"]["map"]["fingerprint"]["size"] > 0
    assert "over the 4 paired classes, renormalised" in result.facts["conventions"]


def test_a_permutation(folder: Path) -> None:
    """All classes under other numbers: the figures are those of the teacher in order."""
    order = np.random.default_rng(5).permutation(NARROW)
    np.save(folder / "map.npy", order.astype(np.uint16))
    np.save(folder / "teacher.npy", TEACHER[:, :NARROW])
    plain = scored(folder, LABELLED)
    shuffled = np.empty((ROWS, NARROW))
    shuffled[:, order] = TEACHER[:, :NARROW]
    np.save(folder / "teacher.npy", shuffled)
    mapped = scored(folder, {**LABELLED, "vocabulary": {"map": "map.npy"}})
    assert mapped.metrics == pytest.approx(plain.metrics, rel=1e-12)
    assert mapped.facts["vocabulary"]["mass_lost"] == {"teacher": 0.0, "student": 0.0}


def test_worst_rows_are_told_in_the_students_numbers(folder: Path) -> None:
    own = np.flatnonzero(MAP >= 0)
    saved(folder, labels=np.full(ROWS, 5))
    config = {**LABELLED, "device": "cpu", "vocabulary": {"map": "map.npy"}}
    path = written(folder / "config.yaml", config)
    data = distill("score", path, "--worst", ROWS, "--format", "json").data
    top = own[STUDENT[:, own].argmax(axis=1)]
    above = own[TEACHER[:, MAP[own]].argmax(axis=1)]
    for one in data["worst"]:
        assert one["label"] == 5
        assert one["student_class"] == top[one["row"]]
        assert one["teacher_class"] == above[one["row"]]


def test_a_label_without_a_counterpart(folder: Path) -> None:
    """Is told; with the label of ignore_index it does not count."""
    labels = np.full(ROWS, 5)
    labels[3] = 4
    saved(folder, labels=labels)
    config = {**LABELLED, "vocabulary": {"map": "map.npy"}}
    done = distill("score", written(folder / "config.yaml", config))
    assert "row 3: label 4 is a class that is not compared" in done.errors[0]
    assert scored(folder, {**config, "ignore_index": 4}).rows_masked == 1


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([0, 1, 2, 3, 4], "has 5 entries, student has 6 classes"),
        ([0, 1, 2, 3, 4, 9], "entry 5: 9 is no class of the teacher, 0 to 8"),
        ([0, -2, 2, 3, 4, 5], "entry 1: -2 is no class of the teacher"),
        ([0, 1, 2, 3, 1, 5], "entries 1 and 4 are both 1"),
        ([-1] * 6, "pairs no class: every entry is -1"),
        ([0.0, 1, 2, 3, 4, 5], "holds float64, class maps must be integers"),
        ([[0, 1, 2, 3, 4, 5]], "has 2 dimensions"),
    ],
)
def test_maps_that_are_none(folder: Path, entries: Any, words: str) -> None:
    np.save(folder / "map.npy", np.array(entries))
    config = {**LABELLED, "vocabulary": {"map": "map.npy"}}
    for command in ("score", "validate"):
        done = distill(command, written(folder / "config.yaml", config))
        assert done.code == 2
        assert "vocabulary map in" in done.errors[0]
        assert words in done.errors[0]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("commn", "must be error, common or a map like {map: ids.npy}"),
        ({}, "has no map"),
        ({"mapp": "x"}, "unknown key"),
        (3, "vocabulary: must be"),
    ],
)
def test_values_that_are_none(folder: Path, value: Any, words: str) -> None:
    done = distill("score", written(folder / "config.yaml", {**LABELLED, "vocabulary": value}))
    assert done.code == 2
    assert words in done.errors[0]


def test_a_map_for_an_ensemble(folder: Path) -> None:
    config = {"strategy": "ensemble", "teachers": ["teacher.npy"], "student": "student.npy",
              "vocabulary": {"map": "map.npy"}}  # fmt: skip
    done = distill("score", written(folder / "config.yaml", config))
    assert "pairs the classes of one teacher" in done.errors[0]


# --- no classes in common -------------------------------------------------------------------------


def test_other_tokenizers(folder: Path) -> None:
    """A loss that sorts its classes compares any two rows; what needs the same classes is left."""
    part = {"alpha": 0.5, "soft_loss": {"name": "uld", "temperature": 1.0}}
    result = scored(folder, {**LABELLED, "response": part})
    losses = []
    for teacher, student in zip(TEACHER.tolist(), STUDENT.tolist(), strict=True):
        p, q = (sorted(map(math.exp, reference.log_softmax(row))) for row in (teacher, student))
        q = [0.0] * (WIDE - NARROW) + q
        losses.append(math.fsum(abs(x - y) for x, y in zip(p, q, strict=True)))
    assert result.terms["soft"] == pytest.approx(reference.mean(losses), rel=1e-12)
    own = {name for name in result.metrics if not name.startswith("student_")}
    assert own == {"teacher_entropy"}
    assert result.metrics["student_nll"] == result.terms["hard"]
    assert result.facts["unavailable"]["kl_mean"].startswith("teacher and student do not have")
    labels = LABELS.copy()
    labels[2] = NARROW  # a class of the teacher alone
    saved(folder, labels=labels)
    done = distill("score", written(folder / "config.yaml", {**LABELLED, "response": part}))
    assert "row 2: label 6 is outside 0 to 5" in done.errors[0]
