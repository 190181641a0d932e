"""The losses of whole runs, row by row, against arithmetic of 50 digits and of 64 bits of mantissa.

Rows that are flat, steep, shifted, one-hot, near-identical, equal and masked, in every type of
element, at temperatures from 0.01 to 1000, over vocabularies from 2 to 262,144.
"""

import math
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import h5py
import mpmath
import numpy as np
import pytest
from format_files import bfloat16_type, create_raw
from kernels import THERE
from runs import distill, written

Array = np.ndarray[Any, Any]
EXTENDED = np.longdouble
ELEMENTS = ("float16", "bfloat16", "float32", "float64")
TEMPERATURES = {
    2: (1e-2, 0.1, 1.0, 4.0, 20.0, 1e3),
    10: (1e-2, 0.1, 0.5, 1.0, 3.0, 20.0, 1e3),
    1000: (1e-2, 0.1, 1.0, 4.0, 20.0, 1e3),
    32_000: (1e-2, 20.0),
}
LARGE = {"float16": 4.0, "bfloat16": 0.1, "float32": 1e3, "float64": 1e3}  # of 262,144 classes
LOSSES: dict[str, dict[str, float]] = {
    "kl": {},
    "reverse_kl": {},
    "jsd": {"beta": 0.3},
    "combined_kl_mse": {"kl_weight": 0.75, "mse_weight": 0.25},
}
# The same terms in other sums; held where a run is short.
MORE: dict[str, dict[str, float]] = {
    "skew_kl": {"alpha": 0.1},
    "skew_reverse_kl": {"alpha": 0.1},
    "symmetric_kl": {"beta": 0.3},
    "alpha_jsd": {"beta": 1e-3},
}


@cache
def pair(classes: int) -> tuple[Array, Array]:
    """Teacher and student, float64, before they are rounded to the type of the elements."""
    chance = np.random.default_rng(classes)
    few = classes > 5000
    scales = (3.0, 1e4) if few else (1.0, 30.0, 1e3, 1e4)
    distances = (
        (1e-3, 0.1)[: 1 + (classes < 100_000)] if few else (1e-7, 1e-5, 1e-3, 1e-2, 1e-1, 1.0, 1e2)
    )
    teacher, student = [], []
    for scale in scales:
        row = chance.uniform(-1, 1, classes) * scale
        for distance in distances:
            teacher.append(row)
            student.append(row + chance.uniform(-1, 1, classes) * min(distance, scale))
    hot = np.full(classes, -1e4)
    hot[classes // 2] = 1e4
    warm = chance.normal(0, 1, classes)
    warm[1] += 40
    flat = chance.normal(0, 2, classes)
    if classes < 100_000:
        teacher += [hot, flat, flat + 9000, np.zeros(classes)]
        student += [flat, hot, flat, np.zeros(classes)]
    teacher += [warm, warm]
    student += [flat, warm]
    return np.array(teacher).clip(-1e4, 1e4), np.array(student).clip(-1e4, 1e4)


def masked(classes: int) -> tuple[Array, Array]:
    """Classes at -inf in both, in the teacher alone, in the student alone; all but one in both."""
    chance = np.random.default_rng(classes + 1)
    teacher, student = (chance.normal(0, 3, (5, classes)) for _ in range(2))
    half = classes // 2
    teacher[0, :half] = student[0, :half] = -math.inf
    teacher[1, :half] = -math.inf
    student[2, half:] = -math.inf
    teacher[3, :-1] = student[3, :-1] = -math.inf
    teacher[4, 0], student[4, 0] = -1e4, -math.inf
    return teacher, student


def stored(folder: Path, name: str, scores: Array, element: str) -> tuple[str, Array]:
    """A source of the scores as a type of element, and the numbers that are stored."""
    if element != "bfloat16":
        rounded = scores.astype(element)
        np.save(folder / f"{name}.npy", rounded)
        return f"{name}.npy", rounded.astype(EXTENDED)
    bits = (scores.astype("<f4").view("<u4") >> 16).astype("<u2")
    with h5py.File(folder / f"{name}.h5", "w") as file:
        create_raw(file, "x", bits, bfloat16_type())
    return f"{name}.h5", (bits.astype("<u4") << 16).view("<f4").astype(EXTENDED)


def rows_of(
    folder: Path, one: str, other: str, loss: str, temperature: float, /, **more: Any
) -> tuple[Array, dict[str, Any]]:
    """The loss of every row as `score` writes it, and the result."""
    soft = {"name": loss, "temperature": temperature, **(LOSSES | MORE)[loss]}
    config = {
        "strategy": "response",
        "teacher": f"{folder}/{one}",
        "student": f"{folder}/{other}",
        "device": "cpu",
        "metrics": ["kl_mean"],
        "response": {"soft_loss": soft},
        **more,
    }
    path, rows = written(folder / "c.yaml", config), folder / "rows.npy"
    done = distill("score", path, "--per-row", rows, "--format", "json")
    assert done.code == 0, done.err
    return np.load(rows), done.data


# --- the truth --------------------------------------------------------------------------------


def log_softmax(scores: Array, temperature: float) -> Array:
    shifted = (scores - scores.max(axis=1, keepdims=True)) / EXTENDED(temperature)
    total: Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return total


def excess(gap: Array) -> Array:
    """exp(-d) - 1 + d, to its last digits where d is small."""
    near = gap * gap * (0.5 - gap * (EXTENDED(1) / 6 - gap * (EXTENDED(1) / 24 - gap / 120)))
    return np.where(np.abs(gap) < 1e-4, near, np.expm1(-gap) + gap)


def weighed(log_p: Array, log_q: Array, gap: Array) -> Array:
    """Sum of p log(p / q) - p + q, whose terms are >= 0; `gap` is log(p / q)."""
    p, q = np.exp(log_p), np.exp(log_q)
    far = np.where(p > 0, p * gap, 0) + q - p
    terms = np.where(gap > -1, p * excess(np.where(gap > -1, gap, 0)), far)
    nothing = np.isneginf(log_p) & np.isneginf(log_q)
    terms = np.where(nothing, 0, np.where(np.isneginf(log_p), q, terms))
    total: Array = np.where(np.isneginf(log_q) & ~nothing, math.inf, terms).sum(axis=1)
    return total


def truth(teacher: Array, student: Array, loss: str, temperature: float) -> Array:
    """The loss of each row."""
    with np.errstate(all="ignore"):
        return _truth(teacher, student, loss, temperature)


def _truth(teacher: Array, student: Array, loss: str, temperature: float) -> Array:
    log_p, log_q = log_softmax(teacher, temperature), log_softmax(student, temperature)
    constant = _constant(teacher, student, temperature)
    gap = (teacher - student) / EXTENDED(temperature) - constant[:, None]
    gap[np.isneginf(teacher) & np.isneginf(student)] = 0
    square = EXTENDED(temperature) ** 2
    if loss == "reverse_kl":
        return square * weighed(log_q, log_p, -gap)
    if loss in ("jsd", "alpha_jsd"):
        beta = EXTENDED((LOSSES | MORE)[loss]["beta"])
        one, other = _from_mixture(log_p, log_q, gap, beta)
        if loss == "jsd":
            return square * (beta * one + (1 - beta) * other)
        return square * (one / (1 - beta) + other / beta)
    if loss in ("skew_kl", "skew_reverse_kl"):
        sides = (log_p, log_q, gap) if loss == "skew_kl" else (log_q, log_p, -gap)
        return square * _from_mixture(*sides, EXTENDED(MORE[loss]["alpha"]))[0]
    kl: Array = square * weighed(log_p, log_q, gap)
    if loss == "symmetric_kl":
        beta = EXTENDED(MORE[loss]["beta"])
        return beta * kl + (1 - beta) * square * weighed(log_q, log_p, -gap)
    if loss == "kl":
        return kl
    weights = LOSSES[loss]
    mse = ((teacher - student) ** 2).mean(axis=1)
    return weights["kl_weight"] * kl + weights["mse_weight"] * mse


def _from_mixture(log_p: Array, log_q: Array, gap: Array, beta: Any) -> tuple[Array, Array]:
    """KL(p || m) and KL(q || m), m = beta p + (1 - beta) q."""
    to_p, to_q = _to_mixture(gap, 1 - beta), _to_mixture(-gap, beta)
    log_m = np.where(np.isneginf(log_p), log_q - to_q, log_p - to_p)
    return weighed(log_p, log_m, to_p), weighed(log_q, log_m, to_q)


def _constant(teacher: Array, student: Array, temperature: float) -> Array:
    """By how much the scores' difference / T is off log(p / q)."""
    sums = []
    for scores in (teacher, student):
        top = scores.max(axis=1, keepdims=True)
        total = np.exp((scores - top) / EXTENDED(temperature)).sum(axis=1)
        sums.append(top[:, 0] / EXTENDED(temperature) + np.log(total))
    found: Array = sums[0] - sums[1]
    return found


def _to_mixture(gap: Array, rest: Array) -> Array:
    """log(p / m) of the mixture m that holds so much of the other."""
    small = np.log1p(rest * np.expm1(-np.maximum(gap, -40)))
    large = np.log(rest) - gap + np.log1p((1 - rest) / rest * np.exp(np.minimum(gap, 0)))
    return -np.where(gap > -1, small, large)


def exact(teacher: Array, student: Array, temperature: float) -> dict[str, Any]:
    """The same of one row with 50 digits, straight from the formulas."""
    with mpmath.workdps(50):
        p, q = ([mpmath.mpf(float(x)) / temperature for x in row] for row in (teacher, student))
        p, q = ([mpmath.exp(x - max(row)) for x in row] for row in (p, q))
        p, q = ([x / mpmath.fsum(row) for x in row] for row in (p, q))
        beta = mpmath.mpf(LOSSES["jsd"]["beta"])
        m = [beta * a + (1 - beta) * b for a, b in zip(p, q, strict=True)]

        def divergence(one: list[Any], other: list[Any]) -> Any:
            pairs = zip(one, other, strict=True)
            return mpmath.fsum(a * mpmath.log(a / b) for a, b in pairs if a)

        square = mpmath.mpf(temperature) ** 2
        weights = LOSSES["combined_kl_mse"]
        mse = mpmath.fsum(
            (mpmath.mpf(float(t)) - mpmath.mpf(float(s))) ** 2
            for t, s in zip(teacher, student, strict=True)
        ) / len(teacher)
        kl = square * divergence(p, q)
        return {
            "kl": kl,
            "reverse_kl": square * divergence(q, p),
            "jsd": square * (beta * divergence(p, m) + (1 - beta) * divergence(q, m)),
            "combined_kl_mse": weights["kl_weight"] * kl + weights["mse_weight"] * mse,
        }


def bound(element: str, temperature: float, value: Array) -> Array:
    """How far a loss may be from its exact value."""
    if element == "float64":
        return np.maximum(1e-11 * value, 1e-12)
    return np.maximum((1e-5 if 0.1 <= temperature <= 20 else 1e-4) * value, 1e-6)


# --- the tests --------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_the_reference(classes: int) -> None:
    """What the runs are held against is itself right to a hundredth of the bounds of float64."""
    teacher, student = (scores.astype(EXTENDED) for scores in pair(classes))
    chosen = range(len(teacher)) if classes < 100 else (3, 9, 28)
    for temperature in TEMPERATURES[classes] if classes < 100 else (4.0,):
        for row in chosen:
            one = teacher[row : row + 1], student[row : row + 1]
            right = exact(one[0][0], one[1][0], temperature)
            for loss, value in right.items():
                off = abs(float(mpmath.mpf(str(truth(*one, loss, temperature)[0])) - value))
                limit = float(bound("float64", temperature, float(value))) / 100
                assert off <= limit, (row, loss, temperature)


@pytest.mark.parametrize("element", ELEMENTS)
@pytest.mark.parametrize("classes", [*TEMPERATURES, 262_144])
def test_losses_of_runs(tmp_path: Path, classes: int, element: str) -> None:
    """Every loss keeps its bounds, is never negative, and exactly 0 where the inputs are equal."""
    scores = pair(classes)
    (one, teacher), (other, student) = (
        stored(tmp_path, name, values, element)
        for name, values in zip(("teacher", "student"), scores, strict=True)
    )
    equal = (teacher == student).all(axis=1)
    assert equal[-1]
    for temperature in TEMPERATURES.get(classes, (LARGE[element],)):
        for loss in LOSSES:
            right = truth(teacher, student, loss, temperature)
            for kernel in THERE:
                found, result = rows_of(tmp_path, one, other, loss, temperature, kernel=kernel)
                assert np.isfinite(found).all()
                assert (found >= 0).all()
                assert (found[equal] == 0).all()
                off = np.abs(found - right) / bound(element, temperature, right)
                assert off.max() <= 1, (loss, kernel, temperature, off.argmax(), float(off.max()))
                assert result["loss"] == pytest.approx(float(found.mean()), rel=1e-12)
                assert result["nonfinite"] == {}


@pytest.mark.parametrize("element", ELEMENTS)
@pytest.mark.parametrize("classes", [10, 1000])
def test_masks_of_runs(tmp_path: Path, classes: int, element: str) -> None:
    """-inf in both adds nothing, in the teacher alone its share, in the student alone infinity."""
    (one, teacher), (other, student) = (
        stored(tmp_path, name, values, element)
        for name, values in zip(("teacher", "student"), masked(classes), strict=True)
    )
    for temperature in (0.1, 1.0, 20.0):
        for loss, kernel in product(("kl", "reverse_kl", "jsd"), THERE):
            right = truth(teacher, student, loss, temperature)
            assert not np.isnan(right).any()
            found, result = rows_of(tmp_path, one, other, loss, temperature, kernel=kernel)
            infinite = np.isinf(right)
            assert (np.isinf(found) == infinite).all(), (loss, temperature)
            within = bound(element, temperature, right)[~infinite]
            off = np.abs(found[~infinite] - right[~infinite])
            assert (off <= within).all(), (loss, temperature)
            expected = {"kl": [2, 4], "reverse_kl": [1], "jsd": []}[loss]
            assert np.flatnonzero(infinite).tolist() == expected
            assert (result["loss"] is None) == bool(expected)
            if expected:
                assert result["nonfinite"]["soft"] == len(expected)


@pytest.mark.parametrize("element", ELEMENTS)
def test_rows_that_are_all_masked(tmp_path: Path, element: str) -> None:
    """A row of nothing but -inf is an error with its number, or left out, and the rest is right."""
    teacher, student = masked(10)
    student[3] = -math.inf
    (one, p), (other, q) = (
        stored(tmp_path, name, values, element)
        for name, values in zip(("teacher", "student"), (teacher, student), strict=True)
    )
    flags = ("score", "--teacher", f"{tmp_path}/{one}", "--student", f"{tmp_path}/{other}")
    done = distill(*flags, "--device", "cpu")
    assert (done.code, done.out) == (2, "")
    assert "row 3: " in done.errors[0]
    assert "on_bad_rows: skip" in done.errors[0]
    found, result = rows_of(tmp_path, one, other, "jsd", 2.0, on_bad_rows="skip")
    assert (result["rows"], result["rows_skipped"]) == (4, 1)
    assert np.isnan(found).tolist() == [False, False, False, True, False]
    keep = [0, 1, 2, 4]
    right = truth(p[keep], q[keep], "jsd", 2.0)
    assert (np.abs(found[keep] - right) <= bound(element, 2.0, right)).all()
    assert result["loss"] == pytest.approx(float(right.mean()), rel=1e-5)


@pytest.mark.parametrize("element", ["float32", "float64"])
def test_one_hot_probabilities(tmp_path: Path, element: str) -> None:
    """A teacher that is stored as shares of 0 and 1: the loss is that of its one class."""
    shares = np.eye(10)
    student = np.random.default_rng(0).normal(0, 5, (10, 10))
    np.save(tmp_path / "t.npy", shares.astype(element))
    (other, q) = stored(tmp_path, "s", student, element)
    right = -np.diagonal(log_softmax(q, 4.0)) * 16
    config = {"teacher": {"path": f"{tmp_path}/t.npy", "kind": "probabilities", "temperature": 4.0}}
    found, _ = rows_of(tmp_path, "t.npy", other, "kl", 4.0, **config)
    assert (np.abs(found - right) <= bound(element, 4.0, right)).all()
