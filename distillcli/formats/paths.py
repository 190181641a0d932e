"""From what a source says to the files that it means, in order."""

import glob
import os
import re
from dataclasses import dataclass
from typing import Any, Protocol

from distillcli.errors import MissingError
from distillcli.formats.files import near_files


class PartLike(Protocol):
    """One path of a source, which may be a glob of shards."""

    @property
    def pattern(self) -> str:
        """The path as given."""

    @property
    def path(self) -> "str | os.PathLike[str]":
        """The absolute path."""

    @property
    def base(self) -> "str | os.PathLike[str]":
        """The folder that the pattern is relative to."""

    @property
    def dataset(self) -> str | None:
        """The dataset in the file, if one is named."""

    @property
    def dtype(self) -> str | None:
        """The declared element type, if any."""

    @property
    def scale(self) -> float | str | None:
        """The scale of quantised integers, or the dataset that holds it; None for all others."""

    @property
    def zero_point(self) -> int:
        """The integer that means 0 on that scale."""


class SourceLike(Protocol):
    """One logical array: parts that are joined along the first axis."""

    @property
    def parts(self) -> Any:
        """The parts, a sequence of `PartLike`, in order."""


class LayersLike(Protocol):
    """Hidden states: one source for all layers (`single`), or one source per layer."""

    @property
    def sources(self) -> Any:
        """The sources, a sequence of `SourceLike`."""

    @property
    def single(self) -> bool:
        """Whether the one source holds all layers."""


@dataclass(frozen=True)
class Location:
    """One array in one file that a source names."""

    path: str
    given: str
    dataset: str | None
    dtype: str | None
    scale: float | str | None = None
    zero_point: int = 0

    @classmethod
    def of(cls, path: str, given: str, part: PartLike) -> "Location":
        """A file that a part of a source means."""
        return cls(path, given, part.dataset, part.dtype, part.scale, part.zero_point)


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """A sort key by which dump-2 comes before dump-10."""
    return [
        (0, int(text), text) if text.isdecimal() and text.isascii() else (1, 0, text)
        for text in re.split(r"([0-9]+)", name)
        if text
    ]


def locate(source: SourceLike, role: str) -> list[Location]:
    """Every file of a source, globs expanded in natural order.

    Raises:
        MissingError: a glob matches nothing.
    """
    return [location for part in source.parts for location in _expand(part, role)]


def _expand(part: PartLike, role: str) -> list[Location]:
    path, given = os.fspath(part.path), part.pattern
    # A file whose own name holds glob characters is meant literally.
    if not glob.has_magic(given) or os.path.lexists(path):
        return [Location.of(path, given, part)]
    # Only the pattern is expanded: glob characters in the folder of a config mean themselves.
    base, pattern = os.fspath(part.base), os.path.expanduser(given)
    matches = sorted(glob.glob(pattern, root_dir=base, recursive=True), key=natural_key)
    if not matches:
        where = f"{role} in {given}" if role else given
        raise MissingError(where, "no file matches this pattern", near_files(path))
    return [Location.of(os.path.join(base, match), match, part) for match in matches]
