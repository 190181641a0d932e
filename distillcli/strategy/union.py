"""Two sides of which only the largest classes are known, over the classes of both."""

from functools import partial
from typing import Any

import numpy as np

from distillcli.backend import Array, namespace
from distillcli.batches.tiles import Tile
from distillcli.numerics.arrays import at_least, row_sum
from distillcli.numerics.scores import Logits
from distillcli.strategy.topk import Numbers, TopK, beside, class_numbers, log, top_k

ROUNDS = 8  # of finding what fits two bounds; from the best without bounds, three are enough
NOTHING = 1e-12  # less than this part of the rest
SLACK = 1e-3  # by how much the rest may be above what the bounds allow, for rounding


def united(tile: Tile, _: float) -> tuple[Logits, Logits]:
    """Teacher and student of a tile, at the temperature at which both were stored."""
    return tile.once("united", partial(_unite, tile))


def _unite(tile: Tile) -> tuple[Logits, Logits]:
    """Both sides over the classes that both have stored, and three classes more.

    These are the classes that the teacher alone has stored, those that the student alone has, and
    the rest. Of the first the student's mass is not known, of the second the teacher's; but a class
    that a side has not stored is at most as likely as the least of those that it has. Of what is
    possible so, that is taken which makes the divergence least: a lower bound of the true one.
    """
    teacher, student = top_k(tile, "teacher"), top_k(tile, "student")
    places = _places(
        class_numbers(tile, "teacher"), class_numbers(tile, "student"), teacher.classes
    )
    shared = np.zeros(student.indices.shape, bool)
    rows, columns = np.nonzero(places >= 0)
    shared[rows, places[rows, columns]] = True
    send = tile.backend.to_device
    both, also, at = send(places >= 0), send(shared), send(np.maximum(places, 0))
    xp = namespace(teacher.log_p)
    own = xp.where(both, teacher.log_p, -xp.inf)
    alike = xp.where(both, xp.take_along_axis(student.log_p, at, axis=-1), -xp.inf)
    p, q = _others(teacher, student, both, also)
    scale = teacher.temperature
    return (
        Logits(beside(own, *(log(mass) for mass in p)) * scale),
        Logits(beside(alike, *(log(mass) for mass in q)) * scale),
    )


def _places(teacher: Numbers, student: Numbers, classes: int) -> Numbers:
    """Where each class of the teacher stands among those of the student, -1 for nowhere."""
    offsets = (np.arange(len(teacher)) * classes)[:, None]
    order = np.argsort(student, axis=1)
    sorted_keys = (np.take_along_axis(student, order, axis=1) + offsets).reshape(-1)
    keys = teacher + offsets
    found = np.minimum(np.searchsorted(sorted_keys, keys), len(sorted_keys) - 1)
    return np.where(sorted_keys[found] == keys, order.reshape(-1)[found], -1)


def _others(
    teacher: TopK, student: TopK, both: Array, also: Array
) -> tuple[list[Array], list[Array]]:
    """The masses of the three further classes, [rows] each, of the teacher and of the student."""
    xp = namespace(teacher.log_p)
    p_alone = row_sum(xp.where(both, 0.0, xp.exp(teacher.log_p)))
    q_alone = row_sum(xp.where(also, 0.0, xp.exp(student.log_p)))
    p_rest, q_rest = teacher.rest(), student.rest()
    of_teacher = xp.count_nonzero(~both, axis=-1)
    of_student = xp.count_nonzero(~also, axis=-1)
    rest = teacher.classes - both.shape[1] - of_student
    p_bounds = _bounds(teacher, p_rest, of_student, rest)
    q_bounds = _bounds(student, q_rest, of_teacher, rest)
    # Without bounds the ratio of both sides would be the same for all that is not shared.
    ratio = _share(p_alone + p_rest, 1.0, q_alone + q_rest)
    q = _within(_share(p_alone, 1.0, ratio), *q_bounds)
    p = _within(q_alone * ratio, *p_bounds)
    for _ in range(ROUNDS):
        p_other, q_other = p_rest - p, q_rest - q
        q = _within(_share(p_alone, q_rest, p_alone + p_other), *q_bounds)
        q_other = q_rest - q
        p = _within(_share(q_alone, p_rest, q_alone + q_other), *p_bounds)
    # Where one side has nothing left the other has nothing either, but for rounding.
    p_left = xp.where(p_rest - p > NOTHING * p_rest, p_rest - p, 0.0)
    q_left = xp.where(q_rest - q > NOTHING * q_rest, q_rest - q, 0.0)
    return [p_alone, p, p_left], [q, q_alone, q_left]


def _bounds(side: TopK, rest: Array, some: Array, others: Array) -> tuple[Array, Array]:
    """How much of the rest `some` classes can have, that of the others taken as well.

    Where the rest is more than the least stored value allows, what is stored are not the largest
    classes alone, and there are no bounds but the rest itself.
    """
    xp = namespace(rest)
    least = xp.exp(xp.min(side.log_p, axis=-1))
    ordered = rest <= (some + others) * least * (1.0 + SLACK)
    low = xp.where(ordered, at_least(rest - others * least, 0.0), 0.0)
    high = xp.where(ordered, xp.minimum(rest, some * least), rest)
    low = xp.where(others == 0, rest, low)
    high = xp.where(some == 0, 0.0, xp.maximum(high, low))
    return xp.minimum(low, high), high


def _within(x: Array, low: Array, high: Array) -> Array:
    xp = namespace(x)
    return xp.minimum(xp.maximum(x, low), high)


def _share(part: Array, of: Any, whole: Array) -> Array:
    """part * of / whole, 0 where the whole is."""
    xp = namespace(part)
    there = whole > 0
    return xp.where(there, part * of / xp.where(there, whole, 1.0), 0.0)
