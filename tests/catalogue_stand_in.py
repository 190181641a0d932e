"""A small catalogue of losses for the tests of configs, which never import the real one."""

from dataclasses import dataclass
from typing import Any

from distillcli.config import Catalogue


@dataclass(frozen=True)
class Parameter:
    name: str
    kind: type
    default: Any
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Loss:
    name: str
    parameters: tuple[Parameter, ...] = ()
    inputs: tuple[str, ...] = ("teacher", "student")
    family: str = "logits"
    least_batch: int | None = None


WARM = (
    Parameter("temperature", float, 1.0, 1e-4, 1e4),
    Parameter("temperature_squared", bool, True),
)
BETA = Parameter("beta", float, 0.5, 0.0, 1.0)
MIX = tuple(Parameter(f"{name}_weight", float, 0.5, 0.0, None) for name in ("kl", "mse"))
LOGIT_LOSSES = (
    Loss("kl", WARM),
    Loss("jsd", (*WARM, BETA)),
    Loss("mse"),
    Loss("combined_kl_mse", (*WARM, *MIX)),
)
FEATURE_LOSSES = (Loss("mse"), Loss("cosine"), Loss("normalized_mse"))
CATALOGUE = Catalogue(
    logit_losses={loss.name: loss for loss in LOGIT_LOSSES},
    feature_losses={loss.name: loss for loss in FEATURE_LOSSES},
    label_losses={"cross_entropy": Loss("cross_entropy", inputs=("student", "labels"))},
    metrics=("kl_mean", "kl_p90", "top1_agreement", "student_accuracy"),
)
