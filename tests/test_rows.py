"""What is told of single rows: a file with the loss of each, the worst of them, groups of them."""

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import distill, saved, silent, written

from distillcli.commands.score import score
from distillcli.commands.strategy import CATALOGUE
from distillcli.config import from_data
from distillcli.errors import ConfigErrors, DataError
from distillcli.result import Result
from distillcli.sinks.collection import Wishes
from distillcli.sinks.groups import GroupSums
from distillcli.sinks.worst import Worst
from distillcli.sums.rows import Floats, RowValues

ROWS, CLASSES = 5000, 6


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Teachers, a student, labels and groups in .npy files."""
    rng = np.random.default_rng(5)
    names = ("teacher", "other", "student")
    saved(tmp_path, "float32", **{name: rng.normal(0, 2, (ROWS, CLASSES)) for name in names})
    saved(tmp_path, "float32", low=rng.normal(size=(ROWS, 3)), high=rng.normal(size=(ROWS, 3)))
    saved(tmp_path, labels=rng.integers(0, CLASSES, ROWS))
    np.save(tmp_path / "groups.npy", rng.integers(-3, 4, ROWS))
    return tmp_path


RESPONSE: dict[str, Any] = {
    "strategy": "response",
    "teacher": "teacher.npy",
    "student": "student.npy",
    "labels": "labels.npy",
    "response": {"alpha": 0.25, "soft_loss": {"name": "kl", "temperature": 2.0}},
}
ENSEMBLE: dict[str, Any] = {
    "strategy": "ensemble",
    "teachers": ["teacher.npy", "other.npy"],
    "student": "student.npy",
    "labels": "labels.npy",
}
PROGRESSIVE: dict[str, Any] = {
    "strategy": "progressive",
    "student_hidden": ["low.npy"],
    "teacher_hidden": ["high.npy"],
    "progressive": {"layer_mapping": [[0, 0]]},
}


def run(folder: Path, config: Mapping[str, Any], **wishes: Any) -> Result:
    """The result of a run on the CPU."""
    data = {"device": "cpu", **config}
    checked = from_data(data, base=folder, catalogue=CATALOGUE, where="test")
    return score(checked, progress=silent, note=lambda text: None, wishes=Wishes(**wishes))


def softmax(scores: Floats) -> Floats:
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    result: Floats = shifted / shifted.sum(axis=1, keepdims=True)
    return result


def expected_losses(folder: Path) -> Floats:
    """The loss of RESPONSE by row, from its formula."""
    teacher, student = (np.load(folder / f"{n}.npy").astype("f8") for n in ("teacher", "student"))
    labels = np.load(folder / "labels.npy")
    p, q = softmax(teacher / 2), softmax(student / 2)
    soft = 4 * (p * np.log(p / q)).sum(axis=1)
    hard = -np.log(softmax(student)[np.arange(len(labels)), labels])
    losses: Floats = 0.25 * soft + 0.75 * hard
    return losses


# --- the loss of every row ----------------------------------------------------------------------


def test_per_row(folder: Path) -> None:
    """float64 [rows], the weighted loss; the result names the file with its checksum."""
    path = folder / "rows.npy"
    result = run(folder, RESPONSE, per_row=path)
    rows = np.load(path)
    assert (rows.dtype, rows.shape) == (np.float64, (ROWS,))
    np.testing.assert_allclose(rows, expected_losses(folder), rtol=1e-5)
    assert result.loss == pytest.approx(rows.mean(), rel=1e-12)
    crc = f"{zlib.crc32(path.read_bytes()):08x}"
    assert result.facts["per_row"] == {"path": str(path), "crc32": crc, "rows": ROWS}
    assert "per_row" not in run(folder, RESPONSE).facts


@pytest.mark.parametrize("config", [RESPONSE, ENSEMBLE, PROGRESSIVE], ids=lambda c: c["strategy"])
def test_per_row_does_not_depend_on_the_cut(folder: Path, config: dict[str, Any]) -> None:
    """The same bytes for every batch size and thread count; their mean is the loss."""
    files = []
    for index, (size, threads) in enumerate([("auto", 1), (7, 2), (4096, 1)]):
        path = folder / f"rows{index}.npy"
        result = run(folder, {**config, "batch_size": size, "threads": threads}, per_row=path)
        assert result.loss == pytest.approx(np.load(path).mean(), rel=1e-12)
        files.append(path.read_bytes())
    assert files[0] == files[1] == files[2]


def test_skipped_rows_are_nan(folder: Path) -> None:
    """A row that cannot be used keeps its place, as NaN; an infinite loss is infinite."""
    student = np.load(folder / "student.npy")
    student[17, 2] = np.nan
    student[30, 1] = -np.inf
    np.save(folder / "student.npy", student)
    path = folder / "rows.npy"
    result = run(folder, {**RESPONSE, "on_bad_rows": "skip"}, per_row=path, worst=2)
    rows = np.load(path)
    assert np.flatnonzero(np.isnan(rows)).tolist() == [17]
    assert np.flatnonzero(np.isinf(rows)).tolist() == [30]
    assert (result.rows, result.rows_skipped) == (ROWS - 1, 1)
    assert result.worst is not None
    assert [row.row for row in result.worst] == [
        30,
        int(np.nanargmax(np.where(rows < 1e9, rows, 0))),
    ]
    assert result.worst[0].loss is None
    assert result.as_dict()["worst"][0]["loss"] is None


def test_a_run_that_fails_leaves_the_old_file(folder: Path) -> None:
    """A bad row late in the dump: the file of the run before stays, and nothing else is left."""
    path = folder / "rows.npy"
    path.write_bytes(b"old")
    student = np.load(folder / "student.npy")
    student[-1] = np.nan
    np.save(folder / "student.npy", student)
    before = set(os.listdir(folder))
    with pytest.raises(DataError, match="row 4999"):
        run(folder, RESPONSE, per_row=path)
    assert path.read_bytes() == b"old"
    assert set(os.listdir(folder)) == before


# --- the worst rows -----------------------------------------------------------------------------


def test_worst(folder: Path) -> None:
    """The rows of the highest loss with label, top class and probability of both sides."""
    losses = expected_losses(folder)
    result = run(folder, {**RESPONSE, "metrics": "none"}, worst=25)
    assert result.worst is not None
    assert [row.row for row in result.worst] == np.argsort(-losses)[:25].tolist()
    teacher, student = (np.load(folder / f"{n}.npy").astype("f8") for n in ("teacher", "student"))
    labels = np.load(folder / "labels.npy")
    for row in result.worst:
        assert row.loss == pytest.approx(losses[row.row], rel=1e-5)
        assert row.label == labels[row.row]
        for side, scores in (("student", student), ("teacher", teacher)):
            assert getattr(row, f"{side}_class") == scores[row.row].argmax()
            top = softmax(scores[row.row : row.row + 1]).max()
            assert getattr(row, f"{side}_probability") == pytest.approx(top, rel=1e-5)


@pytest.mark.parametrize("config", [RESPONSE, ENSEMBLE, PROGRESSIVE], ids=lambda c: c["strategy"])
def test_worst_of_every_strategy(folder: Path, config: dict[str, Any]) -> None:
    """They agree with the file of all rows; without scores there are no classes to tell."""
    path = folder / "rows.npy"
    found = run(folder, config, worst=10, per_row=path).worst
    assert found is not None
    rows = np.load(path)
    assert [row.row for row in found] == np.lexsort((np.arange(ROWS), -rows))[:10].tolist()
    assert [row.loss for row in found] == rows[[row.row for row in found]].tolist()
    known = {"row", "loss"}
    if config is not PROGRESSIVE:
        known |= {
            f"{side}_{what}" for side in ("student", "teacher") for what in ("class", "probability")
        }
        known.add("label")
    assert set(found[0].as_dict()) == known


def values(start: int, losses: list[float], keep: list[bool] | None = None) -> RowValues:
    """Row values with the loss alone."""
    mask = np.array(keep if keep is not None else [True] * len(losses))
    return RowValues(start, ("loss",), np.array([losses]), mask)


@pytest.mark.parametrize("cut", [1, 2, 3, 8])
def test_worst_order(cut: int) -> None:
    """Infinite first, of equal losses the lower row; skipped rows never; for every cut."""
    inf, nan = np.inf, np.nan
    losses = [1.0, 3.0, inf, 3.0, 2.0, nan, inf, 3.0]
    keep = [True, True, True, True, True, False, True, True]
    worst = Worst(5, ["loss"])
    for at in range(0, len(losses), cut):
        worst.add(values(at, losses[at : at + cut], keep[at : at + cut]))
    assert [row.row for row in worst.found()] == [2, 6, 1, 3, 7]


def test_fewer_rows_than_wished_for() -> None:
    """All of them then."""
    worst = Worst(10, ["loss"])
    worst.add(values(0, [1.0, 2.0]))
    assert [row.row for row in worst.found()] == [1, 0]


@pytest.mark.parametrize("text", ["0", "-1", "10001", "ten", "1.5", "9" * 40])
def test_a_count_that_will_not_do(folder: Path, text: str) -> None:
    """One line that says what is allowed."""
    config = written(folder / "config.yaml", RESPONSE)
    done = distill("score", config, f"--worst={text}")
    assert done.code == 2
    assert "--worst: " in done.errors[0]
    assert "from 1 to 10,000" in done.errors[0]


# --- groups -------------------------------------------------------------------------------------


def expected_groups(folder: Path, numbers: Floats) -> dict[int, tuple[int, float]]:
    """Rows and mean loss by group."""
    losses = expected_losses(folder)
    return {
        int(number): (int((numbers == number).sum()), losses[numbers == number].mean())
        for number in np.unique(numbers)
    }


@pytest.mark.parametrize("source", ["labels", "groups.npy"])
def test_groups(folder: Path, source: str) -> None:
    """Rows, loss and metrics of each group; together they are the whole."""
    result = run(folder, {**RESPONSE, "groups": source})
    name = "labels" if source == "labels" else "groups"
    numbers = np.load(folder / f"{name}.npy")
    assert result.groups is not None
    found = {one.group: (one.rows, one.loss) for one in result.groups}
    expected = expected_groups(folder, numbers)
    assert {key: rows for key, (rows, _) in found.items()} == {
        k: r for k, (r, _) in expected.items()
    }
    for key, (_, loss) in found.items():
        assert loss == pytest.approx(expected[key][1], rel=1e-5)
    student, teacher = (np.load(folder / f"{n}.npy").argmax(axis=1) for n in ("student", "teacher"))
    labels = np.load(folder / "labels.npy")
    for one in result.groups:
        inside = numbers == one.group
        assert one.metrics["top1_agreement"] == pytest.approx((student == teacher)[inside].mean())
        assert one.metrics["student_accuracy"] == pytest.approx((student == labels)[inside].mean())
        assert set(one.metrics) >= {"kl_mean", "teacher_accuracy"}
    losses = [one.loss for one in result.groups if one.loss is not None]
    assert losses == sorted(losses, reverse=True)
    whole = sum(one.rows * (one.loss or 0.0) for one in result.groups) / ROWS
    assert whole == pytest.approx(result.loss, rel=1e-12)
    assert any(one["role"] == "groups" for one in result.facts["inputs"]) == (name == "groups")


@pytest.mark.parametrize("config", [RESPONSE, ENSEMBLE, PROGRESSIVE], ids=lambda c: c["strategy"])
def test_groups_do_not_depend_on_the_cut(folder: Path, config: dict[str, Any]) -> None:
    """The same bits for every batch size, thread count and sharding of the groups."""
    whole = run(folder, {**config, "groups": "groups.npy", "threads": 1})
    numbers = np.load(folder / "groups.npy")
    for index, (start, stop) in enumerate([(0, 1), (1, 4097), (4097, ROWS)]):
        np.save(folder / f"part-{index}.npy", numbers[start:stop])
    changes = {"groups": "part-*.npy", "threads": 2, "batch_size": 33}
    assert run(folder, {**config, **changes}).groups == whole.groups


def test_merging_sums_is_associative() -> None:
    """Groups that one side lacks count as empty there."""
    rng = np.random.default_rng(0)

    def part(start: int) -> GroupSums:
        numbers = rng.integers(0, 5, 9) + start % 3
        rows = RowValues(
            start, ("a", "b", "group"), np.stack([rng.normal(size=9), np.ones(9), numbers]),
            np.ones(9, bool),
        )  # fmt: skip
        return GroupSums.of(rows, 2)

    a, b, c = part(0), part(9), part(18)
    left, right = a.merge(b).merge(c), a.merge(b.merge(c))
    np.testing.assert_array_equal(left.keys, right.keys)
    np.testing.assert_array_equal(left.rows, right.rows)
    np.testing.assert_allclose(left.sums, right.sums, rtol=1e-12)
    assert left.rows.sum() == 27
    np.testing.assert_array_equal(left.sums[1], left.rows)


def test_skipped_rows_belong_to_no_group(folder: Path) -> None:
    """A group whose rows are all skipped is not there; an infinite loss comes first."""
    numbers = np.zeros(ROWS, np.int64)
    numbers[5], numbers[6] = 1, 2
    np.save(folder / "groups.npy", numbers)
    student = np.load(folder / "student.npy")
    student[5] = np.nan
    student[6, 0] = -np.inf
    np.save(folder / "student.npy", student)
    result = run(folder, {**RESPONSE, "groups": "groups.npy", "on_bad_rows": "skip"})
    assert result.groups is not None
    assert [(one.group, one.rows) for one in result.groups] == [(2, 1), (0, ROWS - 2)]
    assert result.groups[0].loss is None


def test_too_many_groups(folder: Path) -> None:
    """1000 are told apart; beyond, the error says how many were seen and where."""
    np.save(folder / "groups.npy", np.arange(ROWS) % 1000)
    assert len(run(folder, {**RESPONSE, "groups": "groups.npy"}).groups or ()) == 1000
    np.save(folder / "groups.npy", np.arange(ROWS))
    with pytest.raises(DataError, match=r"groups in groups.npy: 5,000 different groups") as caught:
        run(folder, {**RESPONSE, "groups": "groups.npy"})
    assert "at most 1,000" in caught.value.problem


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros(ROWS), "groups must be integers"),
        (np.zeros((ROWS, 2, 2), int), "has 3 dimensions"),
        (np.zeros(ROWS - 1, int), "4,999 rows, teacher has 5,000"),
        (np.full(ROWS, 2**60), "row 0: 1152921504606846976 is beyond"),
        (np.full(ROWS, 2**63, np.uint64), "row 0: 9223372036854775808 is beyond"),
        (np.full(ROWS, -(2**60)), "row 0: -1152921504606846976 is beyond"),
    ],
)
def test_groups_that_will_not_do(folder: Path, array: Any, words: str) -> None:
    """One line that names the source."""
    np.save(folder / "groups.npy", array)
    with pytest.raises(DataError, match=words) as caught:
        run(folder, {**RESPONSE, "groups": "groups.npy"})
    assert caught.value.where.startswith("groups in groups.npy")


def test_groups_by_labels_need_labels(folder: Path) -> None:
    """The config's mistake, told at its key."""
    config = {key: RESPONSE[key] for key in ("strategy", "teacher", "student")}
    with pytest.raises(ConfigErrors, match="groups: are to be the labels, and there are none"):
        run(folder, {**config, "groups": "labels"})


def test_a_file_called_labels_can_be_named(folder: Path) -> None:
    """`groups: labels` is the word; a file of that name is ./labels.npy."""
    result = run(folder, {**RESPONSE, "groups": "./labels.npy"})
    assert result.groups == run(folder, {**RESPONSE, "groups": "labels"}).groups
    assert result.facts["config"]["groups"] == "./labels.npy"


# --- in the report ------------------------------------------------------------------------------


def test_in_the_report_and_the_result(folder: Path) -> None:
    """Tables of groups and worst rows, and the same in the JSON."""
    config = written(folder / "config.yaml", {**RESPONSE, "groups": "groups.npy"})
    arguments = ("score", config, "--worst", "3", "--per-row", folder / "rows.npy")
    table = distill(*arguments)
    data = distill(*arguments, "--format", "json").data
    assert table.code == 0
    assert f"the loss of each row is in {folder / 'rows.npy'}" in table.out
    lines = table.out.splitlines()
    heads = [line.split()[0] for line in lines if line.strip()]
    for group in data["groups"]:
        assert any(
            line.split()[:2] == [str(group["group"]), f"{group['rows']:,}"] for line in lines
        )
    for row in data["worst"]:
        assert any(line.split()[:1] == [str(row["row"])] for line in lines)
    assert "group" in heads
    assert "worst" in heads
    assert list(data["groups"][0]) == ["group", "rows", "loss", "metrics"]
    assert json.loads(json.dumps(data)) == data


def test_many_groups_are_shortened_in_the_table_alone(folder: Path) -> None:
    """The worst twenty, and how many more; JSON has all of them."""
    np.save(folder / "groups.npy", np.arange(ROWS) % 300)
    config = written(folder / "config.yaml", {**RESPONSE, "groups": "groups.npy"})
    out = distill("score", config).out
    assert "280 more with a lower loss; --format json has them all" in out
    assert len(distill("score", config, "--format", "json").data["groups"]) == 300
