"""What numbers look like: logits, probabilities, labels, hidden states. Guesses, and told as such.

Shapes and values alone cannot tell logits from hidden states; names decide there.
"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

IGNORED = -100  # the label that many tools give to rows that do not count
SUM_TOLERANCE = 1e-2  # 16-bit probabilities sum to 1 within this
LOG_TOLERANCE = 5e-2  # 16-bit log-probabilities do

KINDS = ("logits", "probabilities", "log_probabilities")

_HIDDEN = re.compile(
    r"hidden|layer|block|activation|feature|embed|states|representation", re.IGNORECASE
)
_SCORES = re.compile(r"logit|prob|score|output", re.IGNORECASE)
_TOKENS = re.compile(r"token|input_?ids", re.IGNORECASE)
_MASK = re.compile(r"mask", re.IGNORECASE)


@dataclass(frozen=True)
class Figures:
    """What some values come to.

    Args:
        low, high: of the finite ones; None where there are none.
        nan, inf, neg_inf: how many are not finite, by kind.
        distinct: how many integers differ; None for floating-point numbers.
        sums_to_one: whether the rows do, those with values that are not finite left out; None for
            integers and one-dimensional arrays, and where no row is left.
    """

    low: float | int | None
    high: float | int | None
    nan: int = 0
    inf: int = 0
    neg_inf: int = 0
    distinct: int | None = None
    sums_to_one: bool | None = None


def figures(values: Array) -> Figures:
    """The figures of integers or float64 values, [rows] or [rows, width]."""
    if values.dtype.kind != "f":
        distinct = len(np.unique(values))
        return Figures(int(values.min()), int(values.max()), distinct=distinct)
    finite = values[np.isfinite(values)]
    return Figures(
        low=float(finite.min()) if finite.size else None,
        high=float(finite.max()) if finite.size else None,
        nan=int(np.isnan(values).sum()),
        inf=int((values == np.inf).sum()),
        neg_inf=int((values == -np.inf).sum()),
        sums_to_one=_sum_to_one(values) if values.ndim > 1 else None,
    )


def _sum_to_one(values: Array, tolerance: float = SUM_TOLERANCE) -> bool | None:
    sums = values[np.isfinite(values).all(axis=1)].sum(axis=1)
    return bool((np.abs(sums - 1.0) <= tolerance).all()) if sums.size else None


def like_probabilities(values: Array) -> bool:
    """Whether all values [rows, classes] are in [0, 1] and the rows sum to 1."""
    inside = bool(((values >= 0) & (values <= 1)).all())
    return inside and bool(_sum_to_one(values))


def like_log_probabilities(values: Array) -> bool:
    """Whether all values [rows, classes] are at most 0 and their exponentials sum to 1."""
    inside = bool((values <= SUM_TOLERANCE).all())
    return inside and bool(_sum_to_one(np.exp(values), LOG_TOLERANCE))


def like_bfloat16(bits: Array) -> bool:
    """Whether 16-bit integers make sense as bfloat16: finite, and mostly of everyday size."""
    values = (bits.astype(np.uint32) << 16).view(np.float32)
    sizes = np.abs(values[np.isfinite(values) & (values != 0)])
    if sizes.size < values.size / 4:
        return False
    return bool(((sizes > 1e-8) & (sizes < 1e5)).mean() > 0.99)


def like_float8(bits: Array) -> bool:
    """Whether bytes make sense as numbers of 8 bits: finite, of both signs, mostly of one size.

    Which of the two types they are cannot be told; the sign is the highest bit of both.
    """
    sizes, signs = bits & 0x7F, float((bits >= 0x80).mean())
    usual = (sizes >= 0x20) & (sizes < 0x70)  # about 0.01 to 100 in either type
    return bool((sizes < 0x7F).all() and usual.mean() > 0.8 and 0.05 < signs < 0.95)


def look_of_scores(values: Array, name: str, declared: str | None = None) -> str | None:
    """The look of float64 values [rows, width].

    Args:
        values: a sample.
        name: the dataset and file they come from.
        declared: what an attribute says that they are.

    Returns: "hidden_states", "probabilities", "log_probabilities", "logits", or None.
    """
    if values.shape[1] < 2:
        return None
    if like_probabilities(values):
        return "probabilities"
    if like_log_probabilities(values):
        return "log_probabilities"
    if hints_at_layers(name):
        return "hidden_states"
    return declared or "logits"


def look_of_integers(found: Figures, name: str) -> str:
    """The look of integers: "token_ids", "mask", "labels" or "integers"."""
    assert found.low is not None
    if _TOKENS.search(name):
        return "token_ids"
    if _MASK.search(name) and found.low >= 0 and (found.high or 0) <= 1:
        return "mask"
    return "labels" if found.low >= 0 or found.low == IGNORED else "integers"


def says_scores(name: str) -> bool:
    """Whether a name says that something holds class scores."""
    return _SCORES.search(name) is not None


def hints_at_layers(name: str) -> bool:
    """Whether a name says that something holds hidden states."""
    return _HIDDEN.search(name) is not None and _SCORES.search(name) is None
