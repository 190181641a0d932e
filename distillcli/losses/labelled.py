"""Losses that know the right class of each row.

Every function takes Logits, or plain arrays of logits, and returns the loss of each row, unreduced.
"""

import math

from distillcli.backend import Array, namespace
from distillcli.losses.pairs import (
    LABEL_LOSSES,
    LOGIT_LOSSES,
    Scores,
    check_labels,
    factor,
    pair,
)
from distillcli.losses.table import Temperature, Weight, loss
from distillcli.numerics.arrays import at
from distillcli.numerics.divergence import kl
from distillcli.numerics.scores import Logits, as_logits


@loss(
    LABEL_LOSSES,
    family="labels",
    formula="-log softmax(student)[label]",
    reference="Bishop (2006), Pattern Recognition and Machine Learning, equation 4.108",
    laws=("nonnegative", "shift_invariant"),
    allows_masked=True,
)
def cross_entropy(*, student: Scores, labels: Array) -> Array:
    """Cross-entropy of the student on the labels, at temperature 1.

    Args:
        student: logits, [rows, classes].
        labels: integers, [rows].

    Returns:
        [rows], nats, >= 0; NaN where a label is outside [0, classes).

    Raises:
        MismatchError: the number of rows differs.

    Reference: Bishop (2006), Pattern Recognition and Machine Learning, equation 4.108.
    """
    student = as_logits(student)
    check_labels(student, labels)
    return student.nll(labels)


@loss(
    LOGIT_LOSSES,
    family="logits",
    formula="T^2 * [a KL(label or not: P || Q) + b KL(the other classes alone: P || Q)]",
    reference="Zhao, Cui, Song, Qiu, Liang (2022), arXiv:2203.08679",
    laws=("zero_when_equal", "nonnegative", "shift_invariant"),
    allows_masked=True,
)
def dkd(
    *,
    teacher: Scores,
    student: Scores,
    labels: Array,
    alpha: Weight = 1.0,
    beta: Weight = 8.0,
    temperature: Temperature = 1.0,
    temperature_squared: bool = True,
) -> Array:
    """Decoupled distillation: how sure both are of the label, and how they rank the other classes.

    Parts at temperatures of their own are two terms, one with alpha 0 and one with beta 0.

    Args:
        teacher: logits, [rows, classes].
        student: logits, same shape.
        labels: integers, [rows].
        alpha: weight a of the KL between label and not label.
        beta: weight b of the KL among the other classes, each side's scaled to sum 1.
        temperature: divides both; > 0.
        temperature_squared: whether the factor is there.

    Returns:
        [rows], nats, >= 0; 0 where both distributions agree; the second part is 0 where the teacher
        gives the label all mass, infinite where the student alone does; NaN where a label is
        outside [0, classes). With alpha 1 and beta the teacher's mass on the other classes it is
        `kl`.

    Raises:
        MismatchError: the shapes differ.

    Reference: Zhao, Cui, Song, Qiu, Liang (2022), arXiv:2203.08679.
    """
    teacher, student = pair(teacher, student)
    check_labels(student, labels)
    xp = namespace(labels)
    known = (labels >= 0) & (labels < teacher.shape[1])
    labels = xp.where(known, labels, 0)
    parts = []
    if alpha:
        p, q = (_label_or_not(side.wide, labels, temperature) for side in (teacher, student))
        parts.append(alpha * kl(p, q, temperature))
    if beta:
        parts.append(beta * _kl_of_others(teacher.wide, student.wide, labels, temperature))
    rows = sum(parts) if parts else 0.0 * teacher.max
    return xp.where(known, rows * factor(temperature, temperature_squared), math.nan)


def _kl_of_others(p: Logits, q: Logits, labels: Array, temperature: float) -> Array:
    xp = namespace(labels)
    (others_p, none_p), (others_q, none_q) = _others(p, labels), _others(q, labels)
    rows = kl(others_p, others_q, temperature)
    return xp.where(none_p, 0.0, xp.where(none_q, math.inf, rows))


def _others(scores: Logits, labels: Array) -> tuple[Logits, Array]:
    """The classes but the label's; and the rows that have no other, which have any scores."""
    xp = namespace(scores.raw)
    classes = xp.arange(scores.shape[1], dtype=labels.dtype)
    others = xp.where(classes[None, :] == labels[:, None], -math.inf, scores.raw)
    none = xp.max(others, axis=-1) == -math.inf
    return Logits(xp.where(none[:, None], 0.0, others)), none


def _label_or_not(scores: Logits, labels: Array, temperature: float) -> Logits:
    """Two classes: the label's, and all others as one."""
    xp = namespace(scores.raw)
    others, none = _others(scores, labels)
    rest = others.max + temperature * others.softened(temperature).log_total
    rest = xp.where(none, -math.inf, rest)
    return Logits(xp.stack([at(scores.raw, labels), rest], axis=-1))
