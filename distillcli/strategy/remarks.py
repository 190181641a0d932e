"""What a user should know of a run before its figures."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillcli.batches.inputs import Input
from distillcli.config import Config
from distillcli.formats import Reader, widen
from distillcli.inspecting.looks import like_probabilities
from distillcli.strategy.inputs import Inputs

SAMPLE_ROWS = 64
SAMPLE_VALUES = 2**20


def assumptions(config: Config) -> Iterator[str]:
    """What was taken for granted where the config says nothing."""
    part = config.ensemble or config.response
    if part is not None and part.alpha_assumed:
        yield "no labels: alpha is 1, the loss is the soft term alone"


def look_alikes(inputs: Inputs) -> Iterator[str]:
    """A warning for each input that is called logits and looks like probabilities."""
    for item in inputs:
        if item.is_scores and item.kind == "logits" and _like_probabilities(item):
            yield (
                f"{item.reader.where}: looks like probabilities (all in [0, 1], rows sum to 1) and "
                f"is read as logits; if they are, say {{path: ..., kind: probabilities}}"
            )


def targets(config: Config, inputs: Inputs) -> Iterator[str]:
    """How a teacher is read that says itself what it holds."""
    if "teacher" not in inputs or inputs["teacher"].reader.declared is None:
        return
    item, known = inputs["teacher"], inputs["teacher"].reader.declared
    yield (
        f"{item.reader.where}: read as {known.kind} formed at temperature {known.temperature:g}, "
        "as the file says"
    )
    if known.top_k is None and known.temperature != 1 and known.words.get("combine") != "logits":
        yield (
            f"{item.reader.where}: the blend was formed at temperature {known.temperature:g}; its "
            "figures at other temperatures are those of the stored targets"
        )


def _like_probabilities(item: Input) -> bool:
    """Whether its first rows are like that; few enough to take no time and little memory.

    That logits are no probabilities the first row tells.
    """
    rows = min(item.reader.rows, SAMPLE_ROWS, max(1, SAMPLE_VALUES // item.width))
    return all(like_probabilities(_first(item.reader, count)) for count in (1, rows))


def _first(reader: Reader, rows: int) -> NDArray[Any]:
    """The first rows, in float64."""
    return widen(reader.read(0, rows, reader.empty(rows)), reader.element, np.float64)
