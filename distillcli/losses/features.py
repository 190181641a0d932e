"""Losses on hidden states: features of the student, projected where need be, against a teacher's.

Every function takes arrays [rows, dim] of finite numbers and returns the loss of each row.
"""

from distillcli.backend import Array, namespace
from distillcli.losses.table import Loss, Threshold, loss
from distillcli.numerics.arrays import check_same_shape, row_sum, scale_rows, widen

FEATURE_LOSSES: dict[str, Loss] = {}


@loss(
    FEATURE_LOSSES,
    family="features",
    formula="mean over dimensions of (teacher - student)^2",
    reference="Romero et al. (2015), arXiv:1412.6550, section 2.2",
    laws=("zero_when_equal", "nonnegative", "symmetric", "permutable"),
)
def mse(*, teacher: Array, student: Array, sum: bool = False) -> Array:
    """Mean over the dimensions of the squared difference.

    Args:
        teacher: features, [rows, dim].
        student: features, same shape.
        sum: whether the sum over the dimensions is taken, not their mean.

    Returns:
        [rows], >= 0, in the square of the features' unit.

    Raises:
        MismatchError: the shapes differ.

    Reference: Romero et al. (2015), arXiv:1412.6550, section 2.2.
    """
    check_same_shape(teacher=teacher, student=student)
    return _sum_of_squares(teacher - student) / (1 if sum else teacher.shape[1])


@loss(
    FEATURE_LOSSES,
    family="features",
    formula="1 - cos(teacher, student)",
    reference="Sanh et al. (2019), arXiv:1910.01108, section 3",
    laws=("nonnegative", "symmetric", "scale_invariant", "permutable"),
)
def cosine(*, teacher: Array, student: Array) -> Array:
    """One minus the cosine of the angle between both, as half the square of their unit distance.

    That form is exact for equal inputs and keeps its digits for close ones.

    Args:
        teacher: features, [rows, dim].
        student: features, same shape.

    Returns:
        [rows], in [0, 2]; 1 where one of the rows is all zero.

    Raises:
        MismatchError: the shapes differ.

    Reference: Sanh et al. (2019), arXiv:1910.01108, section 3.
    """
    check_same_shape(teacher=teacher, student=student)
    xp = namespace(teacher)
    one, other = unit(teacher), unit(student)
    value = 0.5 * _sum_of_squares(one - other)
    no_angle = ~(xp.any(one != 0, axis=-1) & xp.any(other != 0, axis=-1))
    return xp.where(no_angle, xp.ones_like(value), xp.clip(value, 0.0, 2.0))


def unaligned(one: Array, other: Array) -> Array:
    """`cosine` of what is left of rows when their mean is taken off, which may be nothing.

    Where it is nothing on one side, all of which was the same, that side goes with nothing: 1.
    Where it is nothing on both, they agree: 0. So what is equal has always the loss 0.
    """
    xp = namespace(one)
    value = cosine(teacher=one, student=other)
    spread = xp.any(one != 0, axis=-1) | xp.any(other != 0, axis=-1)
    return xp.where(spread, value, xp.zeros_like(value))


@loss(
    FEATURE_LOSSES,
    family="features",
    formula="mean over dimensions of (teacher / |teacher| - student / |student|)^2",
    reference="Sun, Cheng, Gan, Liu (2019), arXiv:1908.09355, section 3.2",
    laws=("zero_when_equal", "nonnegative", "symmetric", "scale_invariant", "permutable"),
)
def normalized_mse(*, teacher: Array, student: Array, sum: bool = False) -> Array:
    """Mean over the dimensions of the squared difference of rows scaled to unit length.

    Args:
        teacher: features, [rows, dim].
        student: features, same shape.
        sum: whether the sum over the dimensions is taken, which is at most 4, not their mean.

    Returns:
        [rows], in [0, 4 / dim]; a row that is all zero stays so.

    Raises:
        MismatchError: the shapes differ.

    Reference: Sun, Cheng, Gan, Liu (2019), arXiv:1908.09355, section 3.2 (patient distillation).
    """
    check_same_shape(teacher=teacher, student=student)
    return _sum_of_squares(unit(teacher) - unit(student)) / (1 if sum else teacher.shape[1])


@loss(
    FEATURE_LOSSES,
    family="features",
    formula="mean over dimensions of |teacher - student|",
    reference="Kim, Park, Kwak (2018), arXiv:1802.04977",
    laws=("zero_when_equal", "nonnegative", "symmetric", "permutable"),
)
def l1(*, teacher: Array, student: Array, sum: bool = False) -> Array:
    """Mean over the dimensions of the absolute difference.

    Args:
        teacher: features, [rows, dim].
        student: features, same shape.
        sum: whether the sum over the dimensions is taken, not their mean.

    Returns:
        [rows], >= 0, in the unit of the features.

    Raises:
        MismatchError: the shapes differ.

    Reference: Kim, Park, Kwak (2018), arXiv:1802.04977.
    """
    check_same_shape(teacher=teacher, student=student)
    return row_sum(namespace(teacher).abs(teacher - student)) / (1 if sum else teacher.shape[1])


@loss(
    FEATURE_LOSSES,
    family="features",
    formula="mean over dimensions of d^2 / (2 beta) where |d| <= beta, else |d| - beta / 2, "
    "d = teacher - student",
    reference="Girshick (2015), arXiv:1504.08083, equation 3",
    laws=("zero_when_equal", "nonnegative", "symmetric", "permutable"),
)
def smooth_l1(*, teacher: Array, student: Array, beta: Threshold = 1.0, sum: bool = False) -> Array:
    """Mean over the dimensions of the absolute difference, squared where it is small.

    It is the Huber loss with delta = beta, divided by beta.

    Args:
        teacher: features, [rows, dim].
        student: features, same shape.
        beta: the difference from which on the loss grows linearly, > 0.
        sum: whether the sum over the dimensions is taken, not their mean.

    Returns:
        [rows], >= 0, in the unit of the features.

    Raises:
        MismatchError: the shapes differ.

    Reference: Girshick (2015), arXiv:1504.08083, equation 3.
    """
    check_same_shape(teacher=teacher, student=student)
    rows = row_sum(huber(widen(teacher - student), beta)) / beta
    return rows / (1 if sum else teacher.shape[1])


def huber(x: Array, delta: float) -> Array:
    """x^2 / 2, growing linearly from |x| = delta on."""
    xp = namespace(x)
    size = xp.abs(x)
    inner = xp.clip(size, 0.0, delta)
    return inner * (size - 0.5 * inner)


def unit(x: Array) -> Array:
    """Rows scaled to length 1, through their largest entry so that no square overflows."""
    xp = namespace(x)
    largest = xp.max(xp.abs(x), axis=-1, keepdims=True)
    x = x / xp.where(largest == 0, xp.ones_like(largest), largest)
    squares = _sum_of_squares(x)
    return scale_rows(x, 1.0 / xp.sqrt(xp.where(squares == 0, xp.ones_like(squares), squares)))


def _sum_of_squares(x: Array) -> Array:
    wide = widen(x)
    return row_sum(wide * wide)
