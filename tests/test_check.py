"""`distill check`: a verdict and an exit code for every kind of change."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checks import Data, baseline, changed, check, dump, limits, numbers, verdicts
from runs import ROOT, distill, written

from distillcli.checking.comparison import Row, checked
from distillcli.config import Check, Tolerance, demanding, fail_on
from distillcli.errors import UsageError


def poison(path: Path, row: int) -> None:
    """Put a NaN into a dump."""
    array = np.load(path)
    array[row] = np.nan
    np.save(path, array)


def mask(path: Path) -> None:
    """Make the student rule a class out, so that the KL of a row is infinite."""
    array = np.load(path)
    array[3, 2] = -np.inf
    np.save(path, array)


@dataclass(frozen=True)
class Planted:
    """A change between baseline and check, and how the check must end."""

    name: str
    code: int
    said: str
    options: tuple[str, ...] = ()
    now: Callable[[Path], object] = lambda folder: None
    base: Callable[[Data], object] = lambda data: None


def text(folder: Path, content: str) -> None:
    (folder / "base.json").write_text(content)


REGRESSION = ("--set", "check.mode=regression")
PLANTED = [
    Planted("nothing", 0, "pass"),
    Planted("a worse student", 1, "fail", now=lambda folder: dump(folder, worse=0.4)),
    Planted(
        "a worse student, only regressions fail", 1, "fail", REGRESSION,
        now=lambda folder: dump(folder, worse=0.4),
    ),
    Planted("a better student", 1, "fail", now=lambda folder: dump(folder, worse=-0.3)),
    Planted(
        "a better student, only regressions fail", 0, "pass",
        (*REGRESSION, "--fail-on", "student_ece:1"),
        now=lambda folder: dump(folder, worse=-0.3),
    ),
    Planted(
        "a worse student within wide limits", 0, "pass", ("--fail-on", "*:1000%"),
        now=lambda folder: dump(folder, worse=0.1),
    ),
    Planted(
        "another temperature", 2, "temperature 4.0, now 2.0",
        ("--set", "response.soft_loss.temperature=2"),
    ),
    Planted(
        "another temperature, allowed", 1, "fail",
        ("--set", "response.soft_loss.temperature=2", "--allow", "temperature"),
    ),
    Planted("fewer rows", 2, "rows 60, now 40", now=lambda folder: dump(folder, rows=40)),
    Planted("a range of the rows", 2, "row range 0:60, now 0:50", ("--limit", "50")),
    Planted("fewer rows, allowed", 1, "fail", ("--limit", "50", "--allow", "rows")),
    Planted("other rows, as many", 2, "row range", ("--rows", "10:60"),
            base=lambda data: data.update(rows=50) or data["facts"].update(row_range=[0, 50])),
    Planted("other classes", 2, "classes 7, now 9", now=lambda folder: dump(folder, classes=9)),
    Planted("another loss", 2, "soft_loss.name kl, now jsd",
            ("--set", "response.soft_loss={name: jsd}")),
    Planted("another parameter of the loss", 2, "temperature_squared true, now false",
            ("--set", "response.soft_loss.temperature_squared=false")),
    Planted("another weight", 2, "weight of soft 0.7, now 0.5", ("--set", "response.alpha=0.5")),
    Planted("another precision", 2, "precision float64, now float32",
            ("--set", "precision=float32")),
    Planted("another strategy", 2, "strategy ensemble, now response",
            base=lambda data: data.update(strategy="ensemble")),
    Planted("a corrupted baseline", 2, "is not JSON: line 1",
            now=lambda folder: text(folder, '{"schema": "distillcli.result/1", "rows":')),
    Planted("an empty baseline", 2, "is empty", now=lambda folder: text(folder, "")),
    Planted("a baseline that is something else", 2, "is not a saved result",
            now=lambda folder: text(folder, "[1, 2]")),
    Planted("a baseline of another schema", 2, "has schema 'distillcli.result/2'",
            base=lambda data: data.update(schema="distillcli.result/2")),
    Planted("another schema, allowed", 0, "pass", ("--allow", "schema"),
            base=lambda data: data.update(schema="distillcli.result/2")),
    Planted("a baseline of another command", 2, "is a result of 'ensemble'",
            base=lambda data: data.update(command="ensemble")),
    Planted("NaN written into a metric", 2, "NaN is no number of JSON",
            base=lambda data: data["metrics"].update(kl_mean=float("nan"))),
    Planted("a metric that is not finite in the baseline", 1, "not finite in the baseline",
            base=lambda data: data["metrics"].update(kl_mean=None)),
    Planted("a loss that is infinite now", 1, "not finite now",
            now=lambda folder: mask(folder / "student.npy")),
    Planted("NaN in the dump", 2, "NaN", now=lambda folder: poison(folder / "student.npy", 5)),
    Planted("zero in the baseline, a relative limit", 1, "no move is allowed",
            ("--fail-on", "kl_max:5%"), base=lambda data: data["metrics"].update(kl_max=0)),
    Planted("zero in the baseline, an absolute limit", 0, "pass", ("--fail-on", "kl_max:1000"),
            base=lambda data: data["metrics"].update(kl_max=0)),
    Planted("a metric that is missing now", 1, "missing now", ("--set", "metrics=[kl_mean]")),
    Planted("a metric that is missing now, allowed", 0, "missing now",
            ("--set", "metrics=[kl_mean]", "--allow", "metrics")),
    Planted("a metric that is new", 0, "not in the baseline",
            base=lambda data: data["metrics"].pop("kl_max")),
    Planted("a student that is gone", 2, "no such file",
            now=lambda folder: (folder / "student.npy").unlink()),
    Planted("a baseline that is gone", 2, "there is none yet",
            now=lambda folder: (folder / "base.json").unlink()),
    Planted("a baseline that is a folder", 2, "is not a regular file",
            now=lambda folder: ((folder / "base.json").unlink(), (folder / "base.json").mkdir())),
    Planted("a limit for no number", 2, "names no number of a result; did you mean kl_mean?",
            ("--fail-on", "kl_maen:1%")),
    Planted("an unknown condition", 2, "is no condition; did you mean rows?", ("--allow", "row")),
]  # fmt: skip


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.name)
def test_planted_changes_end_as_they_must(planted: Planted, tmp_path: Path) -> None:
    """Each kind of change has its verdict, its exit code and a word on the reason."""
    config = dump(tmp_path)
    base = baseline(tmp_path, config)
    changed(base, planted.base)
    planted.now(tmp_path)
    done = check(config, base, *planted.options)
    assert done.code == planted.code, done.err
    assert planted.said in (done.out if planted.code < 2 else done.err)
    if planted.code < 2:
        assert done.data["verdict"] == ("fail" if planted.code else "pass")
    else:
        assert done.data["verdict"] == "error"
        assert len(done.errors) == 1


@pytest.mark.parametrize("name", ["response", "progressive", "ensemble", "check"])
def test_the_same_inputs_never_fail(name: str, tmp_path: Path) -> None:
    """Not even where no move is allowed, and with other batches and threads."""
    base = tmp_path / "base.json"
    config = ROOT / "configs" / f"{name}.yaml"
    made = distill("check", config, "--baseline", base, "--update-baseline", "--threads", "1")
    assert made.code == 0
    done = check(config, base, "--fail-on", "*:0", "--batch-size", "50", "--threads", "2")
    assert done.code == 0
    assert set(verdicts(done).values()) == {"pass"}


def test_one_row_has_no_standard_error_and_passes(tmp_path: Path) -> None:
    """A number that was never to be had is not one that has become infinite."""
    config = dump(tmp_path, rows=1)
    done = check(config, baseline(tmp_path, config))
    assert done.code == 0
    row = next(row for row in done.data["numbers"] if row["name"] == "kl_stderr")
    assert (row["verdict"], row["reason"]) == ("pass", "undefined on both sides")


def test_an_infinite_loss_fails_also_when_the_baseline_has_it(tmp_path: Path) -> None:
    """A check cannot vouch for what is not a number; writing such a baseline is told."""
    config = dump(tmp_path)
    mask(tmp_path / "student.npy")
    base = tmp_path / "base.json"
    made = distill("check", config, "--baseline", base, "--update-baseline")
    assert any("not finite" in note for note in made.notes)
    done = check(config, base)
    assert done.code == 1
    assert verdicts(done)["loss"] == "fail"


def test_without_a_baseline_the_command_that_makes_one_is_told(tmp_path: Path) -> None:
    """It is the command line that was typed, quoted, and it works."""
    folder = tmp_path / "a b"
    folder.mkdir()
    config = dump(folder)
    base = tmp_path / "base.json"
    done = distill("check", config, "--baseline", base, "--set", "response.alpha=1", "--limit", "9")
    assert done.code == 2
    command = (
        f"distill check '{config}' --set response.alpha=1 --limit 9 "
        f"--baseline {base} --update-baseline"
    )
    assert done.errors == [f"baseline {base}: there is none yet; make it with: {command}"]


def test_an_update_writes_the_baseline_and_tells_what_changed(tmp_path: Path) -> None:
    """What is written is what score saves, and passes at once."""
    config = dump(tmp_path)
    base = baseline(tmp_path, config)
    before = json.loads(base.read_text())
    dump(tmp_path, worse=0.4)
    done = distill("check", config, "--baseline", base, "--update-baseline")
    assert done.code == 0
    assert done.out.startswith("distill check: baseline written, ")
    after = json.loads(base.read_text())
    assert after["loss"] > before["loss"]
    scored = distill("score", config, "--format", "json").data
    scored["facts"]["seconds"] = after["facts"]["seconds"]
    assert after == scored
    assert check(config, base).code == 0


@pytest.mark.parametrize("text", ["{", '{"a": 1}', "strategy: response\n", ""])
def test_an_update_replaces_saved_results_alone(tmp_path: Path, text: str) -> None:
    """What is no saved result may be somebody's file: it stays, and the way out is told."""
    config = dump(tmp_path)
    base = tmp_path / "base.json"
    base.write_text(text)
    done = distill("check", config, "--baseline", base, "--update-baseline")
    assert done.code == 2
    assert "only a saved result is replaced" in done.err
    assert base.read_text() == text


@pytest.mark.parametrize("name", ["student.npy", "config.yaml"])
def test_an_update_never_replaces_an_input(tmp_path: Path, name: str) -> None:
    """An array that is read and the config stay as they are."""
    config = dump(tmp_path)
    before = (tmp_path / name).read_bytes()
    done = distill("check", config, "--baseline", tmp_path / name, "--update-baseline")
    assert done.code == 2
    assert (tmp_path / name).read_bytes() == before


def test_the_rows_of_a_baseline_take_no_other_file_s_place(tmp_path: Path) -> None:
    """NAME.rows.npy is written where it is free, or belongs to the baseline that is replaced."""
    config = dump(tmp_path)
    rows = tmp_path / "base.rows.npy"
    rows.write_bytes(b"mine")
    command = ("check", config, "--baseline", tmp_path / "base.json", "--update-baseline")
    significant = ("--set", "check.significant=true")
    done = distill(*command, *significant)
    assert done.code == 2
    assert "base.rows.npy: is there already" in done.err
    assert rows.read_bytes() == b"mine"
    rows.unlink()
    assert distill(*command, *significant).code == 0
    assert distill(*command, *significant).code == 0


def test_a_folder_that_is_missing_is_told_before_the_work(tmp_path: Path) -> None:
    """Nothing is scored for a baseline that cannot be written."""
    config = dump(tmp_path)
    base = tmp_path / "no" / "base.json"
    done = distill("check", config, "--baseline", base, "--update-baseline")
    assert done.code == 2
    assert "there is no such folder" in done.err
    assert "distill: score:" not in done.err


@pytest.mark.parametrize("form", ["md", "junit", "github"])
def test_times_are_told_in_plain_characters(tmp_path: Path, form: str) -> None:
    """No placeholder of the table's layout gets into the other formats."""
    config = dump(tmp_path)
    done = distill("check", config, "--baseline", baseline(tmp_path, config), "--format", form)
    assert "time " in done.out or form == "github"
    assert "ue000" not in done.out
    assert "57344" not in done.out
    assert "\ue000" not in done.out


def test_a_failed_update_leaves_the_old_baseline(tmp_path: Path) -> None:
    config = dump(tmp_path)
    base = baseline(tmp_path, config)
    before = base.read_bytes()
    poison(tmp_path / "student.npy", 5)
    assert distill("check", config, "--baseline", base, "--update-baseline").code == 2
    assert base.read_bytes() == before
    assert sorted(path.name for path in tmp_path.glob("*base*")) == ["base.json"]


def test_two_saved_results_are_compared_without_scoring(tmp_path: Path) -> None:
    """A config is not needed; with one, its limits are in force."""
    config = dump(tmp_path)
    base = baseline(tmp_path, config)
    dump(tmp_path, worse=0.01)
    other = tmp_path / "other.json"
    other.write_text(distill("score", config, "--format", "json").out)
    (tmp_path / "student.npy").unlink()
    two = ("--baseline", base, "--current", other)
    assert distill("check", *two).code == 1
    assert distill("check", *two, "--fail-on", "*:50%").code == 0
    wide = written(tmp_path / "wide.yaml", {
        **json.loads(config.read_text()),
        "check": {"default": {"rel": 0.5, "abs": 0.5}},
    })  # fmt: skip
    assert distill("check", wide, *two).code == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--baseline", "b.json", "--current", "c.json", "--export", "json=b.json"),
            "--export json b.json: is an input, baseline; write somewhere else",
        ),
        ((), "--baseline: is missing; give a saved result of score"),
        (("--baseline", "b.json"), "distill check: nothing to check; give a config"),
        (("--baseline", "b.json", "--current", "c.json", "--rows", ":3"), "--rows: has no meaning"),
        (("--baseline", "b.json", "--current", "c.json", "--set", "a=1"), "--set: there is no"),
        (("--baseline", "b.json", "--format", "csv"), "--format: no format 'csv'; one of table"),
        (("--baseline", "b.json", "--export", "xml=a"), "--export xml=a: no format 'xml'"),
        (("--baseline", "b.json", "--export", "md"), "--export md: has no =; write FORMAT=PATH"),
        (("--baseline", "b.json", "--current", "c.json"), "baseline b.json: there is none yet"),
    ],
)
def test_usage_is_told_in_one_line(
    options: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = distill("check", *options)
    assert done.code == 2
    assert len(done.errors) == 1
    assert done.errors[0].startswith(said)


# --- limits ----------------------------------------------------------------------------------


def judged(before: float | None, now: float | None, check: Check, name: str = "loss") -> Row:
    """The row of one number."""
    results = [numbers(1.0, {name: value}) for value in (before, now)]
    if name == "loss":
        results = [numbers(value, {}) for value in (before, now)]
    return next(row for row in checked(results[0], results[1], check) if row.name == name)


@pytest.mark.parametrize(
    ("before", "now", "check", "verdict"),
    [
        (1.0, 1.0, limits(), "pass"),
        (0.0, 0.0, limits(rel=0.1), "pass"),
        (-0.0, 0.0, limits(), "pass"),
        (1.0, 1.04, limits(rel=0.1), "pass"),
        (1.0, 1.06, limits(rel=0.1), "near"),
        (1.0, 1.5, limits(rel=0.5), "near"),
        (1.0, 1.5000001, limits(rel=0.5), "fail"),
        (1.0, 0.5, limits(rel=0.5), "near"),
        (1.0, 0.4, limits(rel=0.5), "fail"),
        (1.0, 0.4, limits(rel=0.5, mode="regression"), "better"),
        (1.0, 0.6, limits(rel=0.5, mode="regression"), "pass"),
        (1.0, 1.6, limits(rel=0.5, mode="regression"), "fail"),
        (-2.0, -1.0, limits(rel=0.5), "near"),
        (-2.0, -0.9, limits(rel=0.5), "fail"),
        (1e-9, 2e-9, limits(rel=0.1, abs=1e-6), "pass"),
        (1e6, 1e6 + 1, limits(rel=1e-5, abs=1e-6), "pass"),
        (1e308, -1e308, limits(rel=1.0), "fail"),
        (0.0, 5e-324, limits(), "fail"),
        (None, 1.0, limits(rel=1.0), "fail"),
        (1.0, None, limits(rel=1.0), "fail"),
        (1.0, None, limits(rel=1.0, mode="regression"), "fail"),
    ],
)
def test_limits(before: float | None, now: float | None, check: Check, verdict: str) -> None:
    """The larger of abs and rel times the baseline's size is allowed, its edge included."""
    assert judged(before, now, check).verdict == verdict


@pytest.mark.parametrize(
    ("name", "now", "verdict"),
    [
        ("student_accuracy", 0.4, "fail"),
        ("student_accuracy", 0.6, "better"),
        ("student_nll", 0.6, "fail"),
        ("student_nll", 0.4, "better"),
        ("teacher_ece", 0.6, "fail"),
        ("top1_agreement", 0.4, "fail"),
        ("student_entropy", 0.4, "reported"),
        ("student_entropy", 0.6, "reported"),
        ("kl_stderr", 0.6, "reported"),
        ("of a later version", 0.6, "reported"),
    ],
)
def test_each_number_knows_which_way_is_worse(name: str, now: float, verdict: str) -> None:
    """Numbers without a direction are reported and never fail a regression check."""
    assert judged(0.5, now, limits(mode="regression"), name).verdict == verdict
    assert judged(0.5, now, limits(), name).verdict == "fail"


def test_failures_come_first_then_near_misses_then_the_rest() -> None:
    """The worst of each first; the rest in the order of the result."""
    before = numbers(1.0, dict.fromkeys("abcdef", 1.0))
    now = numbers(1.0, {"a": 1.04, "b": 1.2, "c": 1.09, "d": 1.3, "e": 1.07, "f": None})
    rows = checked(before, now, limits(rel=0.1))
    assert [row.name for row in rows] == ["f", "d", "b", "c", "e", "loss", "a"]


def test_a_name_beats_a_pattern_and_the_command_line_beats_both() -> None:
    entries = (("kl_p99", Tolerance(0.1)), ("kl_*", Tolerance(0.2)), ("kl_p*", Tolerance(0.3)))
    check = Check(tolerances=entries)
    assert check.tolerance("kl_p99") == Tolerance(0.1)
    assert check.tolerance("kl_p90") == Tolerance(0.3)
    assert check.tolerance("kl_max") == Tolerance(0.2)
    assert check.tolerance("loss") == Tolerance(1e-4, 1e-6)
    demanded = fail_on(["kl_*: 5 %", "loss:.001"], metrics=["kl_p99", "kl_max"])
    beaten = demanding(check, demanded)
    assert beaten.tolerance("kl_p99") == Tolerance(rel=0.05)
    assert beaten.tolerance("loss") == Tolerance(abs=0.001)
    assert replace(beaten, demanded=()) == check


@pytest.mark.parametrize(
    "text",
    [
        "loss",
        "loss:",
        ":5%",
        "loss:5%%",
        "loss:-1",
        "loss:nan",
        "loss:1e999",
        "loss:x",
        "los:1",
        "",
    ],
)
def test_a_limit_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        fail_on([text], metrics=["kl_mean"])


# --- the loss of every row ---------------------------------------------------------------------


def noisy(folder: Path, shift: float, spread: float) -> None:
    """Move the student's scores by chance, and by a little on purpose."""
    student = np.load(folder / "student.npy")
    random = np.random.RandomState(3)
    student = student + random.normal(0.0, spread, student.shape)
    labels = np.load(folder / "labels.npy")
    student[np.arange(len(labels)), labels] -= shift
    np.save(folder / "student.npy", student)


SIGNIFICANT = ("--set", "check.significant=true")


@pytest.mark.parametrize(
    ("shift", "spread", "verdict", "significant"),
    [(0.0, 0.0, "pass", False), (0.0, 0.02, "insignificant", False), (0.5, 0.02, "fail", True)],
)
def test_a_loss_fails_only_where_it_moved_beyond_noise(
    shift: float, spread: float, verdict: str, significant: bool, tmp_path: Path
) -> None:
    """Beyond its limit and significant, both; the interval is the same in every run."""
    config = dump(tmp_path)
    base = baseline(tmp_path, config, *SIGNIFICANT)
    noisy(tmp_path, shift, spread)
    done = check(config, base, *SIGNIFICANT)
    noise = done.data["loss_over_rows"]
    assert verdicts(done)["loss"] == verdict
    assert (noise["low"] > 0 or noise["high"] < 0) is significant
    assert noise["low"] <= noise["mean"] <= noise["high"]
    row = next(row for row in done.data["numbers"] if row["name"] == "loss")
    assert noise["mean"] == pytest.approx(row["difference"], rel=1e-9, abs=1e-12)
    assert check(config, base, *SIGNIFICANT).data["loss_over_rows"] == noise


def test_rows_saved_by_score_can_be_referenced(tmp_path: Path) -> None:
    """The path in a saved result is relative to it; the interval is then told unasked."""
    config = dump(tmp_path)
    scored = distill("score", config, "--per-row", tmp_path / "rows.npy", "--format", "json").data
    scored["facts"]["per_row"]["path"] = "rows.npy"
    base = tmp_path / "base.json"
    base.write_text(json.dumps(scored))
    done = distill("check", config, "--baseline", base)
    assert done.code == 0
    scored["facts"]["per_row"]["path"] = "run/from/above/rows.npy"
    base.write_text(json.dumps(scored))
    assert distill("check", config, "--baseline", base).out.partition("time")[0] in done.out
    assert "loss over 60 rows: mean difference +0, 95 % interval +0 to +0" in done.out


def test_saved_results_with_rows_are_compared_row_by_row(tmp_path: Path) -> None:
    config = dump(tmp_path)
    base = baseline(tmp_path, config, *SIGNIFICANT)
    dump(tmp_path, worse=0.4)
    other = tmp_path / "elsewhere" / "other.json"
    other.parent.mkdir()
    distill("check", config, "--baseline", other, "--update-baseline", *SIGNIFICANT)
    done = distill("check", "--baseline", base, "--current", other, "--format", "json")
    assert done.data["loss_over_rows"]["low"] > 0


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-8]), "has changed since"),
        (lambda path: np.save(path, np.zeros(60)), "has changed since"),
    ],
)
def test_rows_that_are_not_those_of_the_baseline_are_refused(
    harm: Callable[[Path], Any], said: str, tmp_path: Path
) -> None:
    config = dump(tmp_path)
    base = baseline(tmp_path, config, *SIGNIFICANT)
    harm(tmp_path / "base.rows.npy")
    done = check(config, base)
    assert done.code == 2
    assert said in done.errors[0]


@pytest.fixture
def with_rows(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A config that asks for significance, and two saved results with the loss of every row."""
    config = dump(tmp_path)
    asks = {**json.loads(config.read_text()), "check": {"significant": True}}
    other = tmp_path / "other.json"
    distill("check", config, "--baseline", other, "--update-baseline", *SIGNIFICANT)
    return written(config, asks), baseline(tmp_path, config), other


@pytest.mark.parametrize("gone", ["base.rows.npy", "other.rows.npy"])
def test_rows_that_are_gone_are_needed_by_significance_alone(
    with_rows: tuple[Path, Path, Path], gone: str
) -> None:
    """A baseline alone, as it may lie in a repository, is enough for its numbers."""
    config, base, other = with_rows
    limits_alone = ("--current", other, "--baseline", base, "--format", "json")
    whole = distill("check", *limits_alone)
    (base.parent / gone).unlink()
    done = distill("check", *limits_alone)
    assert (done.code, done.data["numbers"]) == (0, whole.data["numbers"])
    assert "loss_over_rows" not in done.data
    missing = f"rows of a saved result, {base.parent / gone}: no such file"
    assert done.notes == [f"{missing}; the loss is not compared row by row"]
    done = distill("check", config, *limits_alone)
    assert done.code == 2
    assert done.errors == [f"{missing}; restore it, or write the result again"]


def test_rows_that_are_gone_are_not_saved_beside_a_baseline(
    with_rows: tuple[Path, Path, Path],
) -> None:
    """The result that is to become the baseline is at fault, not the place of it."""
    _, base, other = with_rows
    before = base.read_bytes()
    (base.parent / "other.rows.npy").unlink()
    done = distill("check", "--current", other, "--baseline", base, "--update-baseline")
    assert (done.code, base.read_bytes()) == (2, before)
    assert "other.rows.npy: no such file; restore it, or write the result again" in done.errors[0]


def test_significance_needs_rows(tmp_path: Path) -> None:
    """It is told before anything is computed; an update then saves them."""
    config = dump(tmp_path)
    base = baseline(tmp_path, config)
    done = check(config, base, *SIGNIFICANT)
    assert done.code == 2
    assert "has no loss of single rows, which check.significant needs" in done.errors[0]
    baseline(tmp_path, config, *SIGNIFICANT)
    assert check(config, base, *SIGNIFICANT).code == 0
    baseline(tmp_path, config)  # keeps them, as the old one had them
    assert check(config, base, *SIGNIFICANT).code == 0


@pytest.mark.parametrize("skipped", [False, True])
def test_rows_that_have_no_loss_are_left_out(skipped: bool, tmp_path: Path) -> None:
    config = dump(tmp_path)
    more = ("--set", "on_bad_rows=skip", *SIGNIFICANT)
    (poison(tmp_path / "student.npy", 5) if skipped else mask(tmp_path / "student.npy"))
    noise = check(config, baseline(tmp_path, config, *more), *more).data["loss_over_rows"]
    assert (noise["rows"], noise["left_out"]) == (59, 1)


# --- diff ----------------------------------------------------------------------------------------


def two(folder: Path) -> tuple[Path, Path]:
    """Saved results of a student and of a worse one."""
    paths = []
    for name, worse in (("a", 0.0), ("b", 0.4)):
        config = dump(folder, worse=worse)
        paths.append(folder / f"{name}.json")
        paths[-1].write_text(distill("score", config, "--format", "json").out)
    return paths[0], paths[1]


def test_diff_shows_what_differs(tmp_path: Path) -> None:
    """Numbers that are the same only with --all; never a failure."""
    a, b = two(tmp_path)
    done = distill("diff", a, b)
    assert done.code == 0
    assert " worse" in done.out
    assert "teacher_accuracy" not in done.out
    assert "teacher_accuracy" in distill("diff", a, b, "--all").out
    same = distill("diff", a, a)
    assert same.code == 0
    assert re.search(r": 0 of \d+ numbers differ", same.out)


def test_diff_takes_a_precision(tmp_path: Path) -> None:
    a, b = two(tmp_path)
    loss = json.loads(a.read_text())["loss"]
    assert f" {loss:.12g} " in distill("diff", a, b, "--precision", "12").out
    assert f" {loss:.2g} " in distill("diff", a, b, "--precision", "2").out
    assert distill("diff", a, b, "--precision", "0").code == 2


def test_diff_compares_also_what_check_would_not(tmp_path: Path) -> None:
    """Other conditions are told and no error."""
    a, b = two(tmp_path)
    changed(b, lambda data: data.update(rows=3, schema="distillcli.result/9"))
    done = distill("diff", a, b)
    assert done.code == 0
    assert "not alike" in done.out
    assert "rows 60, now 3" in done.out


def test_diff_tells_a_file_that_is_no_result(tmp_path: Path) -> None:
    a, _ = two(tmp_path)
    done = distill("diff", a, tmp_path / "none.json")
    assert (done.code, len(done.errors)) == (2, 1)


# --- the sample data -----------------------------------------------------------------------------

SAMPLE = ROOT / "configs" / "baselines" / "digits.json"


def test_the_committed_baseline_holds() -> None:
    done = check(ROOT / "configs" / "check.yaml", SAMPLE)
    assert (done.code, set(verdicts(done).values())) == (0, {"pass"})


def test_the_student_stopped_early_fails_readably() -> None:
    done = distill("check", ROOT / "configs" / "check.yaml", "--baseline", SAMPLE,
                   "--set", f"student={ROOT}/sample_data/student_early.npy")  # fmt: skip
    assert done.code == 1
    assert re.match(r"distill check: FAILED, \d\d of \d\d numbers are outside", done.out)
    assert "x the limit" in done.out


def test_its_limits_catch_a_changed_formula(tmp_path: Path) -> None:
    """A ten-thousandth of the temperature is far outside."""
    done = check(ROOT / "configs" / "check.yaml", SAMPLE, "--allow", "temperature",
                 "--set", "response.soft_loss.temperature=4.0004")  # fmt: skip
    assert done.code == 1
    assert {"loss", "soft", "kl_mean"} <= {
        name for name, verdict in verdicts(done).items() if verdict == "fail"
    }
