"""What each loss declares to hold for every input is held to, over the whole table."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillcli import metrics
from distillcli.losses import LOGIT_LOSSES, LOSSES, Loss
from distillcli.losses.table import Law
from distillcli.numerics.scores import Logits

EXAMPLES = settings(max_examples=60, deadline=None, derandomize=True)
# Sixty-fourths up to 1e4: sums and differences of them are exact in both types.
NUMBERS = st.integers(-640_000, 640_000).map(lambda n: n / 64)
TEMPERATURES = st.sampled_from([0.1, 0.5, 1.0, 4.0, 20.0])
DTYPES = st.sampled_from(["float32", "float64"])


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Any, Any]:
    """Two arrays of one shape, [rows, classes], independent or close to each other."""
    shape = draw(st.tuples(st.integers(1, 3), st.integers(2, 6)))
    size = shape[0] * shape[1]
    numbers = st.lists(NUMBERS, min_size=size, max_size=size)
    teacher = np.array(draw(numbers)).reshape(shape)
    student = np.array(draw(numbers)).reshape(shape)
    if draw(st.booleans()):
        student = teacher + student / 65536
    dtype = draw(DTYPES)
    return teacher.astype(dtype), student.astype(dtype)


def declaring(law: Law) -> pytest.MarkDecorator:
    """The losses that declare a law."""
    found = [loss for loss in LOSSES if law in loss.laws]
    assert found
    return pytest.mark.parametrize("loss", found, ids=lambda loss: f"{loss.family}-{loss.name}")


def evaluate(loss: Loss, teacher: Any, student: Any, temperature: float) -> Any:
    """The loss at a temperature, where it has one; labels are class 1."""
    if loss.family == "sequences":
        teacher, student = (np.stack([x, x[:, ::-1]], axis=1) for x in (teacher, student))
    given = {
        "teacher": teacher,
        "student": student,
        "labels": np.ones(len(student), dtype=np.int64),
    }
    names = {parameter.name for parameter in loss.parameters}
    extra: dict[str, Any] = {"temperature": temperature} if "temperature" in names else {}
    extra |= {parameter.name: 1 for parameter in loss.parameters if parameter.default is None}
    return loss.function(**{name: given[name] for name in loss.inputs}, **extra)


def assert_same(one: Any, other: Any, dtype: Any) -> None:
    """Equal but for rounding."""
    rtol, atol = (2e-5, 2e-6) if dtype == np.float32 else (2e-11, 2e-12)
    np.testing.assert_allclose(one, other, rtol=rtol, atol=atol)


@declaring("zero_when_equal")
@given(pair=pairs(), temperature=TEMPERATURES)
@EXAMPLES
def test_zero_when_equal(loss: Loss, pair: tuple[Any, Any], temperature: float) -> None:
    """The loss of equal inputs is 0 to the last bit."""
    assert (evaluate(loss, pair[0], pair[0].copy(), temperature) == 0).all()


@declaring("nonnegative")
@given(pair=pairs(), temperature=TEMPERATURES)
@EXAMPLES
def test_nonnegative(loss: Loss, pair: tuple[Any, Any], temperature: float) -> None:
    """The loss of finite inputs is finite and not below 0."""
    values = evaluate(loss, *pair, temperature)
    assert np.isfinite(values).all()
    assert (values >= 0).all()


@declaring("symmetric")
@given(pair=pairs(), temperature=TEMPERATURES)
@EXAMPLES
def test_symmetric(loss: Loss, pair: tuple[Any, Any], temperature: float) -> None:
    """Teacher and student may be exchanged."""
    there = evaluate(loss, pair[0], pair[1], temperature)
    back = evaluate(loss, pair[1], pair[0], temperature)
    assert_same(there, back, pair[0].dtype)


@declaring("shift_invariant")
@given(pair=pairs(), temperature=TEMPERATURES, shift=st.integers(-1000, 1000))
@EXAMPLES
def test_shift_invariant(loss: Loss, pair: tuple[Any, Any], temperature: float, shift: int) -> None:
    """A number added to all scores of the student, or of the teacher, changes nothing."""
    teacher, student = (x.round(6).astype("float64") for x in pair)
    value = evaluate(loss, teacher, student, temperature)
    assert_same(evaluate(loss, teacher, student + shift, temperature), value, teacher.dtype)
    assert_same(evaluate(loss, teacher + shift, student, temperature), value, teacher.dtype)


@declaring("scale_invariant")
@given(pair=pairs(), exponents=st.tuples(st.integers(-20, 20), st.integers(-20, 20)))
@EXAMPLES
def test_scale_invariant(loss: Loss, pair: tuple[Any, Any], exponents: tuple[int, int]) -> None:
    """A row may be multiplied by any power of two, not a bit changes."""
    teacher, student = (np.ldexp(x, exponent) for x, exponent in zip(pair, exponents, strict=True))
    expected = evaluate(loss, *pair, 1.0)
    np.testing.assert_array_equal(evaluate(loss, teacher, student, 1.0), expected)


@declaring("permutable")
@given(pair=pairs(), temperature=TEMPERATURES, seed=st.integers(0, 100))
@EXAMPLES
def test_permutable(loss: Loss, pair: tuple[Any, Any], temperature: float, seed: int) -> None:
    """The order of the classes, or dimensions, does not matter."""
    order = np.random.default_rng(seed).permutation(pair[0].shape[1])
    value = evaluate(loss, *pair, temperature)
    permuted = evaluate(loss, pair[0][:, order], pair[1][:, order], temperature)
    assert_same(permuted, value, pair[0].dtype)


@given(pair=pairs(), temperature=TEMPERATURES, beta=st.floats(0, 1))
@EXAMPLES
def test_jsd(pair: tuple[Any, Any], temperature: float, beta: float) -> None:
    """JSD is at most the entropy of its mixture, and beta goes with the teacher."""
    jsd = LOGIT_LOSSES["jsd"].function
    teacher, student = pair
    plain = {"temperature": temperature, "temperature_squared": False}
    value = jsd(teacher=teacher, student=student, beta=beta, **plain)
    shares = [share for share in (beta, 1 - beta) if share > 0]
    most = -math.fsum(share * math.log(share) for share in shares)
    assert (value >= 0).all()
    assert (value <= most + 1e-6).all()
    exchanged = jsd(teacher=student, student=teacher, beta=1 - beta, **plain)
    assert_same(exchanged, value, teacher.dtype)
    swapped = jsd(teacher=teacher, student=student, beta=beta, swap_mixture=True, **plain)
    assert (swapped >= 0).all()
    other = jsd(teacher=student, student=teacher, beta=1 - beta, swap_mixture=True, **plain)
    assert_same(other, swapped, teacher.dtype)
    same = jsd(teacher=teacher, student=teacher.copy(), beta=beta, swap_mixture=True, **plain)
    assert (same == 0).all()


@given(pair=pairs(), temperature=TEMPERATURES)
@EXAMPLES
def test_entropies_that_are_left_in(pair: tuple[Any, Any], temperature: float) -> None:
    """What is added to kl and to skew_kl is the entropy of the teacher at the temperature."""
    teacher, student = (x.astype("float64") for x in pair)
    sides = {"teacher": teacher, "student": student, "temperature": temperature}
    sides["temperature_squared"] = False
    added = []
    for name in ("kl", "skew_kl"):
        loss = LOGIT_LOSSES[name].function
        plain, more = loss(**sides), loss(**sides, with_entropy=True)
        added.append(more - plain)
        assert_same(more, plain + Logits(teacher / temperature).entropy, np.float64)
    assert (added[0] >= -1e-12).all()


@given(pair=pairs(), temperature=TEMPERATURES)
@EXAMPLES
def test_reverse_kl_is_kl_with_the_roles_exchanged(
    pair: tuple[Any, Any], temperature: float
) -> None:
    """Not a bit differs."""
    teacher, student = pair
    forward = evaluate(LOGIT_LOSSES["kl"], student, teacher, temperature)
    reverse = evaluate(LOGIT_LOSSES["reverse_kl"], teacher, student, temperature)
    np.testing.assert_array_equal(forward, reverse)


@given(pair=pairs(), temperature=TEMPERATURES)
@EXAMPLES
def test_losses_that_are_limits_of_others(pair: tuple[Any, Any], temperature: float) -> None:
    """Mixtures without a share of one side, decoupled parts put together again, halves of a sum."""
    teacher, student = (x.astype("float64") for x in pair)
    sides = {"teacher": teacher, "student": student, "temperature": temperature}

    def value(name: str, **parameters: Any) -> Any:
        return LOGIT_LOSSES[name].function(**sides, **parameters)

    forward, reverse = value("kl"), value("reverse_kl")
    for name, parameters, right in (
        ("skew_kl", {"alpha": 0.0}, forward),
        ("skew_reverse_kl", {"alpha": 0.0}, reverse),
        ("alpha_jsd", {"beta": 0.0}, forward),
        ("alpha_jsd", {"beta": 1.0}, reverse),
        ("symmetric_kl", {"beta": 1.0}, forward),
    ):
        np.testing.assert_array_equal(value(name, **parameters), right)
    assert (value("skew_kl", alpha=1.0) == 0).all()
    assert_same(value("symmetric_kl"), (forward + reverse) / 2, np.float64)
    assert_same(value("alpha_jsd"), 4 * value("jsd"), np.float64)
    labels = np.zeros(len(teacher), dtype=np.int64)
    scaled = Logits(teacher / temperature)
    others = 1.0 - np.exp(-scaled.nll(labels))
    parts = [value("dkd", labels=labels, alpha=a, beta=1.0 - a) for a in (1.0, 0.0)]
    assert_same(parts[0] + others * parts[1], forward, np.float64)


@given(pair=pairs(), temperature=TEMPERATURES)
@EXAMPLES
def test_total_variation(pair: tuple[Any, Any], temperature: float) -> None:
    """It is between 0 and 1, at most sqrt(KL / 2), and what acceptance lacks to 1."""
    plain = {"temperature": temperature, "temperature_squared": False}
    sides = {"teacher": pair[0], "student": pair[1]}
    tvd = LOGIT_LOSSES["tvd"].function(**sides, **plain)
    assert ((tvd >= 0) & (tvd <= 1 + 1e-12)).all()
    assert (tvd <= np.sqrt(LOGIT_LOSSES["kl"].function(**sides, **plain) / 2) + 1e-6).all()
    accepted = metrics.acceptance_rate(*(Logits(x / temperature) for x in pair))
    np.testing.assert_allclose(accepted, 1 - tvd, atol=2e-6)


@given(pair=pairs(), scale=st.sampled_from([0.5, 3.0]), shift=st.integers(-100, 100))
@EXAMPLES
def test_standardized_logits(pair: tuple[Any, Any], scale: float, shift: int) -> None:
    """No row's scale and offset plays a part, and a row of equal scores is even."""
    teacher, student = (x.astype("float64") for x in pair)
    kl = LOGIT_LOSSES["kl"].function
    value = kl(teacher=teacher, student=student, standardize=True)
    moved = kl(teacher=teacher * scale + shift, student=student, standardize=True)
    np.testing.assert_allclose(moved, value, rtol=1e-9, atol=1e-12)
    flat = np.full_like(teacher, 3.0)
    assert (kl(teacher=flat, student=flat * 0.0, standardize=True) == 0).all()
