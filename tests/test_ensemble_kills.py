"""Writing soft targets is killed, or the system refuses, at any moment: never half a file.

Shortened in the suite; `pytest tests/test_ensemble_kills.py --full` does all of it.
"""

import errno
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ensembles import child, command, config, dumps, plain_environment
from runs import distill

OPERATIONS = ("open", "write", "pwrite", "fsync", "replace", "mkdir", "unlink", "rmdir")
OLD = b"what was there before"


@pytest.fixture(params=["a.h5", "a.npy"])
def job(tmp_path: Path, request: pytest.FixtureRequest) -> "Job":
    """A run and what it should end in."""
    dumps(tmp_path)
    config(tmp_path, weights="fit", fit_rows=0.5)
    made = Job(tmp_path, str(request.param))
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


def ended_calls(job: Job, name: str, every: int, fault: object) -> Iterator[subprocess.Popen]:
    """Runs that end at the 1st, the (1 + every)-th, ... call of an operation; until none does."""
    at = 1
    while True:
        job.restore()
        done = child([*job.arguments, job.output], names=[name], at=at, fault=fault)
        if done.returncode == 0:
            return
        yield done
        at += every


@pytest.mark.parametrize("name", OPERATIONS)
def test_killed_at_each_call(job: Job, name: str, full: bool) -> None:
    """kill -9 at an operation of the system: the old file or the new one, and it goes on."""
    for done in ended_calls(job, name, 1 if full else 4, "kill"):
        assert done.returncode == -signal.SIGKILL
        job.check_whole()
        job.check_resumes()


@pytest.mark.parametrize("name", ["write", "pwrite", "fsync", "replace", "mkdir"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_refused_at_each_call(job: Job, name: str, number: int, full: bool) -> None:
    """An error of the system: one line, exit code 2, the old file or the new one."""
    for done in ended_calls(job, name, 1 if full else 5, number):
        assert done.returncode == 2, done.stderr
        assert os.strerror(number) in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
        kept = (job.folder / f"{job.output.name}.partial").exists()
        assert kept == ("run again with --resume" in done.stderr.splitlines()[-1])
        job.check_whole()
        job.check_resumes()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("name", ["write", "pwrite", "fsync", "replace"])
def test_ended_at_each_call(job: Job, name: str, number: int, code: int, full: bool) -> None:
    """Ctrl-C and SIGTERM: their exit codes, the old file whole, the last line says how to go on."""
    at = 1
    while True:
        job.restore()
        done = child(
            [*job.arguments, job.output], names=[name], at=at, fault="before", signal=int(number)
        )
        if done.returncode == 0:
            break
        assert done.returncode == code, done.stderr
        last = done.stderr.splitlines()[-1]
        assert last.startswith(f"distill: error: {'interrupted' if code == 130 else 'terminated'}")
        kept = (job.folder / f"{job.output.name}.partial").exists()
        assert kept == ("run again with --resume" in last)
        job.check_whole()
        job.check_resumes()
        at += 1 if full else 5


def test_killed_at_random_moments(job: Job, full: bool) -> None:
    """At any time from the start of the process to its end."""
    moments = random.Random(0)
    for _ in range(100 if full else 5):
        job.restore()
        begin = time.monotonic()
        run = subprocess.Popen(
            command([*job.arguments, job.output]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=plain_environment(),
        )
        time.sleep(moments.uniform(0.3, 1.2))
        run.kill()
        run.wait()
        assert time.monotonic() - begin < 60
        job.check_whole()
        job.check_resumes()


def test_a_first_run_leaves_no_part_of_a_file(job: Job, full: bool) -> None:
    """Where nothing was before there is the new file or none."""
    for at in range(1, 60, 1 if full else 9):
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
    assert re.search(r"a\.\w+\.partial keeps \d finished pieces?: run again with --resume to go on$",
                     done.stderr.splitlines()[-1])  # fmt: skip
