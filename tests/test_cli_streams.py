"""`distill` as a process: what goes to which stream, and how it ends."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quick import CLASSES, QUICK, ROWS, quick_folder, refused
from runs import ROOT, distill, saved

from distillcli import slabs
from distillcli.batches import grid
from distillcli.commands import score as score_command


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with teacher, student and labels; no machine has a GPU here."""
    return quick_folder(tmp_path, monkeypatch)


def test_doctor(folder: Path) -> None:
    """Versions, what `auto` takes and why, and that no GPU has run the GPU code."""
    done = distill("doctor")
    assert (done.code, done.err) == (0, "")
    for library in ("python", "numpy", "h5py"):
        assert re.search(rf"^ *{library} +\d", done.out, re.M)
    assert re.search(r"device.* cpu\b", done.out)
    assert "CuPy is not installed" in done.out
    assert "never on a GPU" in done.out


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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("where", ["&-", "/dev/full"])
def test_nowhere_for_notes(folder: Path, where: str) -> None:
    """A closed or full stderr costs no result."""
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" 2>{where}', "sh", *command(*QUICK, "--format", "json")],
        stdout=subprocess.PIPE,
        env=environment(),
        check=False,
    )
    assert done.returncode == 0
    assert json.loads(done.stdout)["rows"] == ROWS


def test_a_pipe_that_would_not_wait(folder: Path) -> None:
    """What does not fit into it at once waits until somebody reads."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    one_row = (*QUICK, "--batch-size", "1", "--all-batches", "--format", "json")
    rng = np.random.default_rng(0)
    names = ("teacher", "student")
    saved(folder, "float32", **{name: rng.normal(size=(3000, 3)) for name in names})
    with subprocess.Popen(command(*one_row), stdout=writing, stderr=subprocess.PIPE) as running:
        os.close(writing)
        time.sleep(2)
        with open(reading) as pipe:
            text = pipe.read()
    assert running.returncode == 0
    assert len(text) > 1 << 17
    assert len(json.loads(text)["batches"]) == 3000


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
    monkeypatch.setattr(grid, "SLAB_BYTES", 1)  # a slab for every tile
    cut = slabs.Slab.shares

    def shares(slab: slabs.Slab, *arguments: Any) -> Any:
        if slab.start == 0:
            with (folder / "student.npy").open("ab") as file:
                file.write(b"more")
        return cut(slab, *arguments)

    monkeypatch.setattr(slabs.Slab, "shares", shares)
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
