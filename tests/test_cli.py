"""`distill score` and `distill doctor` as a user meets them: words, streams, exit codes."""

import json
import os
import re
import signal
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from runs import ROOT, Ended, distill, saved, written

from distillcli import batches, slabs
from distillcli.backend import Probe, choice
from distillcli.commands import score as score_command

ROWS, CLASSES = 23, 7
QUICK = ("score", "--teacher", "teacher.npy", "--student", "student.npy")
NO_GPU = Probe((("CuPy", "not installed"),), "CuPy is not installed", "install it")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with teacher, student and labels; no machine has a GPU here."""
    rng = np.random.default_rng(0)
    scores = {name: rng.normal(0, 2, (ROWS, CLASSES)) for name in ("teacher", "student")}
    saved(tmp_path, "float32", **scores, labels=rng.integers(0, CLASSES, ROWS))
    monkeypatch.setattr(choice, "probe_gpu", lambda index=0: NO_GPU)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def config(folder: Path) -> Path:
    """A config on these files."""
    return written(folder / "config.yaml", CONFIG)


CONFIG: dict[str, Any] = {
    "strategy": "response",
    "teacher": "teacher.npy",
    "student": "student.npy",
    "labels": "labels.npy",
    "batch_size": 10,
    "response": {"alpha": 0.4, "soft_loss": {"name": "kl", "temperature": 2.0}},
}


def refused(done: Ended, code: int = 2) -> list[str]:
    """The errors of a command that failed as one should: words on stderr, one line for each."""
    assert done.code == code
    assert done.out == ""
    assert "Traceback" not in done.err
    assert all(line.startswith("distill: ") for line in done.err.splitlines())
    assert done.errors
    return done.errors


def facts(*arguments: str | Path, variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The facts of a run that works."""
    done = distill("score", *arguments, "--format", "json", variables=variables)
    assert done.code == 0, done.err
    return {**done.data["facts"], "data": done.data}


# --- inputs that will not do ------------------------------------------------------------------


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


# --- configs and flags that will not do -------------------------------------------------------


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


# --- devices ----------------------------------------------------------------------------------


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


def test_doctor(folder: Path) -> None:
    """Versions, what `auto` takes and why, and that no GPU has run the GPU code."""
    done = distill("doctor")
    assert (done.code, done.err) == (0, "")
    for library in ("python", "numpy", "h5py"):
        assert re.search(rf"^ *{library} +\d", done.out, re.M)
    assert re.search(r"device.* cpu\b", done.out)
    assert "CuPy is not installed" in done.out
    assert "never on a GPU" in done.out


# --- quick use, settings and what beats what --------------------------------------------------


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


# --- what goes where --------------------------------------------------------------------------


def test_quiet_hides_notes_and_progress_alone(folder: Path) -> None:
    """The result is the same, and an error is told all the same."""
    loud, quiet = (distill(*QUICK, *more) for more in ((), ("--quiet",)))
    assert loud.err.count("distill: ") >= 2
    assert quiet.err == ""
    assert quiet.out.splitlines()[:-1] == loud.out.splitlines()[:-1]  # but for the time
    assert refused(distill("score", "none.yaml", "--quiet"))


def test_progress_goes_to_stderr(folder: Path) -> None:
    """One line at the start off a terminal; none with --no-progress."""
    cpu = ("--device", "cpu")
    assert re.fullmatch(r"distill: score: 23 rows, .*\n", distill(*QUICK, *cpu).err)
    assert distill(*QUICK, *cpu, "--no-progress").err == ""


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


def test_a_table_of_thousands_of_batches(folder: Path) -> None:
    """First and last batches and a line between them; every one with --all-batches."""
    rng = np.random.default_rng(0)
    names = ("teacher", "student")
    saved(folder, "float32", **{name: rng.normal(size=(3000, 3)) for name in names})
    one_row = (*QUICK, "--batch-size", "1")
    short = distill(*one_row).out
    assert "2,980 more left out; --all-batches prints every one" in short
    assert len(short.splitlines()) < 60
    assert re.search(r"^ *0 +0:1 ", short, re.M)
    assert re.search(r"^ *2999 +2999:3000 ", short, re.M)
    assert not re.search(r"^ *1500 ", short, re.M)
    full = distill(*one_row, "--all-batches").out
    assert len(re.findall(r"^ *\d+ +\d+:\d+ ", full, re.M)) == 3000


def test_tables_are_never_shortened_off_a_terminal(folder: Path) -> None:
    """Long names and many columns are printed whole."""
    name = "a-long-name-of-a-student-" * 6
    (folder / "student.npy").rename(folder / f"{name}.npy")
    done = distill("score", "--teacher", "teacher.npy", "--student", f"{name}.npy")
    assert f"{name}.npy" in done.out
    assert "\x1b" not in done.out


def test_names_from_outside_are_escaped(folder: Path) -> None:
    """A path with control characters neither colours nor clears a terminal, nor breaks a line."""
    (error,) = refused(
        distill("score", "--teacher", "a\x1b[31m\nb\u202e.npy", "--student", "student.npy")
    )
    assert "\x1b" not in error
    assert "\u202e" not in error


def test_help_and_version(folder: Path) -> None:
    """Both go to stdout with exit 0."""
    for arguments in (["--help"], ["score", "--help"], ["doctor", "--help"]):
        done = distill(*arguments)
        assert (done.code, done.err) == (0, "")
        assert "Usage" in done.out
    for arguments in (["--version"], ["score", "--version"]):
        assert re.fullmatch(r"distill \d+\.\d+\.\d+\S*\n", distill(*arguments).out)


# --- a bug, an interrupt, a closed or full stdout ---------------------------------------------


def test_a_bug_is_exit_4(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line; the traceback only with --debug."""

    def planted(*_: Any, **__: Any) -> None:
        raise RuntimeError("planted\nin two lines")

    monkeypatch.setattr(score_command, "tabulate", planted)
    (error,) = refused(distill(*QUICK), code=4)
    assert error.startswith("a bug in distill: RuntimeError: planted")
    assert "--debug" in error
    done = distill(*QUICK, "--debug")
    assert (done.code, done.out) == (4, "")
    assert "Traceback (most recent call last)" in done.err


def test_too_little_memory_is_the_users_side(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrays that do not fit are exit 2, not a bug."""

    def planted(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(score_command, "tabulate", planted)
    assert "memory" in refused(distill(*QUICK))[0]


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "distillcli", *map(str, arguments)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def sparse(path: Path, rows: int, classes: int) -> None:
    """An npy file of zeros that takes no room on the disk."""
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, classes)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + rows * classes * 4)


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_interrupts(folder: Path, number: signal.Signals, code: int, word: str) -> None:
    """Ctrl-C and SIGTERM end a long run in one line, with nothing on stdout."""
    for name in ("teacher", "student"):
        sparse(folder / f"{name}.npy", 5_000_000, 100)
    with subprocess.Popen(
        command(*QUICK, "--device", "cpu"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as running:
        assert running.stderr is not None
        first = running.stderr.readline()
        running.send_signal(number)
        out, err = running.communicate(timeout=60)
    assert first.startswith("distill: score: 5,000,000 rows")
    assert (running.returncode, out) == (code, "")
    assert err == f"distill: error: {word}\n"


def test_a_reader_that_leaves_is_no_failure(folder: Path) -> None:
    """Standard output closed at its other end: exit 0, and nothing is said of it."""
    for more in ((), ("--format", "json")):
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run(
            command(*QUICK, "--quiet", *more),
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            check=False,
        )
        os.close(writing)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("arguments", [(*QUICK, "--quiet"), ("doctor",)])
def test_a_full_disk_under_stdout(folder: Path, arguments: tuple[str, ...]) -> None:
    """One clear line and exit 2; the interpreter ends without a crash."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command(*arguments),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            check=False,
        )
    assert done.returncode == 2
    assert re.fullmatch(
        r"distill: error: standard output: .*No space left on device\n", done.stderr
    )


def test_a_closed_stdout(folder: Path) -> None:
    """Nowhere to write to is told as such, before any work."""
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *command(*QUICK)],
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        check=False,
    )
    assert (done.returncode, done.stderr) == (
        2,
        "distill: error: standard output: cannot be used: it is closed\n",
    )


def test_an_input_that_changes_during_the_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is written to while it is read ends the run, and gives no number."""
    rng = np.random.default_rng(0)
    for name in ("teacher", "student"):
        saved(folder, "float32", **{name: rng.normal(size=(100_000, CLASSES))})
    monkeypatch.setattr(batches, "SLAB_BYTES", 1)  # a slab for every tile
    cut = slabs.Slab.tiles

    def tiles(slab: slabs.Slab, *arguments: Any) -> Any:
        if slab.start == 0:
            with (folder / "student.npy").open("ab") as file:
                file.write(b"more")
        return cut(slab, *arguments)

    monkeypatch.setattr(slabs.Slab, "tiles", tiles)
    (error,) = refused(distill(*QUICK))
    assert error.startswith("student in student.npy: ")
    assert "changed while it was read: 2,800,128 bytes before, 2,800,132 now" in error


def test_the_installed_command(folder: Path) -> None:
    """The process itself, and not only the function: JSON on stdout, notes on stderr, exit 0."""
    done = subprocess.run(
        command(*QUICK, "--format", "json"),
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    assert done.returncode == 0
    assert json.loads(done.stdout)["rows"] == ROWS
    assert all(line.startswith("distill: ") for line in done.stderr.splitlines())


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


def test_flags_beside_a_config_point_to_set(config: Path) -> None:
    """The flags of quick use are no overrides; the message has the option that is."""
    (error,) = refused(distill("score", str(config), "--temperature", "2"))
    assert "--set response.soft_loss.temperature=2" in error
