"""What a term is in symbols: the formula that is in force, and what its letters stand for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from distillcli.config import LossTerm
from distillcli.losses import Loss

_LETTERS = {"alpha": "a", "beta": "b", "gamma": "c"}
_SWITCHES = {"temperature_squared", "sum"}  # which the text itself shows


@dataclass(frozen=True)
class Formula:
    """The loss of a term.

    Args:
        text: without what terms of one loss may have each for itself.
        temperature: at which logits are taken; None where that plays no part.
        values: the other letters, and switches that are on.
        batch: of how many rows a batch is whose rows it relates; None where it does not.
        of_layers: whether it is summed over pairs of layers.
        positions: what becomes of the positions of layers; empty where each is a row.
    """

    text: str
    temperature: float | None
    values: tuple[str, ...]
    batch: int | None
    of_layers: bool
    positions: str


def formula_of(term: LossTerm, known: Loss, *, batch: int, positions: str = "") -> Formula:
    """The formula of a term.

    Args:
        batch: rows of a batch, for losses that relate them.
        positions: see there.
    """
    parameters = term.loss.parameters
    text = known.formula
    if known.temperature_squared and not parameters.get("temperature_squared", True):
        text = text.replace("T^2 * ", "")
    elif parameters.get("temperature_squared") and not known.temperature_squared:
        text = f"T^2 * {text}"
    if parameters.get("sum"):
        text = text.replace("mean over", "sum over", 1)
    if known.family == "labels":
        text += " at T = 1"
    return Formula(
        text=text,
        temperature=parameters.get("temperature"),
        values=tuple(_values(known, parameters)),
        batch=batch if known.least_batch is not None else None,
        of_layers=term.on == "hidden",
        positions=positions,
    )


def _values(known: Loss, parameters: Mapping[str, Any]) -> Iterator[str]:
    letters = _LETTERS if known.family == "logits" else {}
    for key, value in parameters.items():
        if key == "temperature":
            continue
        if not isinstance(value, bool):
            yield f"{letters.get(key, key)} = {value:g}"
        elif key == "temperature_squared" and known.temperature_squared and not value:
            yield "without T^2"
        elif value and key not in _SWITCHES:
            yield {"standardize": "logits standardized by row"}.get(key, key.replace("_", " "))
