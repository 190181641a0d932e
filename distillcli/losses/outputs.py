"""Losses on outputs as they are stored, logits or otherwise.

Every function takes Logits, or plain arrays of logits, and returns the loss of each row, unreduced.
"""

from distillcli.backend import Array
from distillcli.losses.features import cosine as feature_cosine
from distillcli.losses.features import huber as feature_huber
from distillcli.losses.features import mse as feature_mse
from distillcli.losses.pairs import LOGIT_LOSSES, Scores, factor, pair
from distillcli.losses.table import Temperature, Threshold, Weight, loss
from distillcli.numerics.arrays import row_sum, widen
from distillcli.numerics.scores import Logits


@loss(
    LOGIT_LOSSES,
    family="logits",
    formula="mean over classes of (teacher - student)^2, raw outputs",
    reference="Ba, Caruana (2014), arXiv:1312.6184, section 2.2",
    laws=("zero_when_equal", "nonnegative", "symmetric", "permutable"),
    same_kind=True,
    asks=("squares",),
)
def mse(*, teacher: Scores, student: Scores, sum: bool = False) -> Array:
    """Mean over the classes of the squared difference of the outputs as they are stored.

    Tools that divide the logits by a temperature first give that divided by T^2.

    Args:
        teacher: outputs, [rows, classes].
        student: outputs of the same kind and shape.
        sum: whether the sum over the classes is taken, not their mean.

    Returns:
        [rows], >= 0, in the square of the outputs' unit.

    Raises:
        MismatchError: shapes or kinds differ.

    Reference: Ba, Caruana (2014), arXiv:1312.6184, section 2.2.
    """
    teacher, student = pair(teacher, student, same_kind=True)
    return _squares(teacher, student) * (teacher.shape[1] if sum else 1)


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
    teacher, student = pair(teacher, student, same_kind=True)
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
    teacher, student = pair(teacher, student, same_kind=True)
    weight = kl_weight * factor(temperature, temperature_squared)
    divergence = teacher.divergence(student, temperature)
    return weight * divergence + mse_weight * _squares(teacher, student)


@loss(
    LOGIT_LOSSES,
    family="logits",
    formula="mean over classes of d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2), "
    "d = teacher - student, raw outputs",
    reference="Huber (1964), doi:10.1214/aoms/1177703732",
    laws=("zero_when_equal", "nonnegative", "symmetric", "permutable"),
    same_kind=True,
)
def huber(*, teacher: Scores, student: Scores, delta: Threshold = 1.0, sum: bool = False) -> Array:
    """Mean over the classes of the Huber loss of the outputs as they are stored.

    Args:
        teacher: outputs, [rows, classes].
        student: outputs of the same kind and shape.
        delta: the difference from which on the loss grows linearly, > 0.
        sum: whether the sum over the classes is taken, not their mean.

    Returns:
        [rows], >= 0, in the square of the outputs' unit.

    Raises:
        MismatchError: shapes or kinds differ.

    Reference: Huber (1964), doi:10.1214/aoms/1177703732.
    """
    teacher, student = pair(teacher, student, same_kind=True)
    rows = row_sum(feature_huber(widen(teacher.raw - student.raw), delta))
    return rows / (1 if sum else teacher.shape[1])


def _squares(teacher: Logits, student: Logits) -> Array:
    return teacher.remembered(
        "squares", student, lambda: feature_mse(teacher=teacher.raw, student=student.raw)
    )
