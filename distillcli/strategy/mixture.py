"""The weights of a mixture of experts that the labels speak for."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

ROWS = 2**22  # at most so many are fitted on
GAP = 1e-10  # nats a row: how far below the best likelihood the fit may end
STEPS = 10_000

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Fit:
    """Weights found from labels, and what they are worth.

    Args:
        weights: one for each teacher, sum 1.
        rows: how many rows they were found on.
        before, after: mean log-likelihood of the label, in nats, with equal weights and with these.
        steps: how often the weights were improved.
        gap: the best weights are at most this much better, in nats a row.
    """

    weights: tuple[float, ...]
    rows: int
    before: float
    after: float
    steps: int
    gap: float


def fit(nll: Floats) -> Fit:
    """The weights on the simplex under which the mixture makes the labels most likely.

    Expectation-maximisation, each step taken the longer the better the steps before it went. The
    log-likelihood is concave in the weights, and the largest entry g of its gradient bounds what
    any other weights could add by log(g).

    Args:
        nll: negative log-likelihood of the label of each row under each teacher, [rows, teachers],
            nats; infinite where a teacher gives the label no probability, but not for all of them.

    Reference: Dempster, Laird, Rubin (1977), section 4.3; step lengths as in Salakhutdinov, Roweis
    (2003), Adaptive overrelaxed bound optimization methods, section 3.
    """
    nearest = nll.min(axis=1)
    # Divided by the largest of its row, no probability underflows; the weights do not change.
    likely = np.exp(nearest[:, None] - nll)
    weights = np.full(nll.shape[1], 1.0 / nll.shape[1])
    total, gradient = _look(likely, weights)
    before = total
    length, steps = 1.0, 0
    while np.log(gradient.max()) > GAP and steps < STEPS:
        steps += 1
        trial = weights * gradient**length
        trial /= trial.sum()
        found, ahead = _look(likely, trial)
        if found < total and length > 1.0:
            length = 1.0  # too far: take the plain step, which never makes things worse
            continue
        weights, total, gradient = trial, found, ahead
        length *= 1.5
    offset = -float(nearest.mean())
    return Fit(
        weights=tuple(float(weight) for weight in weights / weights.sum()),
        rows=len(nll),
        before=before + offset,
        after=total + offset,
        steps=steps,
        gap=float(np.log(gradient.max())),
    )


def _look(likely: Floats, weights: Floats) -> tuple[float, Floats]:
    """Mean log-likelihood and its gradient, which a plain step multiplies the weights with."""
    mixed = likely @ weights
    return float(np.log(mixed).mean()), (likely.T @ (1.0 / mixed)) / len(likely)
