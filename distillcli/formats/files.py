"""Files as they are met on a disk: opened safely, read by offset, told apart, sampled."""

import difflib
import os
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from distillcli.errors import ChangedError, DataError, FormatError, MissingError
from distillcli.formats.inflating import crc32
from distillcli.formats.pieces import Numbers, Parts, Pieces, read_pieces, rest, runs

BLOCK = 1 << 16
BLOCKS = 64
EXPECTED = 1 << 19  # bytes: of more at once the system may fetch the beginning only


@dataclass(frozen=True)
class FileIdentity:
    """What tells one state of a file from another."""

    device: int
    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> "FileIdentity":
        """The identity in what `os.stat` says."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


class InputFile:
    """A regular file open for reading, in the state in which it was first seen.

    Safe to use from several threads: reads carry their own offset.
    """

    streamed = False  # any of its bytes can be read at any time

    def __init__(self, path: str, given: str, role: str) -> None:
        """Open the file.

        Args:
            path: where it is.
            given: the path as the user gave it, for messages and results.
            role: what the file is for, as in "student logits".

        Raises:
            MissingError, FormatError, DataError: it is not there, not a file, empty, forbidden.
        """
        self.path = path
        self.given = given
        self.role = role
        self.where = f"{role} in {given}" if role else given
        self._fd = _open_regular(path, self.where)
        self.identity = FileIdentity.of(os.fstat(self._fd))
        if self.identity.size == 0:
            self.close()
            raise FormatError(self.where, "the file is empty (0 bytes)")

    @property
    def size(self) -> int:
        """Bytes, as first seen."""
        return self.identity.size

    def read_into(self, buffer: Any, offset: int) -> None:
        """Fill a writable C-ordered buffer with the bytes from `offset` on.

        Raises:
            ChangedError: the file has become shorter than it was.
            DataError: the disk does not deliver.
        """
        view = memoryview(buffer).cast("B")
        while len(view):
            try:
                got = os.preadv(self._fd, [view], offset)
            except OSError as error:
                raise self._unreadable(error, offset) from error
            if got == 0:
                raise self._cut(offset)
            view, offset = view[got:], offset + got

    def read_parts(self, at: Numbers, parts: Parts) -> None:
        """Fill the pieces of each part with what lies at its offset in the file.

        Raises:
            As `read_into`.
        """
        for offset, size, pieces in runs(at, parts):
            while (got := self._got(pieces, offset)) < size:
                pieces, offset, size = rest(pieces, got), offset + got, size - got

    def _got(self, pieces: Pieces, offset: int) -> int:
        """How many bytes have come to pieces."""
        try:
            got = read_pieces(self._fd, pieces, offset)
        except OSError as error:
            raise self._unreadable(error, offset) from error
        if got == 0:
            raise self._cut(offset)
        return got

    def read(self, count: int, offset: int) -> bytes:
        """Up to `count` bytes from `offset` on: fewer only at the end of the file."""
        count = max(0, min(count, self.size - offset))
        buffer = bytearray(count)
        self.read_into(buffer, offset)
        return bytes(buffer)

    def _unreadable(self, error: OSError, offset: int) -> DataError:
        return DataError(self.where, f"cannot be read at byte {offset:,}: {error.strerror}")

    def _cut(self, offset: int) -> ChangedError:
        return ChangedError(self.where, f"ends at byte {offset:,}; it was cut while read")

    def expect(self, begin: int, end: int) -> None:
        """Have the system fetch bytes that will be read soon, where it does not hold them.

        A look at the last of them tells: asking for what is there already costs time, too.
        """
        if not hasattr(os, "RWF_NOWAIT") or begin >= end:
            return
        try:
            os.preadv(self._fd, [bytearray(1)], end - 1, os.RWF_NOWAIT)
        except BlockingIOError:
            for offset in range(begin, end, EXPECTED):
                os.posix_fadvise(self._fd, offset, EXPECTED, os.POSIX_FADV_WILLNEED)
        except OSError:
            return  # a file system that cannot tell

    def check_unchanged(self) -> None:
        """Compare the file with its first state.

        Raises:
            ChangedError: it was cut, appended to, rewritten, replaced or removed.
        """
        try:
            now = FileIdentity.of(os.stat(self.path))
        except OSError as error:
            raise ChangedError(self.where, "was removed while it was read") from error
        if now != self.identity:
            hint = "wait until its writer has finished, then run again"
            raise ChangedError(self.where, _difference(self.identity, now), hint)

    def close(self) -> None:
        """Give the file back; a second time does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _difference(before: FileIdentity, now: FileIdentity) -> str:
    if (before.device, before.inode) != (now.device, now.inode):
        return "was replaced by another file while it was read"
    if before.size != now.size:
        return f"changed while it was read: {before.size:,} bytes before, {now.size:,} now"
    return "was written to while it was read"


def _open_regular(path: str, where: str) -> int:
    """Look first and open without blocking: a pipe or device is refused, never waited for."""
    try:
        _require_regular(os.stat(path), where)
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise MissingError(where, "there is no such file", near_files(path)) from error
    except ValueError as error:
        raise MissingError(where, "is not a path that can exist") from error
    except OSError as error:
        raise DataError(where, f"cannot be opened: {error.strerror}") from error
    try:
        _require_regular(os.fstat(fd), where)
    except DataError:
        os.close(fd)
        raise
    return fd


def _require_regular(status: os.stat_result, where: str) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise FormatError(where, "is a folder, not a file", "for its files: folder/*.npy")
    if not stat.S_ISREG(status.st_mode):
        raise FormatError(where, "is not a regular file", "pipes and devices cannot be read")


def near_files(path: str, count: int = 5) -> str | None:
    """A hint with the names in the folder that come nearest, or where the path breaks off."""
    folder, name = os.path.split(path)
    try:
        with os.scandir(folder or ".") as entries:
            names = [entry.name for _, entry in zip(range(10_000), entries, strict=False)]
    except OSError:
        return f"there is no folder {folder}" if not os.path.isdir(folder) else None
    near = difflib.get_close_matches(name, names, count, cutoff=0.5)
    near = near or [n for n in sorted(names) if os.path.splitext(n)[1] == os.path.splitext(name)[1]]
    return f"in that folder: {', '.join(near[:count])}" if near else "nothing there has such a name"


_samples: dict[tuple[str, FileIdentity], int] = {}
_samples_lock = threading.Lock()


def sample_crc(file: InputFile) -> int:
    """CRC-32 of 64 evenly spaced blocks of 64 KiB of the file, of all of it when smaller."""
    key = (file.path, file.identity)
    with _samples_lock:
        if key not in _samples:
            crc, block = 0, memoryview(bytearray(BLOCK))
            for offset in _sample_offsets(file.size):
                part = block[: file.size - offset]
                file.read_into(part, offset)
                crc = crc32(part, crc)
            _samples[key] = crc
        return _samples[key]


def _sample_offsets(size: int) -> Iterator[int]:
    if size <= BLOCK * BLOCKS:
        yield from range(0, size, BLOCK)
    else:
        yield from ((size - BLOCK) * k // (BLOCKS - 1) for k in range(BLOCKS))
