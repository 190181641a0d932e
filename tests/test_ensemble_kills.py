"""Writing soft targets is killed, or the system refuses, at any moment: never half a file.

Shortened in the suite; `pytest tests/test_ensemble_kills.py --full` does all of it.
"""

import errno
import itertools
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from ensembles import child, command, config, dumps, plain_environment
from runs import distill

OPERATIONS = ("open", "write", "pwrite", "fsync", "replace", "mkdir", "unlink", "rmdir")
Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module", params=["a.h5", "a.npy"])
def job(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> "Job":
    """A run and what it should end in."""
    folder = tmp_path_factory.mktemp("job")
    dumps(folder)
    made = Job(folder, str(request.param))
    made.setup()
    return made


class Job:
    """`distill ensemble CONFIG --output FILE --overwrite`, where a whole file was before."""

    def __init__(self, folder: Path, output: str) -> None:
        self.folder, self.output = folder, folder / output
        self.arguments = ["ensemble", folder / "config.yaml", "--overwrite", "--quiet", "--output"]

    @property
    def beside(self) -> Path:
        return self.output.with_name(self.output.name + ".json")

    def setup(self) -> None:
        """The bytes of the old file and of the new one; both are whole."""
        config(self.folder, weights=[1, 2, 3])
        assert child([*self.arguments, self.output]).returncode == 0
        self.old = self.content()
        config(self.folder, weights="fit", fit_rows=0.5)
        assert child([*self.arguments, self.output]).returncode == 0
        self.new = self.content()
        assert self.old[0] != self.new[0]

    def content(self) -> tuple[bytes, bytes]:
        return self.output.read_bytes(), self.beside.read_bytes() if self.beside.exists() else b""

    def restore(self) -> None:
        self.output.write_bytes(self.old[0])
        if self.old[1]:
            self.beside.write_bytes(self.old[1])

    def check_whole(self) -> None:
        """The old file or the new one, and nothing beside it but FILE.partial."""
        assert self.output.read_bytes() in (self.old[0], self.new[0])
        assert distill("verify", self.output, "--quiet").code == 0
        known = {self.output.name, self.beside.name, f"{self.output.name}.partial"}
        mine = {name for name in os.listdir(self.folder) if self.output.stem in name.split(".")}
        assert mine <= known
        assert not [name for name in os.listdir(self.folder) if name.endswith(".tmp")]

    def check_resumes(self) -> None:
        """The same bytes as those of a run that nothing happened to."""
        done = child([*self.arguments, self.output, "--resume"])
        assert done.returncode == 0, done.stderr
        assert self.content() == self.new
        assert not (self.folder / f"{self.output.name}.partial").exists()


def moments(full: bool, some: Sequence[int]) -> Iterator[int]:
    """Which calls of an operation are struck: all of them, or some."""
    return itertools.count(1) if full else iter(some)


def struck(job: Job, name: str, moments: Iterator[int], fault: Any, **more: Any) -> Iterator[Done]:
    """Runs in which such a call of an operation meets a fault, until there are no more calls."""
    for at in moments:
        job.restore()
        done = child([*job.arguments, job.output], names=[name], at=at, fault=fault, **more)
        if done.returncode == 0:
            return
        yield done


@pytest.mark.parametrize("name", OPERATIONS)
def test_killed_at_each_call(job: Job, name: str, full: bool) -> None:
    """kill -9 at an operation of the system: the old file or the new one, and it goes on."""
    for done in struck(job, name, moments(full, (1, 6)), "kill"):
        assert done.returncode == -signal.SIGKILL
        job.check_whole()
        job.check_resumes()


def check_words(job: Job, done: Done, *words: str) -> None:
    """The last line says what happened, and how to go on where there is something to go on from."""
    last = done.stderr.splitlines()[-1]
    assert all(word in last for word in words), done.stderr
    assert "Traceback" not in done.stderr
    kept = (job.folder / f"{job.output.name}.partial").exists()
    assert kept == ("run again with --resume" in last)
    job.check_whole()
    job.check_resumes()


@pytest.mark.parametrize("name", ["write", "pwrite", "fsync", "replace", "mkdir"])
def test_refused_at_each_call(job: Job, name: str, full: bool) -> None:
    """An error of the system: one line, exit code 2, the old file or the new one."""
    for number in (errno.EIO, errno.ENOSPC) if full else (errno.ENOSPC,):
        for done in struck(job, name, moments(full, (1, 9)), number):
            assert done.returncode == 2, done.stderr
            check_words(job, done, "distill: error: --output", os.strerror(number))


@pytest.mark.parametrize("name", ["write", "pwrite", "fsync", "replace"])
def test_ended_at_each_call(job: Job, name: str, full: bool) -> None:
    """Ctrl-C and SIGTERM: their exit codes, and the old file or the new one."""
    for number, code, word in ((2, 130, "interrupted"), (15, 143, "terminated")):
        for done in struck(job, name, moments(full, (number % 9,)), "before", signal=number):
            assert done.returncode == code, done.stderr
            check_words(job, done, f"distill: error: {word}")


def test_killed_at_random_moments(job: Job, full: bool) -> None:
    """At any time from the start of the process to its end."""
    rng = random.Random(0)
    for _ in range(100 if full else 3):
        job.restore()
        begin = time.monotonic()
        run = subprocess.Popen(
            command([*job.arguments, job.output]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=plain_environment(),
        )
        time.sleep(rng.uniform(0.3, 1.2))
        run.kill()
        run.wait()
        assert time.monotonic() - begin < 60
        job.check_whole()
        job.check_resumes()


def test_a_first_run_leaves_no_part_of_a_file(job: Job, full: bool) -> None:
    """Where nothing was before there is the new file or none."""
    for at in moments(full, (2, 7, 20)):
        for path in (job.output, job.beside):
            path.unlink(missing_ok=True)
        done = child([*job.arguments, job.output], names=["replace", "write", "fsync"], at=at)
        if done.returncode == 0:
            break
        assert not job.output.exists() or job.output.read_bytes() == job.new[0]
        job.check_resumes()


def test_the_last_line_counts_the_pieces(job: Job) -> None:
    """And names the folder that they are in."""
    job.restore()
    done = child([*job.arguments, job.output], names=["replace"], at=5, fault="before", signal=2)
    last = done.stderr.splitlines()[-1]
    assert re.search(r"keeps \d finished pieces?: run again with --resume to go on$", last)
    assert f"{job.output}.partial" in last
