"""Divergences of the teacher's and the student's distributions at a temperature.

Every function takes Logits, or plain arrays of logits, and returns the loss of each row, unreduced.
All but `tvd` are least where both agree, and are sums of terms that are least there one by one: so
they keep their digits where teacher and student are close.
"""

import math

from distillcli.backend import Array, namespace
from distillcli.losses.pairs import LOGIT_LOSSES, Scores, factor, pair
from distillcli.losses.table import Share, Temperature, loss
from distillcli.numerics.arrays import at_least, row_sum
from distillcli.numerics.divergence import (
    LOWEST_GAP,
    jsd_term,
    log_ratio,
    probability_gap,
    weighted_by_p,
)
from distillcli.numerics.scores import Logits

HINTON = "Hinton, Vinyals, Dean (2015), arXiv:1503.02531, section 2"


@loss(
    LOGIT_LOSSES,
    family="logits",
    formula="T^2 * sum P log(P / Q)",
    reference=HINTON,
    laws=("zero_when_equal", "nonnegative", "shift_invariant", "permutable"),
    allows_masked=True,
    allows_tail=True,
    asks=("forward",),
)
def kl(
    *,
    teacher: Scores,
    student: Scores,
    temperature: Temperature = 1.0,
    temperature_squared: bool = True,
    with_entropy: bool = False,
) -> Array:
    """Forward Kullback-Leibler divergence KL(teacher || student), times temperature squared.

    Tools that take the mean over classes too (`reduction="mean"` in PyTorch) give that divided by
    the number of classes; those that take the cross-entropy with the teacher's distribution, which
    has the same gradient, leave the teacher's entropy in.

    Args:
        teacher: logits, [rows, classes].
        student: logits, same shape.
        temperature: divides both; > 0.
        temperature_squared: whether the factor is there.
        with_entropy: whether the teacher's entropy at the temperature is added.

    Returns:
        [rows], nats, >= 0; 0, or the entropy, where both distributions agree, inf where the student
        masks a class that the teacher does not. A class to which the teacher gives probability 0
        adds what the student gives it, and a class masked in both adds 0.

    Raises:
        MismatchError: the shapes differ.

    Reference: Hinton, Vinyals, Dean (2015), arXiv:1503.02531, section 2.
    """
    teacher, student = pair(teacher, student)
    rows = teacher.divergence(student, temperature)
    if with_entropy:
        rows = rows + _entropy(teacher, temperature)
    return rows * factor(temperature, temperature_squared)


@loss(
    LOGIT_LOSSES,
    family="logits",
    formula="T^2 * sum Q log(Q / P)",
    reference="Gu, Dong, Wei, Huang (2024), arXiv:2306.08543, section 2.1",
    laws=("zero_when_equal", "nonnegative", "shift_invariant", "permutable"),
    allows_masked=True,
    allows_tail=True,
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
    teacher, student = pair(teacher, student)
    return student.divergence(teacher, temperature) * factor(temperature, temperature_squared)


@loss(
    LOGIT_LOSSES,
    family="logits",
    formula="T^2 * [b KL(P || M) + (1 - b) KL(Q || M)], M = b P + (1 - b) Q",
    reference="Agarwal et al. (2024), arXiv:2306.13649, section 2",
    laws=("zero_when_equal", "nonnegative", "shift_invariant", "permutable"),
    allows_masked=True,
    allows_tail=True,
)
def jsd(
    *,
    teacher: Scores,
    student: Scores,
    beta: Share = 0.5,
    temperature: Temperature = 1.0,
    temperature_squared: bool = True,
    swap_mixture: bool = False,
    kl_at_ends: bool = False,
) -> Array:
    """Generalised Jensen-Shannon divergence, times temperature squared.

    The beta is that of the paper and of TRL. Some tools, the first versions of TRL among them, mix
    with the shares exchanged and weigh as here, which is another loss unless beta is 0.5; and most
    return the KL of one direction or the other at both ends of beta, where this is 0. A switch
    gives each. `alpha_jsd` runs from one direction to the other.

    Args:
        teacher: logits, [rows, classes].
        student: logits, same shape.
        beta: the teacher's share b of the mixture M, in [0, 1].
        temperature: divides both; > 0.
        temperature_squared: whether the factor is there; TRL has none.
        swap_mixture: whether M = (1 - b) P + b Q, the weights of the two KL being as they are.
        kl_at_ends: whether it is KL(P || Q) at beta 0 and KL(Q || P) at beta 1.

    Returns:
        [rows], nats, >= 0, finite; 0 where both distributions agree.

    Raises:
        MismatchError: the shapes differ.

    Reference: Agarwal et al. (2024), arXiv:2306.13649, section 2.
    """
    teacher, student = pair(teacher, student)
    rest = 1.0 - beta
    if kl_at_ends and rest in (0.0, 1.0):
        p, q = (student, teacher) if beta else (teacher, student)
        return p.divergence(q, temperature) * factor(temperature, temperature_squared)
    if swap_mixture:
        rows = beta * _skew(teacher, student, rest, temperature) if beta else 0.0
        rows = rows + (rest * _skew(student, teacher, beta, temperature) if rest else 0.0)
        return rows * factor(temperature, temperature_squared)
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
    return rows * factor(temperature, temperature_squared)


@loss(
    LOGIT_LOSSES,
    family="logits",
    formula="T^2 * KL(P || M), M = a P + (1 - a) Q",
    reference="Ko, Kim, Chen, Yun (2024), arXiv:2402.03898, section 3.1",
    laws=("zero_when_equal", "nonnegative", "shift_invariant", "permutable"),
    allows_masked=True,
    allows_tail=True,
)
def skew_kl(
    *,
    teacher: Scores,
    student: Scores,
    alpha: Share = 0.1,
    temperature: Temperature = 1.0,
    temperature_squared: bool = True,
    with_entropy: bool = False,
) -> Array:
    """KL of the teacher from a mixture of teacher and student, times temperature squared.

    Published code gives the cross-entropy instead, which has the same gradient: the teacher's
    entropy is left in.

    Args:
        teacher: logits, [rows, classes].
        student: logits, same shape.
        alpha: the teacher's share a of the mixture, in [0, 1]; 0 gives `kl`, 1 gives 0.
        temperature: divides both; > 0.
        temperature_squared: whether the factor is there.
        with_entropy: whether the teacher's entropy at the temperature is added.

    Returns:
        [rows], nats, >= 0; at most T^2 * -log(a); 0 where both distributions agree.

    Raises:
        MismatchError: the shapes differ.

    Reference: Ko, Kim, Chen, Yun (2024), arXiv:2402.03898, section 3.1.
    """
    teacher, student = pair(teacher, student)
    rows = _skew(teacher, student, alpha, temperature)
    if with_entropy:
        rows = rows + _entropy(teacher, temperature)
    return rows * factor(temperature, temperature_squared)


@loss(
    LOGIT_LOSSES,
    family="logits",
    formula="T^2 * KL(Q || M), M = (1 - a) P + a Q",
    reference="Ko, Kim, Chen, Yun (2024), arXiv:2402.03898, section 3.1",
    laws=("zero_when_equal", "nonnegative", "shift_invariant", "permutable"),
    allows_masked=True,
    allows_tail=True,
)
def skew_reverse_kl(
    *,
    teacher: Scores,
    student: Scores,
    alpha: Share = 0.1,
    temperature: Temperature = 1.0,
    temperature_squared: bool = True,
) -> Array:
    """KL of the student from a mixture of teacher and student, times temperature squared.

    Args, returns and errors as for `skew_kl`, with the roles exchanged: `alpha` is the student's
    share of the mixture.

    Reference: Ko, Kim, Chen, Yun (2024), arXiv:2402.03898, section 3.1.
    """
    teacher, student = pair(teacher, student)
    return _skew(student, teacher, alpha, temperature) * factor(temperature, temperature_squared)


@loss(
    LOGIT_LOSSES,
    family="logits",
    formula="T^2 * [b KL(P || Q) + (1 - b) KL(Q || P)]",
    reference="Jeffreys (1946), doi:10.1098/rspa.1946.0056",
    laws=("zero_when_equal", "nonnegative", "symmetric", "shift_invariant", "permutable"),
    allows_masked=True,
    allows_tail=True,
    asks=("forward", "reverse"),
)
def symmetric_kl(
    *,
    teacher: Scores,
    student: Scores,
    beta: Share = 0.5,
    temperature: Temperature = 1.0,
    temperature_squared: bool = True,
) -> Array:
    """Mean of both directions of KL, times temperature squared.

    Args:
        teacher: logits, [rows, classes].
        student: logits, same shape.
        beta: the weight b of the forward direction, in [0, 1]. Jeffreys' divergence, the sum of
            both, is twice the default.
        temperature: divides both; > 0.
        temperature_squared: whether the factor is there.

    Returns:
        [rows], nats, >= 0; 0 where both distributions agree, inf where one side alone masks a
        class and the weight of that direction is not 0.

    Raises:
        MismatchError: the shapes differ.

    Reference: Jeffreys (1946), doi:10.1098/rspa.1946.0056.
    """
    teacher, student = pair(teacher, student)
    weighted = [(beta, teacher, student), (1.0 - beta, student, teacher)]
    rows = sum(share * p.divergence(q, temperature) for share, p, q in weighted if share)
    return rows * factor(temperature, temperature_squared)


@loss(
    LOGIT_LOSSES,
    family="logits",
    formula="T^2 * [b KL(P || M) + (1 - b) KL(Q || M)] / (b (1 - b)), M = b P + (1 - b) Q",
    reference="Huszar (2015), arXiv:1511.05101",
    laws=("zero_when_equal", "nonnegative", "symmetric", "shift_invariant", "permutable"),
    allows_masked=True,
    allows_tail=True,
)
def alpha_jsd(
    *,
    teacher: Scores,
    student: Scores,
    beta: Share = 0.5,
    temperature: Temperature = 1.0,
    temperature_squared: bool = True,
) -> Array:
    """Jensen-Shannon divergence scaled so that it runs from KL to reverse KL.

    Args:
        teacher: logits, [rows, classes].
        student: logits, same shape.
        beta: the teacher's share b of the mixture, in [0, 1]; 0 gives `kl`, 1 `reverse_kl`.
        temperature: divides both; > 0.
        temperature_squared: whether the factor is there.

    Returns:
        [rows], nats, >= 0; 0 where both distributions agree, infinite at the ends only.

    Raises:
        MismatchError: the shapes differ.

    Reference: Huszar (2015), arXiv:1511.05101.
    """
    teacher, student = pair(teacher, student)
    if beta in (0.0, 1.0):
        p, q = (student, teacher) if beta else (teacher, student)
        return p.divergence(q, temperature) * factor(temperature, temperature_squared)
    rows = weighted_by_p(
        teacher,
        student,
        temperature,
        gap=log_ratio(teacher, student, temperature),
        term=lambda gap: _scaled_jsd_term(gap, beta),
        tail=-math.log1p(-beta) / beta,
    )
    return rows * factor(temperature, temperature_squared)


@loss(
    LOGIT_LOSSES,
    family="logits",
    formula="sum |P - Q| / 2",
    reference="Wen, Li, Du, Mou (2023), arXiv:2307.15190",
    laws=("zero_when_equal", "nonnegative", "symmetric", "shift_invariant", "permutable"),
    allows_masked=True,
    allows_tail=True,
)
def tvd(
    *,
    teacher: Scores,
    student: Scores,
    temperature: Temperature = 1.0,
    temperature_squared: bool = False,
) -> Array:
    """Total variation distance.

    It comes without the factor T^2, which belongs to losses whose gradient falls with T^2 and would
    lift this one above its bound: its own falls with T, and no published code has the factor.

    Args:
        teacher: logits, [rows, classes].
        student: logits, same shape.
        temperature: divides both; > 0.
        temperature_squared: whether the factor T^2 is there.

    Returns:
        [rows], in [0, 1], times the factor; 0 where both distributions agree.

    Raises:
        MismatchError: the shapes differ.

    Reference: Wen, Li, Du, Mou (2023), arXiv:2307.15190.
    """
    teacher, student = pair(teacher, student)
    apart = probability_gap(teacher.wide, student.wide, temperature)
    rows = 0.5 * row_sum(namespace(apart).abs(apart))
    return rows * factor(temperature, temperature_squared)


def _entropy(p: Logits, temperature: float) -> Array:
    """Of the distribution at a temperature: nats; a masked class adds 0."""
    wide = p.wide
    probabilities = wide.softened(temperature).probabilities
    xp = namespace(probabilities)
    logs = xp.where(probabilities > 0, wide.log_softmax(temperature), 0.0)
    return -row_sum(probabilities * logs)


def _skew(p: Logits, q: Logits, alpha: float, temperature: float) -> Array:
    """KL(p || alpha p + (1 - alpha) q) without factor."""
    if alpha == 0.0:
        return p.divergence(q, temperature)
    rest = 1.0 - alpha
    if rest == 0.0:
        return namespace(p.raw).zeros_like(p.softened(temperature).total)

    def term(gap: Array) -> Array:
        return rest * namespace(gap).expm1(-gap) - _log_mixed(gap, alpha)

    return weighted_by_p(p, q, temperature, log_ratio(p, q, temperature), term, tail=rest)


def _log_mixed(gap: Array, share: float) -> Array:
    """log(M / P) of M = share P + (1 - share) Q, where gap is log(P / Q)."""
    xp = namespace(gap)
    away = (1.0 - share) * xp.expm1(-gap)
    near = xp.log1p(at_least(away, -0.5))
    return xp.where(away < -0.5, xp.log(share + (1.0 - share) * xp.exp(-gap)), near)


def _scaled_jsd_term(gap: Array, beta: float) -> Array:
    """What p weighs to JSD_b / (b (1 - b)): -log(M/P) / (1 - b) - q/p log(M/Q) / b.

    The second logarithm is taken of its own small argument: as the first one plus the gap it would
    be rounding noise where b is small.
    """
    xp = namespace(gap)
    to_q = xp.log1p(beta * xp.expm1(xp.clip(gap, LOWEST_GAP, 700.0)))
    return -_log_mixed(gap, beta) / (1.0 - beta) - xp.exp(-gap) * to_q / beta
