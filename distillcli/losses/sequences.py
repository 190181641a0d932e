"""Losses on hidden states of sequences, whose positions stay together: [sequences, positions, dim].

Every function returns a number for each position, whose mean over the positions of a sequence is
the loss of the sequence.
"""

import math

from distillcli.backend import Array, namespace
from distillcli.errors import MismatchError
from distillcli.losses.features import unit
from distillcli.losses.table import Count, Loss, loss
from distillcli.numerics.arrays import row_sum, widen
from distillcli.numerics.divergence import kl
from distillcli.numerics.scores import Logits

SEQUENCE_LOSSES: dict[str, Loss] = {}


@loss(
    SEQUENCE_LOSSES,
    family="sequences",
    formula="sum over positions of (A / |A| - B / |B|)^2, A and B the maps of teacher and student",
    reference="Zagoruyko, Komodakis (2017), arXiv:1612.03928",
    laws=("zero_when_equal", "nonnegative", "symmetric", "scale_invariant"),
    of_maps=True,
)
def attention(*, teacher: Array, student: Array) -> Array:
    """Squared distance of attention maps, each divided by its Frobenius norm.

    The usual weight beside a loss of logits is 0.1. Code for maps of a convolution, a number for
    each place, takes the mean over the places in place of the sum: `normalized_mse` on such layers
    as [rows, places].

    Args:
        teacher: attention maps, [sequences, positions, positions].
        student: attention maps, same shape.

    Returns:
        [sequences, positions], the mean over the positions in [0, 4]: twice 1 - cosine of the maps;
        a map that is all zero stays so.

    Raises:
        MismatchError: the shapes differ.

    Reference: Zagoruyko, Komodakis (2017), arXiv:1612.03928.
    """
    _check(teacher, student, any_width=False)
    xp = namespace(teacher)
    sequences, positions, width = teacher.shape
    one, other = (
        unit(xp.reshape(widen(x), (sequences, positions * width))) for x in (teacher, student)
    )
    by_position = xp.reshape((one - other) ** 2, (sequences * positions, width))
    return xp.reshape(row_sum(by_position), (sequences, positions)) * positions


@loss(
    SEQUENCE_LOSSES,
    family="sequences",
    formula="mean over heads and positions of KL(softmax(X X^T / sqrt(d)) of teacher || student)",
    reference="Wang, Bao, Huang, Dong, Wei (2021), arXiv:2012.15828",
    laws=("zero_when_equal", "nonnegative"),
    any_width=True,
)
def minilm_relation(*, teacher: Array, student: Array, heads: Count) -> Array:
    """KL between the self-attention relations of both, in so many relation heads.

    Queries, keys or values, those of all attention heads side by side, are cut into `heads` equal
    parts of d numbers; the relations of a part are those between all positions of the sequence.

    Args:
        teacher: queries, keys, values or hidden states, [sequences, positions, dim].
        student: the same, [sequences, positions, other dim].
        heads: relation heads; it must divide both dims.

    Returns:
        [sequences, positions], nats, >= 0: the mean over the heads; 0 where the relations agree.

    Raises:
        MismatchError: rows or positions differ, or a dim is no multiple of `heads`.

    Reference: Wang, Bao, Huang, Dong, Wei (2021), arXiv:2012.15828.
    """
    _check(teacher, student, any_width=True)
    for side, x in (("teacher", teacher), ("student", student)):
        if x.shape[2] % heads:
            where = f"{side} {list(x.shape)}"
            raise MismatchError(where, f"{x.shape[2]} dimensions are not {heads} equal heads")
    total = 0.0
    for head in range(heads):
        p, q = (_relations(x, head, heads) for x in (teacher, student))
        total = total + kl(p, q, 1.0)
    return namespace(teacher).reshape(total, teacher.shape[:2]) / heads


def _relations(x: Array, head: int, heads: int) -> Logits:
    """Scores of the relations of one head: [sequences * positions, positions]."""
    xp = namespace(x)
    sequences, positions, dim = x.shape
    size = dim // heads
    part = widen(x[:, :, head * size : (head + 1) * size])
    # One by one: a library may take another way for several at once.
    products = [xp.matmul(part[index, :, :], part[index, :, :].T) for index in range(sequences)]
    scores = xp.reshape(xp.stack(products), (sequences * positions, positions))
    return Logits(scores / math.sqrt(size))


def _check(teacher: Array, student: Array, *, any_width: bool) -> None:
    shapes = [tuple(x.shape) for x in (teacher, student)]
    shown = f"teacher {list(shapes[0])}, student {list(shapes[1])}"
    if any(len(shape) != 3 for shape in shapes):
        hint = "reshape(1, -1) makes one row, reshape(1, positions, -1) one of several positions"
        raise MismatchError(shown, "three dimensions are needed: sequences, positions, more", hint)
    if shapes[0][: 2 + (not any_width)] != shapes[1][: 2 + (not any_width)]:
        raise MismatchError(shown, "the shapes differ", "both must come from the same rows")
