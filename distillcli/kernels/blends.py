"""The mean distribution of several teachers with NumPy, from the exponentials themselves.

One exponential for each score and one logarithm for each class; the plain function takes twice as
many exponentials, so that no class underflows. Rows where one might are left to it.
"""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from distillcli import teachers
from distillcli.numerics.scores import Logits
from distillcli.teachers import Combine, Share

Array = npt.NDArray[Any]

# A sum of exponentials above this has lost no digits to those that are too small to be normal.
SURE = {np.dtype(np.float32): 1e-30, np.dtype(np.float64): 1e-290}


def blend(
    logits: Sequence[Logits],
    *,
    weights: Sequence[float] | Sequence[Array],
    combine: Combine = "logits",
    temperature: float = 1.0,
) -> Logits:
    """What `teachers.blend` returns, within the same bounds."""
    if combine != "probabilities":
        return teachers.blend(logits, weights=weights, combine=combine, temperature=temperature)
    parts = teachers.shares(logits, weights)
    total = _mean(parts, temperature)
    doubtful = _doubtful(total, [one for one, _ in parts])
    with np.errstate(divide="ignore"):
        scores = np.log(total, out=total)
    scores *= temperature
    if len(doubtful):
        part = [Logits(one.scores[doubtful]) for one in logits]
        some = [
            weight[doubtful] if isinstance(weight, np.ndarray) else weight for weight in weights
        ]
        careful = teachers.blend(part, weights=some, combine=combine, temperature=temperature)
        scores[doubtful] = careful.scores
    return Logits(scores)


class _Own(threading.local):
    """An array of a tile's shape, each thread's own, kept from tile to tile."""

    def __init__(self) -> None:
        self.array: Array = np.empty(0)

    def like(self, scores: Array) -> Array:
        if self.array.shape != scores.shape or self.array.dtype != scores.dtype:
            self.array = np.empty_like(scores)
        return self.array


_own = _Own()


def _mean(parts: Sequence[tuple[Logits, Share]], temperature: float) -> Array:
    """The weighted mean of the distributions at a temperature, [rows, classes]."""
    total: Array = np.zeros_like(parts[0][0].scores)
    for one, share in parts:
        exps = _exponentials(one, temperature)
        sums = exps.sum(axis=1).astype(np.float64)
        exps *= (share / sums).astype(exps.dtype)[:, None]
        total += exps
    return total


def _exponentials(logits: Logits, temperature: float) -> Array:
    """exp((score - the row's maximum) / temperature), in the thread's own array."""
    scores = logits.scores
    exps: Array = np.subtract(scores, logits.max[:, None], out=_own.like(scores))
    if temperature != 1.0:
        exps *= scores.dtype.type(1.0 / temperature)
    np.exp(exps, out=exps)
    return exps


def _doubtful(total: Array, logits: Sequence[Logits]) -> Array:
    """The rows with a class whose probability is too small to be sure of, or is none.

    A class that all teachers mask has the probability 0, and that is sure.
    """
    least = SURE[total.dtype]
    rows = np.flatnonzero(~(total.min(axis=1) >= least))
    if not len(rows):
        return rows
    masked = np.all([one.scores[rows] == -np.inf for one in logits], axis=0)
    sure: Array = ((total[rows] >= least) | masked).all(axis=1)
    return rows[~sure]
