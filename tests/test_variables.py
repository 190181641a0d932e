"""Variables beside flags and configs, which of them wins; and configs taken from saved results."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import Ended, distill, saved, written

ROWS, CLASSES = 60, 4

CONFIG: dict[str, Any] = {
    "strategy": "response",
    "teacher": "teacher.npy",
    "student": "student.npy",
    "labels": "labels.npy",
    "device": "cpu",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder with arrays and a config, which lies below it in configs/."""
    rng = np.random.default_rng(4)
    (tmp_path / "configs").mkdir()
    (tmp_path / "data").mkdir()
    scores = {name: rng.normal(0, 2, (ROWS, CLASSES)) for name in ("teacher", "student")}
    saved(tmp_path / "data", **scores, labels=rng.integers(0, CLASSES, ROWS))
    names = {name: f"../data/{name}.npy" for name in ("teacher", "student", "labels")}
    written(tmp_path / "configs" / "config.yaml", {**CONFIG, **names})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def scored(*arguments: str | Path, **variables: str) -> dict[str, Any]:
    """The result of a run that works, as data."""
    out = Path("out.json")
    out.unlink(missing_ok=True)
    done = distill("score", *arguments, "--export", f"json={out}", variables=variables)
    assert done.code == 0, done.err
    return {**json.loads(out.read_text()), "ended": done}


def fact(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda data: data["facts"][name]


def first_word(data: dict[str, Any]) -> str:
    ended: Ended = data["ended"]
    return ended.out.split()[0][:5]


# Option; its value in the variable, what that shows; by the flag, what that shows; what else there
# is: the value of the config or the default.
OPTIONS = [
    ("batch-size", "7", 7, "8", 8, 11, fact("batch_size")),
    ("threads", "1", 1, "2", 2, 3, fact("threads")),
    ("rows", "1:5", [1, 5], "2:9", [2, 9], [0, ROWS], fact("row_range")),
    ("limit", "5", [0, 5], "9", [0, 9], [0, ROWS], fact("row_range")),
    ("format", "json", "{", "csv", "batch", "disti", first_word),
    ("device", "auto", "auto", "cpu", "cpu", "cpu", lambda data: data["facts"]["config"]["device"]),
    ("set", "batch_size=7", 7, "batch_size=8", 8, 11, fact("batch_size")),
]


@pytest.mark.parametrize(
    ("name", "variable", "by_variable", "flag", "by_flag", "otherwise", "shown"),
    OPTIONS,
    ids=[option[0] for option in OPTIONS],
)
def test_precedence(
    folder: Path,
    name: str,
    variable: str,
    by_variable: Any,
    flag: str,
    by_flag: Any,
    otherwise: Any,
    shown: Callable[[dict[str, Any]], Any],
) -> None:
    """The flag beats the variable, which beats the config or the default; empty is unset."""
    config = folder / "configs" / "config.yaml"
    data = json.loads(config.read_text())
    written(config, {**data, "batch_size": 11, "threads": 3})
    key = "DISTILL_" + name.replace("-", "_").upper()
    assert shown(scored(config)) == otherwise
    assert shown(scored(config, **{key: ""})) == otherwise
    assert shown(scored(config, **{key: variable})) == by_variable
    assert shown(scored(config, f"--{name}", flag)) == by_flag
    assert shown(scored(config, f"--{name}", flag, **{key: variable})) == by_flag


@pytest.mark.parametrize(
    ("name", "words"),
    [("QUIET", "distill: "), ("NO_PROGRESS", "distill: score: 60 rows")],
)
def test_switches(folder: Path, name: str, words: str) -> None:
    """1 and true switch on, 0 and false do not, anything else is a mistake."""
    config = folder / "configs" / "config.yaml"

    def said(value: str) -> bool:
        return words in distill("score", config, variables={f"DISTILL_{name}": value}).err

    assert [said(value) for value in ("", "0", "false")] == [True] * 3
    assert [said(value) for value in ("1", "true")] == [False] * 2
    assert distill("score", config, variables={f"DISTILL_{name}": "maybe"}).code == 2


def test_a_variable_does_not_beat_the_flags_of_quick_use(folder: Path) -> None:
    """--temperature stands over DISTILL_SET, and --set over both."""
    quick = ("--teacher", "data/teacher.npy", "--student", "data/student.npy")
    variable = {"DISTILL_SET": "response.soft_loss.temperature=3"}
    assert scored(*quick, **variable)["facts"]["temperature"] == 3
    assert scored(*quick, "--temperature", "5", **variable)["facts"]["temperature"] == 5
    both = ("--temperature", "5", "--set", "response.soft_loss.temperature=6")
    assert scored(*quick, *both, **variable)["facts"]["temperature"] == 6


def test_every_shared_option_has_its_variable(folder: Path) -> None:
    """The help names them."""
    words = distill("score", "--help", variables={"COLUMNS": "200"}).out
    for option in (*(row[0] for row in OPTIONS), "export", "no-progress", "no-color", "quiet"):
        assert "DISTILL_" + option.replace("-", "_").upper() in words


# --- --config-from ------------------------------------------------------------------------------


def without_facts(data: dict[str, Any]) -> dict[str, Any]:
    """What two runs of the same must agree in."""
    return {key: value for key, value in data.items() if key not in ("facts", "ended")}


def test_config_from(folder: Path) -> None:
    """A result scored again from the same folder, wherever its config and it lie."""
    config = ("configs/config.yaml", "--set", "groups=labels", "--batch-size", "7")
    before = scored(*config)
    (folder / "results").mkdir()
    os.rename("out.json", "results/saved.json")
    after = scored("--config-from", "results/saved.json")
    assert without_facts(after) == without_facts(before)
    assert before["facts"]["config_folder"] == "configs"
    for name in ("config", "config_sha256", "config_folder", "batch_size", "conventions"):
        assert after["facts"][name] == before["facts"][name]


def test_config_from_a_run_by_flags(folder: Path) -> None:
    """Quick use has a config too: its paths start from the folder it was run in."""
    before = scored(
        "--teacher", "data/teacher.npy", "--student", "data/student.npy", "--temperature", "2"
    )
    assert before["facts"]["config_folder"] == "."
    os.rename("out.json", "saved.json")
    assert without_facts(scored("--config-from", "saved.json")) == without_facts(before)


def test_settings_stand_over_the_saved_config(folder: Path) -> None:
    """Variables, flags and --set, as over a file; paths in them start from the current folder."""
    scored("configs/config.yaml")
    os.rename("out.json", "saved.json")
    arguments = ("--config-from", "saved.json", "--set", "response.alpha=1")
    found = scored(*arguments, "--set", "student=data/teacher.npy", DISTILL_BATCH_SIZE="9")
    assert (found["weights"], found["facts"]["batch_size"], found["loss"]) == ({"soft": 1.0}, 9, 0)


def test_a_result_of_a_part_of_the_rows(folder: Path) -> None:
    """Rows are no part of the config: a note says how to score the same ones."""
    part = scored("configs/config.yaml", "--rows", "10:30")
    os.rename("out.json", "saved.json")
    ended: Ended = scored("--config-from", "saved.json")["ended"]
    assert any("saved.json is of rows 10:30, and all are scored" in note for note in ended.notes)
    again = scored("--config-from", "saved.json", "--rows", "10:30")
    assert without_facts(again) == without_facts(part)
    assert not any("of rows" in note for note in again["ended"].notes)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["configs/config.yaml", "--config-from", "saved.json"], "--config-from: stands in for"),
        (["--teacher", "a", "--config-from", "saved.json"], "--config-from: is given beside --te"),
        (["--config-from", "gone.json"], "--config-from gone.json: no such file"),
        (["--config-from", "configs/config.yaml"], "--config-from configs/config.yaml: "),
        (["--config-from", "bare.json"], "--config-from bare.json: does not say which config"),
        (["--config-from", "odd.json"], "--config-from odd.json: response.alpha: must be"),
        (
            ["--config-from", "saved.json", "--export", "json=saved.json"],
            "--export json saved.json: is an input, the saved result",
        ),
    ],
)
def test_what_is_refused(folder: Path, arguments: list[str], words: str) -> None:
    """One line that names the flag and the file."""
    data = scored("configs/config.yaml")
    del data["ended"]
    written(folder / "saved.json", data)
    odd = {**data["facts"]["config"], "response": {"alpha": 7}}
    written(folder / "odd.json", {**data, "facts": {**data["facts"], "config": odd}})
    del data["facts"]["config"]
    written(folder / "bare.json", data)
    done = distill("score", *arguments)
    assert done.code == 2
    assert done.out == ""
    assert done.errors[0].startswith(words), done.errors
