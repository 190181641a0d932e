"""Files that are written whole or not at all."""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from distillcli.errors import DataError

_HINTS = {
    errno.ENOSPC: "free some space, or write to another disk",
    errno.EDQUOT: "the disk quota is used up; write elsewhere",
    errno.EFBIG: "the file would be larger than allowed here; write elsewhere",
    errno.EACCES: "look at the permissions of the folder, or write elsewhere",
    errno.EPERM: "look at the permissions of the folder, or write elsewhere",
    errno.EROFS: "the disk is read-only; write elsewhere",
    errno.ENOENT: "make the folder first",
    errno.ENOTDIR: "a part of the path is a file",
    errno.EISDIR: "it is a folder; give the path of a file",
}

_temporary: set[str] = set()
# What else to tidy up when the process ends in the middle of it, each with its last words.
leaving: set[Callable[[], str]] = set()


@contextlib.contextmanager
def replacing(path: Path, *, role: str) -> Iterator[BinaryIO]:
    """Write a file so that a reader finds the old one or the new one, never a part.

    What is written goes to a temporary file in the same folder, which takes the name of `path` when
    the block ends without an error, and is gone otherwise.

    Args:
        path: the file to make or to replace.
        role: what it is, for messages: `--export csv`, `baseline`.

    Raises:
        DataError: the disk is full, there is no permission, no such folder, and the like.
    """
    with told(path, role):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        name = str(path.parent / f".{path.name[:50]}.{os.urandom(8).hex()}.tmp")
        _temporary.add(name)
        try:
            with open(name, "xb", opener=_private) as file:
                yield file
                file.flush()
                os.fchmod(file.fileno(), mode_of(path))
                os.fsync(file.fileno())
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
        finally:
            _temporary.discard(name)
        sync_folder(path.parent)


def remove_temporary() -> str:
    """Remove what is being written, for a process that ends in the middle of it.

    Returns: what its user should know of what stays, or nothing.
    """
    for name in list(_temporary):
        with contextlib.suppress(OSError):
            os.unlink(name)
    return "; ".join(words for tidy in list(leaving) if (words := tidy()))


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)


@contextlib.contextmanager
def told(path: Path, role: str) -> Iterator[None]:
    """Turn an OSError of writing into one line that names the file and the way out."""
    try:
        yield
    except BrokenPipeError:  # that of another stream: no file is a pipe whose reader has gone
        raise
    except OSError as error:
        what = error.strerror or str(error)
        raise DataError(
            f"{role} {path}", f"cannot be written: {what}", _HINTS.get(error.errno or 0)
        ) from error


def sync_folder(folder: Path) -> None:
    """Make a rename in a folder last through a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def mode_of(path: Path) -> int:
    """The permissions of the file that is replaced, or those of a new file."""
    try:
        return path.stat().st_mode & 0o777
    except OSError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask
