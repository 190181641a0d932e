"""Inputs that will not do, or not as they are declared, as users meet them at the command line."""

import re
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from quick import CLASSES, CONFIG, QUICK, ROWS, facts, quick_folder, refused
from runs import distill, saved, written


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with teacher, student and labels; no machine has a GPU here."""
    return quick_folder(tmp_path, monkeypatch)


@pytest.fixture
def config(folder: Path) -> Path:
    """A config on these files."""
    return written(folder / "config.yaml", CONFIG)


def damaged(folder: Path) -> dict[str, Any]:
    """Files that are no student, by name."""
    scores = np.load(folder / "student.npy")
    spoilt = scores.copy()
    spoilt[[3, 9], [1, 2]] = np.nan, np.inf
    arrays = {
        "short": scores[:22],
        "wide": np.hstack([scores, scores]),
        "flat": scores[0],
        "integers": scores.astype("int64"),
        "spoilt": spoilt,
        "empty": scores[:0],
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    with h5py.File(folder / "many.h5", "w") as file:
        file["a/logits"], file["b/logits"], file["labels"] = scores, scores, np.arange(ROWS)
    (folder / "text.npy").write_text("hello")
    return arrays


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("studnet.npy", ["there is no such file; in that folder: student.npy"]),
        ("no-*.npy", ["no file matches"]),
        ("many.h5", ["more than one", "a/logits float32 [23, 7]", "b/logits float32 [23, 7]"]),
        ("many.h5::a/logit", ["a/logit", "it holds a/logits float32 [23, 7]"]),
        ("student.npy::logits", ["no datasets", "leave ::logits out"]),
        ("text.npy", ["not an NPY file"]),
        (".", ["a folder"]),
        ("short.npy", ["22 rows, teacher has 23", "same split"]),
        ("wide.npy", ["14 classes, teacher has 7"]),
        ("flat.npy", ["one-dimensional", ".reshape(1, -1)"]),
        ("integers.npy", ["int64", "floating-point"]),
        ("spoilt.npy", ["row 3 and 1 more", "NaN", "on_bad_rows: skip"]),
        ("empty.npy", ["no rows"]),
    ],
)
def test_a_student_that_will_not_do(folder: Path, source: str, words: list[str]) -> None:
    """One line that names role and file, says what is wrong, and the way out."""
    damaged(folder)
    (error,) = refused(distill("score", "--teacher", "teacher.npy", "--student", source))
    assert error.startswith(f"student in {source.partition('::')[0]}")
    assert all(word in error for word in words), error


@pytest.mark.parametrize("where", ["flags", "config"])
def test_the_role_and_the_path_as_given(folder: Path, where: str) -> None:
    """A source is called what its user called it, also where a config lies elsewhere."""
    if where == "flags":
        done = distill("score", "--teacher", "gone.npy", "--student", "student.npy")
        (error,) = refused(done)
    else:
        (folder / "below").mkdir()
        data = {**CONFIG, "teacher": "../gone.npy", "student": "../student.npy"}
        data["labels"] = "../labels.npy"
        (error,) = refused(distill("score", written(folder / "below" / "c.yaml", data)))
    assert error.startswith(f"teacher in {'../' * (where == 'config')}gone.npy: there is no such")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([0] * 5 + [7] + [0] * 17, ["row 5", "label 7 is outside 0 to 6"]),
        ([0] * 22 + [-1], ["row 22", "label -1 is outside 0 to 6"]),
        ([0] * 22, ["22 rows, teacher has 23"]),
    ],
)
def test_labels_that_will_not_do(folder: Path, labels: list[int], words: list[str]) -> None:
    """A label that is no class and a wrong number of labels, each with its place."""
    saved(folder, labels=labels)
    (error,) = refused(distill(*QUICK, "--labels", "labels.npy"))
    assert error.startswith("labels in labels.npy")
    assert all(word in error for word in words), error


def test_labels_must_be_integers(folder: Path) -> None:
    """Labels that were saved as floating-point numbers, with the way out."""
    np.save(folder / "labels.npy", np.zeros(ROWS))
    (error,) = refused(distill(*QUICK, "--labels", "labels.npy"))
    assert "labels must be integers" in error


def test_bad_rows_are_skipped_when_the_config_says_so(folder: Path, config: Path) -> None:
    """The report and the result say how many rows are left out."""
    damaged(folder)
    written(config, {**CONFIG, "student": "spoilt.npy"})
    skip = ("--set", "on_bad_rows=skip")
    data = facts(config, *skip)["data"]
    assert (data["rows"], data["rows_skipped"]) == (21, 2)
    assert re.search(r"2 bad rows\W+left out of 23", distill("score", config, *skip).out)


def test_a_pair_of_layers_that_does_not_fit(folder: Path) -> None:
    """Widths that differ without a projection, and a layer that is not there, at their place."""
    rng = np.random.default_rng(1)
    saved(folder, **{name: rng.normal(size=(5, width)) for name, width in (("a", 3), ("b", 4))})
    path = folder / "config.yaml"
    for mapping, words in (
        ("[[0, 0], [1, 0]]", ["student layer 1 is 4 wide and teacher layer 0 is 3", "projection"]),
        ("[[0, 0], [0, 2]]", ["there is no layer 2 in teacher_hidden", "2 layers"]),
    ):
        path.write_text(
            "strategy: progressive\n"
            "student_hidden: [a.npy, b.npy]\n"
            "teacher_hidden: [a.npy, b.npy]\n"
            "progressive:\n"
            f"  layer_mapping: {mapping}\n"
        )
        (error,) = refused(distill("score", path))
        assert error.startswith(f"{path}:5:27: progressive.layer_mapping[1]: ")
        assert all(word in error for word in words), error


def test_a_saved_projection_of_another_shape(folder: Path) -> None:
    """The shape that is there and the one that is needed."""
    rng = np.random.default_rng(1)
    saved(folder, a=rng.normal(size=(5, 3)), b=rng.normal(size=(5, 4)), w=np.ones((4, 3)))
    data = {
        "strategy": "progressive",
        "student_hidden": ["a.npy"],
        "teacher_hidden": ["b.npy"],
        "progressive": {"layer_mapping": [[0, 0]], "projection": {"path": "w.npy"}},
    }
    (error,) = refused(distill("score", written(folder / "config.yaml", data)))
    assert "w.npy: shape [4, 3]" in error
    assert "need [3, 4]" in error


def test_a_loss_on_raw_outputs_of_two_kinds(folder: Path) -> None:
    """mse between logits and probabilities means nothing."""
    data = {**CONFIG, "student": {"path": "student.npy", "kind": "log_probabilities"}}
    data["response"] = {"soft_loss": {"name": "mse"}}
    (error,) = refused(distill("score", written(folder / "config.yaml", data)))
    assert all(word in error for word in ("mse needs one kind", "log_probabilities", "logits"))


def test_scores_that_look_like_probabilities(folder: Path) -> None:
    """A warning on stderr and in the result; none once the kind is declared."""
    scores = np.exp(np.load(folder / "student.npy"))
    saved(folder, student=scores / scores.sum(axis=1, keepdims=True))
    done = distill(*QUICK, "--device", "cpu", "--format", "json")
    (note,) = done.notes
    assert note.startswith("student in student.npy: looks like probabilities")
    assert note in done.data["facts"]["notes"]
    source = {"path": "student.npy", "kind": "probabilities"}
    config = written(folder / "c.yaml", {**CONFIG, "student": source, "device": "cpu"})
    assert distill("score", config).notes == []


def test_one_row_that_is_a_distribution(folder: Path) -> None:
    """Says nothing of those that follow it."""
    scores = np.load(folder / "student.npy")
    scores[0] = 1 / CLASSES
    saved(folder, student=scores)
    assert distill(*QUICK, "--device", "cpu").notes == []


def test_rows_and_positions_that_are_swapped(folder: Path) -> None:
    """As many rows in all are not enough: rows and positions must be the same on both sides."""
    np.save("teacher.npy", np.ones((6, 4, CLASSES), np.float32))
    np.save("student.npy", np.ones((4, 6, CLASSES), np.float32))
    (error,) = refused(distill(*QUICK))
    assert "student in student.npy: 4 x 6 rows and positions, teacher 6 x 4" in error
    assert ".swapaxes(0, 1)" in error
    np.save("student.npy", np.ones((3, 8, CLASSES), np.float32))
    (error,) = refused(distill(*QUICK))
    assert "3 x 8 rows and positions, teacher 6 x 4; both must be of the same sequences" in error
    assert "swapaxes" not in error
    np.save("student.npy", np.ones((24, CLASSES), np.float32))
    assert distill(*QUICK).code == 0
    np.save("student.npy", np.ones((5, CLASSES), np.float32))
    (error,) = refused(distill(*QUICK))
    assert "student in student.npy: 5 rows, teacher has 24 rows (6 x 4)" in error


def test_a_label_that_marks_padding(folder: Path) -> None:
    """PyTorch's -100 leaves a row out; another number below 0 has to be said."""
    labels = np.load("labels.npy")
    labels[5] = -100
    np.save("labels.npy", labels)
    done = distill(*QUICK, "--labels", "labels.npy", "--format", "json")
    assert (done.data["rows"], done.data["rows_masked"]) == (22, 1)
    labels[5] = -1
    np.save("labels.npy", labels)
    (error,) = refused(distill(*QUICK, "--labels", "labels.npy"))
    assert "row 5: label -1 is outside 0 to 6" in error
    assert "if -1 marks padding, say ignore_index: -1" in error


def test_logits_that_are_called_probabilities(config: Path) -> None:
    """Negative numbers are no probabilities, and the message says what to look at."""
    source = "{path: teacher.npy, kind: probabilities}"
    (error,) = refused(distill("score", str(config), "--set", f"teacher={source}"))
    assert "a negative number" in error
    assert "are these probabilities" in error


def test_the_report_says_what_is_not_logits(config: Path) -> None:
    """Stored probabilities stand in the head with their temperature."""
    scores = np.load("teacher.npy")
    np.save("teacher.npy", np.exp(scores) / np.exp(scores).sum(1, keepdims=True))
    source = "{path: teacher.npy, kind: probabilities, temperature: 2}"
    done = distill("score", str(config), "--set", f"teacher={source}")
    assert re.search(r"^teacher .*teacher\.npy, probabilities at T = 2$", done.out, re.M)


def test_a_pytorch_file(folder: Path) -> None:
    """A .pt file, a zip of pickles, is told by its name and the way out."""
    with zipfile.ZipFile("teacher.pt", "w") as archive:
        archive.writestr("teacher/data.pkl", b"\x80\x02.")
        archive.writestr("teacher/data/0", bytes(16))
    (error,) = refused(distill("score", "--teacher", "teacher.pt", "--student", "student.npy"))
    assert "teacher in teacher.pt: is a PyTorch file" in error
    assert "np.save(" in error


def test_candidates_start_with_what_is_like_the_role(folder: Path) -> None:
    """Of many datasets, those whose names are like the role are listed first."""
    with h5py.File("many.h5", "w") as file:
        for name in (*"abcdefghijkl", "teacher/logits"):
            file[name] = np.ones((3, 2), np.float32)
    (error,) = refused(distill("score", "--teacher", "many.h5", "--student", "student.npy"))
    assert "it holds teacher/logits float32 [3, 2]," in error
