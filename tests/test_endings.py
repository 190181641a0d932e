"""Ctrl-C and SIGTERM at any moment, and too little memory: one line, the right code, no trace."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from forked import Forked
from runs import ROOT
from test_hostile import sparse

ENDS = {signal.SIGINT: (130, "interrupted"), signal.SIGTERM: (143, "terminated")}
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
SCORE = ("score", "--teacher", "t.npy", "--student", "s.npy", "--device", "cpu")
FILES = ("--per-row", "rows.npy", "--export", "csv=out.csv", "--export", "jsonl=out.jsonl")
# The mark is the last thing before our own code begins; what Python does before is not ours.
START = """
import os
from distillcli.cli import process
os.write(int(os.environ["MARK"]), b"x")
process()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs that take some seconds to score, and a small HDF5 file."""
    path = tmp_path_factory.mktemp("endings")
    for name in ("t", "s"):
        sparse(path / f"{name}.npy", (10_000_000, 100))
    with h5py.File(path / "a.h5", "w") as file:
        file["t"] = file["s"] = np.zeros((100, 10), "f4")
    return path


def ended(
    folder: Path, number: signal.Signals, delay: float, *arguments: str, code: str = START
) -> tuple[int, str, str, float]:
    """Exit code, stdout, stderr and the seconds it took, of a command that was interrupted."""
    reading, writing = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        pass_fds=[writing],
        env={**ENVIRONMENT, "MARK": str(writing)},
    ) as running:
        os.close(writing)
        os.read(reading, 1)
        os.close(reading)
        time.sleep(delay)
        running.send_signal(number)
        start = time.monotonic()
        out, err = running.communicate(timeout=60)
        return running.returncode, out, err, time.monotonic() - start


def delays() -> Iterator[tuple[signal.Signals, float, tuple[str, ...]]]:
    """Most of them while modules are imported, some while files are opened and read."""
    chance = random.Random(6)
    for index in range(24):
        number = (signal.SIGINT, signal.SIGTERM)[index % 2]
        longest = (0.05, 0.3, 1.0)[index % 3]
        commands = ((*SCORE, *FILES), ("inspect", "a.h5"), ("score", "--help"))
        yield number, chance.uniform(0.001, longest), commands[(0, 0, 1, 2)[index % 4]]


@pytest.mark.parametrize(("number", "delay", "arguments"), list(delays()))
def test_any_moment(
    folder: Path, number: signal.Signals, delay: float, arguments: tuple[str, ...]
) -> None:
    """Imports, arguments, headers, work, end: one line, or it was done before."""
    code, out, err, took = ended(folder, number, delay, *arguments)
    wanted, word = ENDS[number]
    if code == 0:
        assert arguments[0] == "inspect" or "--help" in arguments
    else:
        assert code == wanted, err
        assert err.splitlines()[-1] == f"distill: error: {word}"
        assert all(line.startswith("distill: ") for line in err.splitlines())
        assert out == "" or arguments[-1] == "--help"
    assert took < 2  # a second, and what a busy machine takes beside
    assert sorted(os.listdir(folder)) == ["a.h5", "s.npy", "t.npy"]


THREAD_BUSY = """
import time
from distillcli.numerics import scores
made = scores.Logits.__init__
def slow(*arguments, **more):
    time.sleep(60)
scores.Logits.__init__ = slow
"""
MAIN_BUSY = """
import hashlib
from distillcli.commands import score
score.Passes.rows = lambda *_, **__: hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
"""
# What is raised in a finaliser is swallowed by the interpreter.
SWALLOWED = """
import time
from distillcli.commands import score
class Finalised:
    def __del__(self):
        time.sleep(60)
def rows(*_, **__):
    Finalised()
    time.sleep(60)
score.Passes.rows = rows
"""


@pytest.mark.parametrize("number", list(ENDS))
@pytest.mark.parametrize(
    "planted", [THREAD_BUSY, MAIN_BUSY, SWALLOWED], ids=["thread", "main", "swallowed"]
)
def test_within_a_second(folder: Path, number: signal.Signals, planted: str) -> None:
    """A library that keeps a thread, or the main one, for a minute does not keep the process."""
    code, out, err, took = ended(folder, number, 0.3, *SCORE, *FILES, code=planted + START)
    wanted, word = ENDS[number]
    assert (code, out) == (wanted, "")
    assert err.splitlines()[-1] == f"distill: error: {word}"
    assert "Traceback" not in err
    assert took < 2
    assert sorted(os.listdir(folder)) == ["a.h5", "s.npy", "t.npy"]


def test_an_interrupt_that_is_ignored(folder: Path) -> None:
    """Whoever starts us with signals ignored, as nohup and background jobs do, has it his way."""
    ignoring = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + START
    code, _, err, _ = ended(folder, signal.SIGINT, 0.05, "inspect", "a.h5", code=ignoring)
    assert (code, err) == (0, "")


AT_THE_END = """
import atexit
from distillcli.cli import process
class Slow:
    def __del__(self):
        print("taken apart")
slow = Slow()
atexit.register(print, "last words")
process()
"""


@pytest.mark.parametrize("arguments", [("--version",), ("score", "none.yaml"), ("what",)])
def test_the_end_of_the_interpreter(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """What is registered for the end is done, what is gone anyway is not taken apart first."""
    run = [sys.executable, "-c", AT_THE_END, *arguments]
    done = subprocess.run(run, capture_output=True, text=True, cwd=tmp_path, env=ENVIRONMENT)
    version = arguments == ("--version",)
    assert done.returncode == (0 if version else 2)
    assert done.stdout.splitlines()[-1] == "last words"
    assert len(done.stdout.splitlines()) == 1 + version
    assert version == (done.stderr == "")


def test_a_profile_of_a_command(tmp_path: Path) -> None:
    """Whoever has it followed gets what was seen."""
    run = [sys.executable, "-m", "cProfile", "-m", "distillcli", "--version"]
    done = subprocess.run(run, capture_output=True, text=True, cwd=tmp_path, env=ENVIRONMENT)
    assert "function calls" in done.stdout


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits are set by /proc")
def test_too_little_memory(tmp_path: Path) -> None:
    """Whatever the limit: exit 2 with a way out, or the result; no trace, no signal."""
    scores = np.random.default_rng(0).normal(size=(20_000, 500)).astype("f4")
    for name in ("t", "s"):
        np.save(tmp_path / f"{name}.npy", scores)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=scores, chunks=(100, 500), compression="lzf")
    codes = set()
    with Forked() as run:
        for megabytes in (2, 16, 64, 256, 400, 2000):
            for student in ("s.npy", "a.h5"):
                command = (*SCORE[:3], "--student", student, "--device", "cpu", "--threads", "2")
                done = run(tmp_path, *command, memory=megabytes << 20)
                codes.add(done.code)
                assert done.code in (0, 2), (megabytes, done)
                assert "Traceback" not in done.err
                if done.code == 2:
                    assert done.out == ""
                    assert "memory" in done.err or "thread" in done.err
                    assert "; try --threads 1" in done.err or "HDF5" in done.err
    assert codes == {0, 2}
