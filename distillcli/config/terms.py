"""The list `losses:`: terms of the loss beside those of the strategy's own keys."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal

from pydantic_core import PydanticCustomError

from distillcli.config.catalogue import Catalogue, LayerPair, LossSpec, LossTerm
from distillcli.config.choice import TEMPERATURE, chosen, given_or, unknown_loss
from distillcli.config.fields import Choice, Number, Pair, Text
from distillcli.config.settings import Problems
from distillcli.config.text import shown
from distillcli.config.tree import Path

On = Literal["logits", "hidden"]
_LABEL = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,39}")
_CHECKS = {
    "as": Text("a name for the term"),
    "on": Choice(("logits", "hidden")),
    "weight": Number(0.0),
}


@dataclass(frozen=True)
class Around:
    """What the entries must fit.

    Args:
        strategy: of the config.
        logits: whether it has logits of a teacher and a student.
        labels: whether it has labels.
        temperature: of a loss that says none.
    """

    strategy: str
    logits: bool
    labels: bool
    temperature: float = TEMPERATURE


def loss_terms(
    problems: Problems,
    catalogue: Catalogue,
    written: Sequence[Mapping[str, Any]],
    around: Around,
) -> tuple[LossTerm, ...]:
    """The terms; what is wrong with them is noted."""
    found = [
        _term(problems, catalogue, dict(entry), ("losses", index), around)
        for index, entry in enumerate(written)
    ]
    return tuple(term for term in found if term is not None)


def check_terms(problems: Problems, catalogue: Catalogue, terms: Sequence[LossTerm]) -> None:
    """Note names that two terms share or that mean something else, and weights that are all 0."""
    taken: set[str] = set()
    names = {term.name for term in terms}
    for term in terms:
        listed = term.path[:1] == ("losses",)
        key = "name" if term.name == term.loss.name else "as"
        if listed and term.name in taken:
            free = next(name for n in count(2) if (name := f"{term.name}_{n}") not in names)
            names.add(free)
            hint = f"tell them apart with as, like {{name: {term.loss.name}, as: {free}}}"
            problems.add((*term.path, key), f"two terms are called {term.name}", hint)
        if listed and term.name in ("loss", *catalogue.metrics):
            problem = f"{term.name} is what another number of the result is called"
            problems.add((*term.path, key), problem, "call it something else with as")
        taken.add(term.name)
    if terms and not any(term.weight for term in terms):
        problem = "all weights are 0"
        problems.add(terms[-1].path[:1], problem, "give one term a weight above 0")


def check_batches(
    problems: Problems,
    catalogue: Catalogue,
    terms: Sequence[LossTerm],
    batch_size: int | str,
) -> None:
    """Note losses that relate the rows of a batch whose size is not given, or too small."""
    for term in terms:
        known = _losses(catalogue, term.on).get(term.loss.name)
        if known is None or known.least_batch is None:
            continue
        if not isinstance(batch_size, int):
            problem = f"{known.name} relates the rows of a batch, and batch_size is not a number"
            problems.add(term.path, problem, "set batch_size: 256, or what you train with")
        elif batch_size < known.least_batch:
            problem = f"is too small for {known.name}, which needs {known.least_batch} rows"
            problems.add(("batch_size",), problem)


def _term(
    problems: Problems, catalogue: Catalogue, entry: dict[str, Any], path: Path, around: Around
) -> LossTerm | None:
    common = {key: _checked(problems, entry.pop(key, None), key, path) for key in _CHECKS}
    pairs = _pairs(problems, entry.pop("layer_mapping", None), (*path, "layer_mapping"))
    name = entry.get("name")
    if not isinstance(name, str):
        problem = "is missing" if name is None else f"must be the name of a loss, not {shown(name)}"
        where = path if name is None else (*path, "name")
        problems.add(where, f"name {problem}" if name is None else problem, "like {name: kl}")
        return None
    on = _on(problems, catalogue, name, common["on"], path, around)
    if on is None:
        return None
    losses = _losses(catalogue, on)
    choice = chosen(problems, losses, entry, path, default=name, temperature=around.temperature)
    if name not in losses:
        return None
    _check_inputs(problems, losses[name], on, path, around)
    label = common["as"] or name
    if not _LABEL.fullmatch(label):
        problem = f"{shown(label)} is no name of a term"
        problems.add((*path, "as"), problem, "a letter, then letters, digits, _ . and -")
    if pairs is not None and on != "hidden":
        problem = f"{name} compares logits here, which have no layers"
        problems.add((*path, "layer_mapping"), problem, "leave it out, or say on: hidden")
    return LossTerm(label, choice, given_or(common["weight"], 1.0), on, path, pairs)


def _pairs(problems: Problems, value: Any, path: Path) -> tuple[LayerPair, ...] | None:
    """The pairs of layers of one term; what is wrong with them is noted."""
    if value is None:
        return None
    if not isinstance(value, list) or not value:
        problem = f"must be a list of pairs [student layer, teacher layer], not {shown(value)}"
        problems.add(path, problem, "write pairs like [[0, 1], [1, 3]]")
        return None
    found = [_tried(problems, Pair(), pair, (*path, n)) for n, pair in enumerate(value)]
    return tuple(pair for pair in found if pair is not None)


def _checked(problems: Problems, value: Any, key: str, path: Path) -> Any:
    return None if value is None else _tried(problems, _CHECKS[key], value, (*path, key))


def _tried(problems: Problems, check: Any, value: Any, path: Path) -> Any:
    try:
        return check.check(value)
    except PydanticCustomError as error:
        context = error.context or {}
        problems.add(path, context["problem"], context["hint"])
        return None


def _losses(catalogue: Catalogue, on: On) -> Mapping[str, LossSpec]:
    if on == "hidden":
        return catalogue.feature_losses
    return {**catalogue.label_losses, **catalogue.logit_losses}


def _on(
    problems: Problems,
    catalogue: Catalogue,
    name: str,
    asked: On | None,
    path: Path,
    around: Around,
) -> On | None:
    """What a loss compares: hidden layers where there are some and it can, unless it is said."""
    hidden = around.strategy == "progressive"
    able: list[On] = [on for on in ("hidden", "logits") if name in _losses(catalogue, on)]
    if not able:
        unknown_loss(
            problems,
            (*path, "name"),
            name,
            {**_losses(catalogue, "logits"), **(catalogue.feature_losses if hidden else {})},
        )
        return None
    if asked == "hidden" and not hidden:
        problem = f"strategy {around.strategy} has no hidden layers"
        problems.add((*path, "on"), problem, "leave it out, or change the strategy to progressive")
        return None
    if asked is not None and asked not in able:
        problems.add((*path, "on"), f"{name} compares {_WORDS[able[0]]} only", "leave it out")
        return None
    there = [on for on in able if on == "logits" or hidden]
    if asked is None and not there:
        problem = f"{name} compares hidden layers, and strategy {around.strategy} has none"
        problems.add((*path, "name"), problem, "take strategy: progressive")
        return None
    return asked or there[0]


_WORDS = {"hidden": "hidden layers", "logits": "logits"}


def _check_inputs(problems: Problems, loss: LossSpec, on: On, path: Path, around: Around) -> None:
    """Note what a loss needs and the config does not have."""
    if on == "logits" and not around.logits:
        problem = f"{loss.name} needs logits of teacher and student"
        problems.add((*path, "name"), problem, "add teacher: FILE and student: FILE")
    if "labels" in loss.inputs and not around.labels:
        problems.add((*path, "name"), f"{loss.name} needs labels", "add labels: FILE")
