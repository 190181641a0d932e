"""A config that has been checked: frozen, with every value in force."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from distillcli.config.catalogue import LayerPair, LossChoice, LossTerm
from distillcli.config.sections import (
    Counting,
    Ensemble,
    Progressive,
    Response,
    Vocabulary,
    words,
)
from distillcli.config.settings import Origins
from distillcli.config.sources import Layers, Source
from distillcli.config.tolerance import Check
from distillcli.config.tree import Key


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

    def layer_pairs(self, term: LossTerm) -> tuple[LayerPair, ...]:
        """The pairs of layers that a term on hidden layers compares."""
        assert self.progressive is not None
        own = term.layer_mapping
        return self.progressive.layer_mapping if own is None else own

    def where_pair(self, term: LossTerm, index: int) -> str:
        """`where` of one of these pairs."""
        path = ("progressive",) if term.layer_mapping is None else term.path
        return self.where(*path, "layer_mapping", index)

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
            "metrics": words(self.metrics) or "none",
            "on_bad_rows": self.on_bad_rows,
            "groups": self.groups.written(base) if isinstance(self.groups, Source) else self.groups,
            "response": self.response and self.response.written(),
            "progressive": self.progressive and self.progressive.written(base),
            "ensemble": self.ensemble and self.ensemble.written(),
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
