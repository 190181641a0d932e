"""The terms of a loss: which column of a tile each of them is, and with what weight it counts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import fsum
from typing import Any

from distillcli.backend import Array, namespace
from distillcli.batches.grid import PRODUCT_ROWS
from distillcli.batches.tiles import Tile
from distillcli.config import Config, LayerPair, LossTerm
from distillcli.errors import MismatchError
from distillcli.losses import Loss
from distillcli.losses.pairs import ANY_KINDS
from distillcli.numerics.products import multiplied
from distillcli.numerics.scores import Logits
from distillcli.strategy.batchwise import Related, loss_of
from distillcli.strategy.formulas import Formula, formula_of
from distillcli.strategy.inputs import Inputs
from distillcli.strategy.sequences import layer_rows, layers_compared, told_of_positions

Rows = Callable[[Tile], Array]  # the values of a column for a tile, float64 [rows]
Target = Callable[[Tile, float], Logits]  # what the student is held against, at a temperature
# Teacher and student over the same classes, at a temperature.
Pair = Callable[[Tile, float], tuple[Logits, Logits]]


@dataclass(frozen=True)
class Term:
    """A part of the loss.

    Args:
        written: what the config says of it.
        known: the loss.
        formula: what it is.
        rows: its values.
        layers: the pairs of layers that it is the weighted sum of; none for class scores.
        columns: their values.
    """

    written: LossTerm
    known: Loss
    formula: Formula
    rows: Rows
    layers: tuple["Layer", ...] = ()
    columns: Mapping[str, Rows] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What reports call it."""
        return self.written.name

    @property
    def weight(self) -> float:
        """Its weight in the loss, outer weights multiplied in."""
        return self.written.weight

    @property
    def loss(self) -> str:
        """The name of its loss."""
        return self.known.name

    @property
    def column(self) -> str:
        """The column with its values."""
        return f"term {self.name}"

    @property
    def of_logits(self) -> bool:
        """Whether it compares class scores."""
        return self.written.on == "logits"

    @property
    def by_kernel(self) -> bool:
        """Whether it rests on nothing but what a kernel can leave."""
        known = bool(self.known.asks) or self.loss == "cross_entropy"
        more = self.written.loss.parameters.get("with_entropy", False)
        return self.as_stored and known and not more

    @property
    def as_stored(self) -> bool:
        """Whether it acts on class scores as they are, not on standardized ones."""
        return self.of_logits and not self.written.loss.parameters.get("standardize", False)


@dataclass(frozen=True)
class Layer:
    """A pair of layers, its weight in its term and its column."""

    student: int
    teacher: int
    weight: float
    column: str


def on_stored(loss: Loss) -> bool:
    """Whether a loss between class scores acts on the numbers as they are stored."""
    return loss.same_kind or loss.family == "relations"


def check_kinds(config: Config, inputs: Inputs, terms: Sequence[Term]) -> None:
    """Some losses act on the numbers as they are stored, which must then be of one kind.

    Raises:
        MismatchError: logits on one side and probabilities on the other, or a blend of these.
    """
    acting = [term.loss for term in terms if term.as_stored and on_stored(term.known)]
    if not acting or "student" not in inputs:
        return
    student = inputs["student"]
    if config.ensemble is not None:
        _check_blend(config.ensemble.combine, inputs, acting[0])
    elif "teacher" in inputs and inputs["teacher"].kind != student.kind:
        raise MismatchError(
            student.reader.where,
            f"holds {student.kind}, teacher holds {inputs['teacher'].kind}: "
            f"{acting[0]} needs one kind",
            ANY_KINDS,
        )


def _check_blend(combine: str, inputs: Inputs, loss: str) -> None:
    """Only the mean of logits is of a kind with logits; T times log-probabilities is not."""
    if combine != "logits":
        problem = f"the blend with combine: {combine} holds log_probabilities"
        hint = f"take combine: logits; {ANY_KINDS}"
        where = inputs["student"].reader.where
        raise MismatchError(where, f"{problem}: {loss} needs logits on both sides", hint)
    for role in ("student", *inputs.teachers):
        if inputs[role].kind != "logits":
            problem = f"holds {inputs[role].kind}: {loss} needs logits of teachers and student"
            raise MismatchError(inputs[role].reader.where, problem, ANY_KINDS)


def terms_of(
    config: Config,
    inputs: Inputs,
    pair: Pair | None,
    projections: Mapping[LayerPair, Array],
    related: Related,
) -> list[Term]:
    """All terms that the strategy has; without both sides of class scores, none of those.

    Args:
        projections: the matrices of pairs of layers, by pair.
        related: computes what relates the rows of a batch.
    """
    found = []
    for written in config.terms():
        known = loss_of(written)
        if written.on == "hidden":
            found.append(_hidden_term(config, inputs, written, known, projections, related))
        elif pair is not None or "teacher" not in known.inputs:
            found.append(_logit_term(written, known, pair, related))
    return found


def _logit_term(written: LossTerm, known: Loss, pair: Pair | None, related: Related) -> Term:
    parameters = dict(written.loss.parameters)
    temperature = parameters.get("temperature", 1.0)

    def inputs(tile: Tile) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if pair is not None and "teacher" in known.inputs:
            found["teacher"], found["student"] = pair(tile, temperature)
            if known.family == "relations":
                found = {side: scores.raw for side, scores in found.items()}
        else:
            found["student"] = tile.logits("student")
        if "labels" in known.inputs:
            found["labels"] = tile.labels()
        return found

    def rows(tile: Tile) -> Array:
        return related(tile, inputs(tile), known, parameters)

    return Term(written, known, formula_of(written, known, batch=related.size), rows)


def layers_of(config: Config, term: LossTerm) -> tuple[Layer, ...]:
    """The pairs of layers of a term; their weights sum to 1, and are equal for pairs of its own."""
    assert config.progressive is not None
    pairs = config.layer_pairs(term)
    shares = (1.0 / len(pairs),) * len(pairs)
    if term.layer_mapping is None:
        shares = config.progressive.shares
    return tuple(
        Layer(student, teacher, float(share), f"{term.name} of layers {index}")
        for index, ((student, teacher), share) in enumerate(zip(pairs, shares, strict=True))
    )


def _hidden_term(
    config: Config,
    items: Inputs,
    written: LossTerm,
    known: Loss,
    projections: Mapping[LayerPair, Array],
    related: Related,
) -> Term:
    """The weighted sum over the pairs of layers."""
    layers = layers_of(config, written)
    parameters = dict(written.loss.parameters)
    columns = {}
    for layer in layers:
        pair = layer.student, layer.teacher
        matrix = None if known.any_width else projections.get(pair)
        sides = partial(_features, layer, known, matrix)
        columns[layer.column] = partial(_layer_rows, known, parameters, sides, related)

    def rows(tile: Tile) -> Array:
        total = None
        for layer in layers:
            part = tile.once(layer.column, partial(columns[layer.column], tile))
            # A weight of 0 takes a layer out, also one whose loss is infinite.
            if layer.weight:
                total = layer.weight * part + (0.0 if total is None else total)
        return total

    positions = told_of_positions(known, layers_compared(config, items, written))
    formula = formula_of(written, known, batch=related.size, positions=positions)
    return Term(written, known, formula, rows, layers, columns)


def _layer_rows(
    known: Loss,
    parameters: Mapping[str, Any],
    sides: Callable[[Tile], Mapping[str, Array]],
    related: Related,
    tile: Tile,
) -> Array:
    return layer_rows(known, sides(tile), parameters, related, tile)


def _features(layer: Layer, known: Loss, matrix: Array | None, tile: Tile) -> dict[str, Any]:
    """Both sides; the student goes through its pair's projection, where there is one."""
    roles = {
        "teacher": f"teacher_hidden[{layer.teacher}]",
        "student": f"student_hidden[{layer.student}]",
    }
    found = {side: tile.features(role) for side, role in roles.items()}
    if matrix is not None:
        found["student"] = _projected(found["student"], matrix, tile.start)
    if known.family != "sequences":
        return found
    xp = namespace(found["student"])
    shapes = {side: tile.inputs[role].reader.shape[1:] for side, role in roles.items()}
    return {side: xp.reshape(x, (-1, *shapes[side])) for side, x in found.items()}


def _projected(x: Array, matrix: Array, start: int) -> Array:
    """Rows, or all positions of rows that are sequences, times a matrix."""
    positions = x.shape[1] if len(x.shape) == 3 else 1
    xp = namespace(x)
    flat = xp.reshape(x, (-1, x.shape[-1]))
    flat = multiplied(flat, matrix, start=start * positions, cell=PRODUCT_ROWS)
    return xp.reshape(flat, (*x.shape[:-1], -1))


def temperature_of(config: Config) -> float:
    """That of the KL metrics: the strategy's own where its keys are written.

    Without them the one whose terms have the largest weight together; of equal weights the lowest.
    So the order of `losses` plays no part.
    """
    if config.ensemble is not None:
        return config.ensemble.temperature
    if config.response is not None:
        return float(config.response.soft_loss.parameters.get("temperature", 1.0))
    weights: dict[float, list[float]] = {}
    for term in config.terms():
        if "temperature" in term.loss.parameters:
            weights.setdefault(float(term.loss.parameters["temperature"]), []).append(term.weight)
    return min(weights, key=lambda one: (-fsum(weights[one]), one), default=1.0)
