"""Rows that a fast form cannot do within the bounds, computed again by the plain functions."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from distillcli.kernels.wanted import NARROW
from distillcli.losses.features import cosine, mse
from distillcli.numerics.divergence import kl
from distillcli.numerics.scores import Logits

Array = npt.NDArray[Any]

# Scores that are computed again at once, with several copies in float64: so few that the system is
# not asked for their memory again and again, so many that Python's part of the work hardly counts.
AT_ONCE = 2**17


class Rows(Protocol):
    """Class scores, some of which can be had alone."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, classes)."""

    def taken(self, rows: Array) -> Logits:
        """Rows by their numbers; NumPy is faster with few classes that lie class by class."""


def mend_entropies(found: Array, doubtful: Array, scores: Logits) -> Array:
    """Entropies of one side, float64 [rows], with those of the doubtful rows put right."""
    return _mended(found, doubtful, scores, lambda at: scores.taken(at).entropy)


def mend_divergences(found: Array, doubtful: Array, p: Rows, q: Rows, temperature: float) -> Array:
    """KL(p || q), likewise."""
    return _mended(found, doubtful, p, lambda at: kl(p.taken(at), q.taken(at), temperature))


def mend_squares(found: Array, doubtful: Array, p: Logits, q: Logits) -> Array:
    """Mean squared differences of the numbers as they are stored, likewise."""
    return _mended(
        found, doubtful, p, lambda at: mse(teacher=p.taken(at).raw, student=q.taken(at).raw)
    )


def mend_cosines(found: Array, doubtful: Array, p: Logits, q: Logits) -> Array:
    """One minus the cosine of them, likewise."""
    return _mended(
        found, doubtful, p, lambda at: cosine(teacher=p.taken(at).raw, student=q.taken(at).raw)
    )


def _mended(
    found: Array, doubtful: Array, scores: Rows, careful: Callable[[Array], Array]
) -> Array:
    """Some rows at a time, by what takes their numbers.

    A single one of few classes is taken twice: NumPy adds it up in another order than several.
    """
    rows = np.flatnonzero(doubtful)
    step = max(1, AT_ONCE // scores.shape[1])
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        if len(some) == 1 and scores.shape[1] < NARROW:
            some = np.repeat(some, 2)
        found[some] = careful(some)
    return found
