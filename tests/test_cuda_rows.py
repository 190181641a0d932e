"""The CUDA kernels, run on a processor: the whole source, with its threads, against 50 digits."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import mpmath
import numpy as np
import pytest
from emulation import needs_compiler, run_alone, run_pair

from distillcli.formats.elements import BFLOAT16, widen
from distillcli.kernels.cuda.variant import ASKED, SQUARINGS, Variant, lanes

pytestmark = needs_compiler

Array = np.ndarray[Any, Any]
TEMPERATURES = (1e-2, 0.1, 1.0, 2.0, 20.0, 1e3)
ALL = frozenset(ASKED)
REAL = {"float16": "float32", "bfloat16": "float32", "float32": "float32", "float64": "float64"}


def variant(element: str, classes: int, temperature: float = 2.0, other: str = "") -> Variant:
    squarings = SQUARINGS.get(temperature)
    student = other or element
    return Variant(element, student, REAL[element], lanes(classes), ALL, 1, squarings)


def stored(values: Array, element: str) -> tuple[Array, Array]:
    """The values as they are stored, and what they then mean, as float64."""
    if element == "bfloat16":
        bits = (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
        return bits, widen(bits, BFLOAT16, np.float64)
    kept = values.astype(element)
    return kept, kept.astype(np.float64)


def pairs(classes: int, rows: int) -> Iterator[tuple[Array, Array]]:
    """Close and far, flat and one-hot, shifted and large rows."""
    random = np.random.default_rng(classes)
    for scale in (0.01, 1.0, 30.0, 1e4):
        for distance in (0.0, 1e-6, 0.01, 1.0, 300.0):
            teacher = random.standard_normal((rows, classes)) * scale
            student = teacher + random.standard_normal((rows, classes)) * min(distance, scale)
            teacher[::3] += 9e3 * (distance > 1)
            teacher[1::3, 0] += 50
            student[2::3] += 77.7
            yield teacher.clip(-1e4, 1e4), student.clip(-1e4, 1e4)


def exact(scores: Array, temperature: float) -> tuple[list[Any], list[Any]]:
    """Softmax and its logarithm of a row, with 50 digits."""
    with mpmath.workdps(50):
        scaled = [mpmath.mpf(float(x)) / mpmath.mpf(temperature) for x in scores]
        top = max(scaled)
        total = mpmath.fsum(mpmath.exp(x - top) for x in scaled)
        logs = [x - top - mpmath.log(total) for x in scaled]
        return [mpmath.exp(x) for x in logs], logs


def divergence(p: tuple[list[Any], list[Any]], q: tuple[list[Any], list[Any]]) -> float:
    with mpmath.workdps(50):
        terms = zip(p[0], p[1], q[1], strict=True)
        return float(mpmath.fsum(share * (one - other) for share, one, other in terms if share))


def slow(scores: Array, temperature: float) -> tuple[Array, Array]:
    """The same with 80 bits, for many classes."""
    x = scores.astype(np.longdouble) / np.longdouble(temperature)
    x = x - x.max(axis=1, keepdims=True)
    log_p = x - np.log(np.exp(x).sum(axis=1, keepdims=True))
    return np.exp(log_p), log_p


def slow_divergence(one: Array, other: Array, temperature: float) -> Array:
    """Sum of p (exp(-d) - 1 + d), every term without cancellation."""
    (p, log_p), (q, log_q) = slow(one, temperature), slow(other, temperature)
    gap = log_p - log_q
    small = np.abs(gap) < 0.01
    series = gap * gap * (1 / 2 - gap / 6 + gap**2 / 24 - gap**3 / 120 + gap**4 / 720)
    near = p * np.where(small, series, np.expm1(-gap.clip(-30, None)) + gap)
    return np.asarray(np.where(gap > -30, near, q + p * gap - p).sum(axis=1), np.float64)


def within(found: Array, right: Array, real: str, temperature: float) -> Array:
    """How far the loss, its factor T^2 included, is off, in units of what it may be off by."""
    found, right = found * temperature**2, right * temperature**2
    relative, absolute = {"float64": (1e-11, 1e-12), "float32": (1e-5, 1e-6)}[real]
    if real == "float32" and not 0.1 <= temperature <= 20:
        relative = 1e-4
    off: Array = np.abs(found - right) / np.maximum(relative * right, absolute)
    return off


@pytest.mark.parametrize("element", REAL)
@pytest.mark.parametrize("classes", [2, 7, 40])
def test_divergences_against_50_digits(classes: int, element: str) -> None:
    """Both ways, close or far, at every temperature; exactly 0 for equal rows."""
    for teacher, student in pairs(classes, 3):
        (one, t), (other, s) = stored(teacher, element), stored(student, element)
        for temperature in TEMPERATURES if classes < 10 else TEMPERATURES[1::2]:
            made = variant(element, classes, temperature)
            found = run_pair(made, one, other, temperature)
            sides = [
                (exact(a, temperature), exact(b, temperature)) for a, b in zip(t, s, strict=True)
            ]
            for name, order in (("forward", 1), ("reverse", -1)):
                right = np.array([divergence(*both[::order]) for both in sides])
                off = within(found[name], right, REAL[element], temperature)
                assert off.max() <= 1, (name, temperature, off)
                assert (found[name] >= 0).all()
                assert (found[name][(t == s).all(axis=1)] == 0).all()


@pytest.mark.parametrize("element", REAL)
@pytest.mark.parametrize("classes", [63, 65, 1001, 2049, 32001])
def test_divergences_of_many_classes(classes: int, element: str) -> None:
    """One or several threads to a row, up to a whole block."""
    every = 3 if classes < 3000 else 7
    for teacher, student in list(pairs(classes, 3))[::every]:
        (one, t), (other, s) = stored(teacher, element), stored(student, element)
        for temperature in TEMPERATURES if classes < 2000 else TEMPERATURES[1::2]:
            found = run_pair(variant(element, classes, temperature), one, other, temperature)
            for name, right in (
                ("forward", slow_divergence(t, s, temperature)),
                ("reverse", slow_divergence(s, t, temperature)),
            ):
                off = within(found[name], right, REAL[element], temperature)
                assert off.max() <= 1, (name, temperature, off)


@pytest.mark.parametrize("element", ["bfloat16", "float32"])
def test_the_largest_vocabulary(element: str) -> None:
    """262,144 classes, of which a few, or all, have mass."""
    random = np.random.default_rng(0)
    teacher = random.standard_normal((2, 262_144)) * [[0.01], [12.0]]
    student = teacher + random.standard_normal(teacher.shape) * [[0.001], [1.0]]
    (one, t), (other, s) = stored(teacher, element), stored(student, element)
    for temperature in (0.1, 1.0, 20.0):
        found = run_pair(variant(element, 262_144, temperature), one, other, temperature)
        off = within(found["forward"], slow_divergence(t, s, temperature), "float32", temperature)
        assert off.max() <= 1
        off = within(found["reverse"], slow_divergence(s, t, temperature), "float32", temperature)
        assert off.max() <= 1


@pytest.mark.parametrize("element", REAL)
@pytest.mark.parametrize("classes", [2, 10, 65, 1001, 5003])
def test_sides(classes: int, element: str) -> None:
    """Highest scores, their classes, sums of exponentials, entropies: alone and in a pair."""
    for teacher, student in list(pairs(classes, 5))[1::4]:
        (one, t), (other, s) = stored(teacher, element), stored(student, element)
        for temperature in (1.0, 2.0):
            made = variant(element, classes, temperature)
            both = run_pair(made, one, other, temperature)
            single = run_alone(made, one)
            for found, prefix, scores in (
                (both, "teacher", t),
                (both, "student", s),
                (single, "teacher", t),
            ):
                p, log_p = slow(scores, 1.0)
                assert (found[f"{prefix}_max"] == scores.max(axis=1)).all()
                assert (found[f"{prefix}_top"] == scores.argmax(axis=1)).all()
                assert (found[f"{prefix}_finite"] == 1).all()
                right = 1 / p.max(axis=1)
                close = 1e-5 if REAL[element] == "float32" else 1e-11
                assert np.allclose(found[f"{prefix}_total"], right.astype(float), rtol=close)
                entropy = -(p * np.where(p > 0, log_p, 0)).sum(axis=1).astype(float)
                assert np.allclose(found[f"{prefix}_entropy"], entropy, rtol=close, atol=1e-6)
            right = 1 / slow(t, temperature)[0].max(axis=1)
            assert np.allclose(both["teacher_tempered"], right.astype(float), rtol=close)


@pytest.mark.parametrize("element", REAL)
@pytest.mark.parametrize("classes", [2, 10, 65, 5003])
def test_distances_and_ranks(classes: int, element: str) -> None:
    """Squared differences, cosines, and how many classes are above another's top, up to five."""
    for teacher, student in list(pairs(classes, 5))[1::4]:
        (one, t), (other, s) = stored(teacher, element), stored(student, element)
        found = run_pair(variant(element, classes), one, other, 2.0)
        squares = ((t - s) ** 2).mean(axis=1)
        lengths = np.linalg.norm(t, axis=1) * np.linalg.norm(s, axis=1)
        cosine = 1 - (t.astype(np.longdouble) * s).sum(axis=1).astype(float) / lengths
        assert np.allclose(found["squares"], squares, rtol=1e-12)
        assert np.allclose(found["cosine"], cosine, rtol=1e-5, atol=1e-12)
        above = (s > np.take_along_axis(s, t.argmax(axis=1)[:, None], 1)).sum(axis=1)
        assert (np.minimum(found["above"], 5) == np.minimum(above, 5)).all()
        against = np.arange(5) % classes
        found = run_pair(variant(element, classes), one, other, 2.0, against=against)
        above = (s > np.take_along_axis(s, against[:, None], 1)).sum(axis=1)
        assert (np.minimum(found["above"], 5) == np.minimum(above, 5)).all()


@pytest.mark.parametrize("element", REAL)
@pytest.mark.parametrize("classes", [3, 40, 1000, 4099])
def test_masks(classes: int, element: str) -> None:
    """Masked in both, in either, in almost all; the first class and the last."""
    random = np.random.default_rng(1)
    teacher = random.standard_normal((6, classes)) * 3
    student = teacher + random.standard_normal((6, classes)) * 0.1
    gone = -math.inf
    teacher[0, -1] = student[0, -1] = gone
    teacher[1, 0] = gone
    student[2, 0] = gone
    teacher[3, 1:] = student[3, 1:] = gone
    teacher[4, 0] = student[4, 1] = gone
    (one, t), (other, s) = stored(teacher, element), stored(student, element)
    for temperature in (0.1, 1.0, 20.0):
        found = run_pair(variant(element, classes, temperature), one, other, temperature)
        for name, p, q in (("forward", t, s), ("reverse", s, t)):
            for row in range(6):
                keep = np.isfinite(p[row])
                if (np.isinf(q[row]) & keep).any():
                    assert found[name][row] == math.inf
                    continue
                (_, log_p), (_, log_q) = slow(p[[row]], temperature), slow(q[[row]], temperature)
                gap = log_p[0, keep] - log_q[0, keep]
                alone = np.exp(log_q)[0, ~keep].sum()
                terms = np.exp(log_p)[0, keep] * (np.expm1(-gap) + gap)
                right = np.array([float(terms.sum() + alone)])
                off = within(found[name][[row]], right, REAL[element], temperature)
                assert off.max() <= 1, (name, temperature, row)
        assert found["teacher_finite"].tolist() == [0, 0, 1, 0, 0, 1]
        assert found["student_finite"].tolist() == [0, 1, 0, 0, 0, 1]


def test_bad_rows() -> None:
    """NaN, +inf and nothing but -inf show in the highest score, and harm no other row."""
    scores = np.random.default_rng(2).standard_normal((5, 100)).astype(np.float32)
    scores[1, 50] = math.nan
    scores[2, 99] = math.inf
    scores[3] = -math.inf
    made = variant("float32", 100)
    good = scores[::4].copy()
    for found, clean in (
        (run_pair(made, scores, scores, 2.0), run_pair(made, good, good, 2.0)),
        (run_alone(made, scores), run_alone(made, good)),
    ):
        highest = found["teacher_max"]
        assert np.isnan(highest[1])
        assert highest[2:4].tolist() == [math.inf, -math.inf]
        assert found["teacher_finite"].tolist() == [1, 0, 0, 0, 1]
        assert (found["teacher_total"][::4] == clean["teacher_total"]).all()


@pytest.mark.parametrize("element", REAL)
@pytest.mark.parametrize("classes", [5, 63, 1001, 4099])
def test_same_bits_wherever_a_row_lies(classes: int, element: str) -> None:
    """In another batch, at another address, in a grid of another size: not one bit differs."""
    random = np.random.default_rng(3)
    rows = 23 if classes < 2000 else 5
    one, _ = stored(random.standard_normal((rows, classes)) * 5, element)
    other, _ = stored(random.standard_normal((rows, classes)) * 5, element)
    other.flat[7] = one.flat[7]
    made = variant(element, classes)
    whole = run_pair(made, one, other, 2.0, grid=1)
    for grid in (2, 7):
        again = run_pair(made, one, other, 2.0, grid=grid)
        for name, values in whole.items():
            assert values.tobytes() == again[name].tobytes(), name
    for row in range(rows):
        room = [np.zeros(classes + 8, one.dtype) for _ in range(2)]
        at = [row % 8, (3 * row + 1) % 8]
        room[0][at[0] : at[0] + classes] = one[row]
        room[1][at[1] : at[1] + classes] = other[row]
        parts = [r[a : a + classes].reshape(1, -1) for r, a in zip(room, at, strict=True)]
        single = run_pair(made, *parts, 2.0)
        for name, values in whole.items():
            assert values[[row]].tobytes() == single[name].tobytes(), (name, row)


@pytest.mark.parametrize("student", REAL)
@pytest.mark.parametrize("teacher", REAL)
def test_types_that_differ(teacher: str, student: str) -> None:
    """Each side is read in its own type; the arithmetic is in that which was asked for."""
    random = np.random.default_rng(4)
    values = random.standard_normal((4, 301)) * 2
    (one, t), (other, s) = stored(values, teacher), stored(values + 0.1 * values[::-1], student)
    for real in ("float32", "float64"):
        made = replace(variant(teacher, 301, 2.0, student), real=real)
        found = run_pair(made, one, other, 2.0)
        if real == "float32":
            t, s = t.astype(np.float32).astype(np.float64), s.astype(np.float32).astype(np.float64)
        assert within(found["forward"], slow_divergence(t, s, 2.0), "float32", 2.0).max() <= 1
        assert (found["student_top"] == s.argmax(axis=1)).all()


def test_every_float16_and_bfloat16() -> None:
    """Every pattern of bits is read as the number it is."""
    bits = np.arange(1 << 16, dtype=np.uint16).reshape(-1, 2)
    for element, right in (
        ("float16", bits.view(np.float16).astype(np.float64)),
        ("bfloat16", widen(bits, BFLOAT16, np.float64)),
    ):
        found = run_alone(variant(element, 2), bits, grid=64)
        good = np.isfinite(right).all(axis=1)
        assert (found["teacher_max"][good] == right[good].max(axis=1)).all()
        assert (np.isnan(found["teacher_max"]) == np.isnan(right).any(axis=1)).all()
