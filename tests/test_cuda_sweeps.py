"""What one sweep of the CUDA kernels takes at once, run on a processor: several temperatures, and
the overlap, which needs a second one."""

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from emulation import needs_compiler, run_pair
from test_cuda_rows import REAL, pairs, slow, slow_divergence, stored, variant, within

from distillcli.kernels.cuda.variant import BLOCK, lanes

pytestmark = needs_compiler

Array = np.ndarray[Any, Any]


@pytest.mark.parametrize("temperatures", [(1.0, 2.0), (4.0, 0.1, 20.0), (2.0, 3.0, 1e3, 1e-2)])
@pytest.mark.parametrize(
    ("classes", "element"), [(11, "float64"), (700, "float32"), (4100, "bfloat16")]
)
def test_several_temperatures(classes: int, element: str, temperatures: tuple[float, ...]) -> None:
    """Each keeps the bounds that it keeps alone; so does what belongs to temperature 1."""
    made = replace(variant(element, classes, temperatures[0]), temperatures=len(temperatures))
    for teacher, student in list(pairs(classes, 3))[::4]:
        (one, t), (other, s) = stored(teacher, element), stored(student, element)
        found = run_pair(made, one, other, *temperatures)
        for index, at in enumerate(temperatures):
            for name, right in (
                ("forward", slow_divergence(t, s, at)),
                ("reverse", slow_divergence(s, t, at)),
            ):
                off = within(found[f"{name}_{index}"], right, REAL[element], at)
                assert off.max() <= 1, (name, at, off)
            total = (1 / slow(t, at)[0].max(axis=1)).astype(float)
            close = 1e-4 if REAL[element] == "float32" else 1e-11
            assert np.allclose(found[f"teacher_tempered_{index}"], total, rtol=close)
        right = (1 / slow(s, 1.0)[0].max(axis=1)).astype(float)
        assert np.allclose(found["student_total"], right, rtol=1e-5)


def drifting(classes: int) -> Iterator[tuple[Array, Array]]:
    """Rows whose beginning tells little of what comes: the references and centres must move."""
    random = np.random.default_rng(classes)
    teacher = random.standard_normal((2, classes)) * 20
    student = teacher + random.standard_normal((2, classes))
    rising, falling = np.argsort(teacher, axis=1), np.argsort(-student, axis=1)
    for order in (rising, falling):
        yield tuple(np.take_along_axis(side, order, axis=1) for side in (teacher, student))
    later = np.arange(classes) > classes // 2
    for shift in (0.5, 20.0, 5e3):
        yield teacher, student + shift * later
        yield teacher + shift * np.linspace(0, 1, classes), student
    last = teacher.copy()
    last[:, -1] += 150
    yield last, student


@pytest.mark.parametrize(("classes", "element"), [(301, "bfloat16"), (2500, "float32")])
def test_rows_that_drift(classes: int, element: str) -> None:
    """As accurate as any others."""
    for teacher, student in drifting(classes):
        (one, t), (other, s) = stored(teacher, element), stored(student, element)
        for at in (0.1, 2.0, 20.0):
            found = run_pair(variant(element, classes, at), one, other, at)
            for name, right in (
                ("forward", slow_divergence(t, s, at)),
                ("reverse", slow_divergence(s, t, at)),
            ):
                assert within(found[name], right, REAL[element], at).max() <= 1, (name, at)


@pytest.mark.parametrize("element", REAL)
@pytest.mark.parametrize("classes", [2, 9, 64, 1000, 4099])
def test_overlap(classes: int, element: str) -> None:
    """The sum of min(p, q) at temperature 1, whatever that of the divergences is."""
    for teacher, student in list(pairs(classes, 3))[::3]:
        (one, t), (other, s) = stored(teacher, element), stored(student, element)
        found = run_pair(variant(element, classes), one, other, 2.0)
        right = np.minimum(slow(t, 1.0)[0], slow(s, 1.0)[0]).sum(axis=1).astype(float)
        close = (1e-5, 1e-6) if REAL[element] == "float32" else (1e-11, 1e-12)
        assert np.allclose(found["overlap"], right, rtol=close[0], atol=close[1])


def test_overlap_with_masks() -> None:
    """A class that either side masks adds nothing."""
    random = np.random.default_rng(5)
    t, s = (random.standard_normal((3, 1003)).astype(np.float32) for _ in range(2))
    t[0, 5:900] = s[1, 1000:] = t[2, 1] = s[2, 1] = -math.inf
    found = run_pair(variant("float32", 1003), t, s, 2.0)
    right = np.minimum(slow(t, 1.0)[0], slow(s, 1.0)[0]).sum(axis=1).astype(float)
    assert np.allclose(found["overlap"], right, rtol=1e-5)


def test_the_lowest_number_of_a_type_as_a_mask() -> None:
    """Where a framework masks with it instead of -inf, it counts as a score."""
    lowest = np.finfo(np.float32).min
    random = np.random.default_rng(6)
    t, s = (random.standard_normal((3, 2600)).astype(np.float32) for _ in range(2))
    t[:, 2500:] = s[:, 2500:] = lowest
    t[1, 3:] = s[1, 3:] = lowest
    t[2] = s[2] = lowest
    for temperature in (0.5, 2.0):
        found = run_pair(variant("float32", 2600, temperature), t, s, temperature)
        assert (found["teacher_finite"] == 1).all()
        right = slow_divergence(t[:2].astype(float), s[:2].astype(float), temperature)
        assert within(found["forward"][:2], right, "float32", temperature).max() <= 1
        assert found["forward"][2] == 0
        assert found["teacher_total"][2] == 2600


def test_more_threads_never_take_fewer_classes() -> None:
    """How many share a row depends on the number of classes alone."""
    numbers = [lanes(classes) for classes in (2, 64, 65, 2048, 2049, 262_144)]
    assert all(one <= other for one, other in pairwise(numbers))
    assert numbers[-1] == BLOCK
