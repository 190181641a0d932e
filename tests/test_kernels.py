"""The fast path gives what the plain functions give, within the bounds, whatever stands beside."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from kernels import KERNELS

from distillcli.kernels import Wanted, fill
from distillcli.kernels.wanted import DIRECTIONS
from distillcli.numerics.scores import Logits

Array = np.ndarray[Any, Any]
DTYPES = ("float32", "float64")
TEMPERATURES = (1e-2, 0.1, 0.5, 1.0, 2.0, 3.0, 4.0, 8.0, 20.0, 1e3)


def pairs(classes: int, dtype: str) -> Iterator[tuple[Array, Array]]:
    """Close and far, flat and one-hot, shifted and large rows."""
    random = np.random.default_rng(classes)
    rows = 24 if classes < 5000 else 6 if classes < 100_000 else 2
    for scale in (0.01, 1.0, 10.0, 1e3, 1e4):
        for distance in (1e-7, 1e-3, 0.03, 0.3, 1.0, 3.0, 300.0):
            teacher = random.standard_normal((rows, classes)) * scale
            student = teacher + random.standard_normal((rows, classes)) * min(distance, scale)
            teacher[::3] += 1e4 * (distance > 1)
            teacher[1::6, 0] += 50
            yield teacher.clip(-1e4, 2e4).astype(dtype), student.clip(-1e4, 2e4).astype(dtype)


def bound(dtype: str, temperature: float, value: Array) -> Array:
    """What the loss, its factor T^2 included, may be off by."""
    if dtype == "float64":
        return np.maximum(1e-11 * value, 1e-12)
    return np.maximum((1e-5 if 0.1 <= temperature <= 20 else 1e-4) * value, 1e-6)


def slow(scores: Array, temperature: float) -> tuple[Array, Array]:
    """Softmax and its logarithm with 80 bits."""
    x = scores.astype(np.longdouble) / np.longdouble(temperature)
    x = x - x.max(axis=1, keepdims=True)
    log_p = x - np.log(np.exp(x).sum(axis=1, keepdims=True))
    return np.exp(log_p), log_p


def filled(
    kernel: str, teacher: Array, student: Array, temperature: float
) -> tuple[Logits, Logits]:
    p, q = Logits(teacher), Logits(student)
    with np.errstate(all="ignore"):
        wanted = Wanted(
            (p, q),
            {temperature: DIRECTIONS},
            overlap=True,
            ones=(p, q),
            entropies=(p, q),
            tops=(p, q),
        )
        fill(wanted, kernel)
    return p, q


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [2, 10, 63, 64, 1000, 32_000, 152_064])
def test_accuracy(kernel: str, dtype: str, classes: int) -> None:
    """Divergences, cross-entropy and entropies keep the bounds at every temperature."""
    every = 1 if classes < 5000 else 5 if classes < 100_000 else 9
    for teacher, student in list(pairs(classes, dtype))[::every]:
        labels = np.arange(len(teacher)) % classes
        for temperature in TEMPERATURES:
            p, q = filled(kernel, teacher, student, temperature)
            (pt, lpt), (qt, lqt) = slow(teacher, temperature), slow(student, temperature)
            (p1, lp1), (q1, lq1) = slow(teacher, 1.0), slow(student, 1.0)
            square = temperature**2
            with np.errstate(all="ignore"):
                found = {
                    "kl": (
                        square * p.divergence(q, temperature),
                        square * (pt * (lpt - lqt)).sum(1),
                    ),
                    "reverse": (
                        square * q.divergence(p, temperature),
                        square * (qt * (lqt - lpt)).sum(1),
                    ),
                    "nll": (q.nll(labels), -lq1[np.arange(len(labels)), labels]),
                    "entropy": (p.entropy, -(p1 * lp1).sum(1)),
                    "overlap": (
                        p.remembered("overlap", q, lambda: pytest.fail("not left")),
                        np.minimum(p1, q1).sum(1),
                    ),
                }
            for name, (value, exact) in found.items():
                at = temperature if name in ("kl", "reverse") else 1.0
                off = np.abs(value - exact) / bound(dtype, at, np.abs(exact))
                assert off.max() <= 1, (name, temperature, value[off.argmax()], exact[off.argmax()])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("classes", [63, 64, 257, 500, 1000, 2000, 32_000])
def test_flat_rows(kernel: str, classes: int) -> None:
    """Sums of equal terms, each of which may be rounded the same way, keep the bounds."""
    levels, peaks = np.meshgrid([-0.001, -0.1, -0.7, -1.3, -3.1], [3.0, 6.0, 8.0, 9.0, 10.0])
    teacher = np.repeat(levels.reshape(-1, 1), classes, axis=1).astype(np.float32)
    student = np.zeros_like(teacher)
    teacher[:, classes // 2], student[:, classes // 3] = 0, peaks.ravel()
    for temperature in (1.0, 2.0):
        p, q = filled(kernel, teacher, student, temperature)
        (pt, lpt), (_, lqt) = slow(teacher, temperature), slow(student, temperature)
        exact = (pt * (lpt - lqt)).sum(1) * temperature**2
        off = np.abs(p.divergence(q, temperature) * temperature**2 - exact)
        assert (off <= bound("float32", temperature, exact)).all()


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [10, 1000])
def test_top_classes_are_the_first_of_equals(kernel: str, dtype: str, classes: int) -> None:
    """The top class is NumPy's argmax, the lowest index among equals."""
    scores = np.random.default_rng(0).integers(0, 3, (500, classes)).astype(dtype)
    p, q = filled(kernel, scores, scores[::-1].copy(), 2.0)
    assert np.array_equal(p.top, scores.argmax(1))
    assert np.array_equal(q.top, scores[::-1].argmax(1))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [10, 100])
@pytest.mark.parametrize("temperature", [1.0, 2.0, 3.0, 1e-3])
def test_masks_and_bad_rows_are_those_of_the_plain_functions(
    kernel: str, dtype: str, classes: int, temperature: float
) -> None:
    """Rows with -inf, NaN or +inf come out as the plain functions have them; others stay right."""
    random = np.random.default_rng(1)
    teacher = random.standard_normal((40, classes)).astype(dtype)
    student = random.standard_normal((40, classes)).astype(dtype)
    teacher[3, :2] = student[3, :2] = -math.inf
    student[5, 1] = -math.inf
    teacher[7, 1] = -math.inf
    teacher[9] = -math.inf
    student[11, 2], teacher[13, 0] = math.nan, math.inf
    p, q = filled(kernel, teacher, student, temperature)
    with np.errstate(all="ignore"):
        plain_p, plain_q = Logits(teacher), Logits(student)
        assert np.array_equal(p.bad, plain_p.bad)
        assert np.array_equal(q.bad, plain_q.bad)
        good = ~(p.bad | q.bad)
        assert not good[[9, 11, 13]].any()
        for one, other in (
            (p.divergence(q, temperature), plain_p.divergence(plain_q, temperature)),
            (q.divergence(p, temperature), plain_q.divergence(plain_p, temperature)),
            (p.entropy, plain_p.entropy),
            (q.softened(1.0).total, plain_q.softened(1.0).total),
        ):
            np.testing.assert_allclose(one[good], other[good], rtol=1e-5, atol=1e-6)
    assert p.divergence(q, temperature)[5] == math.inf


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [2, 10, 63, 64, 1000])
def test_rows_do_not_depend_on_their_neighbours(kernel: str, dtype: str, classes: int) -> None:
    """A row has the same bits in any company, near-equal and masked neighbours included."""
    random = np.random.default_rng(2)
    teacher = random.standard_normal((64, classes)).astype(dtype)
    student = teacher + random.standard_normal((64, classes)) * np.geomspace(1e-6, 3, 64)[:, None]
    student = student.astype(dtype)
    teacher[10, 0] = student[10, 0] = -math.inf
    whole = figures(kernel, teacher, student)
    for start, stop in ((0, 1), (5, 12), (10, 11), (33, 64)):
        part = figures(kernel, teacher[start:stop], student[start:stop])
        for one, other in zip(part, whole, strict=True):
            assert np.array_equal(one, other[start:stop])


def figures(kernel: str, teacher: Array, student: Array) -> list[Array]:
    p, q = filled(kernel, teacher, student, 2.0)
    return [
        p.divergence(q, 2.0),
        q.divergence(p, 2.0),
        p.entropy,
        q.entropy,
        p.softened(1.0).total,
        q.softened(1.0).total,
    ]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [2, 10, 64, 1000])
def test_distances_and_ranks(kernel: str, dtype: str, classes: int) -> None:
    """Squared differences, cosines and ranks are those of the definition in float64."""
    random = np.random.default_rng(5)
    teacher = random.standard_normal((60, classes)) * np.geomspace(1e-3, 1e3, 60)[:, None]
    student = teacher + random.standard_normal((60, classes)) * np.geomspace(1e-7, 1e3, 60)[:, None]
    teacher[7] = student[8] = teacher[9] = student[9] = 0.0
    teacher[10, 0] = 1e30
    teacher[11:13] *= 1e-20
    student[12:14] *= 1e-20
    t, s = teacher.astype(dtype), student.astype(dtype)
    p, q = Logits(t), Logits(s)
    with np.errstate(all="ignore"):
        fill(Wanted((p, q), squares=True, cosine=True, above=p, tops=(p,)), kernel)
    t, s = t.astype(np.float64), s.astype(np.float64)
    lengths = np.linalg.norm(t, axis=1) * np.linalg.norm(s, axis=1)
    with np.errstate(all="ignore"):
        cosines = np.where(lengths == 0, 0.0, (t * s).sum(1) / lengths)
    above = (s > s[np.arange(60), t.argmax(1)][:, None]).sum(1)
    for name, exact in (("squares", ((t - s) ** 2).mean(1)), ("cosine", 1 - cosines)):
        found = p.remembered(name, q, lambda: pytest.fail("not left"))
        rtol, atol = (1e-5, 1e-6) if dtype == "float32" else (1e-11, 1e-12)
        np.testing.assert_allclose(found, exact, rtol=rtol, atol=atol)
    assert np.array_equal(q.remembered("above", p, lambda: pytest.fail("not left")), above)
    assert not (vars(p) | vars(q)).keys() & {"entropy"}
    assert not p._softened.keys() | q._softened.keys()


@pytest.mark.parametrize("kernel", KERNELS)
def test_equal_inputs_have_no_divergence(kernel: str) -> None:
    """Equal rows give exactly 0, in both directions."""
    scores = np.random.default_rng(3).standard_normal((50, 300)).astype(np.float32)
    p, q = filled(kernel, scores, scores.copy(), 4.0)
    assert not p.divergence(q, 4.0).any()
    assert not q.divergence(p, 4.0).any()


@pytest.mark.parametrize("kernel", KERNELS)
def test_only_what_is_wanted_is_left(kernel: str) -> None:
    """Nothing is computed that nobody asked for."""
    scores = np.random.default_rng(4).standard_normal((5, 100))
    p, q = Logits(scores), Logits(scores[::-1].copy())
    fill(Wanted((p, q), {2.0: ["forward"]}, ones=(q,)), kernel)
    assert "entropy" not in vars(p) | vars(q)
    assert "top" not in vars(p) | vars(q)
    assert 1.0 not in p._softened
    assert set(q._softened) == {1.0, 2.0}
