"""Blends of several teachers against a slow reference."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from libraries import LIBRARIES, Library

from distillcli.errors import ConfigError, MismatchError
from distillcli.numerics.scores import Logits
from distillcli.teachers import blend

CASES = json.loads((Path(__file__).parent / "cases" / "loss_cases.json").read_text())
WAYS = pytest.mark.parametrize("combine", ["logits", "probabilities", "log_probabilities"])
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
INF = math.inf


@pytest.mark.parametrize("library", LIBRARIES)
@DTYPES
@WAYS
@pytest.mark.parametrize("temperature", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [0.2, 3.0, 0.0], [0.0, 0.0, 2.0]])
def test_agrees_with_the_reference(
    library: Library, dtype: str, combine: Any, temperature: float, weights: list[float]
) -> None:
    """Every way to combine, with masked classes and teachers of weight 0, is right."""
    teachers = np.random.default_rng(2).normal(size=(3, 4, 6)).astype(dtype) * 5
    teachers[:, 1, 2] = -INF  # masked by all
    teachers[0, 2, 3] = -INF  # masked by one
    teachers[2, 3, 4] = -INF
    logits = [Logits(library.array(rows, dtype)) for rows in teachers]
    found = blend(logits, weights=weights, combine=combine, temperature=temperature)
    assert found.kind == "logits"
    slow = [
        reference.blend(list(rows), weights, combine, temperature)
        for rows in zip(*teachers.tolist(), strict=True)
    ]
    values = library.host(found.raw)
    assert values.dtype == np.dtype(dtype)
    tolerance = (
        {"rtol": 1e-11, "atol": 1e-12} if dtype == "float64" else {"rtol": 1e-5, "atol": 1e-5}
    )
    np.testing.assert_allclose(values, slow, **tolerance)


@DTYPES
@pytest.mark.parametrize("case", [c for c in CASES["ensemble"] if "expected_blend" in c])
def test_known_blends(dtype: str, case: dict[str, Any]) -> None:
    """The published blends come out."""
    teachers = [Logits(np.array(rows, dtype=dtype)) for rows in case["teachers"]]
    found = blend(
        teachers,
        weights=case["weights"],
        combine=case["combine"],
        temperature=case.get("temperature", 1.0),
    )
    tolerance = (
        {"rtol": 1e-9, "atol": 1e-12} if dtype == "float64" else {"rtol": 1e-5, "atol": 1e-6}
    )
    np.testing.assert_allclose(found.raw, case["expected_blend"], **tolerance)


def test_the_mean_distribution_and_the_geometric_one() -> None:
    """Softmax of the blend at T is the mean of the distributions, or that of the mean logits."""
    generator = np.random.default_rng(4)
    teachers = [Logits(generator.normal(size=(5, 7)) * 4) for _ in range(2)]
    mean = 0.25 * teachers[0].softened(2.0).probabilities
    mean += 0.75 * teachers[1].softened(2.0).probabilities
    linear = blend(teachers, weights=[1, 3], combine="probabilities", temperature=2.0)
    np.testing.assert_allclose(linear.softened(2.0).probabilities, mean, rtol=1e-13)
    geometric = blend(teachers, weights=[1, 3], combine="log_probabilities", temperature=2.0)
    plain = blend(teachers, weights=[1, 3], combine="logits")
    np.testing.assert_allclose(
        geometric.softened(2.0).probabilities, plain.softened(2.0).probabilities, rtol=1e-12
    )
    np.testing.assert_allclose(np.exp(geometric.raw / 2).sum(axis=-1), 1.0, rtol=1e-13)


@DTYPES
def test_no_class_underflows(dtype: str) -> None:
    """A class that every teacher finds all but impossible keeps its finite score."""
    rows = np.array([[0.0, -900.0]], dtype=dtype)
    found = blend([Logits(rows), Logits(rows)], weights=[1, 1], combine="probabilities")
    np.testing.assert_allclose(found.raw, rows, atol=1e-4)


@WAYS
def test_one_teacher_is_itself(combine: Any) -> None:
    """Inputs are not written to, and a lone teacher keeps its distribution."""
    rows = np.array([[1.0, 2.0, -1.0]])
    rows.flags.writeable = False
    found = blend([Logits(rows)], weights=[5.0], combine=combine, temperature=3.0)
    expected = Logits(rows).softened(3.0).probabilities
    np.testing.assert_allclose(found.softened(3.0).probabilities, expected, rtol=1e-14)


def test_probabilities_are_blended_by_what_they_stand_for() -> None:
    """Stored probabilities enter as their logarithms."""
    shares = np.array([[0.25, 0.75]])
    stored = Logits(shares, kind="probabilities")
    found = blend([stored, Logits(np.log(shares))], weights=[1, 1], combine="probabilities")
    np.testing.assert_allclose(np.exp(found.raw), shares, rtol=1e-14)


@pytest.mark.parametrize("weights", [[1.0], [0.0, 0.0], [1.0, -1.0], [2.0, -1.0], [1.0, INF]])
def test_weights_that_do_not_fit(weights: list[float]) -> None:
    """Each teacher needs a weight, none below 0 and not all 0."""
    teachers = [Logits(np.zeros((1, 2)))] * 2
    with pytest.raises(ConfigError, match="2 teachers"):
        blend(teachers, weights=weights)


def test_shapes_that_differ() -> None:
    """The error names each teacher's shape."""
    with pytest.raises(MismatchError, match=r"teacher 0 \[1, 2\], teacher 1 \[1, 3\]"):
        blend([Logits(np.zeros((1, 2))), Logits(np.zeros((1, 3)))], weights=[1, 1])
