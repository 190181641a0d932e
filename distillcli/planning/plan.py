"""What a run would do, as plain data."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from distillcli.config import Config

SCHEMA = "distillcli.plan/1"


@dataclass(frozen=True)
class PlannedPass:
    """A pass over the data: what for, over how many rows, and the bytes that it reads."""

    label: str
    rows: int
    bytes: int


@dataclass(frozen=True)
class Part:
    """A part of the memory that is needed, in bytes, and how it comes about."""

    name: str
    bytes: int
    why: str


@dataclass(frozen=True)
class PlannedLayer:
    """A pair of layers of a term, and what brings the student to the teacher's width, if anything.

    Attributes:
        term: None for the strategy's own.
    """

    student: int
    teacher: int
    weight: float
    student_width: int
    teacher_width: int
    projection: str | None
    term: str | None = None


@dataclass(frozen=True)
class Run:
    """What the headers of the inputs tell.

    Attributes:
        inputs: role, path, shape, dtype and bytes of each, as a result has them.
        rows: how many are taken, of `rows_stored`; `row_range` are the first and the end of them.
        classes: of the logits; None without any.
        weights: the weight of each term; `losses` name them.
        batches: how many the report is cut into, of `batch_size` rows.
        passes: in order; the last one is the main one.
        memory: its parts; the sum is an estimate from above.
        metrics: those that can be had; `unavailable` are the others, with the reason.
        layers: the pairs of a progressive distillation.
        teacher_weights: of an ensemble: those given, or the rule that finds them.
    """

    inputs: tuple[Mapping[str, Any], ...]
    rows: int
    rows_stored: int
    row_range: tuple[int, int]
    classes: int | None
    weights: Mapping[str, float]
    losses: Mapping[str, str]
    temperature: float
    conventions: str
    batch_size: int
    batches: int
    passes: tuple[PlannedPass, ...]
    memory: tuple[Part, ...]
    device: str
    kernel: str
    precision: str
    threads: int
    metrics: tuple[str, ...]
    unavailable: Mapping[str, str]
    layers: tuple[PlannedLayer, ...] | None = None
    teacher_weights: str | tuple[float, ...] | None = None

    @property
    def bytes_to_read(self) -> int:
        """Over all passes."""
        return sum(one.bytes for one in self.passes)

    @property
    def memory_bytes(self) -> int:
        """All parts together."""
        return sum(part.bytes for part in self.memory)


@dataclass(frozen=True)
class Plan:
    """A config that can be run; `run` is None where no input was looked at."""

    strategy: str
    config: Mapping[str, Any]
    config_sha256: str
    notes: tuple[str, ...] = ()
    run: Run | None = None

    def as_dict(self) -> dict[str, Any]:
        """The plan as JSON-ready data."""
        head = {"schema": SCHEMA, "command": "validate", "strategy": self.strategy}
        run: dict[str, Any] = {}
        if self.run is not None:
            totals = {
                "bytes_to_read": self.run.bytes_to_read,
                "memory_bytes": self.run.memory_bytes,
            }
            found = asdict(self.run).items()
            run = {key: value for key, value in found if value is not None} | totals
        facts = {"config": self.config, "config_sha256": self.config_sha256}
        return {**head, **run, "notes": list(self.notes), **facts}


def of_config(config: Config) -> Plan:
    """The plan as far as the config alone tells it; no input is looked at."""
    return Plan(config.strategy, config.resolved(), config.sha256())
