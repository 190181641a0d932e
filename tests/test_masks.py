"""Rows that are not to count: masks, ignored labels, positions; what is left is what is scored."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import reference
from runs import distill, saved, scored, silent, written

from distillcli.commands.score import score
from distillcli.commands.strategy import CATALOGUE
from distillcli.config import from_data
from distillcli.sinks.collection import Wishes
from distillcli.sums.rows import RowValues
from distillcli.sums.totals import Totals
from distillcli.targets.state import resume, state_of

SEQUENCES, POSITIONS, CLASSES = 6, 9, 7
ROWS = SEQUENCES * POSITIONS
LENGTHS = np.array([9, 4, 7, 1, 9, 6])  # how many positions of each sequence are no padding
REAL = np.arange(POSITIONS) < LENGTHS[:, None]

Config = dict[str, Any]


def normal(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).normal(0, 2, shape)


TEACHER, STUDENT = (normal(seed, SEQUENCES, POSITIONS, CLASSES) for seed in (1, 2))
TOKENS = np.random.default_rng(3).integers(0, CLASSES, (SEQUENCES, POSITIONS))
LOGITS: Config = {"strategy": "response", "teacher": "teacher.npy", "student": "student.npy"}
PART = {"alpha": 0.25, "soft_loss": {"name": "kl", "temperature": 2.0}}
LABELLED: Config = {**LOGITS, "labels": "labels.npy", "response": PART}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dump of sequences; what stands at padding is no number, so that a look at it shows."""
    teacher, student = TEACHER.copy(), STUDENT.copy()
    teacher[~REAL], student[~REAL] = np.nan, np.inf
    saved(tmp_path, teacher=teacher, student=student, labels=np.where(REAL, TOKENS, -100))
    np.save(tmp_path / "tokens.npy", TOKENS)
    np.save(tmp_path / "mask.npy", REAL.astype(np.int64))
    return tmp_path


def expected(kept: Any, labels: Any = TOKENS) -> tuple[float, float]:
    """The mean KL at T = 2 with its factor, and the mean cross-entropy, of the kept rows."""
    soft, hard = [], []
    for row in np.flatnonzero(np.broadcast_to(kept, (SEQUENCES, POSITIONS))):
        at = divmod(int(row), POSITIONS)
        teacher, student = TEACHER[at].tolist(), STUDENT[at].tolist()
        soft.append(reference.kl(teacher=teacher, student=student, temperature=2.0))
        hard.append(reference.cross_entropy(student=student, labels=int(labels[at])))
    return reference.mean(soft), reference.mean(hard)


def check(result: Any, kept: Any, labels: Any = TOKENS) -> None:
    """The terms are those of the kept rows, and the counts add up."""
    soft, hard = expected(kept, labels)
    count = int(np.count_nonzero(np.broadcast_to(kept, (SEQUENCES, POSITIONS))))
    assert (result.rows, result.rows_masked, result.rows_skipped) == (count, ROWS - count, 0)
    assert result.terms["soft"] == pytest.approx(soft, rel=1e-12)
    if "hard" in result.terms:
        assert result.terms["hard"] == pytest.approx(hard, rel=1e-12)


# --- what is left out -----------------------------------------------------------------------------


def test_labels_that_are_ignored(folder: Path) -> None:
    """-100 by default: not looked at, not counted, not bad."""
    check(scored(folder, LABELLED), REAL)


def test_a_mask(folder: Path) -> None:
    """Without any labels too."""
    check(scored(folder, {**LOGITS, "mask": "mask.npy", "response": {**PART, "alpha": 1}}), REAL)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int32", "int64"])
def test_types_of_masks(folder: Path, dtype: str) -> None:
    """Integers or booleans; one axis or two; NPY, NPZ or HDF5."""
    config = {**LABELLED, "labels": "tokens.npy"}
    mask = REAL.astype(dtype)
    np.save(folder / "mask.npy", mask.reshape(-1))
    np.savez(folder / "mask.npz", mask=mask)
    with h5py.File(folder / "mask.h5", "w") as file:
        file["mask"] = mask
        file.create_dataset("packed", data=mask, chunks=(2, 5), compression="lzf")
    for source in ("mask.npy", "mask.npz", "mask.h5::mask", "mask.h5::packed"):
        check(scored(folder, {**config, "mask": source}), REAL)


def test_another_ignore_index(folder: Path) -> None:
    """It may be a class, the token of padding say; `none` is for labels that are all meant."""
    np.save(folder / "teacher.npy", TEACHER)
    np.save(folder / "student.npy", STUDENT)
    config = {**LABELLED, "labels": "tokens.npy"}
    check(scored(folder, {**config, "ignore_index": 3}), TOKENS != 3)
    check(scored(folder, {**config, "ignore_index": "none"}), True)
    minus = np.where(REAL, TOKENS, -1)
    np.save(folder / "tokens.npy", minus)
    check(scored(folder, {**config, "ignore_index": -1}), REAL)


def test_labels_of_a_type_that_cannot_be_negative(folder: Path) -> None:
    """-100 is then no label at all."""
    np.save(folder / "labels.npy", TOKENS.astype(np.uint8))
    check(scored(folder, {**LABELLED, "mask": "mask.npy"}), REAL)


def test_labels_that_are_shifted(folder: Path) -> None:
    """The label of a position is the next token; the last position has none."""
    kept = np.zeros_like(REAL)
    kept[:, :-1] = REAL[:, 1:]  # padding follows the last token
    following = np.roll(TOKENS, -1, axis=1)
    check(scored(folder, {**LABELLED, "shift_labels": True}), kept, following)
    masked = {**LABELLED, "labels": "tokens.npy", "mask": "mask.npy", "shift_labels": True}
    check(scored(folder, masked), kept, following)


def test_a_mask_on_the_left(folder: Path) -> None:
    """Where labels are shifted, a position counts if its own token and the next one do."""
    left = REAL[:, ::-1]
    np.save(folder / "mask.npy", left)
    np.save(folder / "teacher.npy", np.where(left[..., None], TEACHER, np.nan))
    np.save(folder / "student.npy", STUDENT)
    config = {**LABELLED, "labels": "tokens.npy", "mask": "mask.npy"}
    check(scored(folder, config), left)
    kept = np.zeros_like(left)
    kept[:, :-1] = left[:, 1:] & left[:, :-1]
    check(scored(folder, {**config, "shift_labels": True}), kept, np.roll(TOKENS, -1, axis=1))


def test_positions_that_are_skipped(folder: Path) -> None:
    """The first so many of each sequence, beside whatever else is left out."""
    late = np.arange(POSITIONS) >= 3
    check(scored(folder, {**LABELLED, "positions": {"skip_first": 3}}), REAL & late)
    kept = np.zeros_like(REAL)
    kept[:, :-1] = REAL[:, 1:] & late[:-1]
    config = {**LABELLED, "positions": {"skip_first": 3}, "shift_labels": True}
    check(scored(folder, config), kept, np.roll(TOKENS, -1, axis=1))


def test_sequences_that_only_the_labels_know(folder: Path) -> None:
    """Logits [rows, classes] beside labels [sequences, positions]."""
    for name in ("teacher", "student"):
        rows = np.load(folder / f"{name}.npy").reshape(ROWS, CLASSES)
        np.save(folder / f"{name}.npy", rows)
    kept = np.zeros_like(REAL)
    kept[:, :-1] = REAL[:, 1:]
    config = {**LABELLED, "shift_labels": True}
    check(scored(folder, config), kept, np.roll(TOKENS, -1, axis=1))


# --- every strategy, and all that is told of rows -------------------------------------------------


def test_the_mean_is_over_kept_rows(tmp_path: Path) -> None:
    """One row of a batch counts as much as one of another, however many of them are left."""
    teacher = np.zeros((8, 2))
    teacher[:, 0] = [1, 2, 3, 4, 5, 6, 7, 8]
    saved(tmp_path, teacher=teacher, student=np.zeros((8, 2)))
    mask = np.array([1, 0, 0, 0, 1, 1, 1, 1], np.int8)
    np.save(tmp_path / "mask.npy", mask)
    losses = [reference.kl(teacher=row, student=[0.0, 0.0]) for row in teacher.tolist()]
    of_rows = reference.mean([loss for loss, one in zip(losses, mask, strict=True) if one])
    of_batches = (losses[0] + reference.mean(losses[4:])) / 2
    part = {"alpha": 1, "soft_loss": {"name": "kl", "temperature": 1}}
    result = scored(tmp_path, {**LOGITS, "mask": "mask.npy", "batch_size": 4, "response": part})
    assert abs(of_rows - of_batches) > 0.1
    assert result.loss == pytest.approx(of_rows, rel=1e-12)
    assert [batch.loss for batch in result.batches] == pytest.approx(
        [losses[0], reference.mean(losses[4:])], rel=1e-12
    )


def compacted(folder: Path, names: list[str], kept: Any) -> Path:
    """The same dump without the rows that do not count."""
    other = folder / "compacted"
    other.mkdir()
    for name in names:
        stored = np.load(folder / f"{name}.npy")
        flat = stored.reshape(ROWS, *stored.shape[kept.ndim :])
        np.save(other / f"{name}.npy", flat[kept.reshape(-1)])
    return other


def agree(result: Any, other: Any) -> None:
    """Every figure is the same."""
    assert result.rows == other.rows
    assert result.terms == pytest.approx(other.terms, rel=1e-12)
    assert result.metrics == pytest.approx(other.metrics, rel=1e-9, nan_ok=True)


ENSEMBLE: Config = {
    "strategy": "ensemble",
    "teachers": ["teacher.npy", "other.npy"],
    "student": "student.npy",
    "labels": "labels.npy",
}


@pytest.mark.parametrize("weights", ["accuracy", "confidence", "fit", "best_per_row"])
def test_an_ensemble(folder: Path, weights: str) -> None:
    """First passes leave the same rows out."""
    other = np.where(REAL[..., None], normal(5, *TEACHER.shape), np.nan)
    np.save(folder / "other.npy", other)
    part = {"weights": weights, "combine": "probabilities"}
    config = {**ENSEMBLE, "ensemble": part}
    less = compacted(folder, ["teacher", "other", "student", "labels"], REAL)
    result, expected_result = scored(folder, config), scored(less, config)
    agree(result, expected_result)
    assert result.teachers is not None
    assert expected_result.teachers is not None
    for one, two in zip(result.teachers, expected_result.teachers, strict=True):
        assert one.weight == pytest.approx(two.weight, abs=1e-6)


@pytest.mark.parametrize("init", ["xavier_uniform", "least_squares"])
def test_hidden_states(folder: Path, init: str) -> None:
    """[rows, positions, dim] of each layer, with masks and positions; in a fit too."""
    for name, width in (("s0", 4), ("s1", 5), ("t0", 6), ("t1", 5)):
        hidden = normal(len(name) + width, SEQUENCES, POSITIONS, width)
        np.save(folder / f"{name}.npy", np.where(REAL[..., None], hidden, np.nan))
    config = {
        "strategy": "progressive",
        "teacher_hidden": ["t0.npy", "t1.npy"],
        "student_hidden": ["s0.npy", "s1.npy"],
        "progressive": {"layer_mapping": [[0, 0], [1, 1]], "projection": {"init": init}},
    }
    less = compacted(folder, ["s0", "s1", "t0", "t1"], REAL)
    result = scored(folder, {**config, "mask": "mask.npy"})
    assert (result.rows, result.rows_masked) == (REAL.sum(), (~REAL).sum())
    assert result.loss == pytest.approx(scored(less, config).loss, rel=1e-9)


@pytest.mark.parametrize("shifted", [False, True])
def test_labels_beside_hidden_states_alone(folder: Path, shifted: bool) -> None:
    """They say which rows count; there are no classes that they could be outside of."""
    for name in ("s0", "t0"):
        hidden = normal(len(name), SEQUENCES, POSITIONS, 4)
        np.save(folder / f"{name}.npy", np.where(REAL[..., None], hidden, np.nan))
    config = {
        "strategy": "progressive",
        "teacher_hidden": ["t0.npy"],
        "student_hidden": ["s0.npy"],
        "progressive": {"layer_mapping": [[0, 0]]},
    }
    kept = REAL.copy()
    if shifted:
        kept[:, :-1], kept[:, -1] = REAL[:, 1:], False
    np.save(folder / "labels.npy", np.where(REAL, TOKENS + 2**40, -100))
    less = compacted(folder, ["s0", "t0"], kept)
    result = scored(folder, {**config, "labels": "labels.npy", "shift_labels": shifted})
    assert (result.rows, result.rows_masked) == (kept.sum(), (~kept).sum())
    assert result.loss == pytest.approx(scored(less, config).loss, rel=1e-9)
    late = REAL & (np.arange(POSITIONS) >= 2)
    np.save(folder / "late.npy", late)
    result = scored(folder, {**config, "mask": "mask.npy", "positions": {"skip_first": 2}})
    assert result.rows == late.sum()
    assert result.terms == scored(folder, {**config, "mask": "late.npy"}).terms


def test_rows_one_by_one(folder: Path) -> None:
    """A file by row holds NaN where a row does not count, and the worst rows are none of them."""
    checked = from_data(
        {"device": "cpu", **LABELLED}, base=folder, catalogue=CATALOGUE, where="test"
    )
    path = folder / "rows.npy"
    wishes = Wishes(per_row=path, worst=ROWS)
    result = score(checked, progress=silent, note=lambda text: None, wishes=wishes)
    rows = np.load(path).reshape(SEQUENCES, POSITIONS)
    np.testing.assert_array_equal(np.isnan(rows), ~REAL)
    assert result.worst is not None
    assert sorted(row.row for row in result.worst) == np.flatnonzero(REAL).tolist()


def test_groups_of_sequences(folder: Path) -> None:
    """One number for each sequence stands for all of its positions."""
    np.save(folder / "kinds.npy", np.array([2, 5, 2, 5, 2, 5]))
    groups = scored(folder, {**LABELLED, "groups": "kinds.npy"}).groups
    each = np.repeat([[2], [5], [2], [5], [2], [5]], POSITIONS, axis=1)
    np.save(folder / "each.npy", each)
    assert groups == scored(folder, {**LABELLED, "groups": "each.npy"}).groups
    assert groups is not None
    assert {one.group: one.rows for one in groups} == {2: 25, 5: 11}


def test_masked_rows_beside_bad_ones(folder: Path) -> None:
    """Kept, masked and skipped are told apart, in every output."""
    student = np.load(folder / "student.npy")
    student[0, 2] = np.nan
    np.save(folder / "student.npy", student)
    config = written(folder / "config.yaml", {**LABELLED, "device": "cpu"})
    done = distill("score", config)
    assert done.code == 2
    assert "row 2: NaN" in done.errors[0]
    skip = ("--set", "on_bad_rows=skip")
    data = distill("score", config, *skip, "--format", "json").data
    assert (data["rows"], data["rows_masked"], data["rows_skipped"]) == (35, 18, 1)
    words = "35 of 54 count, 18 masked, 1 skipped"
    assert words in distill("score", config, *skip).out
    assert "18 rows, which do not count" in distill("score", config, *skip, "--format", "md").out


def test_batches_without_rows_that_count(folder: Path) -> None:
    """Are no infinite ones: the report says that there are no rows, and JSON how many count."""
    config = written(folder / "config.yaml", {**LABELLED, "device": "cpu", "batch_size": 3})
    done = distill("score", config, "--format", "json")
    counts = [batch.get("rows", 3) for batch in done.data["batches"]]
    assert counts == REAL.reshape(-1, 3).sum(axis=1).tolist()
    assert {"rows"} <= set(done.data["batches"][4])
    assert "rows" not in done.data["batches"][0]
    table = distill("score", config, "--all-batches").out
    assert table.count("no rows") == counts.count(0) > 0
    assert "not finite" not in table
    lines = distill("score", config, "--format", "jsonl").out.splitlines()
    assert json.loads(lines[5])["batch"]["rows"] == counts[5]
    (folder / "base.json").write_text(done.out)
    assert distill("check", config, "--baseline", folder / "base.json").code == 0


@pytest.mark.parametrize("cut", [{"batch_size": 5}, {"threads": 2}, {"batch_size": 1}])
def test_the_cut_does_not_matter(folder: Path, cut: Config) -> None:
    """The same bits for every batch size and thread count, masks and all."""
    config = {**LABELLED, "shift_labels": True, "mask": "mask.npy"}
    one, two = scored(folder, config), scored(folder, {**config, **cut})
    assert (one.loss, one.terms, one.metrics) == (two.loss, two.terms, two.metrics)


def test_a_part_of_the_rows(folder: Path) -> None:
    """The label of the last row taken is the next token, which is not taken itself."""
    np.save(folder / "teacher.npy", TEACHER)
    np.save(folder / "student.npy", STUDENT)
    config = written(folder / "c.yaml", {**LABELLED, "labels": "tokens.npy", "device": "cpu"})
    options = ("--set", "shift_labels=true", "--rows", "5:16", "--format", "json")
    data = distill("score", config, *options).data
    kept = np.zeros(ROWS, bool)
    kept[5:16] = True
    kept[8] = False
    _, hard = expected(kept.reshape(REAL.shape), np.roll(TOKENS, -1, axis=1))
    assert (data["rows"], data["rows_masked"]) == (10, 1)
    assert data["terms"]["hard"] == pytest.approx(hard, rel=1e-12)


def test_shards_cut_anywhere(folder: Path) -> None:
    """Shards of logits, labels and mask, each cut elsewhere, give the same bits as whole files."""
    config = {**LABELLED, "labels": "tokens.npy", "mask": "mask.npy", "shift_labels": True}
    whole = scored(folder, config)
    for name, cuts in (("teacher", [1]), ("student", [2, 5]), ("tokens", [3]), ("mask", [4, 5])):
        for index, piece in enumerate(np.split(np.load(folder / f"{name}.npy"), cuts)):
            np.save(folder / f"{name}-{index}.npy", piece)
    parts = {name: f"{name}-*.npy" for name in ("teacher", "student", "mask")}
    found = scored(folder, {**config, **parts, "labels": "tokens-*.npy"})
    assert (found.terms, found.metrics) == (whole.terms, whole.metrics)


def test_soft_targets_have_a_row_for_every_row(folder: Path) -> None:
    """Masks bear on the figures alone; copied labels are ignored again by their readers."""
    teacher = TEACHER.copy()
    teacher[1, 8] = np.nan  # padding, of which nothing is said; its target is NaN
    np.save(folder / "teacher.npy", teacher)
    np.save(folder / "other.npy", normal(5, *TEACHER.shape))
    np.save(folder / "student.npy", STUDENT)
    config = written(folder / "config.yaml", {**ENSEMBLE, "device": "cpu"})
    path = folder / "targets.h5"
    done = distill("ensemble", config, "--output", path, "--copy-labels", "--format", "json")
    assert done.code == 0, done.err
    assert (done.data["rows"], done.data["rows_masked"], done.data["rows_skipped"]) == (36, 18, 0)
    with h5py.File(path) as file:
        targets, labels = file["targets"][...], file["labels"][...]
    bare = np.isnan(targets).all(axis=1)
    assert np.flatnonzero(bare).tolist() == [17]
    np.testing.assert_allclose(
        targets[~bare],
        (np.load(folder / "teacher.npy") + np.load(folder / "other.npy")).reshape(ROWS, -1)[~bare]
        / 2,
        rtol=1e-6,
    )
    np.testing.assert_array_equal(labels, np.where(REAL, TOKENS, -100).reshape(-1))
    assert distill("verify", path).code == 0
    assert done.data["output"]["rows_nan"] == 1
    told = "18 rows are not in the figures; "
    out = " ".join(distill("ensemble", config, "--output", folder / "more.h5").out.split())
    assert f"{told}1 of them hold NaN in the file, the targets of the other 17 are there" in out
    for bare, rest in (
        (np.where(REAL[..., None], TEACHER, np.nan), "18 of them hold NaN in the file, as the"),
        (TEACHER, "their targets are in the file"),
    ):
        np.save(folder / "teacher.npy", bare)
        out = distill("ensemble", config, "--output", folder / "more.h5", "--overwrite").out
        assert told + rest in " ".join(out.split())
    np.save(folder / "teacher.npy", teacher)
    again = scored(
        folder,
        {**LOGITS, "teacher": "targets.h5::targets", "labels": "targets.h5::labels"},
    )
    assert (again.rows, again.rows_masked) == (36, 18)


def test_check_of_other_masks(folder: Path) -> None:
    """Results of other rows are not held against each other."""
    config = written(folder / "config.yaml", {**LABELLED, "device": "cpu"})
    base = folder / "base.json"
    assert distill("check", config, "--baseline", base, "--update-baseline").code == 0
    assert distill("check", config, "--baseline", base).code == 0
    done = distill("check", config, "--baseline", base, "--set", "positions.skip_first=1")
    assert done.code == 2
    assert "rows masked" in done.err


# --- what is refused ------------------------------------------------------------------------------


def refused(folder: Path, config: Config) -> str:
    """The one line that a run ends with."""
    done = distill("score", written(folder / "config.yaml", {"device": "cpu", **config}))
    assert (done.code, done.out, len(done.errors)) == (2, "", 1), done
    return done.errors[0]


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (REAL.T, ["mask in", "9 x 6 rows and positions, teacher 6 x 9"]),
        (REAL[:5], ["mask in", "45 rows (5 x 9), teacher has 54 rows (6 x 9)"]),
        (LENGTHS, ["mask in", "6 rows, teacher has 54 rows"]),
        (REAL.astype(float), ["holds float64, a mask must be integers or booleans", "int8"]),
        (REAL[:, None, None, :].astype(np.int8), ["has 4 dimensions"]),
        (REAL * 2, ["row 0: 2 is neither 0 nor 1"]),
        (REAL - 1, ["row 13: -1 is neither 0 nor 1"]),
        (REAL & False, ["all 54 rows are masked", "a mask is 1 where a row counts"]),
    ],
    ids=["swapped", "short", "lengths", "floats", "four axes", "twos", "additive", "nothing left"],
)
def test_masks_that_are_none(folder: Path, mask: Any, words: list[str]) -> None:
    """Each is told apart, with the way out."""
    np.save(folder / "mask.npy", mask)
    error = refused(folder, {**LABELLED, "labels": "tokens.npy", "mask": "mask.npy"})
    assert all(one in error for one in words), error


def test_one_row_that_is_masked(folder: Path) -> None:
    config = written(folder / "config.yaml", {**LABELLED, "mask": "mask.npy"})
    done = distill("score", config, "--rows", "13:14")
    assert "the only row is masked, there is nothing to tell" in done.errors[0]


@pytest.mark.parametrize("count", [9, 10, 2**40])
def test_more_positions_than_there_are(folder: Path, count: int) -> None:
    error = refused(folder, {**LABELLED, "positions": {"skip_first": count}})
    assert "positions.skip_first: leaves nothing of sequences of 9 positions" in error


def test_nothing_to_shift(folder: Path) -> None:
    """A sequence of one position has no next one."""
    for name in ("teacher", "student", "labels"):
        stored = np.load(folder / f"{name}.npy")
        np.save(folder / f"{name}.npy", stored.reshape(ROWS, 1, *stored.shape[2:]))
    assert "leaves nothing" in refused(folder, {**LABELLED, "shift_labels": True})


@pytest.mark.parametrize("key", [{"shift_labels": True}, {"positions": {"skip_first": 1}}])
def test_no_sequences(folder: Path, key: Config) -> None:
    """Rows alone do not tell where a sequence ends."""
    for name in ("teacher", "student", "labels"):
        stored = np.load(folder / f"{name}.npy")
        np.save(folder / f"{name}.npy", stored.reshape(ROWS, *stored.shape[2:]))
    error = refused(folder, {**LABELLED, **key})
    assert "needs to know where sequences end" in error


@pytest.mark.parametrize("key", [{"shift_labels": True}, {"ignore_index": -1}])
def test_labels_that_are_not_there(folder: Path, key: Config) -> None:
    assert "is about labels, and there are none" in refused(folder, {**LOGITS, **key})


def test_a_label_at_a_kept_row(folder: Path) -> None:
    """What a mask leaves is still looked at."""
    labels = TOKENS.copy()
    labels[1, 7], labels[2, 3] = 999, 777  # the first is padding
    np.save(folder / "labels.npy", labels)
    error = refused(folder, {**LABELLED, "mask": "mask.npy"})
    assert "row 21: label 777 is outside 0 to 6" in error


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"positions": {"skip": 3}}, "positions.skip: unknown key; did you mean skip_first?"),
        ({"positions": 3}, "positions: must be a mapping of keys to values, not 3"),
        ({"positions": {"skip_first": -1}}, "must be a whole number of at least 0, not -1"),
        ({"ignore_index": "pad"}, 'ignore_index: must be none or a whole number, not "pad"'),
        ({"shift_labels": "yes"}, "shift_labels: must be true or false"),
        ({"mask": {"path": "mask.npy", "kind": "logits"}}, "mask.kind: is for class scores only"),
    ],
)
def test_values_that_will_not_do(folder: Path, change: Config, words: str) -> None:
    assert words in refused(folder, {**LABELLED, **change})


def test_validate_holds_them_against_each_other(folder: Path) -> None:
    """Headers alone tell that a mask does not fit."""
    np.save(folder / "mask.npy", REAL.T)
    config = written(folder / "config.yaml", {**LABELLED, "mask": "mask.npy"})
    done = distill("validate", config)
    assert done.code == 2
    assert "9 x 6 rows and positions" in done.errors[0]
    np.save(folder / "mask.npy", REAL)
    done = distill("validate", config, "--set", "positions.skip_first=2", "--format", "json")
    assert done.data["config"]["positions"] == {"skip_first": 2}
    assert done.data["config"]["mask"] == "mask.npy"


def test_masks_outlive_a_kill() -> None:
    """What is resumed has counted the same rows, in whole blocks and in the one that is open."""
    random = np.random.default_rng(1)
    values, masked = random.normal(size=(2, 6000)), random.random(6000) < 0.3
    keep = ~masked & (random.random(6000) < 0.9)
    rows = RowValues(0, ("a", "b"), values, keep, masked)
    whole, first, second = (Totals(("a", "b"), 6000) for _ in range(3))
    whole.add(rows)
    first.add(rows.part(0, 5000))
    resume(second, state_of(first), ())
    second.add(rows.part(5000, 6000))
    done, again = whole.finish(), second.finish()
    counts = (int(keep.sum()), int((~keep & ~masked).sum()), int(masked.sum()))
    assert (done.rows, done.skipped, done.masked) == counts
    assert (again.rows, again.skipped, again.masked) == counts
    assert [done.mean(name) for name in "ab"] == [again.mean(name) for name in "ab"]


def test_soft_targets_of_shifted_labels(folder: Path) -> None:
    """Labels are copied as they go with the rows, and vocabularies are cut as they are compared."""
    wide = np.concatenate([TEACHER, np.zeros((SEQUENCES, POSITIONS, 2))], axis=2)
    saved(folder, teacher=TEACHER, other=wide, student=STUDENT)
    config = {**ENSEMBLE, "labels": "tokens.npy", "shift_labels": True, "vocabulary": "common"}
    path = folder / "targets.h5"
    options = ("--output", path, "--copy-labels", "--dtype", "float64", "--format", "json")
    done = distill(
        "ensemble", written(folder / "config.yaml", {**config, "device": "cpu"}), *options
    )
    assert done.code == 0, done.err
    with h5py.File(path) as file:
        targets, labels = file["targets"][...], file["labels"][...].reshape(TOKENS.shape)
    np.testing.assert_allclose(targets, TEACHER.reshape(ROWS, CLASSES), rtol=1e-12)
    np.testing.assert_array_equal(labels[:, :-1], TOKENS[:, 1:])
    assert (labels[:, -1] == -100).all()
    assert distill("verify", path).code == 0
