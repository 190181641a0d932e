"""Configs: YAML -> frozen, checked values, each of which knows where it was written.

Nothing here knows a loss or opens an input: the caller hands in a `Catalogue` of names.
"""

from distillcli.config.catalogue import (
    Catalogue,
    LayerPair,
    LossChoice,
    LossSpec,
    LossTerm,
    ParameterSpec,
)
from distillcli.config.check import LOSS_NAMES, as_data, demanding, fail_on
from distillcli.config.config import Config
from distillcli.config.load import from_data, load
from distillcli.config.schema import json_schema
from distillcli.config.sections import (
    IGNORE_INDEX,
    Counting,
    Ensemble,
    FromFile,
    LeastSquares,
    Progressive,
    Projection,
    Response,
    Vocabulary,
    XavierUniform,
)
from distillcli.config.settings import Setting, parse_set, parse_value
from distillcli.config.sources import Largest, Layers, Part, Source
from distillcli.config.tolerance import Check, Tolerance

__all__ = [
    "IGNORE_INDEX",
    "LOSS_NAMES",
    "Catalogue",
    "Check",
    "Config",
    "Counting",
    "Ensemble",
    "FromFile",
    "Largest",
    "LayerPair",
    "Layers",
    "LeastSquares",
    "LossChoice",
    "LossSpec",
    "LossTerm",
    "ParameterSpec",
    "Part",
    "Progressive",
    "Projection",
    "Response",
    "Setting",
    "Source",
    "Tolerance",
    "Vocabulary",
    "XavierUniform",
    "as_data",
    "demanding",
    "fail_on",
    "from_data",
    "json_schema",
    "load",
    "parse_set",
    "parse_value",
]
