"""Kernels sweep over rows that are read for the sweep, piece by piece, and none is read twice."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from kernels import KERNELS

from distillcli.kernels import Wanted, fill
from distillcli.kernels.wanted import DIRECTIONS
from distillcli.numerics.scores import Logits
from distillcli.numerics.stored import Stored, Unread

Array = npt.NDArray[Any]
ROWS = 137


def scores(classes: int, seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal((ROWS, classes)).astype(np.float32) * 3


class File:
    """Rows that are read into one place, again and again, as a thread's buffer is."""

    def __init__(self, array: Array, at_once: int) -> None:
        self.array, self.reads = array, list[tuple[int, int]]()
        self.buffer = np.empty_like(array)
        unread = Unread(array.shape, self.read, at_once)
        self.logits = Logits(Stored(unread, "float32", "float32", lambda bits: bits))

    def read(self, start: int, stop: int) -> Array:
        self.reads.append((start, stop))
        self.buffer[: stop - start] = self.array[start:stop]
        return self.buffer[: stop - start]


def wanted(p: Logits, q: Logits, labels: Array) -> Wanted:
    both = (p, q)
    divergences = {2.0: DIRECTIONS, 0.5: DIRECTIONS[:1]}
    return Wanted(
        both, divergences, squares=True, cosine=True, above=p, overlap=True, ones=both,
        entropies=both, tops=both, labels=labels, nlls=both,
    )  # fmt: skip


def figures(p: Logits, q: Logits, labels: Array, kernel: str) -> list[Array]:
    """All that a kernel leaves."""
    with np.errstate(all="ignore"):
        fill(wanted(p, q, labels), kernel)
        return [
            *(p.divergence(q, at) for at in (2.0, 0.5)),
            q.divergence(p, 2.0),
            p.remembered("squares", q, pytest.fail),
            p.remembered("cosine", q, pytest.fail),
            p.remembered("overlap", q, pytest.fail),
            q.above_top_of(p),
            *(x for one in (p, q) for x in (one.max, one.top, one.entropy, one.finite)),
            *(one.nll(labels) for one in (p, q)),
            *(one.softened(at).total for one in (p, q) for at in (1.0, 2.0, 0.5)),
        ]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("at_once", [1, 8, 100, 136])
@pytest.mark.parametrize("classes", [2, 10, 64, 300])
def test_pieces_change_no_bit(kernel: str, classes: int, at_once: int) -> None:
    """Whatever is read at a time, each row is read once, and found as in any other company."""
    p, q = scores(classes, 0), scores(classes, 1)
    p[5, 0] = q[5, 0] = q[6, 1] = p[7, 1] = -np.inf
    q[8], p[9, 0], q[10, 1] = p[8], np.nan, np.inf
    q[11:20] = p[11:20] * np.float32(1 + 1e-4)
    labels = np.arange(ROWS) % classes
    expected = figures(Logits(p), Logits(q), labels, kernel)
    teacher, student = File(p, at_once), File(q, at_once)
    found = figures(teacher.logits, student.logits, labels, kernel)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    cuts = [(start, min(ROWS, start + at_once)) for start in range(0, ROWS, at_once)]
    for file in (teacher, student):
        assert file.reads[: len(cuts)] == cuts
        # Rows that the loops leave to the plain functions are read once more, and no others.
        assert sum(stop - start for start, stop in file.reads[len(cuts) :]) <= 20


@pytest.mark.parametrize("kernel", KERNELS)
def test_scores_are_there_for_who_asks(kernel: str) -> None:
    """A plain function gets all rows after a sweep, read once for all of them."""
    p, q = scores(10, 2), scores(10, 3)
    teacher, student = File(p, 50), File(q, 50)
    fill(Wanted((teacher.logits, student.logits), {1.0: ["forward"]}), kernel)
    swept = len(teacher.reads)
    for _ in range(2):
        np.testing.assert_array_equal(teacher.logits.scores, p)
        np.testing.assert_array_equal(teacher.logits.taken(np.array([3, 90])).scores, p[[3, 90]])
        np.testing.assert_array_equal(teacher.logits.chosen(np.zeros(ROWS, np.int64)), p[:, 0])
    assert teacher.reads[swept:] == [(0, ROWS)]
    assert len(student.reads) == swept


def test_rows_by_number_before_all_are_read() -> None:
    """Some rows are read with what lies between them alone."""
    array = scores(4, 4)
    file = File(array, 10)
    np.testing.assert_array_equal(file.logits.taken(np.array([20, 23])).scores, array[[20, 23]])
    assert file.reads == [(20, 24)]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("classes", [5, 100])
def test_further_temperatures_change_no_bit(kernel: str, classes: int) -> None:
    """What belongs to temperature 1 is had from the first one, whatever is asked beside it."""
    p, q = scores(classes, 5), scores(classes, 6)
    found = []
    for divergences in ({2.0: DIRECTIONS}, {2.0: DIRECTIONS, 1.0: DIRECTIONS, 7.0: DIRECTIONS}):
        sides = Logits(p), Logits(q)
        fill(Wanted(sides, divergences, ones=sides, entropies=sides), kernel)
        found.append([x for one in sides for x in (one.softened(1.0).total, one.entropy)])
        found[-1] += [sides[0].divergence(sides[1], 2.0), sides[1].divergence(sides[0], 2.0)]
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("classes", [5, 100])
@pytest.mark.parametrize("label", [-1, 100, 2**40])
def test_labels_that_are_no_class(kernel: str, classes: int, label: int) -> None:
    """Nothing is looked up there; the likelihood of such a label is no number."""
    logits = Logits(scores(classes, 7))
    labels = np.zeros(ROWS, np.int64)
    labels[3] = label
    fill(Wanted(labels=labels, nlls=[logits], ones=[logits]), kernel)
    found = logits.nll(labels)
    assert np.isnan(found[3])
    assert np.isfinite(np.delete(found, 3)).all()


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("classes", [10, 100])
def test_masks_beside_the_lowest_numbers(kernel: str, classes: int) -> None:
    """A masked class changes no other row, and in its own is below whatever is a number."""
    lowest = np.finfo(np.float32).min
    p, q = scores(classes, 8), scores(classes, 9)
    p[1], p[2, 3:], q[3, 1:] = lowest, lowest, lowest
    labels = np.zeros(ROWS, np.int64)
    alone = figures(Logits(p), Logits(q), labels, kernel)
    p[0, 2] = q[0, 2] = -np.inf
    beside = figures(Logits(p), Logits(q), labels, kernel)
    for one, other in zip(alone, beside, strict=True):
        np.testing.assert_array_equal(one[1:], other[1:])
    p[1, 1] = q[1, 1] = p[2, 1] = q[2, 1] = -np.inf
    found = figures(Logits(p), Logits(q), labels, kernel)
    sides = Logits(p.astype(np.float64)), Logits(q.astype(np.float64))
    with np.errstate(all="ignore"):
        exact = sides[0].divergence(sides[1], 2.0)
        np.testing.assert_allclose(found[0][:3], exact[:3], rtol=1e-5)
        for side, rows in zip(sides, found[-8:-6], strict=True):
            np.testing.assert_allclose(rows[:3], side.nll(labels)[:3], rtol=1e-5)
        for side, rows in zip(sides, (found[9], found[13]), strict=True):
            np.testing.assert_allclose(rows[:3], side.entropy[:3], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("classes", [5, 200])
@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_cosines_of_extreme_numbers(kernel: str, classes: int, size: float) -> None:
    """Squares that leave the range of float64 spoil nothing."""
    p, q = (scores(classes, seed).astype(np.float64) for seed in (10, 11))
    expected = 1 - (p * q).sum(1) / np.linalg.norm(p, axis=1) / np.linalg.norm(q, axis=1)
    one, other = Logits(p * size), Logits(q * size)
    with np.errstate(all="ignore"):
        fill(Wanted((one, other), cosine=True), kernel)
    found = one.remembered("cosine", other, lambda: pytest.fail("not left"))
    np.testing.assert_allclose(found, expected, rtol=1e-11)


@pytest.mark.parametrize("kernel", KERNELS)
def test_no_rows(kernel: str) -> None:
    """Nothing is found about nothing."""
    p, q = Logits(np.empty((0, 3), np.float32)), Logits(np.empty((0, 3), np.float32))
    fill(Wanted((p, q), {1.0: DIRECTIONS}), kernel)
    assert p.divergence(q, 1.0).shape == (0,)


@pytest.mark.parametrize("kernel", KERNELS)
def test_maxima_alone_read_nothing_twice(kernel: str) -> None:
    """What only tells which rows can be used is swept as well."""
    file = File(scores(10, 12), 50)
    fill(Wanted(maxima=[file.logits]), kernel)
    assert not file.logits.bad.any()
    assert file.reads == [(0, 50), (50, 100), (100, ROWS)]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("classes", [10, 1000])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_scores_at_the_end_of_the_numbers(kernel: str, classes: int, temperature: float) -> None:
    """A class padded with the lowest float32 on one side: the divergence is large, not infinite."""
    p, q = scores(classes, 10), scores(classes, 11)
    q[:, : classes // 10] = np.finfo(np.float32).min
    sides = Logits(p), Logits(q)
    with np.errstate(all="ignore"):
        fill(Wanted(sides, {temperature: ["forward"]}), kernel)
    scaled = [
        (x - x.max(1, keepdims=True)) / temperature for x in (p.astype(float), q.astype(float))
    ]
    logs = [x - np.log(np.exp(x).sum(1, keepdims=True)) for x in scaled]
    exact = (np.exp(logs[0]) * (logs[0] - logs[1])).sum(1)
    found = sides[0].remembered(("kl", temperature), sides[1], pytest.fail)
    np.testing.assert_allclose(found, exact, rtol=1e-5)
