"""What a command has found, as plain data: the one thing that every report is made of."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

SCHEMA = "distillcli.result/1"

Number = float | int | None  # None stands for a number that is not finite


def finite(value: float) -> float | None:
    """The number, or None where it is not finite."""
    return value if math.isfinite(value) else None


@dataclass(frozen=True)
class BatchResult:
    """The figures of rows `start` to `stop` (exclusive)."""

    index: int
    start: int
    stop: int
    loss: Number
    terms: Mapping[str, Number]
    metrics: Mapping[str, Number]


@dataclass(frozen=True)
class LayerResult:
    """One pair of layers of a progressive distillation; `loss` is unweighted."""

    student: int
    teacher: int
    weight: float
    loss: Number


@dataclass(frozen=True)
class TeacherResult:
    """One teacher of an ensemble; accuracy and nll are there when labels are."""

    source: str
    weight: float
    accuracy: Number = None
    nll: Number = None


@dataclass(frozen=True)
class Result:
    """A finished run. `terms` are unweighted; `loss` is the sum of weights[k] * terms[k]."""

    command: str
    strategy: str
    rows: int
    rows_skipped: int
    loss: Number
    terms: Mapping[str, Number]
    weights: Mapping[str, float]
    metrics: Mapping[str, Number]
    batches: tuple[BatchResult, ...]
    nonfinite: Mapping[str, int]
    facts: Mapping[str, Any]
    layers: tuple[LayerResult, ...] | None = None
    teachers: tuple[TeacherResult, ...] | None = None
    schema: str = field(default=SCHEMA)

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON-ready data, in the order in which it is documented."""
        data = asdict(self)
        first = ("schema", "command", "strategy", "rows", "rows_skipped", "loss", "terms")
        then = ("weights", "metrics", "layers", "teachers", "batches", "nonfinite", "facts")
        return {key: data[key] for key in (*first, *then) if data[key] is not None or key == "loss"}
