"""The kernel of the mean distribution, against a slow reference and the plain function."""

from typing import Any

import numpy as np
import pytest
import reference

from distillcli import teachers
from distillcli.kernels.blends import blend
from distillcli.numerics.scores import Logits

INF = np.inf
TOLERANCE = {"float64": {"rtol": 1e-11, "atol": 1e-12}, "float32": {"rtol": 1e-5, "atol": 1e-5}}
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


def made(scores: Any, dtype: str) -> list[Logits]:
    return [Logits(np.array(rows, dtype)) for rows in scores]


def slow(scores: Any, weights: list[float], temperature: float) -> Any:
    rows = zip(*np.asarray(scores).tolist(), strict=True)
    return [reference.blend(list(row), weights, "probabilities", temperature) for row in rows]


@DTYPES
@pytest.mark.parametrize("temperature", [0.01, 0.1, 1.0, 4.0, 1000.0])
@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [0.2, 3.0, 0.0]])
@pytest.mark.parametrize("spread", [1.0, 100.0, 1e4])
def test_agrees_with_the_reference(
    dtype: str, temperature: float, weights: list[float], spread: float
) -> None:
    """Masked classes, classes that underflow, teachers of weight 0."""
    scores = (np.random.default_rng(2).normal(size=(3, 6, 9)) * spread).astype(dtype)
    scores[:, 1, 2] = scores[0, 2, 3] = scores[2, 3, 4] = -INF
    found = blend(
        made(scores, dtype), weights=weights, combine="probabilities", temperature=temperature
    )
    assert found.raw.dtype == np.dtype(dtype)
    tolerance = dict(TOLERANCE[dtype])
    tolerance["atol"] *= max(1.0, temperature)  # of scores that are a temperature times a logarithm
    np.testing.assert_allclose(found.raw, slow(scores, weights, temperature), **tolerance)


@DTYPES
def test_weights_by_row(dtype: str) -> None:
    """A teacher with a share of 0 masks nothing."""
    scores = np.random.default_rng(3).normal(size=(2, 4, 50)).astype(dtype)
    scores[0, 1, 7] = -INF
    shares = np.array([[0.5, 0.0, 1.0, 0.25], [0.5, 1.0, 0.0, 0.75]])
    arguments: Any = {"weights": list(shares), "combine": "probabilities", "temperature": 2.0}
    found, plain = (way(made(scores, dtype), **arguments) for way in (blend, teachers.blend))
    np.testing.assert_allclose(found.raw, plain.raw, **TOLERANCE[dtype])
    assert np.isfinite(found.raw).all()


@DTYPES
def test_a_row_has_the_same_bits_in_any_company(dtype: str) -> None:
    """Whether or not there are rows beside it that the fast form cannot do."""
    scores = np.random.default_rng(4).normal(size=(2, 64, 33)).astype(dtype) * 3
    scores[:, ::7, 5] -= 5000
    scores[:, 3, 8] = -INF
    arguments: Any = {"weights": [1, 2], "combine": "probabilities", "temperature": 2.0}
    whole = blend(made(scores, dtype), **arguments).raw
    for rows in (slice(0, 1), slice(1, 7), slice(3, 4), slice(7, 64)):
        part = blend(made(scores[:, rows], dtype), **arguments).raw
        np.testing.assert_array_equal(part, whole[rows])


def test_bad_rows_stay_bad() -> None:
    """NaN and +infinity are found where they were."""
    scores = np.zeros((2, 4, 5), "float32")
    scores[0, 1, 2], scores[1, 2, 0], scores[0, 3] = np.nan, INF, -INF
    arguments: Any = {"weights": [1, 1], "combine": "probabilities"}
    with np.errstate(invalid="ignore"):
        found, plain = (
            way(made(scores, "float32"), **arguments) for way in (blend, teachers.blend)
        )
    assert found.bad.tolist() == plain.bad.tolist()
    assert found.bad.tolist()[:3] == [False, True, True]
