"""What writing soft targets has found, as plain data."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from distillcli.result import SCHEMA, Number


@dataclass(frozen=True)
class Side:
    """The figures of one set of class scores at T = 1; None where there are no labels.

    Args:
        accuracy: share of rows whose top class is the label.
        nll: mean cross-entropy on the label, nats.
        entropy: mean entropy, nats.
        ece: expected calibration error.
    """

    accuracy: Number
    nll: Number
    entropy: Number
    ece: Number


@dataclass(frozen=True)
class Figures:
    """The figures of some rows.

    Args:
        first, stop: which rows these are. rows: how many of them count.
        blend, uniform: the blend that is written, and one with equal weights (None where that is
            the same); both are formed at T = 1 for these figures.
        teachers: in the order of the config.
        best: the teacher with the lowest nll, counted from 0; None without labels.
        loss, terms, metrics: of the student against the blend, where there is a student.
    """

    first: int
    stop: int
    rows: int
    blend: Side
    uniform: Side | None
    teachers: tuple[Side, ...]
    best: int | None
    loss: Number
    terms: Mapping[str, Number]
    metrics: Mapping[str, Number]


@dataclass(frozen=True)
class Pair:
    """Two teachers side by side at T = 1.

    Args:
        first, second: which ones, counted from 0.
        top1_agreement: share of rows with the same top class.
        kl, kl_reversed: mean KL(first || second) and KL(second || first), nats.
    """

    first: int
    second: int
    top1_agreement: Number
    kl: Number
    kl_reversed: Number


@dataclass(frozen=True)
class EnsembleResult:
    """A finished file of soft targets, and what it is worth.

    Args:
        sources: the teachers as the config names them; weights: what each weighs, or weighs on
            average where that differs from row to row.
        all: the figures of all rows; held_out: of those that weights were not found on.
        fit: what a fit has found; output: the file.
    """

    rows: int
    rows_skipped: int
    rows_masked: int
    sources: tuple[str, ...]
    weights: tuple[float, ...]
    term_weights: Mapping[str, float]
    all: Figures
    held_out: Figures | None
    pairs: tuple[Pair, ...]
    fit: Mapping[str, Any] | None
    output: Mapping[str, Any]
    nonfinite: Mapping[str, int]
    facts: Mapping[str, Any]
    command: str = "ensemble"
    strategy: str = "ensemble"
    schema: str = field(default=SCHEMA)

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON-ready data."""
        found = {
            "schema": self.schema,
            "command": self.command,
            "strategy": self.strategy,
            "rows": self.rows,
            "rows_skipped": self.rows_skipped,
            "rows_masked": self.rows_masked,
            **self._figures(self.all),
            "weights": dict(self.term_weights) if self.all.terms else None,
            "pairs": [asdict(pair) for pair in self.pairs],
            "held_out": self._held_out(),
            "fit": self.fit,
            "output": dict(self.output),
            "nonfinite": dict(self.nonfinite),
            "facts": dict(self.facts),
        }
        return {key: value for key, value in found.items() if value is not None}

    def _held_out(self) -> dict[str, Any] | None:
        if self.held_out is None:
            return None
        known = self.held_out
        span = {"first": known.first, "stop": known.stop, "rows": known.rows}
        found = {**span, **self._figures(known)}
        return {key: value for key, value in found.items() if value is not None}

    def _figures(self, figures: Figures) -> dict[str, Any]:
        named = zip(self.sources, self.weights, figures.teachers, strict=True)
        return {
            "loss": figures.loss if figures.terms else None,
            "terms": dict(figures.terms) or None,
            "metrics": dict(figures.metrics),
            "teachers": [
                {"source": source, "weight": weight, **asdict(side)}
                for source, weight, side in named
            ],
            "blend": asdict(figures.blend),
            "uniform": asdict(figures.uniform) if figures.uniform is not None else None,
            "best_teacher": figures.best,
        }
