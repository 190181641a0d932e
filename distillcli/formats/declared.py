"""What a file says of its scores, and the checksum over the words of soft targets."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from distillcli.errors import FormatError

SCHEMA = "distillcli.soft_targets/1"
FAMILY = SCHEMA.partition("/")[0]
# The one word that is not covered by the checksum: the checksum.
CHECKSUM = "checksum"
KINDS = ("logits", "probabilities", "log_probabilities")
DAMAGED = "the file is damaged, or was changed by another program; write it again"


@dataclass(frozen=True)
class Dataset:
    """What the file declares of one of its arrays; `sha256` is that of its bytes in C order."""

    dtype: str
    shape: tuple[int, ...]
    sha256: str


@dataclass(frozen=True)
class Declaration:
    """A file of scores in its own words.

    Args:
        kind: of the scores: logits, probabilities or log_probabilities.
        temperature: at which the targets were formed.
        classes, rows: of the targets.
        top_k: how many classes of each row are stored; None for all.
        datasets: what the file holds, by name.
        words: every attribute as stored.
        floored: the classes at the lowest value of a row have at most that; see `kld`.
    """

    kind: str
    temperature: float
    classes: int
    rows: int
    top_k: int | None
    datasets: Mapping[str, Dataset]
    words: Mapping[str, str]
    floored: bool = False

    @property
    def scores(self) -> str:
        """The name of the dataset that holds the scores."""
        return "targets" if self.top_k is None else "values"

    def require(self, where: str, name: str, dtype: str, shape: tuple[int, ...]) -> None:
        """Hold an array of the file against what is declared of it.

        Raises:
            FormatError: it is another one.
        """
        known = self.datasets.get(name)
        if known is None:
            raise FormatError(where, f"holds {name!r}, which it does not declare", DAMAGED)
        if (known.dtype, known.shape) != (dtype, shape):
            problem = f"is {dtype} {list(shape)}, declared is {known.dtype} {list(known.shape)}"
            raise FormatError(f"{where}::{name}", problem, DAMAGED)


def sealed(words: Mapping[str, str]) -> dict[str, str]:
    """The words with their checksum."""
    return {**words, CHECKSUM: _checksum(words)}


def _checksum(words: Mapping[str, str]) -> str:
    covered = {key: text for key, text in words.items() if key != CHECKSUM}
    return hashlib.sha256(json.dumps(covered, sort_keys=True).encode("ascii")).hexdigest()


def declaration(words: Mapping[str, str], where: str) -> Declaration | None:
    """What the words of a file declare; None where it is no soft-target file.

    Raises:
        FormatError: they do not match their checksum, are of another version, or make no sense.
    """
    schema = words.get("schema", "")
    if not schema.startswith(f"{FAMILY}/"):
        return None
    if schema != SCHEMA:
        problem = f"is a soft-target file of schema {schema[:80]!r}; {SCHEMA} can be read"
        raise FormatError(where, problem, "read it with the version of distill that wrote it")
    if words.get(CHECKSUM) != _checksum(words):
        raise FormatError(where, "its attributes do not match their checksum", DAMAGED)
    try:
        found = _parsed(words)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise FormatError(where, f"its attributes make no sense: {error}", DAMAGED) from error
    return found


def _parsed(words: Mapping[str, str]) -> Declaration:
    found = Declaration(
        kind=words["kind"],
        temperature=float(words["temperature"]),
        classes=int(words["classes"]),
        rows=int(words["rows"]),
        top_k=int(words["top_k"]) if "top_k" in words else None,
        datasets={name: _dataset(one) for name, one in json.loads(words["datasets"]).items()},
        words=words,
    )
    if found.kind not in KINDS or not 1e-4 <= found.temperature <= 1e4:
        raise ValueError(f"kind {found.kind!r} at temperature {found.temperature}")
    width = found.classes if found.top_k is None else found.top_k
    if found.datasets[found.scores].shape != (found.rows, width):
        raise ValueError(f"{found.scores} is not [{found.rows}, {width}]")
    return found


def _dataset(written: Mapping[str, Any]) -> Dataset:
    shape = tuple(int(length) for length in written["shape"])
    return Dataset(str(written["dtype"]), shape, str(written["sha256"]))
