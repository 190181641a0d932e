"""What an inspection has found, as plain data: the one thing that its reports are made of."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from distillcli.errors import DataError

SCHEMA = "distillcli.inspect/1"


@dataclass(frozen=True)
class SampleFound:
    """The figures of a bounded sample; see `distillcli.inspecting.looks.Figures`.

    Args:
        rows: rows looked at. of: rows of the array, its axes before the last one flattened.
    """

    rows: int
    of: int
    low: float | int | None
    high: float | int | None
    nan: int
    inf: int
    neg_inf: int
    distinct: int | None
    sums_to_one: bool | None


@dataclass(frozen=True)
class Refusal:
    """Why an array or a file cannot be used, and the way out."""

    problem: str
    hint: str | None

    @classmethod
    def of(cls, error: DataError) -> "Refusal":
        """What an error says, without its culprit."""
        return cls(error.problem, error.hint)

    def __str__(self) -> str:
        return f"{self.problem}; {self.hint}" if self.hint else self.problem


@dataclass(frozen=True)
class ArrayFound:
    """One array.

    Args:
        name: its dataset; None where the file holds one array by its nature.
        source: how to name it in a config or on the command line.
        shape, type, layout, fortran, big_endian, chunk, filters, logical, stored, attributes: see
            `distillcli.formats.Storage`; None where the header cannot be read.
        looks: logits, probabilities, log_probabilities, labels, token_ids, mask, integers,
            hidden_states, bfloat16 (stored as integers), top_k_values, top_k_indices, log_z or
            None.
        layers: how many layers of hidden states the array holds, and None where it holds one.
        mass: top-k values, and scores down to a floor: the share of the probability that what is
            stored holds, the mean over the rows looked at; None where that cannot be told.
        remark: what else is to be known before it is used.
        sample: None where it was not looked into.
        refusal: why it cannot be used as a source; None where it can.
    """

    name: str | None
    source: str
    shape: tuple[int, ...] | None
    type: str | None
    layout: str | None
    fortran: bool | None
    big_endian: bool | None
    chunk: tuple[int, ...] | None
    filters: tuple[str, ...]
    logical: int | None
    stored: int | None
    attributes: Mapping[str, Any]
    looks: str | None = None
    layers: int | None = None
    mass: float | None = None
    remark: str | None = None
    sample: SampleFound | None = None
    refusal: Refusal | None = None

    @property
    def rank(self) -> int:
        """How many axes it has; 0 where its header cannot be read."""
        return len(self.shape or ())

    @property
    def rows(self) -> int:
        """The length of its first axis."""
        return (self.shape or (0,))[0]


@dataclass(frozen=True)
class LayersFound:
    """A group that holds one dataset of hidden states per layer, in order."""

    source: str
    layers: int
    widths: tuple[int, ...]


@dataclass(frozen=True)
class FileFound:
    """One file; `error` says why it could not be opened. Hidden states in groups are `layers`."""

    path: str
    format: str | None = None
    size: int | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    arrays: tuple[ArrayFound, ...] = ()
    layers: tuple[LayersFound, ...] = ()
    error: Refusal | None = None


@dataclass(frozen=True)
class ShardsFound:
    """The files of one glob as one array, or the problem that keeps them from being one."""

    source: str
    files: int
    shape: tuple[int, ...] | None
    type: str | None
    looks: str | None = None
    problem: str | None = None

    @property
    def rank(self) -> int:
        """How many axes it has; 0 where the files cannot be joined."""
        return len(self.shape or ())

    @property
    def rows(self) -> int:
        """The length of its first axis."""
        return (self.shape or (0,))[0]


@dataclass(frozen=True)
class Inspection:
    """All that was found; `use` holds lines that tell how to go on."""

    files: tuple[FileFound, ...]
    shards: tuple[ShardsFound, ...]
    use: tuple[str, ...]
    errors: tuple[DataError, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The findings as JSON-ready data."""
        return {
            "schema": SCHEMA,
            "command": "inspect",
            "files": [asdict(file) for file in self.files],
            "shards": [asdict(each) for each in self.shards],
            "use": list(self.use),
        }
