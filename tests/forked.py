"""Commands in a forked process each: a crash, a hang or a hungry one shows as what it is.

A server that has everything imported forks for each command, which takes a hundredth of the time of
a new interpreter. `opened` are the files of the current folder that were opened, by whatever
library (Linux only; None elsewhere).
"""

import atexit
import ctypes
import json
import os
import re
import resource
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATIENCE = 30  # seconds of the clock until a command counts as hanging
IN_OPEN, IN_ISDIR = 0x20, 0x40000000


@dataclass(frozen=True)
class Finished:
    """How a forked command ended; `code` is negative where a signal ended it."""

    code: int
    out: str
    err: str
    peak: int  # bytes of the largest resident set, its own or of a process that it started
    cpu: float  # seconds
    opened: list[str] | None

    @property
    def errors(self) -> list[str]:
        """The lines of errors, without what they all begin with."""
        start = "distill: error: "
        return [line.removeprefix(start) for line in self.err.splitlines() if start in line]


class Forked:
    """A server that runs commands; use as a context."""

    def __enter__(self) -> "Forked":
        here = Path(__file__).parent
        self._server = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": f"{here.parent}{os.pathsep}{here}"},
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._server.communicate()

    def __call__(
        self,
        folder: Path,
        *arguments: str | Path,
        variables: Mapping[str, str] | None = None,
        memory: int | None = None,
    ) -> Finished:
        """Run `distill ARGUMENTS` in a folder.

        Args:
            memory: bytes of address space that may be taken beside what is taken already.
        """
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        task = {
            "folder": str(folder),
            "arguments": [os.fsencode(str(one)).hex() for one in arguments],
            "variables": dict(variables or {}),
            "memory": memory,
        }
        self._server.stdin.write(json.dumps(task) + "\n")
        self._server.stdin.flush()
        return Finished(**json.loads(self._server.stdout.readline()))


class _Watched:
    """Which files of a folder are opened, as the kernel sees it."""

    def __init__(self, folder: str) -> None:
        libc = ctypes.CDLL(None)
        self._fd = -1
        if hasattr(libc, "inotify_init1"):
            self._fd = libc.inotify_init1(os.O_NONBLOCK)
            libc.inotify_add_watch(self._fd, os.fsencode(folder), IN_OPEN)

    def opened(self) -> list[str] | None:
        if self._fd < 0:
            return None
        data = b""
        try:
            while part := os.read(self._fd, 1 << 16):
                data += part
        except BlockingIOError:
            pass
        os.close(self._fd)
        found, at = set(), 0
        while at < len(data):
            _, mask, _, size = struct.unpack_from("iIII", data, at)
            if not mask & IN_ISDIR:
                found.add(os.fsdecode(data[at + 16 : at + 16 + size].rstrip(b"\0")))
            at += 16 + size
        return sorted(found)


def _child(task: Mapping[str, Any], out: int, err: int) -> None:
    from distillcli.cli import main

    os.chdir(task["folder"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.environ.update(task["variables"])
    sys.argv = ["distill", *(os.fsdecode(bytes.fromhex(one)) for one in task["arguments"])]
    if task["memory"] is not None:
        with open("/proc/self/statm") as file:
            taken = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + task["memory"],) * 2)
    code: Any = 0
    try:
        main()
    except SystemExit as end:
        code = end.code or 0
    sys.stdout.flush()
    sys.stderr.flush()
    atexit._run_exitfuncs()
    os._exit(code)


def _run(task: Mapping[str, Any]) -> dict[str, Any]:
    out, err = os.memfd_create("out"), os.memfd_create("err")
    watched = _Watched(task["folder"])
    child = os.fork()
    if child == 0:
        try:
            _child(task, out, err)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(99)
    deadline, waited = time.monotonic() + PATIENCE, 0
    while not waited:
        waited, status, usage = os.wait4(child, os.WNOHANG)
        if not waited:
            time.sleep(0.002)
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "out": _text(out),
        "err": _text(err),
        "peak": usage.ru_maxrss * 1024,
        "cpu": usage.ru_utime + usage.ru_stime,
        "opened": watched.opened(),
    }


def _text(file: int) -> str:
    size = os.lseek(file, 0, os.SEEK_END)
    data = os.pread(file, size, 0)
    os.close(file)
    return data.decode("utf-8", "surrogateescape")


def serve() -> None:
    """Answer tasks, one a line, until there are no more."""
    from distillcli.backend import one_blas_thread

    one_blas_thread()
    import distillcli.cli.program
    import distillcli.commands.ensemble
    import distillcli.commands.score
    import distillcli.commands.validate
    import distillcli.formats.hdf5
    import distillcli.formats.npz
    import distillcli.formats.safetensors
    import distillcli.report  # noqa: F401

    for name in [name for name in os.environ if re.match("DISTILL_|NO_COLOR|COLUMNS", name)]:
        del os.environ[name]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        answers.write(json.dumps(_run(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve()
