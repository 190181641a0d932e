"""Files that a run is going to write, looked at before any work is done."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from distillcli.errors import UsageError


@dataclass(frozen=True)
class Written:
    """A file to write; `flag` is what messages call it: `--export json`, `--per-row`."""

    flag: str
    path: Path

    @property
    def where(self) -> str:
        return f"{self.flag} {self.path}"


def check_writable(files: Sequence[Written]) -> None:
    """Refuse what cannot be written or would be written twice.

    Raises:
        UsageError: no such folder, a folder in the file's place, two flags with one file.
    """
    for index, file in enumerate(files):
        if not str(file.path) or file.path.is_dir():
            raise UsageError(file.where, "is a folder", "give the path of a file")
        if not file.path.parent.is_dir():
            raise UsageError(file.where, "there is no such folder", "make the folder first")
        for earlier in files[:index]:
            if _same(file.path, earlier.path):
                raise UsageError(file.where, f"{earlier.flag} writes the same file", "write two")


def keep_apart(files: Sequence[Written], inputs: Iterable[tuple[str, str | Path]]) -> None:
    """Refuse to write what is read.

    Args:
        files: to be written.
        inputs: what each input is for, and its path.

    Raises:
        UsageError: a file to be written is an input.
    """
    for role, path in inputs:
        for file in files:
            if _same(file.path, Path(path)):
                raise UsageError(
                    file.where,
                    f"is an input, {role}",
                    "write somewhere else: inputs stay as they are",
                )


def _same(one: Path, other: Path) -> bool:
    """Whether two paths are one file, links of either kind included."""
    if os.path.realpath(one) == os.path.realpath(other):
        return True
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False
