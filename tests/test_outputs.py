"""Files that distill writes are the old one or the new one, whole."""

import os
import resource
import signal
from pathlib import Path

import pytest

from distillcli.errors import DataError
from distillcli.writing.outputs import replacing


def write(path: Path, data: bytes) -> None:
    with replacing(path, role="--export") as file:
        file.write(data)


def test_a_file_is_made_and_replaced(tmp_path: Path) -> None:
    """The new content is there, with the permissions that a new or the old file has."""
    path = tmp_path / "result.json"
    write(path, b"one")
    assert path.stat().st_mode & 0o777 == 0o666 & ~current_umask()
    path.chmod(0o640)
    write(path, b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["result.json"]


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    """Whatever interrupts the writing, the old file stays and nothing else is left."""
    path = tmp_path / "result.json"
    path.write_bytes(b"old")
    with pytest.raises(error), replacing(path, role="--export") as file:
        file.write(b"new")
        raise error
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["result.json"]


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    """A write that the system refuses names the file and leaves the old one."""
    path = tmp_path / "result.json"
    path.write_bytes(b"old")
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(DataError, match="--export .*result.json: cannot be written: File too"):
            write(path, bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["result.json"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [("missing/result.json", "make the folder first"), (".", "it is a folder")],
)
def test_a_path_that_cannot_be_written(tmp_path: Path, name: str, hint: str) -> None:
    """A missing folder, or a folder in the file's place, is told with the way out."""
    with pytest.raises(DataError, match=hint):
        write(tmp_path / name, b"")
    assert os.listdir(tmp_path) == []
