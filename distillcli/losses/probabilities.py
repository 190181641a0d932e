"""Losses on probabilities at a temperature that are no divergences.

Every function takes Logits, or plain arrays of logits, and returns the loss of each row, unreduced.
"""

from distillcli.backend import Array, namespace
from distillcli.errors import MismatchError
from distillcli.losses.features import unaligned
from distillcli.losses.pairs import LOGIT_LOSSES, Scores, factor, pair
from distillcli.losses.table import Epsilon, Temperature, Weight, loss
from distillcli.numerics.arrays import ROUNDING, row_sum
from distillcli.numerics.divergence import probability_gap
from distillcli.numerics.scores import Logits, as_logits


@loss(
    LOGIT_LOSSES,
    family="logits",
    formula="T^2 * mean over classes of (P - Q)^2",
    reference="Brier (1950), Monthly Weather Review 78, page 1",
    laws=("zero_when_equal", "nonnegative", "symmetric", "shift_invariant", "permutable"),
    allows_masked=True,
)
def probability_mse(
    *,
    teacher: Scores,
    student: Scores,
    temperature: Temperature = 1.0,
    temperature_squared: bool = True,
    sum: bool = False,
) -> Array:
    """Mean over the classes of the squared difference of probabilities, times temperature squared.

    The sum over classes is the Brier score of the student against the teacher.

    Args:
        teacher: logits, [rows, classes].
        student: logits, same shape.
        temperature: divides both; > 0.
        temperature_squared: whether the factor is there.
        sum: whether the sum over the classes is taken, not their mean.

    Returns:
        [rows], in [0, 2 T^2 / classes]; masked classes count among the classes.

    Raises:
        MismatchError: the shapes differ.

    Reference: Brier (1950), Monthly Weather Review 78, page 1.
    """
    teacher, student = pair(teacher, student)
    apart = probability_gap(teacher.wide, student.wide, temperature)
    rows = row_sum(apart * apart) / (1 if sum else apart.shape[1])
    return rows * factor(temperature, temperature_squared)


@loss(
    LOGIT_LOSSES,
    family="logits",
    formula="sum |sorted P - sorted Q|, the shorter one filled up with zeros",
    reference="Boizard, El Haddad, Hudelot, Colombo (2024), arXiv:2402.12030",
    laws=("zero_when_equal", "nonnegative", "symmetric", "shift_invariant", "permutable"),
    allows_masked=True,
    any_width=True,
)
def uld(
    *,
    teacher: Scores,
    student: Scores,
    temperature: Temperature = 1.0,
    temperature_squared: bool = False,
) -> Array:
    """L1 distance of the sorted probabilities, for teachers of another vocabulary.

    Args:
        teacher: logits, [rows, classes].
        student: logits, [rows, other classes].
        temperature: divides both; > 0; 1 in the paper.
        temperature_squared: whether the factor T^2 is there, as in no published code.

    Returns:
        [rows], in [0, 2], times the factor; 0 where one distribution is a permutation of the other.

    Raises:
        MismatchError: the rows differ.

    Reference: Boizard, El Haddad, Hudelot, Colombo (2024), arXiv:2402.12030.
    """
    teacher, student = as_logits(teacher), as_logits(student)
    if teacher.shape[0] != student.shape[0]:
        shown = f"teacher {list(teacher.shape)}, student {list(student.shape)}"
        raise MismatchError(shown, "the rows differ", "both must come from the same rows")
    shared = min(teacher.shape[1], student.shape[1])
    p, q = (_sorted(side.wide, temperature) for side in (teacher, student))
    apart = p[:, -shared:] - q[:, -shared:]
    rows = row_sum(namespace(apart).abs(apart)) + row_sum(p[:, :-shared]) + row_sum(q[:, :-shared])
    return rows * factor(temperature, temperature_squared)


@loss(
    LOGIT_LOSSES,
    family="logits",
    formula="T^2 * [b (1 - Pearson(P, Q) over classes) + c (1 - Pearson(P, Q) over the rows of a "
    "batch, mean over classes)]",
    reference="Huang, You, Wang, Qian, Xu (2022), arXiv:2205.10536",
    laws=("zero_when_equal", "nonnegative", "symmetric", "shift_invariant", "permutable"),
    least_batch=2,
)
def dist(
    *,
    teacher: Scores,
    student: Scores,
    beta: Weight = 1.0,
    gamma: Weight = 1.0,
    temperature: Temperature = 1.0,
    temperature_squared: bool = True,
    epsilon: Epsilon = 0.0,
) -> Array:
    """Pearson distance of the probabilities between classes and within them.

    Args:
        teacher: logits of one whole batch, [rows, classes].
        student: logits, same shape.
        beta: weight b of the distance over the classes of each row.
        gamma: weight c of the distance over the rows of each class.
        temperature: divides both; > 0.
        temperature_squared: whether the factor is there.
        epsilon: is added to the product of both deviations, as lengths; 1e-8 in published code,
            where classes that are never likely so add up to 1 each, also of equal inputs.

    Returns:
        [rows], in [0, 2 T^2 (b + c)]; the mean is the loss of the batch. What is constant but for
        rounding has correlation 0 with what varies, and 1 with what is constant too.

    Raises:
        MismatchError: the shapes differ.

    Reference: Huang, You, Wang, Qian, Xu (2022), arXiv:2205.10536.
    """
    teacher, student = pair(teacher, student)
    p, q = (side.wide.softened(temperature).probabilities for side in (teacher, student))
    between = _uncorrelated(_centred(p), _centred(q), epsilon)
    within = _uncorrelated(_centred(p.T), _centred(q.T), epsilon)
    rows = beta * between + gamma * row_sum(within) / within.shape[0]
    return rows * factor(temperature, temperature_squared)


def _uncorrelated(one: Array, other: Array, epsilon: float) -> Array:
    """1 - the product of both by their lengths, to the product of which epsilon is added."""
    value = unaligned(one, other)
    if epsilon == 0:
        return value
    xp = namespace(one)
    lengths = xp.sqrt(row_sum(one * one)) * xp.sqrt(row_sum(other * other))
    return (value * lengths + epsilon) / (lengths + epsilon)


def _centred(x: Array) -> Array:
    """Rows of numbers >= 0 less their mean; exactly 0 where all are the same but for rounding."""
    xp = namespace(x)
    largest = xp.max(x, axis=-1, keepdims=True)
    below = x - largest
    below = below - (row_sum(below) / x.shape[1])[:, None]
    flat = largest - xp.min(x, axis=-1, keepdims=True) <= ROUNDING * largest
    return xp.where(flat, xp.zeros_like(below), below)


def _sorted(scores: Logits, temperature: float) -> Array:
    """Probabilities of each row, the highest last: float64 [rows, classes]."""
    probabilities = scores.softened(temperature).probabilities
    return namespace(probabilities).sort(probabilities, axis=-1)
