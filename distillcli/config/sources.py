"""How a source is written, and what it means: files, a dataset in them, and how to read both.

`path`, `path::dataset`, a glob, a list of those, or {path, dataset, dtype, scale, zero_point, kind,
temperature}.
The first `::` ends the path: datasets may hold one, and a path that does is written as a glob
(`a:[:]b.npy`).
"""

import glob
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path as FilePath
from typing import Any

from distillcli.config.models import LongSource
from distillcli.config.settings import Problems
from distillcli.config.tree import Path


@dataclass(frozen=True)
class Part:
    """One file of a source, or one glob.

    Args:
        pattern: the path or glob as given.
        path: the same, absolute.
        base: the folder that `pattern` is relative to.
        dataset: the name after `::`, if there is one.
        dtype: the true element type, where the file cannot say it.
        scale, zero_point: of quantised integers, which mean (stored - zero_point) * scale.
    """

    pattern: str = field(compare=False)
    path: FilePath
    base: FilePath = field(compare=False)
    dataset: str | None = None
    dtype: str | None = None
    scale: float | str | None = None
    zero_point: int = 0

    @property
    def glob(self) -> str | None:
        """The absolute glob, safe where the base folder holds `*?[`; None for a plain path."""
        if not glob.has_magic(self.pattern):
            return None
        pattern = os.path.expanduser(self.pattern)
        if os.path.isabs(pattern):
            return pattern
        return os.path.join(glob.escape(str(self.base)), pattern)

    @property
    def given(self) -> str:
        """`path::dataset`, as given."""
        return f"{self.pattern}::{self.dataset}" if self.dataset else self.pattern


@dataclass(frozen=True)
class Largest:
    """A source of which only the largest classes of each row are stored, in several arrays.

    Args:
        classes: how many there are in all.
        values, indices: names of the arrays of scores and of class numbers.
        log_z: that of the array of what all scores of a row sum to; None for `log_z`, if there is.
    """

    classes: int
    values: str = "values"
    indices: str = "indices"
    log_z: str | None = None


@dataclass(frozen=True)
class Source:
    """The files of one input, joined along their first axis.

    Args:
        parts: at least one.
        kind: what the numbers are: logits, probabilities or log_probabilities.
        temperature: at which stored probabilities were taken.
        largest: of a source that has the largest classes only.
        where: `file:line:column: key` of the source, or the flag.
    """

    parts: tuple[Part, ...]
    kind: str = "logits"
    temperature: float = 1.0
    largest: Largest | None = None
    where: str = field(default="", compare=False)

    @property
    def given(self) -> str:
        """The source on one line, for messages."""
        first = self.parts[0].given
        return first if len(self.parts) == 1 else f"{first} and {len(self.parts) - 1} more"

    def written(self, base: FilePath) -> Any:
        """The source as a config in the folder `base` would hold it."""
        parts = [_written(part, self, base) for part in self.parts]
        return parts[0] if len(parts) == 1 else parts


@dataclass(frozen=True)
class Layers:
    """Hidden states: one source that holds all layers (`single`), or one source per layer."""

    sources: tuple[Source, ...]
    single: bool

    def written(self, base: FilePath) -> Any:
        """The layers as a config in the folder `base` would hold them."""
        if self.single:
            return self.sources[0].written(base)
        return [source.written(base) for source in self.sources]


# Kind, temperature, and which classes: what the parts of a source must have in common.
Reading = tuple[str, float, Largest | None]
_LARGEST = ("classes", "values", "indices", "log_z")


@dataclass(frozen=True)
class SourceReader:
    """Makes sources of what the config says, and notes what is wrong with it."""

    problems: Problems

    def source(self, written: Any, path: Path, *, scores: bool = True) -> Source:
        """One source; `scores` where kind and temperature mean something."""
        items = _items(written, path)
        parts = tuple(self._part(item, place) for item, place in items)
        kinds = [self._reading(item, place, scores) for item, place in items]
        for (_, place), kind in zip(items, kinds, strict=True):
            if kind != kinds[0]:
                first = _reading_text(*kinds[0])
                problem = f"holds {_reading_text(*kind)} while the first part holds {first}"
                self.problems.add(place, problem, "the parts of one source must be of one kind")
        return Source(parts, *kinds[0], where=self.problems.origins.where(path))

    def layers(self, written: Any, path: Path) -> Layers:
        """Hidden states."""
        if not isinstance(written, list):
            return Layers((self.source(written, path, scores=False),), single=True)
        items = [
            self.source(item, (*path, index), scores=False) for index, item in enumerate(written)
        ]
        return Layers(tuple(items), single=False)

    def _part(self, item: str | LongSource, path: Path) -> Part:
        long = item if isinstance(item, LongSource) else LongSource(path=item)
        pattern, sign, dataset = long.path.partition("::")
        name = (dataset if sign else None) or long.dataset
        if long.zero_point is not None and long.scale is None:
            problem = "means nothing without a scale"
            self.problems.add((*path, "zero_point"), problem, "add scale: ..., or leave it out")
        self._check(long, path if isinstance(item, str) else (*path, "path"))
        base = self.problems.origins.base_of(path)
        return Part(
            pattern=pattern,
            path=FilePath(os.path.join(base, os.path.expanduser(pattern))),
            base=base,
            dataset=name,
            dtype=long.dtype,
            scale=long.scale,
            zero_point=long.zero_point or 0,
        )

    def _check(self, long: LongSource, path: Path) -> None:
        pattern, sign, dataset = long.path.partition("::")
        if "://" in pattern:
            self.problems.add(path, "is a URL", "only local files are read: download it first")
        elif not pattern.strip():
            self.problems.add(path, "has no path before ::", "write path::dataset")
        elif sign and not dataset.strip():
            self.problems.add(path, "has no dataset after ::", "write path::dataset, or path alone")
        elif sign and long.dataset:
            problem = f"names dataset {dataset} after ::, and the key dataset names {long.dataset}"
            self.problems.add(path, problem, "name the dataset once")

    def _reading(self, item: str | LongSource, path: Path, scores: bool) -> Reading:
        if isinstance(item, str):
            return "logits", 1.0, None
        if not scores:
            for key in ("kind", "temperature", *_LARGEST):
                if getattr(item, key) is not None:
                    self.problems.add((*path, key), "is for class scores only", "leave it out")
        kind = item.kind or "logits"
        largest = self._largest(item, path) if scores else None
        whole = largest is None
        if scores and whole and kind == "logits" and item.temperature not in (None, 1.0):
            hint = "set kind to probabilities or log_probabilities, or leave temperature out"
            problem = "says at which temperature probabilities were taken, and kind is logits"
            self.problems.add((*path, "temperature"), problem, hint)
        return kind, item.temperature or 1.0, largest

    def _largest(self, item: LongSource, path: Path) -> Largest | None:
        given = {key: getattr(item, key) for key in _LARGEST if getattr(item, key) is not None}
        if not given:
            return None
        if item.dataset or "::" in item.path:
            problem = "names one dataset, and the largest classes are in several"
            hint = "name them with values, indices and log_z"
            self.problems.add((*path, "dataset" if item.dataset else "path"), problem, hint)
        if item.classes is None:
            problem = f"says {', '.join(given)}, and not how many classes there are"
            self.problems.add(path, problem, "add classes: N, the size of the vocabulary")
        return Largest(**{"classes": 1, **given})


def _items(written: Any, path: Path) -> Sequence[tuple[str | LongSource, Path]]:
    if isinstance(written, list):
        return [(item, (*path, index)) for index, item in enumerate(written)]
    return [(written, path)]


def _reading_text(kind: str, temperature: float, largest: Largest | None) -> str:
    what = kind if largest is None else f"{kind} of the largest of {largest.classes:,} classes"
    return what if temperature == 1.0 else f"{what} at temperature {temperature:g}"


def _written(part: Part, source: Source, base: FilePath) -> Any:
    pattern = part.pattern if part.base == base else str(part.glob or part.path)
    long = {
        "dtype": part.dtype,
        "scale": part.scale,
        "zero_point": part.zero_point or None,
        "kind": source.kind if source.kind != "logits" else None,
        "temperature": source.temperature if source.temperature != 1.0 else None,
        **(asdict(source.largest) if source.largest is not None else {}),
    }
    keys = {key: value for key, value in long.items() if value is not None}
    path = f"{pattern}::{part.dataset}" if part.dataset else pattern
    return {"path": path, **keys} if keys else path
