"""The parts of a config from what is written: defaults, and what goes with what."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from distillcli.config.catalogue import Catalogue
from distillcli.config.choice import TEMPERATURE, feature_loss, given_or, soft_loss
from distillcli.config.models import (
    FORMS,
    EnsembleSection,
    LongSource,
    ProgressiveSection,
    ProjectionSection,
    ResponseSection,
)
from distillcli.config.sections import (
    FITTED,
    Ensemble,
    FromFile,
    LeastSquares,
    Progressive,
    Projection,
    Response,
    XavierUniform,
    complement,
)
from distillcli.config.settings import Problems
from distillcli.config.sources import SourceReader
from distillcli.config.tree import Path

ALPHA = 0.7
PRESETS = {"pure_kl": 1.0, "balanced": 0.5, "hinton": 0.7}
PRESET_TEMPERATURE = 4.0  # of the presets that fix one: balanced and hinton
_WEIGHTS = tuple(chain.from_iterable(FORMS["response"]))


@dataclass(frozen=True)
class Builder:
    """What the builders share.

    Args:
        labels: whether the config has labels.
        listed: what the entries of `losses` compare; those stand in for terms of the strategy's
            own that nobody has written.
        mapped: whether every entry that compares layers has pairs of its own.
    """

    problems: Problems
    reader: SourceReader
    catalogue: Catalogue
    labels: bool
    listed: frozenset[str] = frozenset()
    mapped: bool = True

    def where(self, *path: str) -> str:
        """The place of another key, for messages that name two."""
        return self.problems.origins.where(path)


def response(build: Builder, written: ResponseSection) -> Response:
    """The response term."""
    loss = soft_loss(build.problems, build.catalogue, written.soft_loss)
    spec = build.catalogue.logit_losses.get(loss.name)
    if spec is not None and "labels" in spec.inputs and not build.labels:
        path = ("response", "soft_loss", "name")
        build.problems.add(path, f"{loss.name} needs labels", "add labels: FILE")
    _check_preset_temperature(build, written)
    elsewhere = "logits" in build.listed and _temperature_alone(written)
    soft, hard, assumed = (0.0, 0.0, False) if elsewhere else _label_weights(build, written)
    return Response(loss, soft, hard, assumed)


def _temperature_alone(written: ResponseSection) -> bool:
    """Whether a temperature is all that the section says: that of `losses`, and no terms."""
    soft = {key for key, value in (written.soft_loss or {}).items() if value is not None}
    return soft == {"temperature"} and all(getattr(written, key) is None for key in _WEIGHTS)


def progressive(build: Builder, written: ProgressiveSection, *, responds: bool) -> Progressive:
    """The hidden-layer term; `responds`: whether there is a response term beside it."""
    path = ("progressive",)
    pairs = tuple(written.layer_mapping or ())
    hidden = given_or(written.hidden_weight, 1.0)
    outer = given_or(written.response_weight, 1.0)
    unwritten = written.loss is None and written.hidden_weight is None
    elsewhere = "hidden" in build.listed and unwritten
    alike = written.layer_weights in (None, "uniform")
    if not pairs and not (elsewhere and build.mapped and alike):
        _need_pairs(build)
    if hidden == 0 and (outer == 0 or not responds) and not build.listed:
        problem = "is 0, and there is no other term"
        build.problems.add((*path, "hidden_weight"), problem, "give one term a weight above 0")
    return Progressive(
        layer_mapping=pairs,
        loss=(None if elsewhere else feature_loss(build.problems, build.catalogue, written.loss)),
        hidden_weight=hidden,
        response_weight=outer,
        layer_weights=_shares(
            build, written.layer_weights, (*path, "layer_weights"), len(pairs), "pairs of layers"
        ),
        projection=_projection(build, written.projection),
    )


def _need_pairs(build: Builder) -> None:
    path = ("progressive", "layer_mapping")
    if not build.problems.touch(path):
        hint = "write pairs [student layer, teacher layer], like [[0, 1], [1, 3]]"
        build.problems.add(path, "is missing", hint)


def ensemble(build: Builder, written: EnsembleSection, *, teachers: int) -> Ensemble:
    """The blend of `teachers` teachers."""
    path = ("ensemble", "weights")
    _check_rule(build, written)
    alpha, assumed = written.alpha, False
    elsewhere = alpha is None and bool(build.listed)
    if alpha is None:
        assumed = not build.labels and not build.problems.touch(("ensemble", "alpha"))
        alpha = 1.0 if assumed else ALPHA
    if alpha < 1 and written.alpha is not None:
        _need_labels(build, ("ensemble", "alpha"), f"alpha {alpha:g}")
    weights = _shares(build, written.weights, path, teachers, "teachers")
    temperature = given_or(written.temperature, TEMPERATURE)
    return Ensemble(
        combine=written.combine or "logits",
        weights=weights,
        temperature=temperature,
        soft_weight=0.0 if elsewhere else alpha,
        hard_weight=0.0 if elsewhere else complement(alpha),
        alpha_assumed=assumed and not elsewhere,
        fit_rows=given_or(written.fit_rows, 1.0),
    )


def _check_rule(build: Builder, written: EnsembleSection) -> None:
    """What a rule for weights needs, and that nothing is said which it would not heed."""
    path, rule = ("ensemble", "weights"), written.weights
    if rule in (*FITTED, "best_per_row") and not build.labels:
        build.problems.add(path, f"{rule} weights need labels", "add labels: FILE")
    if rule == "fit" and written.combine != "probabilities":
        combine = written.combine or "logits"
        problem = f"fit weights are those of a mean of probabilities, and combine is {combine}"
        build.problems.add(path, problem, "set combine: probabilities")
    if written.fit_rows is not None and rule not in FITTED:
        problem = "is for weights that are found from labels: accuracy and fit"
        build.problems.add(("ensemble", "fit_rows"), problem, "leave it out")


def normalised(weights: Sequence[float]) -> tuple[float, ...]:
    """The weights divided by their sum; left alone where that is 1 to the last bits.

    So normalising twice gives what normalising once gave.
    """
    largest = max(weights)
    scaled = [weight / largest for weight in weights]
    total = math.fsum(scaled)
    if abs(total * largest - 1) <= 2.0**-50:
        return tuple(weights)
    return tuple(weight / total for weight in scaled)


def _shares(
    build: Builder, written: Any, path: Path, count: int, what: str
) -> Any:  # a rule's name, or a tuple
    if written is None or isinstance(written, str):
        return written or "uniform"
    if count and len(written) != count:
        build.problems.add(path, f"holds {len(written)} weights for {count} {what}")
    if not any(written):
        build.problems.add(path, "all weights are 0", "give at least one a weight above 0")
        return "uniform"
    return normalised(written)


def _label_weights(build: Builder, written: ResponseSection) -> tuple[float, float, bool]:
    """Soft weight, hard weight, and whether they were assumed."""
    path = ("response",)
    given = [key for key in _WEIGHTS if getattr(written, key) is not None]
    if any(build.problems.touch((*path, key)) for key in _WEIGHTS):
        return 1.0, 0.0, False
    _check_one_form(build, given)
    if not given:
        return (ALPHA, complement(ALPHA), False) if build.labels else (1.0, 0.0, True)
    if given[0] in ("alpha", "preset"):
        soft = PRESETS[written.preset] if written.preset else given_or(written.alpha, 1.0)
        hard = complement(soft)
    else:
        soft, hard = (
            given_or(written.soft_label_weight, 0.0),
            given_or(written.hard_label_weight, 0.0),
        )
    if soft == hard == 0:
        build.problems.add((*path, given[0]), "both label weights are 0", "one must be above 0")
    if hard > 0:
        key = "hard_label_weight" if "hard_label_weight" in given else given[0]
        _need_labels(build, (*path, key), f"{key} {_plain(getattr(written, key))}")
    return soft, hard, False


def _plain(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _check_one_form(build: Builder, given: Sequence[str]) -> None:
    forms = [key for key in given if key != "hard_label_weight" or "soft_label_weight" not in given]
    for key in forms[1:]:
        problem = f"is given beside {forms[0]} ({build.where('response', forms[0])})"
        hint = "keep one of alpha, preset, or the label weights"
        build.problems.add(("response", key), problem, hint)


def _check_preset_temperature(build: Builder, written: ResponseSection) -> None:
    temperature = (written.soft_loss or {}).get("temperature")
    if written.preset not in ("balanced", "hinton") or temperature in (None, PRESET_TEMPERATURE):
        return
    path = ("response", "soft_loss", "temperature")
    if isinstance(temperature, bool) or not isinstance(temperature, int | float):
        return
    share = PRESETS[written.preset]
    problem = f"is {temperature:g}, and preset {written.preset} is at temperature 4"
    hint = f"leave the temperature out, or write alpha: {share:g} in place of the preset"
    build.problems.add(path, problem, hint)


def _need_labels(build: Builder, path: Path, what: str) -> None:
    if build.labels:
        return
    instead = {"preset": "take preset: pure_kl", "hard_label_weight": "leave it out"}
    hint = f"add labels: FILE, or {instead.get(str(path[-1]), 'set alpha to 1')}"
    build.problems.add(path, f"needs labels, for {what} gives hard labels a weight", hint)


def _projection(build: Builder, written: ProjectionSection | str | None) -> Projection:
    if not isinstance(written, ProjectionSection):
        return None
    path: Path = ("progressive", "projection")
    kind = written.init or ("path" if written.path else None)
    if kind is None:
        hint = "write {init: xavier_uniform, seed: 0}, {init: least_squares} or {path: W.npy}"
        build.problems.add(path, "has neither init nor path", hint)
        return None
    _check_projection_keys(build, written, kind)
    if written.path:
        long = LongSource(path=written.path, dataset=written.dataset, dtype=written.dtype)
        return FromFile(build.reader.source(long, path, scores=False))
    if kind == "xavier_uniform":
        return XavierUniform(written.seed or 0)
    return LeastSquares(given_or(written.ridge, 1e-3))


def _check_projection_keys(build: Builder, written: ProjectionSection, kind: str) -> None:
    own = {
        "xavier_uniform": ("init", "seed"),
        "least_squares": ("init", "ridge"),
        "path": ("path", "dataset", "dtype"),
    }
    for key in type(written).model_fields:
        if getattr(written, key) is not None and key not in own[kind]:
            problem = f"does not go with {'path' if kind == 'path' else f'init: {kind}'}"
            hint = f"its keys are {', '.join(own[kind])}"
            build.problems.add(("progressive", "projection", key), problem, hint)
