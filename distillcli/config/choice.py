"""Which loss a config chooses, and its parameters, held against the catalogue."""

import math
from collections.abc import Mapping
from typing import Any

from pydantic_core import PydanticCustomError

from distillcli.config.catalogue import Catalogue, LossChoice, LossSpec, ParameterSpec
from distillcli.config.fields import Flag, Number, Whole
from distillcli.config.settings import Problems
from distillcli.config.text import dotted, nearest, shown
from distillcli.config.tree import Path

# The keys of an entry of `losses` that are no parameters of its loss.
ENTRY_KEYS = ("as", "on", "weight", "layer_mapping")
TEMPERATURE = 4.0  # of a config that names none


def given_or(value: float | None, default: float) -> float:
    """The value, or the default where none is given."""
    return default if value is None else value


def feature_loss(problems: Problems, catalogue: Catalogue, written: Any) -> LossChoice:
    """The loss between layers: its name, or a mapping with its parameters."""
    path: Path = ("progressive", "loss")
    if isinstance(written, str):
        if written not in catalogue.feature_losses:
            unknown_loss(problems, path, written, catalogue.feature_losses)
            return LossChoice(written, {})
        written = {"name": written}
    return chosen(problems, catalogue.feature_losses, written, path, default="mse")


def soft_loss(
    problems: Problems, catalogue: Catalogue, written: Mapping[str, Any] | None
) -> LossChoice:
    """The loss between teacher and student."""
    path: Path = ("response", "soft_loss")
    return chosen(problems, catalogue.logit_losses, written, path, default="kl")


def chosen(
    problems: Problems,
    losses: Mapping[str, LossSpec],
    written: Mapping[str, Any] | None,
    path: Path,
    *,
    default: str,
    temperature: float = TEMPERATURE,
) -> LossChoice:
    """A loss and a value for each of its parameters.

    Args:
        losses: those that there are.
        written: the name, under `name`, and parameters.
        default: the name where none is given.
        temperature: where none is given.
    """
    given = {key: value for key, value in (written or {}).items() if key != "name"}
    name = (written or {}).get("name")
    if name is None:
        name = default
    elif not isinstance(name, str):
        problems.add((*path, "name"), f"must be the name of a loss, not {shown(name)}")
        return LossChoice(default, {})
    if name not in losses:
        unknown_loss(problems, (*path, "name"), name, losses)
        return LossChoice(name, {})
    return LossChoice(name, _parameters(problems, losses[name], given, path, temperature))


def unknown_loss(problems: Problems, path: Path, name: str, losses: Mapping[str, LossSpec]) -> None:
    """Note that there is no such loss."""
    close = nearest(name, losses)
    hint = f"did you mean {close}?" if close else None
    problems.add(path, f"must be {_listing(losses)}, not {shown(name)}", hint)


def _listing(names: Mapping[str, LossSpec]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def _parameters(
    problems: Problems, loss: LossSpec, given: Mapping[str, Any], path: Path, temperature: float
) -> dict[str, Any]:
    values = {one.name: default_of(one, temperature) for one in loss.parameters}
    checks = {parameter.name: check_of(parameter) for parameter in loss.parameters}
    for key, value in given.items():
        if key not in checks:
            _unknown_parameter(problems, loss, key, path)
        elif value is not None:
            values[key] = _checked(problems, checks[key], value, (*path, key))
    for name, value in values.items():
        if value is None and given.get(name) is None:
            hint = f"write it, like {{name: {loss.name}, {name}: 8}}"
            problems.add((*path, name), f"is missing: {loss.name} needs it", hint)
    weights = [name for name in values if name.endswith("_weight")]
    if weights and all(values[name] == 0 for name in weights):
        problems.add(path, f"{' and '.join(weights)} are both 0", "one must be above 0")
    # What came later and is off leaves results as they were, also in what they say.
    off = [one.name for one in loss.parameters if one.default is not None and not one.default]
    return {name: value for name, value in values.items() if name not in off or value}


def default_of(parameter: ParameterSpec, temperature: float = TEMPERATURE) -> Any:
    """Its value in a config that gives none; None where it must be given."""
    return temperature if parameter.name == "temperature" else parameter.default


def check_of(parameter: ParameterSpec) -> Number | Whole | Flag:
    """What its values must be."""
    if parameter.kind is bool:
        return Flag()
    low, high = given_or(parameter.low, -math.inf), given_or(parameter.high, math.inf)
    if parameter.kind is int:
        return Whole(int(max(low, -(2**62))), int(min(high, 2**62)))
    if parameter.name == "temperature":
        return Number(max(low, 1e-4), min(high, 1e4))
    return Number(low, high)


def _checked(problems: Problems, check: Number | Whole | Flag, value: Any, path: Path) -> Any:
    try:
        return check.check(value)
    except PydanticCustomError as error:
        context = error.context or {}
        problems.add(path, context["problem"], context["hint"])
        return None


def _unknown_parameter(problems: Problems, loss: LossSpec, key: str, path: Path) -> None:
    names = [parameter.name for parameter in loss.parameters]
    close = nearest(key, ["name", *names, *(ENTRY_KEYS if path[0] == "losses" else ())])
    hint = f"did you mean {close}?" if close and close != key else None
    origins = problems.origins
    if (over := origins.setting((*path, "name"))) and not origins.setting((*path, key)):
        hint = f"{over.where} keeps the other keys of {path[-1]}: set all of it, "
        hint += f"like {dotted(path)}={{name: {loss.name}}}"
    has = f"{loss.name} has {', '.join(names)}" if names else f"{loss.name} has no parameters"
    problems.add((*path, key), f"unknown key: {has}", hint)
