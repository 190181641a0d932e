"""Data -> models, and what pydantic finds wrong said in this tool's words."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from distillcli.config.catalogue import Catalogue
from distillcli.config.models import (
    OWNERS,
    STRATEGIES,
    CheckSection,
    EnsembleSection,
    LongSource,
    PositionsSection,
    ProgressiveSection,
    ProjectionSection,
    ResponseSection,
    ToleranceSection,
    VocabularySection,
    WrittenConfig,
)
from distillcli.config.settings import Problems
from distillcli.config.text import dotted, nearest, shown
from distillcli.config.tree import Path

SECTIONS: dict[Path, type[BaseModel]] = {
    (): WrittenConfig,
    ("response",): ResponseSection,
    ("progressive",): ProgressiveSection,
    ("progressive", "projection"): ProjectionSection,
    ("ensemble",): EnsembleSection,
    ("positions",): PositionsSection,
    ("vocabulary",): VocabularySection,
    ("check",): CheckSection,
    ("check", "default"): ToleranceSection,
}
_EXAMPLES = {
    "soft_loss": "write soft_loss: {name: kl, temperature: 4.0}",
    "layer_mapping": "write pairs [student layer, teacher layer], like [[0, 1], [1, 3]]",
    "losses": "write a list, like [{name: kl, weight: 0.7}, {name: cross_entropy, weight: 0.3}]",
    "positions": "write positions: {skip_first: 1}",
    "teachers": "write a list, like [a.npy, b.npy]",
    "check": "write check: {mode: drift, default: {rel: 1.0e-4, abs: 1.0e-6}}",
}
_EXPECTED = {
    "list_type": "a list",
    "model_type": "a mapping of keys to values",
    "dict_type": "a mapping of keys to values",
}


def read(data: Mapping[str, Any], problems: Problems, catalogue: Catalogue) -> WrittenConfig:
    """The config as written; keys with mistakes are noted and left out.

    What is left is always a model, so that the checks of what goes with what can go on.
    """
    rest = copy.deepcopy(dict(data))
    while True:
        try:
            return WrittenConfig.model_validate(rest)
        except ValidationError as error:
            for one in error.errors(include_url=False):
                path = _path(one["loc"], named=one["type"] == "extra_forbidden")
                problems.add(path, *_explain(dict(one), path, data, catalogue))
                _drop(rest, path)


def unknown(path: Path, data: Mapping[str, Any], catalogue: Catalogue) -> tuple[str, str]:
    """What is wrong with a key that no section has, and what was probably meant."""
    name, section = str(path[-1]), path[:-1]
    known = list(_model(section).model_fields)
    strategy = data.get("strategy")
    homes = [home for home in _homes(name, catalogue) if home != section and _has(strategy, home)]
    close = nearest(name, known)
    if () in homes and _has(strategy, (name,) if name in OWNERS else ()):
        return "unknown key", f"{name} stands at the top level, without indentation"
    if homes and homes[0] != ():
        return "unknown key", f"{name} belongs under {dotted(homes[0])}"
    if close:
        return "unknown key", f"did you mean {close}?"
    return "unknown key", f"the keys here are {', '.join(known)}"


def _model(section: Path) -> type[BaseModel]:
    """The keys that a section may have."""
    if section[:2] == ("check", "metrics"):
        return ToleranceSection
    return SECTIONS.get(section, LongSource)


def _has(strategy: object, home: Path) -> bool:
    """Whether configs of this strategy have this section."""
    owners = OWNERS.get(str(home[0]), STRATEGIES) if home else STRATEGIES
    return strategy not in STRATEGIES or strategy in owners


def _homes(name: str, catalogue: Catalogue) -> Iterable[Path]:
    """The sections that have a key of this name."""
    found = [section for section, model in SECTIONS.items() if name in model.model_fields]
    losses = catalogue.logit_losses.values()
    names = {parameter.name for loss in losses for parameter in loss.parameters}
    if name in {"name", *names}:
        found.append(("response", "soft_loss"))
    return found


def _path(location: tuple[str | int, ...], *, named: bool) -> Path:
    """The key in the data: without the tags of unions. `named`: the user made up the last one."""
    last = location[-1:] if named else ()
    inner = location[: len(location) - len(last)]
    return (*(key for key in inner if not str(key).startswith("<")), *last)


def _explain(
    error: Mapping[str, Any], path: Path, data: Mapping[str, Any], catalogue: Catalogue
) -> tuple[str, str | None]:
    kind, context = error["type"], error.get("ctx", {})
    key = next((key for key in reversed(path) if isinstance(key, str)), "")
    if kind == "refused":
        return context["problem"], context["hint"]
    if kind == "extra_forbidden":
        return unknown(path, data, catalogue)
    if kind == "missing":
        return "is missing", None
    if kind == "too_short":
        return "must not be empty", _EXAMPLES.get(key)
    if kind in _EXPECTED:
        return f"must be {_EXPECTED[kind]}, not {shown(error['input'])}", _EXAMPLES.get(key)
    return str(error["msg"]), None


def _drop(data: dict[str, Any], path: Path) -> None:
    """Take out the key of a section, or the whole top-level key, that holds the mistake."""
    node, depth = data, 0
    while depth < _depth(path) and isinstance(node.get(str(path[depth])), dict):
        node, depth = node[str(path[depth])], depth + 1
    node.pop(str(path[depth]), None)


def _depth(path: Path) -> int:
    """How many keys lead to the smallest part that can be left out."""
    if path[:2] == ("check", "metrics"):
        return min(2, len(path) - 1)
    return min(1, len(path) - 1) if (path[0],) in SECTIONS else 0
