"""Configs, flags, variables and devices on the command line: what beats what, what will not do."""

from pathlib import Path

import pytest
from quick import CONFIG, QUICK, ROWS, facts, quick_folder, refused
from runs import distill, written


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with teacher, student and labels; no machine has a GPU here."""
    return quick_folder(tmp_path, monkeypatch)


@pytest.fixture
def config(folder: Path) -> Path:
    """A config on these files."""
    return written(folder / "config.yaml", CONFIG)


def test_all_mistakes_of_a_config_at_once(folder: Path) -> None:
    """Each with file, line and column, in the order of the lines; nothing is computed."""
    (folder / "config.yaml").write_text(
        "strategy: response\n"
        "teacher: teacher.npy\n"
        "studnet: student.npy\n"
        "batch_size: 0\n"
        "response:\n"
        "  soft_loss: {name: kll, temperature: 4}\n"
        "  alpha: 1.5\n"
    )
    errors = refused(distill("score", "config.yaml"))
    places = [error.split(" ")[0] for error in errors]
    assert places == [f"config.yaml:{at}:" for at in ("1:1", "3:1", "4:1", "6:15", "7:3")]
    text = "\n".join(errors)
    assert "did you mean student?" in text
    assert "did you mean kl?" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["score"], ["nothing to score", "--teacher FILE"]),
        (["score", "--teacher", "teacher.npy"], ["--student: is missing"]),
        (["score", "none.yaml"], ["none.yaml: no such file"]),
        ([*QUICK, "--format", "xml"], ["--format: no format 'xml'", "json"]),
        ([*QUICK, "--temperature", "warm"], ["--temperature: must be a number from 0.0001"]),
        ([*QUICK, "--temperature", "0"], ["--temperature: must be a number from 0.0001"]),
        ([*QUICK, "--alpha", "2"], ["--alpha: must be a number from 0 to 1"]),
        ([*QUICK, "--alpha", "0.5"], ["--alpha: needs labels"]),
        ([*QUICK, "--batch-size", "0"], ["--batch-size: must be auto or a whole number"]),
        ([*QUICK, "--threads", "two"], ["--threads: must be auto or a whole number"]),
        ([*QUICK, "--device", "gpu"], ["--device: must be", "cuda:N"]),
        ([*QUICK, "--set", "response"], ["--set response: has no ="]),
        ([*QUICK, "--set", "response.alhpa=1"], ["--set response.alhpa=1", "did you mean alpha?"]),
        ([*QUICK, "--set", "response.alpha=[1"], ["--set response.alpha=[1", "not plain YAML"]),
        (["score", "config.yaml", "--teacher", "teacher.npy"], ["--teacher", "config"]),
    ],
)
def test_a_command_line_that_will_not_do(
    config: Path, arguments: list[str], words: list[str]
) -> None:
    """One line that names the flag."""
    (error,) = refused(distill(*arguments))
    assert all(word in error for word in words), error


@pytest.mark.parametrize("arguments", [["--nonsense"], ["a", "b"], ["--alpha"]])
def test_a_command_line_that_cannot_be_read(folder: Path, arguments: list[str]) -> None:
    """Unknown options and arguments too many: exit 2, words on stderr alone."""
    done = distill("score", *arguments)
    assert (done.code, done.out) == (2, "")
    assert "Error: " in done.err
    assert "Traceback" not in done.err


def test_variables_are_named_in_errors(folder: Path) -> None:
    """A value that came from a variable is told of by the variable's name."""
    for name, value in (("THREADS", "two"), ("FORMAT", "xml"), ("SET", "nonsense")):
        (error,) = refused(distill(*QUICK, variables={f"DISTILL_{name}": value}))
        assert error.startswith(f"DISTILL_{name}")


def test_a_gpu_that_is_not_there(folder: Path) -> None:
    """Asked for by name it is exit 3, with the reason and the way out."""
    for device in ("cuda", "cuda:1"):
        (error,) = refused(distill(*QUICK, "--device", device), code=3)
        assert error == f"device {device}: CuPy is not installed; install it"


def test_falling_back_is_said_once(folder: Path) -> None:
    """`auto` computes with NumPy and says why, in one line on stderr; `cpu` says nothing."""
    done = distill(*QUICK, "--format", "json")
    assert done.data["facts"]["device"] == "cpu"
    assert [note for note in done.notes if "CuPy is not installed" in note] == done.notes
    assert len(done.notes) == 1
    assert distill(*QUICK, "--device", "cpu").notes == []


def test_quick_use_without_labels(folder: Path) -> None:
    """Alpha is 1, and the report and the result say so."""
    done = distill(*QUICK, "--temperature", "2")
    assert "no labels: alpha is 1" in done.out
    found = facts(*QUICK[1:], "--temperature", "2")
    assert found["data"]["weights"] == {"soft": 1.0}
    assert found["temperature"] == 2.0
    assert any("alpha is 1" in note for note in found["notes"])
    assert "student_accuracy" in found["unavailable"]


def test_quick_use_with_labels(config: Path) -> None:
    """The flags say what the config says, and give its figures."""
    flags = (*QUICK[1:], "--labels", "labels.npy", "--temperature", "2", "--alpha", "0.4")
    ours, theirs = facts(*flags)["data"], facts(config)["data"]
    assert ours["weights"] == {"soft": 0.4, "hard": 0.6}
    assert (ours["loss"], ours["metrics"]) == (theirs["loss"], theirs["metrics"])
    assert facts(*QUICK[1:], "--labels", "labels.npy")["data"]["weights"] == {
        "soft": 0.7,
        "hard": 0.3,
    }


def test_a_flag_beats_a_variable_beats_the_config(config: Path) -> None:
    """batch_size: 10 in the file, 11 in the variable, 12 by the flag; an empty variable is none."""
    assert facts(*QUICK[1:])["batch_size"] == ROWS
    assert facts(config)["batch_size"] == 10
    variable = {"DISTILL_BATCH_SIZE": "11"}
    assert facts(config, variables=variable)["batch_size"] == 11
    assert facts(config, "--batch-size", "12", variables=variable)["batch_size"] == 12
    assert facts(config, variables={"DISTILL_BATCH_SIZE": ""})["batch_size"] == 10


def test_settings_of_a_variable(config: Path) -> None:
    """DISTILL_SET holds one assignment per line, and --set beats it."""
    lines = "response.alpha=0.25\n\nbatch_size=3\n  response.soft_loss.temperature=5\n"
    found = facts(config, variables={"DISTILL_SET": lines})
    assert found["data"]["weights"] == {"soft": 0.25, "hard": 0.75}
    assert (found["batch_size"], found["temperature"]) == (3, 5.0)
    found = facts(config, "--set", "response.alpha=1", variables={"DISTILL_SET": lines})
    assert (found["data"]["weights"], found["batch_size"]) == ({"soft": 1.0}, 3)


def test_empty_variables_are_unset(config: Path) -> None:
    """Every shared option's variable may be empty."""
    options = ("SET", "DEVICE", "BATCH_SIZE", "THREADS", "FORMAT", "NO_PROGRESS", "QUIET", "DEBUG")
    empty = {f"DISTILL_{name}": "" for name in options}
    done = distill("score", config, variables=empty)
    assert done.code == 0
    assert done.out.startswith("distill score: response")
    assert done.notes


def test_variables_of_switches(config: Path) -> None:
    """DISTILL_QUIET and DISTILL_FORMAT do what the flags do."""
    done = distill("score", config, variables={"DISTILL_QUIET": "1", "DISTILL_FORMAT": "json"})
    assert done.err == ""
    assert done.data["rows"] == ROWS


def test_metrics_of_a_flag(config: Path) -> None:
    """A list of metrics, and none of them."""
    some = facts(config, "--set", "metrics=[kl_max, student_ece]")["data"]
    assert list(some["metrics"]) == ["kl_max", "student_ece"]
    assert facts(config, "--set", "metrics=none")["data"]["metrics"] == {}
    assert distill("score", config, "--set", "metrics=none").code == 0
    (error,) = refused(distill("score", config, "--set", "metrics=[kl_meen]"))
    assert "kl_mean" in error


def test_flags_beside_a_config_point_to_set(config: Path) -> None:
    """The flags of quick use are no overrides; the message has the option that is."""
    (error,) = refused(distill("score", str(config), "--temperature", "2"))
    assert "--set response.soft_loss.temperature=2" in error
