"""Sides of which not all classes are known: what cannot be had of them, and what is told of it."""

from typing import Any

from distillcli.batches.inputs import Input
from distillcli.config import Config, LossTerm
from distillcli.errors import ConfigError, MismatchError
from distillcli.losses import LOGIT_LOSSES
from distillcli.metrics import TOP
from distillcli.strategy import floored
from distillcli.strategy.batchwise import loss_of
from distillcli.strategy.terms import temperature_of
from distillcli.strategy.topk import LOG_Z, part_role

# What takes every class of a side at T = 1.
OF_BOTH = (
    "acceptance_rate",
    "perplexity_ratio",
    "perplexity_ratio_stderr",
    "label_probability_rms",
)
OF_ONE = ("nll", "entropy", "ece", "perplexity")


def lacking(inputs: Any) -> list[Input]:
    """The sides of which not all classes are known, the teacher first."""
    return [item for item in inputs if item.lacks_classes]


def unavailable(inputs: Any) -> dict[str, str]:
    """The metrics that cannot be had, each with the reason."""
    found: dict[str, str] = {}
    for item in lacking(inputs):
        if item.floored:
            found |= dict.fromkeys(floored.NEEDED, floored.REASON)
            continue
        reason = f"needs every class of the {item.role} at T = 1, and only the largest are stored"
        names = [*OF_BOTH, *(f"{item.role}_{name}" for name in OF_ONE)]
        if item.role == "student" and item.width < min(TOP, item.top_of or TOP):
            names.append("top5_agreement")
        found |= dict.fromkeys(names, reason)
    return found


def check(config: Config, inputs: Any) -> None:
    """Refuse what cannot be had of these sides.

    Raises:
        ConfigError: a loss, a temperature or a rule for the tail that needs more classes.
        MismatchError: the mass of the others is needed and not known.
    """
    sides = lacking(inputs)
    for item in sides:
        if config.tail == "renormalize":
            _check_alone(config, item)
        elif not has_mass(inputs, item):
            raise MismatchError(
                item.reader.where,
                "holds logits of the largest classes and no log_z, so the mass of the others is "
                "not known",
                "if they are log-probabilities, say kind: log_probabilities; else store log_z, the "
                "log of the sum of exp(logit / T) over all classes, or set tail: renormalize",
            )
        _check_losses(config, item)
        if config.tail == "bucket":
            _check_temperature(config, item)
    if sides and sides[-1].role == "student":
        _check_student(config, sides[-1])


def has_mass(inputs: Any, item: Input) -> bool:
    """Whether the mass of the classes that are not stored is known."""
    return item.kind != "logits" or part_role(item.role, LOG_Z) in inputs


def _check_student(config: Config, item: Input) -> None:
    for term in config.terms():
        if loss_of(term).family == "labels":
            listed = term.path[0] == "losses"
            raise ConfigError(
                config.where(*(term.path if listed else ("response", "alpha"))),
                "leaves cross-entropy a weight, which needs every class of the student; "
                f"{item.reader.where} holds the largest only",
                "take it out" if listed else "set alpha to 1",
            )


def _check_alone(config: Config, item: Input) -> None:
    if item.role == "student" or item.top_of is None:
        held = "a student of whom" if item.role == "student" else "a file with a floor, of which"
        raise ConfigError(
            config.where("tail"),
            f"renormalize takes the student's scores of the classes that the teacher has stored; "
            f"{item.reader.where} is {held} they are not known",
            "set tail: bucket",
        )


def _of_both_sides(config: Config) -> list[LossTerm]:
    """The terms that hold the student's class scores against the teacher's."""
    on_scores = [term for term in config.terms() if term.on == "logits"]
    return [term for term in on_scores if "teacher" in loss_of(term).inputs]


def _check_losses(config: Config, item: Input) -> None:
    able = [name for name, known in LOGIT_LOSSES.items() if known.allows_tail]
    held = "none below its floor" if item.floored else "the largest only"
    for term in _of_both_sides(config):
        if not loss_of(term).allows_tail or term.loss.parameters.get("standardize"):
            raise ConfigError(
                config.where(*term.path, "name"),
                f"{term.loss.name} needs every class, and {item.reader.where} holds {held}",
                f"{', '.join(able)} can do with a tail bucket, where the logits are not "
                "standardized",
            )


def _check_temperature(config: Config, item: Input) -> None:
    found = [
        (config.where(*term.path, "temperature"), term.loss.parameters["temperature"])
        for term in _of_both_sides(config)
    ]
    for where, temperature in found or [(item.reader.where, temperature_of(config))]:
        _check_one_temperature(where, temperature, item)


def _check_one_temperature(where: str, temperature: float, item: Input) -> None:
    if temperature != item.temperature:
        stored = f"{item.temperature:g}"
        other = "save logits of all classes"
        if item.top_of is not None:
            other = f"store log_z at {temperature:g}, or all classes; tail: renormalize needs none"
        raise ConfigError(
            where,
            f"is {temperature:g}, and {item.reader.where} was written at {stored}: the mass of the "
            "classes it leaves out is known there alone",
            f"set it to {stored}, or {other}",
        )
