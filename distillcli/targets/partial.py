"""FILE.partial: the finished pieces of an output that is not whole yet.

Each piece is written under another name, synced and renamed, so one that is there is whole. Beside
them lies the job: what the output is made of and how. Pieces of another job are never used.
"""

import contextlib
import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from distillcli.errors import BackendError, DataError, DistillError
from distillcli.targets.pieces import Piece, pack, unpack
from distillcli.writing.outputs import leaving, sync_folder, told

Job = Mapping[str, Any]

ROLE = "--output"
_JOB = "job.json"
_LOCK = "lock"
_ASSEMBLED = "assembled"


def partial_of(path: Path) -> Path:
    """The folder of the finished pieces of an output."""
    return path.with_name(path.name + ".partial")


class Partial:
    """The folder, held by one run at a time.

    As a context it keeps the folder where a later run can go on from it (an interrupt, a disk that
    is full) and removes it otherwise.
    """

    def __init__(self, path: Path, job: Job, *, resume: bool, discard: bool) -> None:
        """Take the folder over, or make it.

        Args:
            path: the output.
            job: everything that its bytes depend on, JSON-ready.
            resume: go on from the pieces that are there.
            discard: throw pieces away that are there and are not resumed from.

        Raises:
            DataError: pieces of another job are there, or pieces that nobody said what to do with;
                another run holds the folder; it cannot be made.
        """
        self.path = path
        self.folder = partial_of(path)
        self._job = job
        self._notes: dict[str, Any] = {}
        self._pieces = 0
        self._lock = -1
        made = False
        try:
            with told(self.folder, ROLE):
                made = _make(self.folder)
                sync_folder(self.folder.parent)
                self._lock = _locked(self.folder)
            self._take_over(resume, discard)
        except BaseException:
            self._unlock()
            if made:
                shutil.rmtree(self.folder, ignore_errors=True)
            raise
        leaving.add(self._leave)

    def _unlock(self) -> None:
        fd, self._lock = self._lock, -1
        if fd >= 0:
            os.close(fd)

    def _leave(self) -> str:
        """What to say to somebody who ends the run; nothing stays where there is nothing to use."""
        if self._pieces:
            count = f"{self._pieces} finished {'piece' if self._pieces == 1 else 'pieces'}"
            return f"{self.folder} keeps {count}: run again with --resume to go on"
        self.remove()
        return ""

    def _take_over(self, resume: bool, discard: bool) -> None:
        known = self._known_job()
        if resume and known is not None:
            self._notes = dict(known.get("notes", {}))
            self._require_same(known["job"])
            self._pieces = self._count_whole()
        elif self._names() and not discard and known is not None:
            problem = f"{len(self._names())} finished pieces of an interrupted run are there"
            hint = "continue it with --resume, or start anew with --overwrite"
            raise DataError(str(self.folder), problem, hint)
        with told(self.folder, ROLE):
            self._clear()
            self._write(_JOB, [json.dumps({"job": self._job, "notes": self._notes}).encode()])

    def _require_same(self, before: Job) -> None:
        for key in (*self._job, *before):
            if before.get(key) != self._job.get(key):
                problem = f"was begun with another {_difference(before, self._job, key)}"
                hint = "start anew with --overwrite, which throws its pieces away"
                raise DataError(str(self.folder), problem, hint)

    @property
    def notes(self) -> Mapping[str, Any]:
        """What earlier passes of this job have found."""
        return self._notes

    def note(self, **found: Any) -> None:
        """Keep what a pass has found, JSON-ready, for a run that resumes."""
        self._notes |= found
        with told(self.folder, ROLE):
            self._write(_JOB, [json.dumps({"job": self._job, "notes": self._notes}).encode()])

    def add(self, piece: Piece) -> None:
        """Keep a finished piece.

        Raises:
            DataError: the disk refuses.
        """
        with told(self.path, ROLE):
            self._write(_name(self._pieces), pack(piece))
        self._pieces += 1

    def last(self) -> Piece | None:
        """The last piece that is there."""
        return self._read(self._pieces - 1) if self._pieces else None

    def pieces(self) -> Iterator[Piece]:
        """All pieces in order.

        Raises:
            DataError: one was damaged after it had been written.
        """
        for index in range(self._pieces):
            piece = self._read(index)
            if piece is None:
                problem = "is damaged: its checksum is wrong"
                raise DataError(str(self.folder / _name(index)), problem, "resume once more")
            yield piece

    def place(self, target: Path, data: bytes) -> None:
        """Put a small file in its place, whole."""
        self._write("passing", [data])
        os.replace(self.folder / "passing", target)
        sync_folder(target.parent)

    @property
    def assembled(self) -> Path:
        """Where the output is put together before it takes its name."""
        return self.folder / _ASSEMBLED

    def _read(self, index: int) -> Piece | None:
        try:
            return unpack((self.folder / _name(index)).read_bytes())
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _count_whole(self) -> int:
        """How many pieces from the first one on are whole and follow each other."""
        stop, index = None, 0
        while (piece := self._read(index)) is not None:
            if stop is not None and piece.start != stop:
                break
            stop, index = piece.stop, index + 1
        return index

    def _known_job(self) -> dict[str, Any] | None:
        try:
            found = json.loads((self.folder / _JOB).read_bytes())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) and isinstance(found.get("job"), dict) else None

    def _names(self) -> list[str]:
        return [name for name in os.listdir(self.folder) if name.endswith(".piece")]

    def _clear(self) -> None:
        """Throw away what is not built on."""
        kept = {_LOCK, *(_name(index) for index in range(self._pieces))}
        for name in os.listdir(self.folder):
            if name not in kept:
                os.unlink(self.folder / name)

    def _write(self, name: str, parts: Sequence[bytes | memoryview]) -> None:
        """Write a file under another name, sync it, and give it its name."""
        target, passing = self.folder / name, self.folder / f"{name}.tmp"
        fd = os.open(passing, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        try:
            for part in parts:
                write_all(fd, part)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(passing, target)
        sync_folder(self.folder)

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        worth = error is not None and self._pieces > 0 and _resumable(error)
        if worth and error is not None:
            with contextlib.suppress(OSError):
                self._clear()
            error.add_note(self._leave())
        else:
            self.remove()
        leaving.discard(self._leave)
        self._unlock()


def _resumable(error: BaseException) -> bool:
    """Whether the same job may succeed the next time."""
    cause = error.__cause__
    if isinstance(error, DistillError) and not isinstance(error, BackendError):
        return isinstance(cause, OSError) and getattr(error, "where", "").startswith(ROLE)
    return True


def _name(index: int) -> str:
    return f"{index:08d}.piece"


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write everything, in as many steps as it takes."""
    view = memoryview(data)
    while len(view):
        view = view[os.write(fd, view) :]


def _make(folder: Path) -> bool:
    """Make the folder; whether it was not there."""
    try:
        os.mkdir(folder)
    except FileExistsError:
        if folder.is_dir() and not folder.is_symlink():
            return False
        raise NotADirectoryError(errno.ENOTDIR, "it is not a folder") from None
    return True


def _locked(folder: Path) -> int:
    """Hold the folder until the descriptor is closed, or the process ends."""
    fd = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        hint = "wait for it, or write another file"
        raise DataError(str(folder), "another run is writing this output", hint) from None
    return fd


def _difference(before: Any, now: Any, key: str) -> str:
    """The path of the first value in which two jobs differ: `config.ensemble.temperature`."""
    first, second = before.get(key), now.get(key)
    if isinstance(first, dict) and isinstance(second, dict):
        for inner in (*second, *first):
            if first.get(inner) != second.get(inner):
                return f"{key}.{_difference(first, second, inner)}"
    return key
