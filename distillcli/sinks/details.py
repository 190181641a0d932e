"""What is told of single rows beside the figures: their loss, classes, label and group.

Each is a column more of the measure, computed only when it is asked for.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from distillcli import metrics
from distillcli.backend import Array
from distillcli.batches.tiles import Tile
from distillcli.config import Config
from distillcli.fold import Columns, Measure
from distillcli.numerics.arrays import widen
from distillcli.numerics.scores import Logits
from distillcli.strategy.counting import GROUPED
from distillcli.strategy.inputs import Inputs
from distillcli.strategy.measures import Scoring
from distillcli.strategy.terms import Target, Term

LOSS = "loss"
LABEL = "label"
GROUP = "group"
SIDES = ("student", "teacher")

Numbers = npt.NDArray[np.int64]
Detail = Callable[[Tile, Columns], Array]  # float64 [rows] of a tile, from it and its columns


def class_column(side: str) -> str:
    """The column of the top class of a side, the lowest index among equals."""
    return f"{side}_class"


def confidence_column(side: str) -> str:
    """The column of the top probability of a side at temperature 1."""
    return f"{side}_confidence"


def available(config: Config, inputs: Inputs, what: Scoring) -> dict[str, Detail]:
    """The details that can be had from these inputs."""
    found: dict[str, Detail] = {LOSS: partial(_loss, what.terms)}
    if "labels" in inputs:
        found[LABEL] = lambda tile, _: widen(tile.labels())
    if config.groups is not None:
        role = "labels" if config.groups == "labels" else GROUPED
        found[GROUP] = lambda tile, _: tile.integers(role)
    numbers = _numbers(config, inputs)
    if numbers is not None and LABEL in found:
        found[LABEL] = lambda tile, _: _numbered(tile, tile.labels(), numbers)
    for side, scores in _scores(inputs, what.target).items():
        found[class_column(side)] = partial(_class, scores, numbers)
        found[confidence_column(side)] = partial(_confidence, scores)
    return found


def _scores(inputs: Inputs, target: Target | None) -> dict[str, Callable[[Tile], Logits]]:
    found: dict[str, Callable[[Tile], Logits]] = {}
    if "student" in inputs and inputs["student"].is_scores:
        found["student"] = lambda tile: tile.logits("student")
    if target is not None:
        found["teacher"] = lambda tile: target(tile, 1.0)
    return found


def _loss(terms: Sequence[Term], tile: Tile, columns: Columns) -> Array:
    """The weighted loss of each row; a weight of 0 takes a term out, also an infinite one."""
    return sum(term.weight * columns[term.column] for term in terms if term.weight)


def _class(
    scores: Callable[[Tile], Logits], numbers: Numbers | None, tile: Tile, columns: Columns
) -> Array:
    return _numbered(tile, scores(tile).top, numbers)


def _numbered(tile: Tile, classes: Array, numbers: Numbers | None) -> Array:
    return widen(classes if numbers is None else tile.backend.to_device(numbers)[classes])


def _numbers(config: Config, inputs: Inputs) -> Numbers | None:
    """What the classes that are compared are called where a map pairs them: as in the student."""
    mapped = config.vocabulary.map is not None and "student" in inputs
    return inputs["student"].compared if mapped else None


def _confidence(scores: Callable[[Tile], Logits], tile: Tile, columns: Columns) -> Array:
    return metrics.confidence(scores(tile))


def detailed(measure: Measure, details: Mapping[str, Detail]) -> Measure:
    """The measure with details as further columns behind its own."""
    new = {name: detail for name, detail in details.items() if name not in measure.names}

    def columns(tile: Tile) -> Columns:
        found = dict(measure.columns(tile))
        return found | {name: detail(tile, found) for name, detail in new.items()}

    return replace(measure, names=(*measure.names, *new), columns=columns) if new else measure
