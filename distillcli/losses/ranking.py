"""Losses on the order of the teacher's highest classes.

Every function takes Logits, or plain arrays of logits, and returns the loss of each row, unreduced.
"""

import math
from collections.abc import Callable

from distillcli.backend import Array, namespace
from distillcli.losses.pairs import LOGIT_LOSSES, Scores, pair
from distillcli.losses.table import Ranks, Weight, loss
from distillcli.numerics.arrays import at, at_least, row_sum, widen
from distillcli.numerics.scores import Logits


@loss(
    LOGIT_LOSSES,
    family="logits",
    formula="mean over pairs of the teacher's top k, i above j, of max(0, margin - (s_i - s_j))",
    reference="Joachims (2002), doi:10.1145/775047.775067",
    laws=("nonnegative", "shift_invariant"),
)
def topk_hinge(*, teacher: Scores, student: Scores, k: Ranks = 10, margin: Weight = 1.0) -> Array:
    """How far the student is from keeping the order of the teacher's top classes by a margin.

    Args:
        teacher: logits, [rows, classes].
        student: logits, same shape.
        k: how many of the teacher's highest classes count, the lowest index first among equals;
            all of them where there are fewer.
        margin: by how much the student's logit of the higher class must be above the other, >= 0.

    Returns:
        [rows], >= 0, in the unit of logits.

    Raises:
        MismatchError: the shapes differ.

    Reference: Joachims (2002), doi:10.1145/775047.775067.
    """
    return _over_pairs(teacher, student, k, lambda lead: at_least(margin - lead, 0.0))


@loss(
    LOGIT_LOSSES,
    family="logits",
    formula="mean over pairs of the teacher's top k, i above j, of log(1 + exp(s_j - s_i))",
    reference="Burges et al. (2005), doi:10.1145/1102351.1102363",
    laws=("nonnegative", "shift_invariant"),
)
def topk_logistic(*, teacher: Scores, student: Scores, k: Ranks = 10) -> Array:
    """Cross-entropy of the student's order of pairs of the teacher's top classes.

    Args:
        teacher: logits, [rows, classes].
        student: logits, same shape.
        k: how many of the teacher's highest classes count, the lowest index first among equals;
            all of them where there are fewer.

    Returns:
        [rows], nats, >= 0.

    Raises:
        MismatchError: the shapes differ.

    Reference: Burges et al. (2005), doi:10.1145/1102351.1102363.
    """
    return _over_pairs(teacher, student, k, _softplus_of_minus)


def _softplus_of_minus(x: Array) -> Array:
    """log(1 + exp(-x))."""
    xp = namespace(x)
    return at_least(-x, 0.0) + xp.log1p(xp.exp(-xp.abs(x)))


def _over_pairs(
    teacher: Scores, student: Scores, k: int, of_lead: Callable[[Array], Array]
) -> Array:
    """The mean of a function of s_i - s_j over the pairs of the teacher's top k, i above j."""
    teacher, student = pair(teacher, student)
    ranked = _student_by_rank(teacher, student, min(k, teacher.shape[1]))
    total = 0.0 * ranked[:, 0]
    for rank in range(ranked.shape[1] - 1):
        total = total + row_sum(of_lead(ranked[:, rank : rank + 1] - ranked[:, rank + 1 :]))
    return total / max(1, ranked.shape[1] * (ranked.shape[1] - 1) // 2)


def _student_by_rank(teacher: Logits, student: Logits, k: int) -> Array:
    """The student's scores of the teacher's k highest classes, best first: float64 [rows, k]."""
    xp = namespace(teacher.scores)
    left, found = teacher.scores, []
    classes = xp.arange(left.shape[1], dtype=xp.int64)
    for _ in range(k):
        best = xp.argmax(left, axis=-1)
        found.append(widen(at(student.scores, best)))
        left = xp.where(classes[None, :] == best[:, None], -math.inf, left)
    return xp.stack(found, axis=-1)
