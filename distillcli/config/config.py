"""A config that has been checked: frozen, with every value in force."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path as FilePath
from typing import Any, Literal, Protocol

from distillcli.config.settings import Origins
from distillcli.config.sources import Layers, Source
from distillcli.config.tolerance import Check
from distillcli.config.tree import Key


class ParameterSpec(Protocol):
    """A parameter of a loss."""

    @property
    def name(self) -> str:
        """Its key in a config."""

    @property
    def default(self) -> Any:
        """Its value where the config gives none, None where it must; a temperature is 4."""

    @property
    def low(self) -> float | None:
        """The smallest value that is allowed, if there is one."""

    @property
    def high(self) -> float | None:
        """The largest value that is allowed, if there is one."""

    @property
    def kind(self) -> type:
        """float, int or bool."""


class LossSpec(Protocol):
    """What a config must know of a loss."""

    @property
    def name(self) -> str:
        """Its name in a config."""

    @property
    def parameters(self) -> Sequence[ParameterSpec]:
        """All that a config may set."""

    @property
    def inputs(self) -> Sequence[str]:
        """The arrays that it takes: some of teacher, student and labels."""

    @property
    def family(self) -> str:
        """What it compares; those of `sequences` keep the positions of a row together."""

    @property
    def least_batch(self) -> int | None:
        """Of how many rows a batch must be whose rows it relates; None where it does not."""


@dataclass(frozen=True)
class Catalogue:
    """The names that a config may use; the caller hands it in."""

    logit_losses: Mapping[str, LossSpec]
    feature_losses: Mapping[str, LossSpec]
    label_losses: Mapping[str, LossSpec]
    metrics: Sequence[str]


@dataclass(frozen=True)
class LossChoice:
    """A loss and the value of each of its parameters."""

    name: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class LossTerm:
    """A term of the loss.

    Args:
        name: what it is called in reports.
        weight: its weight in the loss, outer weights multiplied in.
        on: what it compares.
        path: where it is written.
    """

    name: str
    loss: LossChoice
    weight: float
    on: Literal["logits", "hidden"]
    path: tuple[Key, ...] = field(default=(), compare=False)

    def written(self) -> dict[str, Any]:
        """The entry of `losses`."""
        called = {"as": self.name} if self.name != self.loss.name else {}
        own = {"on": self.on, "weight": self.weight}
        return {"name": self.loss.name, **called, **own, **self.loss.parameters}


@dataclass(frozen=True)
class Response:
    """The response term: hard_weight * cross-entropy + soft_weight * soft_loss.

    `alpha_assumed`: there are no labels and no weights were given, so the soft weight is 1.
    """

    soft_loss: LossChoice
    soft_weight: float
    hard_weight: float
    alpha_assumed: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class XavierUniform:
    """A random projection, drawn from `seed`."""

    seed: int


@dataclass(frozen=True)
class LeastSquares:
    """A projection fitted to the data, with `ridge` on its squared size."""

    ridge: float


@dataclass(frozen=True)
class FromFile:
    """A projection [student width, teacher width] that was saved."""

    source: Source


Projection = XavierUniform | LeastSquares | FromFile | None


@dataclass(frozen=True)
class Progressive:
    """Hidden layers: pairs (student layer, teacher layer), counted from 0.

    `layer_weights`: "uniform", or one weight per pair with sum 1. `loss`: None where the entries of
    `losses` are all that compares layers.
    """

    layer_mapping: tuple[tuple[int, int], ...]
    loss: LossChoice | None
    hidden_weight: float
    response_weight: float
    layer_weights: Literal["uniform"] | tuple[float, ...]
    projection: Projection


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


@dataclass(frozen=True)
class Config:
    """Everything that a run needs to know. Sources of other strategies are None or empty.

    `tail`: what becomes of classes that are not stored, `bucket` or `renormalize`.
    `groups`: one integer per row, by which the figures are told apart; "labels" for the labels.
    """

    strategy: str
    teacher: Source | None
    teachers: tuple[Source, ...]
    student: Source | None
    labels: Source | None
    teacher_tokens: Source | None
    student_tokens: Source | None
    teacher_hidden: Layers | None
    student_hidden: Layers | None
    batch_size: int | str
    threads: int | str
    device: str
    kernel: str
    precision: str
    metrics: Literal["all"] | tuple[str, ...]
    on_bad_rows: str
    groups: Source | Literal["labels"] | None
    counting: Counting
    vocabulary: Vocabulary
    tail: str
    response: Response | None
    progressive: Progressive | None
    ensemble: Ensemble | None
    losses: tuple[LossTerm, ...]
    origins: Origins = field(compare=False, repr=False)
    check: Check = field(default_factory=Check, compare=False)  # limits, which no number depends on

    def terms(self) -> tuple[LossTerm, ...]:
        """All terms of the loss: those of the strategy's own keys, then those of `losses`."""
        return (*self._own_terms(), *self.losses)

    def _own_terms(self) -> Iterator[LossTerm]:
        outer = self.progressive.response_weight if self.progressive is not None else 1.0
        if self.ensemble is not None:
            kl = LossChoice("kl", {"temperature": self.ensemble.temperature})
            yield from _soft_and_hard(self.ensemble, kl, 1.0, ("ensemble",))
        elif self.response is not None:
            path = ("response", "soft_loss")
            yield from _soft_and_hard(self.response, self.response.soft_loss, outer, path)
        if self.progressive is not None and self.progressive.loss is not None:
            weight, path = self.progressive.hidden_weight, ("progressive", "loss")
            yield LossTerm("hidden", self.progressive.loss, weight, "hidden", path)

    def where(self, *path: Key) -> str:
        """`file:line:column: key` of a key, or the flag that set it; the file for no key."""
        return self.origins.where(path)

    def resolved(self) -> dict[str, Any]:
        """Every value that numbers depend on, JSON-ready, in a form to read back as a config.

        The tolerances of a check are left out: no number depends on them.

        Relative paths stay as they were given, except that those of flags become absolute where
        the config lies in another folder.
        """
        base = self.origins.base
        found = {
            "strategy": self.strategy,
            "teacher": self.teacher and self.teacher.written(base),
            "teachers": [source.written(base) for source in self.teachers],
            "student": self.student and self.student.written(base),
            "labels": self.labels and self.labels.written(base),
            "teacher_tokens": self.teacher_tokens and self.teacher_tokens.written(base),
            "student_tokens": self.student_tokens and self.student_tokens.written(base),
            **self.counting.written(base),
            **self.vocabulary.written(base),
            **({"tail": self.tail} if self.tail != "bucket" else {}),
            "teacher_hidden": self.teacher_hidden and self.teacher_hidden.written(base),
            "student_hidden": self.student_hidden and self.student_hidden.written(base),
            "batch_size": self.batch_size,
            "threads": self.threads,
            "device": self.device,
            "kernel": self.kernel,
            "precision": self.precision,
            "metrics": _words(self.metrics) or "none",
            "on_bad_rows": self.on_bad_rows,
            "groups": self.groups.written(base) if isinstance(self.groups, Source) else self.groups,
            "response": self.response and _response(self.response),
            "progressive": self.progressive and _progressive(self.progressive, self.origins),
            "ensemble": self.ensemble and _ensemble(self.ensemble),
            "losses": [term.written() for term in self.losses],
        }
        return {key: value for key, value in found.items() if value is not None and value != []}

    def sha256(self) -> str:
        """The hash of `resolved()`: equal for configs that mean the same."""
        text = json.dumps(self.resolved(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode("ascii")).hexdigest()


def _soft_and_hard(
    part: Response | Ensemble, soft: LossChoice, outer: float, path: tuple[Key, ...]
) -> Iterator[LossTerm]:
    """The two terms of class scores, as far as they have a weight."""
    if part.soft_weight > 0:
        yield LossTerm("soft", soft, outer * part.soft_weight, "logits", path)
    if part.hard_weight > 0:
        hard = LossChoice("cross_entropy", {})
        yield LossTerm("hard", hard, outer * part.hard_weight, "logits", path)


def complement(alpha: float) -> float:
    """1 - alpha in decimal, so that 0.7 leaves 0.3 and not 0.30000000000000004."""
    return float(1 - Decimal(repr(alpha)))


def _words(value: str | tuple[Any, ...]) -> str | list[Any]:
    return value if isinstance(value, str) else list(value)


def _response(response: Response) -> dict[str, Any]:
    """The weights as alpha where they are one: another alpha can then be set over it."""
    loss, soft, hard = response.soft_loss, response.soft_weight, response.hard_weight
    if 0 <= soft <= 1 and hard == complement(soft):
        weights = {"alpha": soft}
    else:
        weights = {"soft_label_weight": soft, "hard_label_weight": hard}
    return {"soft_loss": {"name": loss.name, **loss.parameters}, **weights}


def _progressive(progressive: Progressive, origins: Origins) -> dict[str, Any]:
    return {
        "layer_mapping": [list(pair) for pair in progressive.layer_mapping],
        **({} if progressive.loss is None else _hidden(progressive.loss, progressive)),
        "response_weight": progressive.response_weight,
        "layer_weights": _words(progressive.layer_weights),
        "projection": _projection(progressive.projection, origins),
    }


def _hidden(loss: LossChoice, progressive: Progressive) -> dict[str, Any]:
    written = {"name": loss.name, **loss.parameters} if loss.parameters else loss.name
    return {"loss": written, "hidden_weight": progressive.hidden_weight}


def _projection(projection: Projection, origins: Origins) -> Any:
    match projection:
        case XavierUniform(seed):
            return {"init": "xavier_uniform", "seed": seed}
        case LeastSquares(ridge):
            return {"init": "least_squares", "ridge": ridge}
        case FromFile(source):
            written = source.written(origins.base)
            return written if isinstance(written, dict) else {"path": written}
    return "none"


def _ensemble(ensemble: Ensemble) -> dict[str, Any]:
    fitted = {"fit_rows": ensemble.fit_rows} if ensemble.found_on_labels else {}
    own = {"alpha": ensemble.soft_weight} if ensemble.soft_weight or ensemble.hard_weight else {}
    return {
        "combine": ensemble.combine,
        "weights": _words(ensemble.weights),
        **fitted,
        "temperature": ensemble.temperature,
        **own,
    }
