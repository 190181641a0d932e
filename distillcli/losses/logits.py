"""Losses on class scores: of the student against labels, and against a teacher.

Every function takes Logits, or plain arrays of logits, and returns the loss of each row, unreduced.
"""

import math

from distillcli.backend import Array, namespace
from distillcli.errors import MismatchError
from distillcli.losses.features import cosine as feature_cosine
from distillcli.losses.features import mse as feature_mse
from distillcli.losses.table import Loss, Share, Temperature, Weight, loss
from distillcli.numerics import (
    Logits,
    as_logits,
    check_same_shape,
    jsd_term,
    log_ratio,
    weighted_by_p,
)

LABEL_LOSSES: dict[str, Loss] = {}
LOGIT_LOSSES: dict[str, Loss] = {}

Scores = Logits | Array

HINTON = "Hinton, Vinyals, Dean (2015), arXiv:1503.02531, section 2"


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
    if tuple(labels.shape) != student.shape[:1]:
        shown = f"student {list(student.shape)}, labels {list(labels.shape)}"
        raise MismatchError(shown, "one label for each row is needed")
    return student.nll(labels)


@loss(
    LOGIT_LOSSES,
    family="logits",
    formula="T^2 * sum P log(P / Q), P = softmax(teacher / T), Q = softmax(student / T)",
    reference=HINTON,
    laws=("zero_when_equal", "nonnegative", "shift_invariant", "permutable"),
    allows_masked=True,
    asks=("forward",),
)
def kl(
    *,
    teacher: Scores,
    student: Scores,
    temperature: Temperature = 1.0,
    temperature_squared: bool = True,
) -> Array:
    """Forward Kullback-Leibler divergence KL(teacher || student), times temperature squared.

    Args:
        teacher: logits, [rows, classes].
        student: logits, same shape.
        temperature: divides both; > 0.
        temperature_squared: whether the factor is there.

    Returns:
        [rows], nats, >= 0; 0 where both distributions agree, inf where the student masks a class
        that the teacher does not. A class to which the teacher gives probability 0 adds what the
        student gives it, and a class masked in both adds 0.

    Raises:
        MismatchError: the shapes differ.

    Reference: Hinton, Vinyals, Dean (2015), arXiv:1503.02531, section 2.
    """
    teacher, student = _pair(teacher, student)
    return teacher.divergence(student, temperature) * _factor(temperature, temperature_squared)


@loss(
    LOGIT_LOSSES,
    family="logits",
    formula="T^2 * sum Q log(Q / P)",
    reference="Gu, Dong, Wei, Huang (2024), arXiv:2306.08543, section 2.1",
    laws=("zero_when_equal", "nonnegative", "shift_invariant", "permutable"),
    allows_masked=True,
    asks=("reverse",),
)
def reverse_kl(
    *,
    teacher: Scores,
    student: Scores,
    temperature: Temperature = 1.0,
    temperature_squared: bool = True,
) -> Array:
    """Reverse Kullback-Leibler divergence KL(student || teacher), times temperature squared.

    Args, returns and errors as for `kl`, with the roles of teacher and student exchanged.

    Reference: Gu, Dong, Wei, Huang (2024), arXiv:2306.08543, section 2.1.
    """
    teacher, student = _pair(teacher, student)
    return student.divergence(teacher, temperature) * _factor(temperature, temperature_squared)


@loss(
    LOGIT_LOSSES,
    family="logits",
    formula="T^2 * [b KL(P || M) + (1 - b) KL(Q || M)], M = b P + (1 - b) Q",
    reference="Agarwal et al. (2024), arXiv:2306.13649, section 2",
    laws=("zero_when_equal", "nonnegative", "shift_invariant", "permutable"),
    allows_masked=True,
)
def jsd(
    *,
    teacher: Scores,
    student: Scores,
    beta: Share = 0.5,
    temperature: Temperature = 1.0,
    temperature_squared: bool = True,
) -> Array:
    """Generalised Jensen-Shannon divergence, times temperature squared.

    Args:
        teacher: logits, [rows, classes].
        student: logits, same shape.
        beta: the teacher's share b of the mixture M, in [0, 1]; the loss is 0 at both ends.
        temperature: divides both; > 0.
        temperature_squared: whether the factor is there.

    Returns:
        [rows], nats, >= 0, finite; 0 where both distributions agree.

    Raises:
        MismatchError: the shapes differ.

    Reference: Agarwal et al. (2024), arXiv:2306.13649, section 2.
    """
    teacher, student = _pair(teacher, student)
    rest = 1.0 - beta
    if rest in (0.0, 1.0):
        total = student.softened(temperature).total
        return namespace(total).zeros_like(total)
    rows = weighted_by_p(
        teacher,
        student,
        temperature,
        gap=log_ratio(teacher, student, temperature),
        term=lambda gap: jsd_term(gap, beta),
        tail=-rest * math.log(rest),
    )
    return rows * _factor(temperature, temperature_squared)


@loss(
    LOGIT_LOSSES,
    family="logits",
    formula="mean over classes of (teacher - student)^2, raw outputs",
    reference="Ba, Caruana (2014), arXiv:1312.6184, section 2.2",
    laws=("zero_when_equal", "nonnegative", "symmetric", "permutable"),
    same_kind=True,
    asks=("squares",),
)
def mse(*, teacher: Scores, student: Scores) -> Array:
    """Mean over the classes of the squared difference of the outputs as they are stored.

    Args:
        teacher: outputs, [rows, classes].
        student: outputs of the same kind and shape.

    Returns:
        [rows], >= 0, in the square of the outputs' unit.

    Raises:
        MismatchError: shapes or kinds differ.

    Reference: Ba, Caruana (2014), arXiv:1312.6184, section 2.2.
    """
    teacher, student = _pair(teacher, student, same_kind=True)
    return _squares(teacher, student)


@loss(
    LOGIT_LOSSES,
    family="logits",
    formula="1 - cos(teacher, student), raw outputs",
    reference="Salton, Wong, Yang (1975), doi:10.1145/361219.361220",
    laws=("nonnegative", "symmetric", "permutable", "scale_invariant"),
    same_kind=True,
    asks=("cosine",),
)
def cosine(*, teacher: Scores, student: Scores) -> Array:
    """One minus the cosine between the outputs as they are stored.

    Args:
        teacher: outputs, [rows, classes].
        student: outputs of the same kind and shape.

    Returns:
        [rows], in [0, 2]; 1 where one of the rows is all zero.

    Raises:
        MismatchError: shapes or kinds differ.

    Reference: Salton, Wong, Yang (1975), doi:10.1145/361219.361220.
    """
    teacher, student = _pair(teacher, student, same_kind=True)
    return teacher.remembered(
        "cosine", student, lambda: feature_cosine(teacher=teacher.raw, student=student.raw)
    )


@loss(
    LOGIT_LOSSES,
    family="logits",
    formula="kl_weight * kl + mse_weight * mse",
    reference="Kim et al. (2021), arXiv:2105.08919, section 3 (both terms)",
    laws=("zero_when_equal", "nonnegative", "permutable"),
    same_kind=True,
    asks=("forward", "squares"),
)
def combined_kl_mse(
    *,
    teacher: Scores,
    student: Scores,
    kl_weight: Weight = 0.5,
    mse_weight: Weight = 0.5,
    temperature: Temperature = 1.0,
    temperature_squared: bool = True,
) -> Array:
    """Weighted sum of `kl`, at a temperature, and of `mse`, on the outputs as they are stored.

    Args:
        teacher: outputs, [rows, classes].
        student: outputs of the same kind and shape.
        kl_weight: weight of `kl`, >= 0.
        mse_weight: weight of `mse`, >= 0.
        temperature: divides both in `kl`; > 0.
        temperature_squared: whether `kl` has its factor.

    Returns:
        [rows], >= 0.

    Raises:
        MismatchError: shapes or kinds differ.

    Reference: Kim et al. (2021), arXiv:2105.08919, section 3 (both terms).
    """
    teacher, student = _pair(teacher, student, same_kind=True)
    factor = kl_weight * _factor(temperature, temperature_squared)
    divergence = teacher.divergence(student, temperature)
    return factor * divergence + mse_weight * _squares(teacher, student)


def _squares(teacher: Logits, student: Logits) -> Array:
    return teacher.remembered(
        "squares", student, lambda: feature_mse(teacher=teacher.raw, student=student.raw)
    )


def _factor(temperature: float, temperature_squared: bool) -> float:
    return temperature * temperature if temperature_squared else 1.0


def _pair(teacher: Scores, student: Scores, same_kind: bool = False) -> tuple[Logits, Logits]:
    teacher, student = as_logits(teacher), as_logits(student)
    check_same_shape(teacher=teacher, student=student)
    if same_kind and teacher.kind != student.kind:
        where = f"teacher {teacher.kind}, student {student.kind}"
        hint = "kl, reverse_kl and jsd compare any two kinds"
        raise MismatchError(where, "this loss needs outputs of one kind", hint)
    return teacher, student
