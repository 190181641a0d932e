"""Losses on how the rows of a batch lie to each other; widths of teacher and student may differ.

Every function takes the arrays [rows, dim] of one whole batch and returns a number for each row,
whose mean over the rows is the loss of the batch. It depends on which rows are in the batch.
"""

import math

from distillcli.backend import Array, namespace
from distillcli.errors import MismatchError
from distillcli.losses.features import huber, unaligned, unit
from distillcli.losses.table import Epsilon, Loss, Order, Weight, loss
from distillcli.numerics.arrays import ROUNDING, at_least, row_sum, widen

RELATION_LOSSES: dict[str, Loss] = {}


@loss(
    RELATION_LOSSES,
    family="relations",
    formula="mean over pairs of rows of Huber(D_t - D_s), D the distance by the mean distance",
    reference="Park, Kim, Lu, Cho (2019), arXiv:1904.05068, section 3.2.1",
    laws=("zero_when_equal", "nonnegative", "symmetric", "scale_invariant", "permutable"),
    any_width=True,
    least_batch=3,
)
def rkd_distance(*, teacher: Array, student: Array) -> Array:
    """Huber loss, with delta 1, of the distances of each pair of rows.

    Distances are divided by their mean over the pairs of different rows; published code leaves rows
    that are equal out of that mean too. The mean of the losses is over all pairs, those of a row
    with itself among them, as published code has it.

    Args:
        teacher: features, [rows, dim].
        student: features, [rows, other dim].

    Returns:
        [rows], >= 0; the mean is the loss of the batch.

    Raises:
        MismatchError: the rows differ.

    Reference: Park, Kim, Lu, Cho (2019), arXiv:1904.05068, section 3.2.1.
    """
    teacher, student = _batch(teacher, student)
    return _mean(huber(_distances(teacher) - _distances(student), 1.0))


@loss(
    RELATION_LOSSES,
    family="relations",
    formula="mean over triples of rows of Huber(A_t - A_s), A the cosine of the angle at a row",
    reference="Park, Kim, Lu, Cho (2019), arXiv:1904.05068, section 3.2.2",
    laws=("zero_when_equal", "nonnegative", "symmetric", "scale_invariant", "permutable"),
    any_width=True,
    least_batch=3,
)
def rkd_angle(*, teacher: Array, student: Array) -> Array:
    """Huber loss, with delta 1, of the cosines of the angles that all pairs of rows form at a row.

    The mean is over all triples, those with equal rows among them, as published code has it. It
    takes time with the cube of the batch. The usual weights are 25 for `rkd_distance` and 50 here.

    Args:
        teacher: features, [rows, dim].
        student: features, [rows, other dim].

    Returns:
        [rows], in [0, 1.5], of the angles at each row; the mean is the loss of the batch.

    Raises:
        MismatchError: the rows differ.

    Reference: Park, Kim, Lu, Cho (2019), arXiv:1904.05068, section 3.2.2.
    """
    teacher, student = _batch(teacher, student)
    xp = namespace(teacher)
    at_each = [
        _mean(_mean(huber(_angles(teacher, row) - _angles(student, row), 1.0))[None, :])[0]
        for row in range(teacher.shape[0])
    ]
    return xp.stack(at_each)


@loss(
    RELATION_LOSSES,
    family="relations",
    formula="mean over pairs of rows of (G_t - G_s)^2, G = X X^T with rows of length 1",
    reference="Tung, Mori (2019), arXiv:1907.09682",
    laws=("zero_when_equal", "nonnegative", "symmetric", "permutable"),
    any_width=True,
    least_batch=2,
)
def similarity_preserving(*, teacher: Array, student: Array) -> Array:
    """Mean squared difference of the similarities of each pair of rows.

    Args:
        teacher: features, [rows, dim].
        student: features, [rows, other dim].

    Returns:
        [rows], >= 0; the mean is the loss of the batch.

    Raises:
        MismatchError: the rows differ.

    Reference: Tung, Mori (2019), arXiv:1907.09682.
    """
    teacher, student = _batch(teacher, student)
    return _mean((unit(_products(teacher)) - unit(_products(student))) ** 2)


@loss(
    RELATION_LOSSES,
    family="relations",
    formula="mean over pairs of rows of p_t log(p_t / p_s), p = (1 + cos) / 2 by its sum of a row",
    reference="Passalis, Tefas (2018), arXiv:1803.10837",
    laws=("zero_when_equal", "nonnegative", "permutable"),
    any_width=True,
    least_batch=2,
)
def pkt(*, teacher: Array, student: Array, epsilon: Epsilon = 0.0) -> Array:
    """Probabilistic knowledge transfer: KL between the similarities of a row to all rows.

    The mean is over all pairs of rows, as published code has it: the KL of each row, summed over
    the others, is that times the number of rows.

    Args:
        teacher: features, [rows, dim].
        student: features, [rows, other dim].
        epsilon: is added to the lengths of rows, and to both probabilities in the logarithm; 1e-7
            in published code.

    Returns:
        [rows], nats, >= 0; infinite where the student alone has two rows point in opposite
        directions and nothing is added; the mean is the loss of the batch.

    Raises:
        MismatchError: the rows differ.

    Reference: Passalis, Tefas (2018), arXiv:1803.10837.
    """
    teacher, student = _batch(teacher, student)
    p, q = (_similarities(x, epsilon) for x in (teacher, student))
    xp = namespace(p)
    if epsilon:
        return _mean(p * xp.log((p + epsilon) / (q + epsilon)) + (q - p))
    gap = xp.log(xp.where(p > 0, p, 1.0)) - xp.log(xp.where(q > 0, q, 1.0))
    terms = xp.where(q > 0, p * (xp.expm1(-gap) + gap), math.inf)
    return _mean(xp.where(p > 0, terms, q))


@loss(
    RELATION_LOSSES,
    family="relations",
    formula="sum over pairs of rows of (G_t - G_s)^2, G = F F^T / dim with columns of length 1: "
    "MMD^2 of the dimensions with the kernel (x y)^2",
    reference="Huang, Wang (2017), arXiv:1707.01219",
    laws=("zero_when_equal", "nonnegative", "symmetric", "scale_invariant", "permutable"),
    any_width=True,
    least_batch=2,
)
def nst(*, teacher: Array, student: Array) -> Array:
    """Neuron selectivity transfer: which rows each neuron of the teacher responds to.

    The rows of the batch are where a neuron, a dimension, may be active; the activations of each,
    scaled to length 1, are a sample, and the samples of both sides are compared by their squared
    maximum mean discrepancy with a polynomial kernel of degree 2 and no constant. Code for feature
    maps takes the places of one image: that is [rows, positions, channels] with a `batch_size` of
    as many rows as there are positions.

    Args:
        teacher: features, [rows, dim].
        student: features, [rows, other dim].

    Returns:
        [rows], >= 0; the mean is the loss of the batch.

    Raises:
        MismatchError: the rows differ.

    Reference: Huang, Wang (2017), arXiv:1707.01219.
    """
    teacher, student = _batch(teacher, student)
    apart = _selectivity(teacher) - _selectivity(student)
    return row_sum(apart * apart) * apart.shape[0]


@loss(
    RELATION_LOSSES,
    family="relations",
    formula="mean over pairs of rows of (K_t - K_s)^2, K the Taylor series of exp(-gamma |x - y|^2)"
    " on rows of length 1 up to (x y)^order",
    reference="Peng et al. (2019), arXiv:1904.01802",
    laws=("zero_when_equal", "nonnegative", "symmetric", "scale_invariant", "permutable"),
    any_width=True,
    least_batch=2,
)
def correlation_congruence(
    *, teacher: Array, student: Array, gamma: Weight = 0.4, order: Order = 2
) -> Array:
    """Mean squared difference of the correlations of each pair of rows.

    That is the loss of the paper. Some published code calls another one by its name, the sum of
    the products of neighbouring rows' differences, which needs equal widths and is not offered.

    Args:
        teacher: features, [rows, dim].
        student: features, [rows, other dim].
        gamma: of the Gaussian kernel, >= 0.
        order: the highest power of the series.

    Returns:
        [rows], >= 0; the mean is the loss of the batch.

    Raises:
        MismatchError: the rows differ.

    Reference: Peng et al. (2019), arXiv:1904.01802.
    """
    teacher, student = _batch(teacher, student)
    one, other = (_correlations(x, gamma, order) for x in (teacher, student))
    return _mean((one - other) ** 2)


@loss(
    RELATION_LOSSES,
    family="relations",
    formula="1 - CKA, CKA = <H G_t H, H G_s H> / (|H G_t H| |H G_s H|), G = X X^T, H centres",
    reference="Kornblith, Norouzi, Lee, Hinton (2019), arXiv:1905.00414, section 3",
    laws=("zero_when_equal", "nonnegative", "symmetric", "scale_invariant", "permutable"),
    any_width=True,
    least_batch=3,
)
def linear_cka(*, teacher: Array, student: Array) -> Array:
    """One minus the linear centred kernel alignment.

    It is biased towards 0, the more so the fewer rows there are for the dimensions.

    Args:
        teacher: features, [rows, dim].
        student: features, [rows, other dim].

    Returns:
        [rows], the loss of the batch for every row, in [0, 1]. Where the rows of one side are all
        the same it is 1, where those of both are, 0.

    Raises:
        MismatchError: the rows differ.

    Reference: Kornblith, Norouzi, Lee, Hinton (2019), arXiv:1905.00414, section 3.
    """
    teacher, student = _batch(teacher, student)
    return _apart(_centred(teacher), _centred(student))


@loss(
    RELATION_LOSSES,
    family="relations",
    formula="1 - CKA from unbiased HSIC: G = X X^T without its diagonal and so centred that the "
    "sums of rows are 0",
    reference="Song et al. (2012), Journal of Machine Learning Research 13; "
    "Nguyen, Raghu, Kornblith (2021), arXiv:2010.15327",
    laws=("nonnegative", "symmetric", "scale_invariant", "permutable"),
    any_width=True,
    least_batch=4,
)
def linear_cka_unbiased(*, teacher: Array, student: Array) -> Array:
    """One minus the linear centred kernel alignment from the unbiased estimator of HSIC.

    The estimate may be negative, and the loss above 1; it is never NaN.

    Args:
        teacher: features, [rows, dim]; at least 4 rows.
        student: features, [rows, other dim].

    Returns:
        [rows], the loss of the batch for every row, in [0, 2]. Where the rows of one side are all
        the same it is 1, where those of both are, 0; 1 of fewer than 4 rows.

    Raises:
        MismatchError: the rows differ.

    Reference: Song et al. (2012), Journal of Machine Learning Research 13;
    Nguyen, Raghu, Kornblith (2021), arXiv:2010.15327.
    """
    teacher, student = _batch(teacher, student)
    if teacher.shape[0] < 4:
        xp = namespace(teacher)
        return xp.ones(teacher.shape[0], dtype=xp.float64)
    return _apart(_centred_without_diagonal(teacher), _centred_without_diagonal(student))


def _batch(teacher: Array, student: Array) -> tuple[Array, Array]:
    """Both as float64; raises MismatchError unless they have as many rows."""
    shapes = [tuple(x.shape) for x in (teacher, student)]
    shown = f"teacher {list(shapes[0])}, student {list(shapes[1])}"
    if any(len(shape) != 2 for shape in shapes):
        raise MismatchError(shown, "two dimensions are needed", "reshape(1, -1) makes one row")
    if shapes[0][0] != shapes[1][0]:
        raise MismatchError(shown, "the rows differ", "both must come from the same rows")
    return widen(teacher), widen(student)


def _mean(x: Array) -> Array:
    return row_sum(x) / x.shape[-1]


def _products(x: Array) -> Array:
    """The products of all pairs of rows, [rows, rows]."""
    return namespace(x).matmul(x, x.T)


def _distances(x: Array) -> Array:
    """Of all pairs of rows, by their mean over pairs of different rows: [rows, rows].

    Each from the difference of its two rows: from products, close rows would be rounding noise.
    """
    xp = namespace(x)
    found = xp.stack([_lengths(x - x[row, :][None, :]) for row in range(x.shape[0])])
    pairs = x.shape[0] * (x.shape[0] - 1)
    middle = xp.sum(found) / max(pairs, 1)
    return found / xp.where(middle == 0, xp.ones_like(middle), middle)


def _lengths(x: Array) -> Array:
    return namespace(x).sqrt(row_sum(x * x))


def _angles(x: Array, row: int) -> Array:
    """Cosines of the angles that all pairs of rows form at a row; 0 where one is that row."""
    return _products(unit(x - x[row, :][None, :]))


def _similarities(x: Array, epsilon: float) -> Array:
    """(1 + cosine) / 2 of all pairs of rows, each row divided by its sum."""
    rows = unit(x)
    if epsilon:
        lengths = _lengths(x)
        rows = rows * (lengths / (lengths + epsilon))[:, None]
    similar = at_least(0.5 * (1.0 + _products(rows)), 0.0)
    return similar / row_sum(similar)[:, None]


def _selectivity(x: Array) -> Array:
    by_neuron = unit(x.T).T
    return _products(by_neuron) / x.shape[1]


def _correlations(x: Array, gamma: float, order: int) -> Array:
    """Taylor series of the Gaussian kernel on rows of length 1, by Horner's rule."""
    products = _products(unit(x))
    series = namespace(x).ones_like(products)
    for power in range(order, 0, -1):
        series = 1.0 + series * products * (2.0 * gamma / power)
    return math.exp(-2.0 * gamma) * series


def _centred(x: Array) -> Array:
    """Products of the rows less their mean; less the first row before, 0 where all are the same."""
    xp = namespace(x)
    x = x - x[:1, :]
    return _products(x - xp.mean(x, axis=0)[None, :])


def _centred_without_diagonal(x: Array) -> Array:
    """Products so centred that their inner product is n (n - 3) times the unbiased HSIC."""
    xp = namespace(x)
    rows = x.shape[0]
    others = 1.0 - xp.eye(rows, dtype=xp.float64)
    products = _centred(x) * others
    sums = row_sum(products) / (rows - 2)
    found = products - sums[:, None] - sums[None, :] + xp.sum(sums) / (rows - 1)
    noise = ROUNDING * xp.max(xp.abs(products))
    return xp.where(xp.max(xp.abs(found * others)) > noise, found * others, xp.zeros_like(found))


def _apart(one: Array, other: Array) -> Array:
    """1 - cosine of two matrices, once for each row."""
    xp = namespace(one)
    flat = (1, one.shape[0] * one.shape[1])
    value = unaligned(xp.reshape(one, flat), xp.reshape(other, flat))
    return xp.broadcast_to(value, (one.shape[0],))
