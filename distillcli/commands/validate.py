"""`distill validate`: what a run would do, from the config and the headers of its inputs."""

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from distillcli.backend import choose
from distillcli.batches.inputs import Input
from distillcli.config import Config, FromFile, LayerPair, LeastSquares, Projection, XavierUniform
from distillcli.planning.memory import needed, require_room
from distillcli.planning.plan import Plan, PlannedLayer, PlannedPass, Run
from distillcli.sinks.collection import batch_size
from distillcli.strategy.badrows import bad_rows
from distillcli.strategy.conventions import conventions
from distillcli.strategy.inputs import opened
from distillcli.strategy.measures import Scoring, scoring
from distillcli.strategy.passes import ALL, Passes
from distillcli.strategy.projections import check_saved, unequal_pairs, widths
from distillcli.strategy.remarks import assumptions, look_alikes
from distillcli.strategy.selection import Selection
from distillcli.strategy.weighting import equal


def validate(config: Config, *, selection: Selection = ALL) -> Plan:
    """The plan of `distill score`: the same checks, by the same code, and nothing computed.

    Raises:
        DataError, ConfigError: what `score` would refuse before its first pass. BackendError: no
        such device.
    """
    with opened(config) as inputs:
        backend = choose(config.device)  # not before: see there
        passes = Passes.over(config, inputs, backend, lambda *_: nullcontext(_Still()), selection)
        require_room(passes)
        unequal = _unequal(passes)
        what = _scoring(passes, unequal)
        fitted = unequal if _fits(config) else []
        notes = [backend.note] if backend.note is not None else []
        return Plan(
            strategy=config.strategy,
            config=config.resolved(),
            config_sha256=config.sha256(),
            notes=(*notes, *assumptions(config), *look_alikes(inputs)),
            run=_run(passes, what, fitted),
        )


@dataclass(frozen=True)
class _Still:
    """A progress that nobody sees: no pass is run."""

    def advance(self, rows: int, read: int = 0) -> None:
        pass


def _unequal(passes: Passes) -> list[LayerPair]:
    """The pairs of layers that need a matrix; a saved one is looked at."""
    if passes.config.progressive is None:
        return []
    pairs = unequal_pairs(passes.config, passes.inputs)
    check_saved(passes.config, passes.inputs, pairs)
    return pairs


def _scoring(passes: Passes, unequal: Sequence[LayerPair]) -> Scoring:
    """What would be computed; weights and matrices have stand-ins, since no row is."""
    config, inputs = passes.config, passes.inputs
    return scoring(
        config,
        inputs,
        bad_rows(config, inputs),
        weighting=equal(len(inputs.teachers)) if config.ensemble is not None else None,
        projections=dict.fromkeys(unequal),
    )


def _fits(config: Config) -> bool:
    return config.progressive is not None and isinstance(
        config.progressive.projection, LeastSquares
    )


def _run(passes: Passes, what: Scoring, fitted: Sequence[LayerPair]) -> Run:
    inputs, machine, size = passes.inputs, passes.machine, batch_size(passes)
    ensemble = passes.config.ensemble
    return Run(
        inputs=tuple(_input(item) for item in inputs),
        rows=passes.rows_taken,
        rows_stored=inputs.rows,
        row_range=(passes.first, passes.stop),
        classes=inputs.classes,
        weights={term.name: term.weight for term in what.terms},
        losses={term.name: term.loss for term in what.terms},
        temperature=what.temperature,
        conventions=conventions(what),
        batch_size=size,
        batches=-(-passes.rows_taken // size),
        passes=tuple(_passes(passes, fitted)),
        memory=needed(passes, what, fitted),
        device=machine.backend.device,
        kernel=machine.backend.kernel,
        precision=str(machine.precision),
        threads=machine.threads,
        metrics=what.metrics,
        unavailable=what.unavailable,
        layers=tuple(_layers(passes, what)) or None,
        teacher_weights=None if ensemble is None else ensemble.weights,
    )


def _layers(passes: Passes, what: Scoring) -> Iterator[PlannedLayer]:
    progressive = passes.config.progressive
    layers = [(term, layer) for term in what.terms for layer in term.layers]
    for term, layer in layers:
        assert progressive is not None
        student, teacher = widths(passes.inputs, (layer.student, layer.teacher))
        needed = student != teacher and not term.known.any_width
        matrix = _described(progressive.projection) if needed else None
        pair = layer.student, layer.teacher
        name = None if term.name == "hidden" else term.name
        yield PlannedLayer(*pair, layer.weight, student, teacher, matrix, name)


def _described(projection: Projection) -> str:
    match projection:
        case XavierUniform(seed):
            return f"xavier_uniform, seed {seed}"
        case LeastSquares(ridge):
            return f"least_squares, ridge {ridge:g}"
        case FromFile(source):
            return source.given
    return "none"


def _input(item: Input) -> dict[str, Any]:
    reader = item.reader
    kind = {"kind": item.kind, "temperature": item.temperature} if item.is_scores else {}
    return {
        "role": item.role,
        "path": reader.name,
        "shape": list(reader.shape),
        "dtype": reader.element.name,
        "bytes": reader.rows * reader.row_bytes,
        **kind,
    }


def _passes(passes: Passes, fitted: Sequence[LayerPair]) -> Iterator[PlannedPass]:
    """The passes in the order in which they are run; each reads all inputs."""
    row_bytes, rows = passes.inputs.row_bytes, passes.rows_taken
    ensemble = passes.config.ensemble
    if ensemble is not None and ensemble.weights in ("accuracy", "confidence", "fit"):
        share = ensemble.fit_rows if ensemble.found_on_labels else 1.0
        taken = max(1, math.floor(rows * share))
        rule = ensemble.weights
        label = "fitting weights" if rule == "fit" else f"weights by {rule}"
        yield PlannedPass(label, taken, taken * row_bytes)
    if fitted:
        yield PlannedPass("fitting projections", rows, rows * row_bytes)
    yield PlannedPass("score", rows, rows * row_bytes)
