"""The terms of a loss: which column of a tile each of them is, and with what weight it counts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from distillcli.backend import Array
from distillcli.batches import PRODUCT_ROWS, Tile
from distillcli.config import Config, LossChoice
from distillcli.errors import MismatchError
from distillcli.losses import FEATURE_LOSSES, LABEL_LOSSES, LOGIT_LOSSES
from distillcli.numerics import Logits, multiplied
from distillcli.strategy.inputs import Inputs

Rows = Callable[[Tile], Array]  # the values of a column for a tile, float64 [rows]
Target = Callable[[Tile, float], Logits]  # what the student is held against, at a temperature
# Teacher and student over the same classes, at a temperature.
Pair = Callable[[Tile, float], tuple[Logits, Logits]]


@dataclass(frozen=True)
class Term:
    """A part of the loss.

    Args:
        name: `soft`, `hard` or `hidden`.
        weight: its weight in the loss, outer weights multiplied in.
        loss: which loss it is, and its convention in one line.
        as_stored: whether it acts on the class scores as they are.
    """

    name: str
    weight: float
    loss: str
    convention: str
    rows: Rows
    as_stored: bool = True


@dataclass(frozen=True)
class Layer:
    """A pair of layers, its weight in the term `hidden` and its column."""

    student: int
    teacher: int
    weight: float
    column: str


def check_kinds(inputs: Inputs, terms: Sequence[Term]) -> None:
    """Some losses act on the numbers as they are stored, which must then be of one kind.

    Raises:
        MismatchError: logits on one side and probabilities on the other.
    """
    acting = [term.loss for term in terms if term.name == "soft"]
    if "teacher" not in inputs or not any(LOGIT_LOSSES[name].same_kind for name in acting):
        return
    teacher, student = inputs["teacher"], inputs["student"]
    if teacher.kind != student.kind:
        raise MismatchError(
            student.reader.where,
            f"holds {student.kind}, teacher holds {teacher.kind}: {acting[0]} needs one kind",
            "kl, reverse_kl and jsd compare any two kinds",
        )


def logit_terms(config: Config, pair: Pair | None) -> list[Term]:
    """The soft and the hard term, as far as the strategy has them."""
    outer = 1.0
    if config.ensemble is not None:
        part = config.ensemble
        choice = LossChoice("kl", {"temperature": part.temperature})
        soft, hard = part.soft_weight, part.hard_weight
    elif config.response is not None:
        outer = config.progressive.response_weight if config.progressive is not None else 1.0
        choice = config.response.soft_loss
        soft, hard = config.response.soft_weight, config.response.hard_weight
    else:
        return []
    terms = []
    if soft > 0 and pair is not None:
        terms.append(_soft_term(choice, outer * soft, pair))
    if hard > 0:
        terms.append(_hard_term(outer * hard))
    return terms


def _soft_term(choice: LossChoice, weight: float, pair: Pair) -> Term:
    loss = LOGIT_LOSSES[choice.name]
    parameters = dict(choice.parameters)
    temperature = parameters.get("temperature", 1.0)

    def rows(tile: Tile) -> Array:
        teacher, student = pair(tile, temperature)
        labels = {"labels": tile.labels()} if "labels" in loss.inputs else {}
        return loss.function(teacher=teacher, student=student, **labels, **parameters)

    convention = f"soft = {_with_values(loss.formula, parameters)}"
    as_stored = not parameters.get("standardize", False)
    return Term("soft", weight, loss.name, convention, rows, as_stored)


def _with_values(formula: str, parameters: Mapping[str, float | bool]) -> str:
    """`formula, T = 4`: the formula as it is in force, and what its letters stand for."""
    letters = {"temperature": "T", "alpha": "a", "beta": "b"}
    numbers = {key: value for key, value in parameters.items() if not isinstance(value, bool)}
    if parameters.get("temperature_squared") is False:
        formula = formula.replace("T^2 * ", "") + ", without the factor T^2"
    if parameters.get("standardize"):
        formula += ", of logits standardized row by row"
    return ", ".join(
        [formula, *(f"{letters.get(key, key)} = {value:g}" for key, value in numbers.items())]
    )


def _hard_term(weight: float) -> Term:
    loss = LABEL_LOSSES["cross_entropy"]

    def rows(tile: Tile) -> Array:
        return loss.function(student=tile.logits("student"), labels=tile.labels())

    return Term("hard", weight, loss.name, f"hard = {loss.formula} at T = 1", rows)


def layers_of(config: Config) -> list[Layer]:
    """The pairs of layers of a progressive distillation; their weights sum to 1."""
    assert config.progressive is not None
    pairs, weights = config.progressive.layer_mapping, config.progressive.layer_weights
    shares = [1.0 / len(pairs)] * len(pairs) if weights == "uniform" else weights
    return [
        Layer(student, teacher, float(share), f"layer {index}")
        for index, ((student, teacher), share) in enumerate(zip(pairs, shares, strict=True))
    ]


def layer_columns(
    config: Config, layers: Sequence[Layer], projections: Mapping[int, Array]
) -> dict[str, Rows]:
    """The loss of each pair; the student goes through its pair's projection, where there is one."""
    assert config.progressive is not None
    loss = FEATURE_LOSSES[config.progressive.loss]

    def column(layer: Layer, matrix: Array | None) -> Rows:
        def rows(tile: Tile) -> Array:
            student = tile.features(f"student_hidden[{layer.student}]")
            if matrix is not None:
                student = multiplied(student, matrix, start=tile.start, cell=PRODUCT_ROWS)
            teacher = tile.features(f"teacher_hidden[{layer.teacher}]")
            return loss.function(teacher=teacher, student=student)

        return rows

    return {
        layer.column: column(layer, projections.get(index)) for index, layer in enumerate(layers)
    }


def hidden_term(config: Config, layers: Sequence[Layer], columns: Mapping[str, Rows]) -> Term:
    """The weighted sum of the pairs' losses."""
    assert config.progressive is not None
    loss = FEATURE_LOSSES[config.progressive.loss]

    def rows(tile: Tile) -> Array:
        total = None
        for layer in layers:
            part = tile.once(layer.column, partial(columns[layer.column], tile))
            # A weight of 0 takes a layer out, also one whose loss is infinite.
            if layer.weight:
                total = layer.weight * part + (0.0 if total is None else total)
        return total

    convention = f"hidden = sum over pairs of weight * {loss.name}, {loss.name} = {loss.formula}"
    return Term("hidden", config.progressive.hidden_weight, loss.name, convention, rows)


def temperature_of(config: Config) -> float:
    """That of the soft loss and so of the KL metrics; 1 where there is none."""
    if config.ensemble is not None:
        return config.ensemble.temperature
    if config.response is not None:
        return float(config.response.soft_loss.parameters.get("temperature", 1.0))
    return 1.0
