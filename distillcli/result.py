"""What a command has found, as plain data: the one thing that every report is made of."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

SCHEMA = "distillcli.result/1"

Number = float | int | None  # None stands for a number that is not finite


def json_text(data: Mapping[str, Any]) -> str:
    """Data as every command prints them: reading it gives the same doubles. ASCII only.

    Raises:
        ValueError: a number is not finite, which is a mistake of ours: results hold None instead.
    """
    return json.dumps(data, allow_nan=False, indent=2) + "\n"


def finite(value: float) -> float | None:
    """The number, or None where it is not finite."""
    return value if math.isfinite(value) else None


def part_taken(facts: Mapping[str, Any]) -> str | None:
    """`100:300`: the rows that a run took; None where it took all that there were."""
    stored, taken = facts.get("rows_stored"), facts.get("row_range")
    if not isinstance(taken, list) or len(taken) != 2 or taken == [0, stored]:
        return None
    return f"{taken[0]}:{taken[1]}"


@dataclass(frozen=True)
class BatchResult:
    """The figures of rows `start` to `stop` (exclusive); `rows` of them count, None for all."""

    index: int
    start: int
    stop: int
    loss: Number
    terms: Mapping[str, Number]
    metrics: Mapping[str, Number]
    rows: int | None = None

    @property
    def counted(self) -> int:
        """How many rows the figures are means over."""
        return self.stop - self.start if self.rows is None else self.rows

    def as_dict(self) -> dict[str, Any]:
        """The batch as JSON-ready data; `rows` where not all count."""
        known = asdict(self)
        return {key: value for key, value in known.items() if key != "rows" or value is not None}


@dataclass(frozen=True)
class LayerResult:
    """One pair of layers of a progressive distillation; `loss` is unweighted.

    `term`: which term it belongs to, where that is not `hidden`. `cka`, `cka_unbiased`: of the two
    layers as they are, over all rows, where the metrics ask for it.
    """

    student: int
    teacher: int
    weight: float
    loss: Number
    term: str | None = None
    cka: Number = None
    cka_unbiased: Number = None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; what is not told of it is left out."""
        known = asdict(self).items()
        return {key: value for key, value in known if value is not None or key == "loss"}


@dataclass(frozen=True)
class TeacherResult:
    """One teacher of an ensemble; accuracy and nll are there when labels are."""

    source: str
    weight: float
    accuracy: Number = None
    nll: Number = None


@dataclass(frozen=True)
class GroupResult:
    """The figures of the rows of one group."""

    group: int
    rows: int
    loss: Number
    metrics: Mapping[str, Number]


@dataclass(frozen=True)
class WorstRow:
    """One of the rows with the highest loss; classes and probabilities (at T = 1) are the top ones.

    What cannot be had from the inputs is None.
    """

    row: int
    loss: Number
    label: int | None = None
    student_class: int | None = None
    student_probability: float | None = None
    teacher_class: int | None = None
    teacher_probability: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """What is known of the row; the loss also where it is not finite."""
        known = asdict(self).items()
        return {key: value for key, value in known if value is not None or key == "loss"}


@dataclass(frozen=True)
class Result:
    """A finished run. `terms` are unweighted; `loss` is the sum of weights[k] * terms[k].

    Of the rows taken, `rows` count, `rows_masked` were not to, `rows_skipped` could not be used.
    """

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
    groups: tuple[GroupResult, ...] | None = None
    worst: tuple[WorstRow, ...] | None = None
    rows_masked: int = 0
    schema: str = field(default=SCHEMA)

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON-ready data, in the order in which it is documented."""
        data = asdict(self)
        data["layers"] = self.layers and [layer.as_dict() for layer in self.layers]
        data["batches"] = [batch.as_dict() for batch in self.batches]
        data["worst"] = self.worst and [row.as_dict() for row in self.worst]
        first = ("schema", "command", "strategy", "rows", "rows_skipped", "rows_masked")
        then = (
            "loss",
            "terms",
            "weights",
            "metrics",
            "layers",
            "teachers",
            "groups",
            "worst",
            "batches",
        )
        keys = (*first, *then, "nonfinite", "facts")
        return {key: data[key] for key in keys if data[key] is not None or key == "loss"}
