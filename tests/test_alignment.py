"""Dumps whose rows do not go together: told by their tokens, or by how often they agree."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from runs import Ended, distill, saved, scored, written

from distillcli.strategy.sampled import Agreement

SEQUENCES, POSITIONS, CLASSES = 10, 30, 50
ROWS = SEQUENCES * POSITIONS

Config = dict[str, Any]

RANDOM = np.random.default_rng(1)
TOKENS = RANDOM.integers(0, CLASSES, (SEQUENCES, POSITIONS))
FOLLOWING = np.roll(TOKENS, -1, axis=1)


def model(seed: int, right: float = 0.7) -> Any:
    """Logits that often have the next token on top."""
    random = np.random.default_rng(seed)
    scores = random.normal(0, 1, (SEQUENCES, POSITIONS, CLASSES))
    sure = random.random((SEQUENCES, POSITIONS)) < right
    np.put_along_axis(scores, FOLLOWING[..., None], np.where(sure, 8.0, 0.0)[..., None], axis=2)
    return scores


CONFIG: Config = {
    "strategy": "response",
    "teacher": "teacher.npy",
    "student": "student.npy",
    "response": {"alpha": 1.0},
}
HELD: Config = {**CONFIG, "teacher_tokens": "ours.npy", "student_tokens": "theirs.npy"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    saved(tmp_path, teacher=model(1), student=model(2), labels=FOLLOWING)
    np.save(tmp_path / "ours.npy", TOKENS)
    np.save(tmp_path / "theirs.npy", TOKENS.astype(np.uint16))
    return tmp_path


def run(folder: Path, config: Config, *options: str) -> Ended:
    return distill(
        "score", written(folder / "config.yaml", {"device": "cpu", **config}), *options,
        "--format", "json",
    )  # fmt: skip


def warned(done: Ended) -> list[str]:
    return [note for note in done.notes if "sampled rows" in note]


# --- tokens ---------------------------------------------------------------------------------------


def test_tokens_that_agree(folder: Path) -> None:
    """Of any two types; the result says so, and its figures do not change."""
    plain, held = scored(folder, CONFIG), scored(folder, HELD)
    assert (plain.terms, plain.metrics) == (held.terms, held.metrics)
    assert held.facts["alignment"]["tokens"] == "the same"
    assert "tokens" not in plain.facts["alignment"]
    assert any("the same token in every row" in note for note in held.facts["notes"])


def test_the_first_that_differs(folder: Path) -> None:
    """Is named with its sequence and position."""
    tokens = TOKENS.copy()
    tokens[7, 3] += 100
    tokens[8, 0] += 100
    np.save(folder / "theirs.npy", tokens)
    done = run(folder, HELD)
    assert (done.code, done.out) == (2, "")
    (error,) = done.errors
    assert error.startswith("student_tokens in theirs.npy: row 213 (sequence 7, position 3): token")
    assert f"token {tokens[7, 3]}, the teacher has {TOKENS[7, 3]}" in error
    assert "in the same order" in error
    np.save(folder / "theirs.npy", tokens.reshape(-1))
    assert "theirs.npy: row 213: token" in run(folder, HELD).errors[0]


@pytest.mark.parametrize(("side", "late"), [("theirs", "student"), ("ours", "teacher")])
def test_a_dump_that_begins_later(folder: Path, side: str, late: str) -> None:
    """The first row differs already, and the message says why."""
    shifted = np.roll(TOKENS.reshape(-1), 1).reshape(TOKENS.shape)
    np.save(folder / f"{side}.npy", shifted)
    (error,) = run(folder, HELD).errors
    assert "row 0 (sequence 0, position 0)" in error
    behind = "teacher" if late == "student" else "student"
    assert f"the {behind}'s dump is a row behind" in error


def test_a_shuffled_dump(folder: Path) -> None:
    np.save(folder / "theirs.npy", TOKENS[::-1])
    assert "row 0 (sequence 0, position 0)" in run(folder, HELD).errors[0]


def test_padding_may_differ(folder: Path) -> None:
    """What a mask leaves out is not compared."""
    tokens = TOKENS.copy()
    tokens[:, 20:] = 0
    np.save(folder / "theirs.npy", tokens)
    np.save(folder / "mask.npy", np.broadcast_to(np.arange(POSITIONS) < 20, TOKENS.shape))
    result = scored(folder, {**HELD, "mask": "mask.npy"})
    assert result.rows_masked == 100
    assert any(note.endswith("every row but those whose mask is 0") for note in notes(result))
    shifted = {**HELD, "mask": "mask.npy", "labels": "ours.npy", "shift_labels": True}
    assert scored(folder, shifted).rows_masked == 110


def notes(result: Any) -> list[str]:
    return [note for note in result.facts["notes"] if "same token" in note]


@pytest.mark.parametrize(
    ("options", "position"),
    [
        ({"labels": "labels.npy"}, 4),  # a prompt whose labels are -100
        ({"positions": {"skip_first": 5}}, 4),
        ({"labels": "ours.npy", "shift_labels": True}, POSITIONS - 1),
        ({"labels": "ours.npy", "shift_labels": True, "mask": "mask.npy"}, 19),
    ],
)
def test_only_padding_may_differ(folder: Path, options: Config, position: int) -> None:
    """A row that does not count for another reason has a token all the same."""
    tokens = TOKENS.copy()
    tokens[2, position] += 1
    np.save(folder / "theirs.npy", tokens)
    np.save(folder / "mask.npy", np.broadcast_to(np.arange(POSITIONS) < 20, TOKENS.shape))
    saved(folder, labels=np.where(np.arange(POSITIONS) < 5, -100, FOLLOWING))
    done = run(folder, {**HELD, **options})
    assert f"(sequence 2, position {position}): token" in done.errors[0]
    np.save(folder / "theirs.npy", TOKENS)
    assert run(folder, {**HELD, **options}).code == 0


@pytest.mark.parametrize("key", ["teacher_tokens", "student_tokens"])
def test_tokens_of_one_side(folder: Path, key: str) -> None:
    (error,) = run(folder, {**CONFIG, key: "ours.npy"}).errors
    assert f"{key}: are to be compared with" in error


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (TOKENS[:9], "270 rows (9 x 30), teacher has 300 rows (10 x 30)"),
        (TOKENS.T, "30 x 10 rows and positions, teacher 10 x 30"),
        (TOKENS.astype(float), "holds float64, tokens must be integers"),
    ],
)
def test_tokens_that_are_none(folder: Path, tokens: Any, words: str) -> None:
    np.save(folder / "theirs.npy", tokens)
    (error,) = run(folder, HELD).errors
    assert words in error


def test_tokens_beside_hidden_states(folder: Path) -> None:
    """Every strategy compares them."""
    config = {
        "strategy": "progressive", "teacher_hidden": ["teacher.npy"],
        "student_hidden": ["student.npy"], "progressive": {"layer_mapping": [[0, 0]]},
        "teacher_tokens": "ours.npy", "student_tokens": "theirs.npy",
    }  # fmt: skip
    assert run(folder, config).code == 0
    np.save(folder / "theirs.npy", TOKENS[::-1])
    assert "row 0" in run(folder, config).errors[0]


# --- without them ---------------------------------------------------------------------------------


def test_dumps_that_go_together(folder: Path) -> None:
    """No warning; the agreement at each shift is in the result."""
    done = run(folder, CONFIG)
    assert warned(done) == []
    shares = done.data["facts"]["alignment"]["top1"]["agreement"]
    assert shares["0"] > 0.3 > max(shares["-1"], shares["+1"])


@pytest.mark.parametrize(("shift", "words"), [(1, "one row further on"), (-1, "one row before")])
@pytest.mark.parametrize("flat", [False, True])
def test_shifted_dumps(folder: Path, shift: int, words: str, flat: bool) -> None:
    """One begins a row earlier than the other; in sequences or without them."""
    student = np.roll(model(2).reshape(ROWS, CLASSES), shift, axis=0)
    shape: tuple[int, ...] = (ROWS, CLASSES) if flat else (SEQUENCES, POSITIONS, CLASSES)
    saved(folder, teacher=model(1).reshape(shape), student=student.reshape(shape))
    (warning,) = warned(run(folder, CONFIG))
    assert "student in student.npy" in warning
    assert words in warning
    assert "look shifted by one row" in warning


def test_shifted_dumps_that_are_packed(folder: Path) -> None:
    """They are unpacked on threads, and tell the same."""
    student = np.roll(model(2).reshape(ROWS, CLASSES), 1, axis=0)
    sides = {"teacher": model(1).reshape(ROWS, CLASSES), "student": student}
    saved(folder, **sides)
    plain = run(folder, CONFIG)
    for name, scores in sides.items():
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file.create_dataset("x", data=scores, chunks=(16, 10), compression="gzip")
    packed = {name: f"{name}.h5" for name in sides}
    done = run(folder, {**CONFIG, **packed, "threads": 2})
    assert len(warned(done)) == len(warned(plain)) == 1
    assert done.data["facts"]["alignment"] == plain.data["facts"]["alignment"]


def test_shifted_dumps_of_largest_classes(folder: Path) -> None:
    """Top classes are all that it takes."""
    student = np.roll(model(2), 1, axis=1)
    indices = np.argsort(-student, axis=2)[..., :3]
    np.savez(
        folder / "student.npz",
        indices=indices,
        values=np.take_along_axis(student, indices, axis=2),
        log_z=np.log(np.exp(student).sum(axis=2)),
    )
    part = {"alpha": 1.0, "soft_loss": {"name": "kl", "temperature": 1.0}}
    source = {"path": "student.npz", "classes": CLASSES}
    assert len(warned(run(folder, {**CONFIG, "student": source, "response": part}))) == 1


@pytest.mark.parametrize("scores", ["noise", "one class", "sorted"])
def test_what_is_no_shift(folder: Path, scores: str) -> None:
    """Bad students, students of one class and sorted rows agree as much at every shift."""
    student = np.random.default_rng(4).normal(0, 1, (ROWS, CLASSES))
    teacher = model(1).reshape(ROWS, CLASSES)
    if scores == "one class":
        student[:, 3] = 50.0
    if scores == "sorted":
        order = np.argsort(teacher.argmax(axis=1), kind="stable")
        teacher, student = teacher[order], model(2).reshape(ROWS, CLASSES)[order]
    saved(folder, teacher=teacher, student=student)
    assert warned(run(folder, CONFIG)) == []


def test_few_rows_tell_nothing(folder: Path) -> None:
    student = np.roll(model(2), 1, axis=1)
    saved(folder, student=student)
    assert warned(run(folder, CONFIG, "--limit", "12")) == []


def test_labels_that_are_the_tokens_themselves(folder: Path) -> None:
    """They agree a row further on; with shift_labels they do in their own."""
    saved(folder, labels=TOKENS)
    config = {**CONFIG, "labels": "labels.npy"}
    (warning,) = warned(run(folder, config))
    assert "set shift_labels: true" in warning
    assert warned(run(folder, {**config, "shift_labels": True})) == []
    saved(folder, labels=FOLLOWING)
    assert warned(run(folder, config)) == []
    (warning,) = warned(run(folder, {**config, "shift_labels": True}))
    assert "look shifted already: leave shift_labels out" in warning


@pytest.mark.parametrize("shift", [0, 1])
def test_half_of_the_sample_is_enough_where_it_leaves_no_doubt(folder: Path, shift: int) -> None:
    """Of 256 rows, half; all where a shift may fit better."""
    student = np.roll(model(2).reshape(ROWS, CLASSES), shift, axis=0)
    saved(folder, teacher=model(1).reshape(ROWS, CLASSES), student=student)
    done = run(folder, CONFIG)
    assert len(warned(done)) == shift
    assert done.data["facts"]["alignment"]["top1"]["pairs"] == (254 if shift else 126)


@pytest.mark.parametrize("pairs", [16, 40, 60, 126, 254])
@pytest.mark.parametrize("further", [0.0, 0.3, 0.6])
def test_where_half_is_clear_the_whole_agrees(pairs: int, further: float) -> None:
    """Of dumps that agree so much more often a row further on."""
    random, missed = np.random.default_rng(pairs), 0
    for _ in range(2000):
        alike = random.random((2 * pairs, 2)) < (0.3, 0.3 + further)
        half, whole = (
            Agreement(n, {-1: 0.0, 0: alike[:n, 0].mean(), 1: alike[:n, 1].mean()})
            for n in (pairs, 2 * pairs)
        )
        missed += half.is_clear and whole.better is not None
    assert missed <= 2


def test_what_does_not_count_tells_nothing(folder: Path) -> None:
    """Padding that happens to agree a row on is left out of the sample."""
    student = model(2)
    student[:, 3:] = np.roll(student, 1, axis=1)[:, 3:]
    saved(folder, student=student)
    np.save(folder / "mask.npy", np.broadcast_to(np.arange(POSITIONS) < 3, TOKENS.shape))
    assert len(warned(run(folder, CONFIG))) == 1
    assert warned(run(folder, {**CONFIG, "mask": "mask.npy"})) == []


def test_broken_rows_are_told_by_the_run(folder: Path) -> None:
    """The sample says nothing of rows that cannot be used: the first of them is named."""
    student = model(2)
    student[0, 5], student[5, 0] = np.nan, np.nan
    saved(folder, student=student)
    assert "row 5 and 1 more" in run(folder, CONFIG).errors[0]
    labels = FOLLOWING.copy()
    labels[0, 4], labels[5, 1] = 99, 98
    saved(folder, student=model(2), labels=labels)
    assert "row 4: label 99" in run(folder, {**CONFIG, "labels": "labels.npy"}).errors[0]
