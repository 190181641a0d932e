"""The sections of a config: frozen values, and each as it is written."""

from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path as FilePath
from typing import Any, Literal

from distillcli.config.catalogue import LayerPair, LossChoice
from distillcli.config.sources import Source


@dataclass(frozen=True)
class Response:
    """The response term: hard_weight * cross-entropy + soft_weight * soft_loss.

    Both weights are 0 where the section gives the entries of `losses` a temperature and no more.

    `alpha_assumed`: there are no labels and no weights were given, so the soft weight is 1.
    """

    soft_loss: LossChoice
    soft_weight: float
    hard_weight: float
    alpha_assumed: bool = field(default=False, compare=False)

    def written(self) -> dict[str, Any]:
        """The weights as alpha where they are one: another alpha can then be set over it."""
        if not self.soft_weight and not self.hard_weight:
            return {"soft_loss": {"temperature": self.soft_loss.parameters["temperature"]}}
        if 0 <= self.soft_weight <= 1 and self.hard_weight == complement(self.soft_weight):
            weights = {"alpha": self.soft_weight}
        else:
            weights = {
                "soft_label_weight": self.soft_weight,
                "hard_label_weight": self.hard_weight,
            }
        return {"soft_loss": {"name": self.soft_loss.name, **self.soft_loss.parameters}, **weights}


@dataclass(frozen=True)
class XavierUniform:
    """A random projection, drawn from `seed`."""

    seed: int

    def written(self, base: FilePath) -> dict[str, Any]:
        """The key of a config."""
        return {"init": "xavier_uniform", "seed": self.seed}


@dataclass(frozen=True)
class LeastSquares:
    """A projection fitted to the data, with `ridge` on its squared size."""

    ridge: float

    def written(self, base: FilePath) -> dict[str, Any]:
        """The key of a config."""
        return {"init": "least_squares", "ridge": self.ridge}


@dataclass(frozen=True)
class FromFile:
    """A projection [student width, teacher width] that was saved."""

    source: Source

    def written(self, base: FilePath) -> dict[str, Any]:
        """The key of a config in the folder `base`."""
        written = self.source.written(base)
        return written if isinstance(written, dict) else {"path": written}


Projection = XavierUniform | LeastSquares | FromFile | None


@dataclass(frozen=True)
class Progressive:
    """Hidden layers: pairs (student layer, teacher layer), counted from 0.

    `layer_mapping`: none where all that compares layers has pairs of its own.
    `layer_weights`: "uniform", or one weight per pair with sum 1. `loss`: None where the entries of
    `losses` are all that compares layers.
    """

    layer_mapping: tuple[LayerPair, ...]
    loss: LossChoice | None
    hidden_weight: float
    response_weight: float
    layer_weights: Literal["uniform"] | tuple[float, ...]
    projection: Projection

    @property
    def shares(self) -> tuple[float, ...]:
        """The weight of each pair; they sum to 1."""
        if self.layer_weights == "uniform":
            return (1.0 / len(self.layer_mapping),) * len(self.layer_mapping)
        return tuple(float(weight) for weight in self.layer_weights)

    def written(self, base: FilePath) -> dict[str, Any]:
        """The section in a config in the folder `base`."""
        pairs = [list(pair) for pair in self.layer_mapping]
        return {
            **({"layer_mapping": pairs} if pairs else {}),
            **({} if self.loss is None else self._hidden(self.loss)),
            "response_weight": self.response_weight,
            "layer_weights": words(self.layer_weights),
            "projection": self.projection.written(base) if self.projection else "none",
        }

    def _hidden(self, loss: LossChoice) -> dict[str, Any]:
        written = {"name": loss.name, **loss.parameters} if loss.parameters else loss.name
        return {"loss": written, "hidden_weight": self.hidden_weight}


IGNORE_INDEX = -100  # what PyTorch's cross-entropy ignores

# The rules that find one weight per teacher from labels.
FITTED = ("accuracy", "fit")


@dataclass(frozen=True)
class Ensemble:
    """Several teachers blended into one.

    Args:
        weights: a rule, or one per teacher with sum 1.
        fit_rows: the share of the rows, from the first one on, that weights are found on where
            they come from labels.
    """

    combine: str
    weights: str | tuple[float, ...]
    temperature: float
    soft_weight: float
    hard_weight: float
    alpha_assumed: bool = field(default=False, compare=False)
    fit_rows: float = 1.0

    @property
    def found_on_labels(self) -> bool:
        """Whether the weights are found from labels, once for all rows."""
        return self.weights in FITTED

    def written(self) -> dict[str, Any]:
        """The section in a config."""
        fitted = {"fit_rows": self.fit_rows} if self.found_on_labels else {}
        own = {"alpha": self.soft_weight} if self.soft_weight or self.hard_weight else {}
        return {
            "combine": self.combine,
            "weights": words(self.weights),
            **fitted,
            "temperature": self.temperature,
            **own,
        }


@dataclass(frozen=True)
class Counting:
    """Which rows count.

    Args:
        mask: 0 where a row does not.
        ignore_index: rows with this label do not; None for no such label.
        shift_labels: whether the label of a position is that of the next one.
        skip_first: so many positions at the start of each sequence do not.
    """

    mask: Source | None = None
    ignore_index: int | None = IGNORE_INDEX
    shift_labels: bool = False
    skip_first: int = 0

    @property
    def by_position(self) -> bool:
        """Whether it tells the positions of a sequence apart."""
        return bool(self.skip_first or self.shift_labels)

    def written(self, base: FilePath) -> dict[str, Any]:
        """The keys of a config in the folder `base`; those with their default are left out."""
        found = {
            "mask": self.mask and self.mask.written(base),
            "ignore_index": "none" if self.ignore_index is None else self.ignore_index,
            "shift_labels": self.shift_labels or None,
            "positions": {"skip_first": self.skip_first} if self.skip_first else None,
        }
        if self.ignore_index == IGNORE_INDEX:
            del found["ignore_index"]
        return {key: value for key, value in found.items() if value is not None}


@dataclass(frozen=True)
class Vocabulary:
    """Which classes are compared.

    Args:
        rule: `error`: all of them, and both sides must have the same; `common`: the first ones,
            which both have; `map`: those that a map pairs.
        map: the teacher's class of each class of the student, -1 for none.
    """

    rule: Literal["error", "common", "map"] = "error"
    map: Source | None = None

    def written(self, base: FilePath) -> dict[str, Any]:
        """The key of a config in the folder `base`; nothing for the default."""
        if self.map is not None:
            return {"vocabulary": {"map": self.map.written(base)}}
        return {} if self.rule == "error" else {"vocabulary": self.rule}


def complement(alpha: float) -> float:
    """1 - alpha in decimal, so that 0.7 leaves 0.3 and not 0.30000000000000004."""
    return float(1 - Decimal(repr(alpha)))


def words(value: str | tuple[Any, ...]) -> str | list[Any]:
    """A word as it is, several values as a list."""
    return value if isinstance(value, str) else list(value)
