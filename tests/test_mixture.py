"""Weights fitted to labels."""

import itertools

import numpy as np
import pytest

from distillcli.strategy.mixture import GAP, Fit, fit


def likelihood(nll: np.ndarray, weights: np.ndarray) -> float:
    with np.errstate(divide="ignore"):
        return float(np.mean(np.logaddexp.reduce(np.log(weights) - nll, axis=1)))


def on_simplex(count: int, steps: int) -> np.ndarray:
    """All weights that are multiples of 1 / steps."""
    cells = itertools.product(range(steps + 1), repeat=count - 1)
    return np.array([[*c, steps - sum(c)] for c in cells if sum(c) <= steps]) / steps


@pytest.mark.parametrize(("count", "steps"), [(2, 2000), (3, 120), (4, 30)])
@pytest.mark.parametrize("seed", range(4))
def test_no_weights_on_a_grid_of_the_simplex_are_better(count: int, steps: int, seed: int) -> None:
    """Nor is the best of the grid much worse, so that the fit is where it should be."""
    rng = np.random.default_rng(seed)
    nll = rng.exponential(1.0, (300, count)) * rng.uniform(0.5, 2.0, count)
    found = fit(nll)
    grid = on_simplex(count, steps)
    values = [likelihood(nll, weights) for weights in grid]
    assert max(values) <= found.after + GAP
    assert np.abs(grid[np.argmax(values)] - found.weights).max() <= 3.0 / steps
    assert found.gap <= GAP


def test_before_and_after_are_mean_log_likelihoods() -> None:
    """With equal weights and with the ones that were found."""
    nll = np.random.default_rng(0).exponential(1.0, (100, 3))
    found = fit(nll)
    assert found.before == pytest.approx(likelihood(nll, np.full(3, 1 / 3)), rel=1e-12)
    assert found.after == pytest.approx(likelihood(nll, np.array(found.weights)), rel=1e-12)
    assert found.after > found.before
    assert sum(found.weights) == pytest.approx(1.0, abs=1e-15)
    assert found.rows == 100


def test_a_teacher_that_is_always_better_takes_all() -> None:
    """The optimum may lie in a corner of the simplex."""
    nll = np.random.default_rng(0).exponential(1.0, (50, 1)) + np.array([[0.0, 1.0, 0.5]])
    assert fit(nll).weights == pytest.approx((1.0, 0.0, 0.0), abs=1e-6)


def test_probabilities_far_below_the_smallest_number_count() -> None:
    """Rows are scaled, so that a label of probability exp(-5000) still tells the teachers apart."""
    near = np.array([[5000.0, 5001.0], [5001.0, 5000.0]])
    assert fit(near).weights == pytest.approx((0.5, 0.5))
    never = np.array([[np.inf, 1.0], [2.0, np.inf], [3.0, np.inf]])
    assert fit(never).weights == pytest.approx((2 / 3, 1 / 3), abs=1e-6)


def test_one_teacher_and_equal_teachers() -> None:
    """There is nothing to find."""
    nll = np.random.default_rng(0).exponential(1.0, (20, 1))
    assert fit(nll).weights == (1.0,)
    alike = fit(np.repeat(nll, 3, axis=1))
    assert alike == Fit((1 / 3, 1 / 3, 1 / 3), 20, alike.before, alike.before, 0, alike.gap)
