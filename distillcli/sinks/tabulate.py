"""Totals -> a Result: every figure under its public name, and the facts that it rests on."""

import math
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any

from distillcli import __version__
from distillcli.batches.inputs import Input
from distillcli.formats import describe
from distillcli.metrics import METRICS, Metric
from distillcli.result import (
    BatchResult,
    GroupResult,
    LayerResult,
    Number,
    Result,
    TeacherResult,
    WorstRow,
    finite,
)
from distillcli.strategy.conventions import conventions
from distillcli.strategy.measures import Scoring
from distillcli.strategy.passes import Passes
from distillcli.sums.batches import Batch
from distillcli.sums.quantiles import Histogram
from distillcli.sums.totals import Finished

BATCH_METRICS = {
    "kl": "kl_mean",
    "top1_agreement": "top1_agreement",
    "student_accuracy": "student_accuracy",
    "teacher_accuracy": "teacher_accuracy",
}


@dataclass(frozen=True)
class Table:
    """Collects the figures of a run; numbers that are not finite become None and are counted."""

    scoring: Scoring
    done: Finished

    def terms(self) -> dict[str, Number]:
        return {term.name: finite(self.done.mean(term.column)) for term in self.scoring.terms}

    def weights(self) -> dict[str, float]:
        return {term.name: term.weight for term in self.scoring.terms}

    def loss(self) -> Number:
        means = {term.column: self.done.mean(term.column) for term in self.scoring.terms}
        return _loss(self.scoring, means)

    @cached_property
    def metrics(self) -> dict[str, Number]:
        """Found once: quantiles sort the values of all rows."""
        names = self.scoring.metrics
        levels = [_level(METRICS[name]) for name in names]
        wanted = [level for level in levels if level is not None]
        spread = dict(zip(wanted, self.done.spread.quantiles(wanted), strict=True))
        return {
            name: finite(self._metric(METRICS[name], spread.get(level or 0.0)))
            for name, level in zip(names, levels, strict=True)
        }

    def _metric(self, metric: Metric, quantile: float | None) -> float:
        match metric.finish:
            case "mean":
                return self.done.mean(metric.columns[0])
            case "stderr":
                return self.done.standard_error(metric.columns[0])
            case "root":
                return math.sqrt(self.done.mean(metric.columns[0]))
            case "exp":
                return _exp(self.done.mean(metric.columns[0]))
            case "exp_stderr":
                mean, error = self.done.mean, self.done.standard_error
                return _exp(mean(metric.columns[0])) * error(metric.columns[0])
            case "ece":
                return self.done.block.calibrations[metric.group].error()
            case "given":
                return self._aligned(metric.name)
            case _:
                assert quantile is not None
                return quantile

    @cached_property
    def _cka(self) -> Mapping[tuple[int, int], tuple[float, float]]:
        """By student and teacher layer, where it was asked for."""
        return {} if self.scoring.alignment is None else self.scoring.alignment.values()

    def _aligned(self, name: str) -> float:
        """The mean over the pairs of layers by their weights."""
        assert self.scoring.alignment is not None
        return self.scoring.alignment.mean(self._cka, name)

    def layers(self) -> tuple[LayerResult, ...] | None:
        found = tuple(
            LayerResult(
                layer.student,
                layer.teacher,
                layer.weight,
                finite(self.done.mean(layer.column)),
                None if term.name == "hidden" else term.name,
                *map(finite, self._cka.get((layer.student, layer.teacher), ())),
            )
            for term in self.scoring.terms
            for layer in term.layers
        )
        return found or None

    def nonfinite(self) -> dict[str, int]:
        """How many rows are infinite, by term and by the metrics made of a column."""
        counts = {name: self.done.nonfinite(name) for name in self.done.names}
        found = {term.name: counts[term.column] for term in self.scoring.terms}
        found |= {
            name: counts[METRICS[name].columns[0]] if METRICS[name].columns else self.done.rows
            for name, value in self.metrics.items()
            if value is None
        }
        counted = {name: count for name, count in found.items() if count}
        if self.loss() is None and not any(counted.get(term.name) for term in self.scoring.terms):
            counted["loss"] = self.done.rows  # weights that no number holds
        return counted


def _exp(value: float) -> float:
    """exp, infinite where it is beyond all numbers."""
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def told_of_batches(scoring: Scoring) -> list[str]:
    """The columns that figures of parts of a run are made of."""
    metrics = [column for column, name in BATCH_METRICS.items() if name in scoring.metrics]
    return [*(term.column for term in scoring.terms), *metrics]


def batch_result(scoring: Scoring, index: int, batch: Batch) -> BatchResult:
    """The figures of one batch."""
    columns = enumerate(told_of_batches(scoring))
    means = {name: batch.sums.mean(index) for index, name in columns}
    rows = int(batch.sums.rows)
    return BatchResult(
        index=index,
        start=batch.start,
        stop=batch.stop,
        loss=_loss(scoring, means),
        terms={term.name: finite(means[term.column]) for term in scoring.terms},
        metrics=_few_metrics(scoring, means),
        rows=None if rows == batch.stop - batch.start else rows,
    )


def group_results(
    scoring: Scoring, groups: Sequence[tuple[int, int, Mapping[str, float]]]
) -> tuple[GroupResult, ...]:
    """The figures of groups (number, rows, means by column), the highest loss first."""
    found = [
        GroupResult(number, rows, _loss(scoring, means), _few_metrics(scoring, means))
        for number, rows, means in groups
    ]
    # A loss that is not finite comes first.
    return tuple(sorted(found, key=lambda one: (one.loss is not None, -(one.loss or 0.0))))


def _loss(scoring: Scoring, means: Mapping[str, float]) -> Number:
    return finite(weighted({term.column: term.weight for term in scoring.terms}, means))


def _few_metrics(scoring: Scoring, means: Mapping[str, float]) -> dict[str, Number]:
    """The metrics that are told of parts of a run."""
    return {
        name: finite(means[column])
        for column, name in BATCH_METRICS.items()
        if name in scoring.metrics
    }


def weighted(weights: Mapping[str, float], terms: Mapping[str, float]) -> float:
    """The sum of weight times term; a weight of 0 takes a term out, also an infinite one."""
    return sum(weight * terms[name] for name, weight in weights.items() if weight)


def _level(metric: Metric) -> float | None:
    """The quantile that a metric is; None where it is none."""
    return 1.0 if metric.finish == "max" else metric.quantile


def tabulate(
    passes: Passes,
    scoring: Scoring,
    done: Finished,
    batches: Sequence[Batch],
    *,
    teachers: tuple[TeacherResult, ...] | None,
    groups: tuple[GroupResult, ...] | None = None,
    worst: tuple[WorstRow, ...] | None = None,
    facts: Mapping[str, Any],
) -> Result:
    """The result of a run."""
    table = Table(scoring, done)
    return Result(
        command="score",
        strategy=passes.config.strategy,
        rows=done.rows,
        rows_skipped=done.skipped,
        rows_masked=done.masked,
        loss=table.loss(),
        terms=table.terms(),
        weights=table.weights(),
        metrics=table.metrics,
        layers=table.layers(),
        teachers=teachers,
        groups=groups,
        worst=worst,
        batches=tuple(batch_result(scoring, index, batch) for index, batch in enumerate(batches)),
        nonfinite=table.nonfinite(),
        facts={**_facts(passes, scoring, done), **facts},
    )


def _facts(passes: Passes, scoring: Scoring, done: Finished) -> dict[str, Any]:
    config, machine = passes.config, passes.machine
    facts = {
        "config": config.resolved(),
        "config_sha256": config.sha256(),
        "config_folder": os.path.relpath(config.origins.base),
        "inputs": [input_facts(item) for item in passes.inputs],
        "losses": {term.name: term.loss for term in scoring.terms},
        "conventions": conventions(scoring),
        "temperature": scoring.temperature,
        **({} if scoring.batch is None else {"related_rows": scoring.batch}),
        "precision": str(machine.precision),
        "device": machine.backend.device,
        "kernel": machine.backend.kernel,
        "threads": machine.threads,
        "classes": passes.inputs.classes,
        "unavailable": scoring.unavailable,
        "versions": versions(),
    }
    if isinstance(done.spread, Histogram):
        facts["quantiles"] = "from a logarithmic histogram, relative error 2^-10"
    return facts


def input_facts(item: Input) -> dict[str, Any]:
    """An input as a result names it."""
    kind = {"kind": item.kind, "temperature": item.temperature} if item.is_scores else {}
    return {"role": item.role, **describe(item.reader), "path": item.reader.name, **kind}


def versions() -> dict[str, str]:
    """Of distill and of what it computes with."""
    parts = ("numpy", "h5py")
    return {
        "distillcli": __version__,
        "python": platform.python_version(),
        **{name: _version(name) for name in parts},
    }


def _version(name: str) -> str:
    """A library that is loaded knows; for others a file is searched and parsed."""
    loaded = sys.modules.get(name)
    return version(name) if loaded is None else str(loaded.__version__)
