"""How much each teacher of an ensemble counts: the same for all rows, or row by row."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Self

import numpy as np

from distillcli import metrics, teachers
from distillcli.backend import Array, namespace
from distillcli.batches.tiles import Tile
from distillcli.config import Ensemble
from distillcli.errors import DataError
from distillcli.fold import BadRows, Columns, Measure
from distillcli.kernels import blends
from distillcli.numerics.arrays import cast
from distillcli.numerics.scores import Logits
from distillcli.strategy.mixture import ROWS, Fit, Floats, fit
from distillcli.strategy.passes import Passes
from distillcli.sums.rows import Collector, RowValues
from distillcli.teachers import Combine

PER_ROW = ("confidence_per_row", "best_per_row")


@dataclass(frozen=True)
class Weighting:
    """What the teachers weigh.

    Args:
        rule: what the config says: a rule's name, or `list`.
        weights: one for each teacher, sum 1; None where they differ from row to row.
        fit: what a fit has found.
        found_on: how many rows, from the first one on, weights were found on from labels.
    """

    rule: str
    weights: tuple[float, ...] | None
    fit: Fit | None = None
    found_on: int | None = None

    @classmethod
    def parsed(cls, data: Mapping[str, Any]) -> Self:
        """From the plain data that `dataclasses.asdict` makes of one."""
        weights, found = data["weights"], data["fit"]
        return cls(
            data["rule"],
            None if weights is None else tuple(weights),
            None if found is None else Fit(**{**found, "weights": tuple(found["weights"])}),
            data["found_on"],
        )

    def of(self, tile: Tile, roles: Sequence[str]) -> Sequence[float] | Sequence[Array]:
        """The weight of each teacher: a number, or float64 [rows]."""
        if self.weights is not None:
            return self.weights
        return tile.once("weights", partial(_ROW_RULES[self.rule], tile, roles))


def equal(teachers: int) -> Weighting:
    """The same weight for all."""
    return Weighting("uniform", (1.0 / teachers,) * teachers)


def blended(
    ensemble: Ensemble, weighting: Weighting, roles: Sequence[str], tile: Tile, temperature: float
) -> Logits:
    """The blend of the teachers for a tile, made once for each temperature and weighting."""
    at = 0.0 if ensemble.combine == "logits" else temperature
    return tile.once(
        f"blend {weighting.rule} at {at}",
        lambda: _blend(tile)(
            [tile.logits(role) for role in roles],
            weights=weighting.of(tile, roles),
            combine=_combine(ensemble),
            temperature=temperature,
        ),
    )


def _blend(tile: Tile) -> Callable[..., Logits]:
    """The kernel where there is one, else the definition."""
    return blends.blend if tile.backend.device == "cpu" else teachers.blend


def _combine(ensemble: Ensemble) -> Combine:
    known: Mapping[str, Combine] = {
        "logits": "logits",
        "probabilities": "probabilities",
        "log_probabilities": "log_probabilities",
    }
    return known[ensemble.combine]


def _by_confidence(tile: Tile, roles: Sequence[str]) -> list[Array]:
    """softmax over the teachers of the negative entropy at T = 1."""
    entropies = [metrics.entropy(tile.logits(role)) for role in roles]
    xp = namespace(entropies[0])
    least = entropies[0]
    for other in entropies[1:]:
        least = xp.minimum(least, other)
    shares = [xp.exp(least - entropy) for entropy in entropies]
    total = sum(shares[1:], shares[0])
    return [share / total for share in shares]


def _by_label(tile: Tile, roles: Sequence[str]) -> list[Array]:
    """All on the teacher with the lowest cross-entropy on the label, the first among equals."""
    found = [metrics.nll(tile.logits(role), tile.labels()) for role in roles]
    xp = namespace(found[0])
    best = xp.argmin(xp.stack(found), axis=0)
    return [cast(best == index, xp.float64) for index in range(len(roles))]


_ROW_RULES: dict[str, Callable[[Tile, Sequence[str]], list[Array]]] = {
    "confidence_per_row": _by_confidence,
    "best_per_row": _by_label,
}


def teacher_weights(passes: Passes, bad: Callable[[Tile], BadRows]) -> Weighting | None:
    """What the teachers of an ensemble weigh; None for another strategy.

    `accuracy`, `confidence` and `fit` need a pass of their own.

    Raises:
        DataError: no teacher has a row right, or gives a label any probability.
    """
    ensemble = passes.config.ensemble
    if ensemble is None:
        return None
    rule = ensemble.weights
    if not isinstance(rule, str):
        return Weighting("list", rule)
    if rule == "uniform":
        return equal(len(passes.inputs.teachers))
    if rule in PER_ROW:
        return Weighting(rule, None)
    found_on = None
    if ensemble.found_on_labels:
        found_on = max(1, math.floor(passes.rows_taken * ensemble.fit_rows))
        passes = replace(passes, stop=passes.first + found_on)
    if rule == "fit":
        found = _fitted(passes, bad)
        return Weighting(rule, found.weights, found, found_on)
    return Weighting(rule, _by_quality(passes, rule, bad), found_on=found_on)


def _by_quality(passes: Passes, rule: str, bad: Callable[[Tile], BadRows]) -> tuple[float, ...]:
    """Weights in proportion to the mean accuracy or top probability of each teacher."""
    roles = passes.inputs.teachers
    measure = Measure(tuple(roles), partial(_quality, rule, roles), bad)
    done = passes.totals(f"weights by {rule}", measure, list(passes.inputs.items))
    found = [done.mean(role) for role in roles]
    if not sum(found) > 0:
        problem = "no teacher has a row right, so there are no weights"
        raise DataError("teachers", problem, "use uniform weights")
    return tuple(value / sum(found) for value in found)


def _quality(rule: str, roles: Sequence[str], tile: Tile) -> Columns:
    if rule == "confidence":
        return {role: metrics.confidence(tile.logits(role)) for role in roles}
    return {role: metrics.accuracy(tile.logits(role), tile.labels()) for role in roles}


def _fitted(passes: Passes, bad: Callable[[Tile], BadRows]) -> Fit:
    """Weights fitted on at most 2^22 evenly spaced rows; rows that no teacher explains are out."""
    roles = passes.inputs.teachers
    step = -(-passes.rows_taken // ROWS)

    def columns(tile: Tile) -> Columns:
        return {role: metrics.nll(tile.logits(role), tile.labels()) for role in roles}

    measure = Measure(tuple(roles), columns, bad)
    needed = list(passes.inputs.items)
    taken = _Every(step, passes.first)
    passes.fold("fitting weights", measure, taken, needed)
    nll = np.concatenate(taken.found)
    nll = nll[np.isfinite(nll).any(axis=1)]
    if not len(nll):
        problem = "no teacher gives the label of any row a probability, so there are no weights"
        raise DataError("teachers", problem, "use uniform weights")
    return fit(nll)


@dataclass
class _Every(Collector):
    """Every `step`-th row from `origin` on, of those that are kept: arrays [rows, teachers]."""

    step: int
    origin: int
    found: list[Floats] = field(default_factory=list)

    def of(self, rows: RowValues) -> Floats:
        chosen = rows.keep & ((np.arange(rows.start, rows.stop) - self.origin) % self.step == 0)
        return np.stack([column[chosen] for column in rows.values], axis=1)

    def take(self, found: Floats) -> None:
        self.found.append(found)
