"""JSON Schema (draft 2020-12) of the config, for editors, from the models and the catalogue.

Whatever the loader takes, the schema takes; a few things that it cannot say are left to the loader
(how many weights there must be, whether a preset fits a temperature).
"""

from collections.abc import Iterable, Mapping
from itertools import combinations, product
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from distillcli.config.about import ABOUT
from distillcli.config.catalogue import Catalogue, LossSpec
from distillcli.config.choice import check_of, default_of
from distillcli.config.fields import Pair
from distillcli.config.models import FORMS, OWNERS, STRATEGIES, WrittenConfig
from distillcli.config.text import shown

DRAFT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]

# Keys of two forms of the label weights: no two of a pair are given together.
_EXCLUSIVE = [pair for forms in combinations(FORMS["response"], 2) for pair in product(*forms)]


def json_schema(catalogue: Catalogue) -> Schema:
    """The schema of a config that uses the losses and metrics of this catalogue."""
    schema = _tidied(WrittenConfig.model_json_schema())
    sections: dict[str, Schema] = {"": schema, **schema["$defs"]}
    for name, about in ABOUT.items():
        for key, text in about.items():
            sections[name]["properties"][key]["description"] = text
    _name_losses_and_metrics(sections, catalogue)
    sections["ResponseSection"]["allOf"] = [_not_both(*pair) for pair in _EXCLUSIVE]
    return {
        "$schema": DRAFT,
        "title": "distill config",
        **schema,
        "required": ["strategy"],
        "allOf": [
            *map(_strategy_rule, STRATEGIES),
            _response_of_progressive(),
            _pairs_of_progressive(),
        ],
    }


def _tidied(schema: Any) -> Any:
    """Without titles and defaults made up of key names and None."""
    if isinstance(schema, list):
        return [_tidied(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: _tidied(value) for name, value in item.items()}
        if key in ("properties", "$defs")
        else _tidied(item)
        for key, item in schema.items()
        if key not in ("title", "default", "description")
    }


def _name_losses_and_metrics(sections: Mapping[str, Schema], catalogue: Catalogue) -> None:
    losses = [_loss(loss, "kl") for loss in catalogue.logit_losses.values()]
    soft_loss = sections["ResponseSection"]["properties"]["soft_loss"]
    soft_loss["anyOf"] = [{"oneOf": losses}, {"type": "null"}]
    between_layers = sections["ProgressiveSection"]["properties"]["loss"]
    of_layers = catalogue.feature_losses.values()
    bare = [loss.name for loss in of_layers if not _needed(loss)]
    long = {"oneOf": [_loss(loss, "mse") for loss in of_layers]}
    between_layers["anyOf"] = [{"enum": bare}, long, {"type": "null"}]
    tables = (catalogue.label_losses, catalogue.logit_losses, catalogue.feature_losses)
    entries = [_entry(loss) for table in tables for loss in table.values()]
    terms = {"type": "array", "items": {"anyOf": entries}, "minItems": 1}
    sections[""]["properties"]["losses"]["anyOf"] = [terms, {"type": "null"}]
    names = ["all", *catalogue.metrics]
    listed = {"type": "array", "items": {"enum": names}, "uniqueItems": True}
    metrics = sections[""]["properties"]["metrics"]
    metrics["anyOf"] = [{"enum": ["all", "none"]}, listed, {"type": "null"}]


def _loss(loss: LossSpec, default: str) -> Schema:
    """{name: ..., parameters}; the name may be left out where it is the default."""
    parameters = {parameter.name: _parameter(parameter) for parameter in loss.parameters}
    schema = {
        "title": loss.name,
        "type": "object",
        "properties": {"name": {"const": loss.name}, **parameters},
        "additionalProperties": False,
    }
    needed = [*([] if loss.name == default else ["name"]), *_needed(loss)]
    return {**schema, "required": needed} if needed else schema


def _needed(loss: LossSpec) -> list[str]:
    """The parameters that must be given."""
    return [one.name for one in loss.parameters if default_of(one) is None]


def _entry(loss: LossSpec) -> Schema:
    """An entry of `losses`."""
    schema = _loss(loss, "")
    common = {
        "as": {"type": ["string", "null"], "description": "default: the name of the loss"},
        "on": {"enum": ["logits", "hidden", None]},
        "weight": {"anyOf": [{"type": "number", "minimum": 0}, {"type": "null"}], "default": 1.0},
    }
    if loss.family in ("features", "relations", "sequences"):
        pairs = TypeAdapter(Annotated[list[Annotated[Any, Pair()]], Field(min_length=1)])
        told = "default: progressive.layer_mapping"
        found = {"anyOf": [pairs.json_schema(), {"type": "null"}], "description": told}
        common["layer_mapping"] = found
    properties = {**schema["properties"], **common}
    if "temperature" in properties:
        values = properties["temperature"]["anyOf"]
        told = "default: that of response.soft_loss or ensemble, 4.0 where they say none"
        properties["temperature"] = {"anyOf": values, "description": told}
    return {**schema, "properties": properties}


def _parameter(parameter: Any) -> Schema:
    values = TypeAdapter(Annotated[Any, check_of(parameter)]).json_schema()
    default = default_of(parameter)
    if default is None:
        return values
    return {
        "anyOf": [values, {"type": "null"}],
        "default": default,
        "description": f"default {shown(default)}",
    }


def _not_both(one: str, other: str) -> Schema:
    given = {"not": {"type": "null"}}
    return {"not": {"required": [one, other], "properties": {one: given, other: given}}}


def _strategy_rule(strategy: str) -> Schema:
    """What a strategy needs, and the keys that belong to others."""
    needed: Iterable[str] = {
        "response": ("teacher", "student"),
        "progressive": ("teacher_hidden", "student_hidden"),
        "ensemble": ("teachers",),
    }[strategy]
    others = [key for key, owners in OWNERS.items() if strategy not in owners]
    return {
        "if": {"properties": {"strategy": {"const": strategy}}, "required": ["strategy"]},
        "then": {
            "required": list(needed),
            "properties": {key: {"type": "null"} for key in others},
        },
    }


def _pairs_of_progressive() -> Schema:
    """Without terms that may have pairs of their own, those of the strategy are needed."""
    listed = {"properties": {"losses": {"type": "array"}}, "required": ["losses"]}
    strategy = {"properties": {"strategy": {"const": "progressive"}}, "required": ["strategy"]}
    mapped = {"properties": {"progressive": {"required": ["layer_mapping"]}}}
    return {
        "if": {**strategy, "not": listed},
        "then": {**mapped, "required": ["progressive"]},
    }


def _response_of_progressive() -> Schema:
    """Beside hidden layers a response term is a choice, and has needs of its own."""
    progressive = {"strategy": {"const": "progressive"}, "response": {"type": "object"}}
    return {
        "if": {"properties": progressive, "required": list(progressive)},
        "then": {"required": ["teacher", "student"]},
    }
