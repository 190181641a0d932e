"""Several teachers blended into one target."""

import math
from collections.abc import Sequence
from typing import Literal

from distillcli.backend import Array, namespace
from distillcli.errors import ConfigError
from distillcli.numerics.arrays import at_least, cast, check_same_shape
from distillcli.numerics.scores import Logits

Combine = Literal["logits", "probabilities", "log_probabilities"]


def blend(
    logits: Sequence[Logits],
    *,
    weights: Sequence[float] | Sequence[Array],
    combine: Combine = "logits",
    temperature: float = 1.0,
) -> Logits:
    """One teacher made of several; its softmax at the temperature is the blended distribution.

    Args:
        logits: one for each teacher, all [rows, classes].
        weights: one for each teacher, >= 0; divided by their sum. Or one array [rows] for each,
            >= 0 and of sum 1 in every row. A teacher of weight 0 takes no part: what it masks is
            not masked in the blend.
        combine: `logits`: the weighted mean of the logits, where the temperature plays no part.
            `probabilities`: T * log of the weighted mean of softmax(logits / T).
            `log_probabilities`: T * log-softmax of the weighted mean of the log-softmax at T.
        temperature: T, > 0.

    Raises:
        MismatchError: the shapes differ.
        ConfigError: the weights do not fit the teachers, or their sum is not positive.
    """
    check_same_shape(**{f"teacher {i}": one for i, one in enumerate(logits)})
    parts = shares(logits, weights)
    if combine == "logits":
        return Logits(_weighted_sum([(one.scores, share) for one, share in parts]))
    logs = [(one.log_softmax(temperature), share) for one, share in parts]
    if combine == "probabilities":
        return Logits(_log_of_mean(logs) * temperature)
    return Logits(Logits(_weighted_sum(logs)).log_softmax() * temperature)


Share = float | Array  # of one teacher: for all rows, or [rows]


def shares(
    logits: Sequence[Logits], weights: Sequence[float] | Sequence[Array]
) -> list[tuple[Logits, Share]]:
    """The teachers that take part, each with its share."""
    if len(weights) == len(logits) and hasattr(weights[0], "shape"):
        return list(zip(logits, weights, strict=True))
    total = math.fsum(weights)
    if len(weights) != len(logits) or min(weights) < 0 or not 0 < total < math.inf:
        problem = f"{list(weights)} for {len(logits)} teachers"
        raise ConfigError("weights", problem, "give each a weight >= 0, and one of them more")
    pairs = zip(logits, weights, strict=True)
    return [(one, weight / total) for one, weight in pairs if weight > 0]


def _weighted_sum(parts: Sequence[tuple[Array, Share]]) -> Array:
    (first, share), *others = parts
    total = _weighted(first, share)
    for part, share in others:
        total += _weighted(part, share)
    return total


def _weighted(values: Array, share: Share) -> Array:
    """Values times their share; what a share of 0 meets counts nothing, be it infinite."""
    if isinstance(share, float):
        return values * share
    xp = namespace(values)
    column = cast(share, values.dtype)[:, None]
    return xp.where(column > 0, values, 0.0) * column


def _log_of_mean(logs: Sequence[tuple[Array, Share]]) -> Array:
    """log sum share * exp(log), around the largest of them so that no class underflows."""
    weighted = [log + _log_share(log, share) for log, share in logs]
    xp = namespace(weighted[0])
    largest = weighted[0]
    for part in weighted[1:]:
        largest = xp.maximum(largest, part)
    # A class that all mask is -inf in every part: it must not meet its own -inf in a subtraction.
    centre = at_least(largest, -1e30)
    total = xp.exp(weighted[0] - centre)
    for part in weighted[1:]:
        total += xp.exp(part - centre)
    return largest + xp.log(at_least(total, 1.0))


def _log_share(log: Array, share: Share) -> Share:
    if isinstance(share, float):
        return math.log(share)
    xp = namespace(log)
    logarithm = xp.where(share > 0, xp.log(xp.where(share > 0, share, 1.0)), -math.inf)
    return cast(logarithm, log.dtype)[:, None]
