"""The laws of the accumulators: merging is associative, and how rows are cut changes no bit."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillcli.sums.batches import Batches
from distillcli.sums.calibration import Calibration
from distillcli.sums.dyadic import Dyadic
from distillcli.sums.moments import Moments
from distillcli.sums.quantiles import Histogram, Sample
from distillcli.sums.rows import BLOCK, RowValues
from distillcli.sums.totals import Totals

ROWS = 3 * BLOCK + 1234
NAMES = ("kl", "student_confidence", "student_accuracy")


def made(rows: int = ROWS, start: int = 0, seed: int = 0) -> RowValues:
    random = np.random.default_rng(seed)
    values = np.stack(
        [random.exponential(0.3, rows), random.random(rows), random.integers(0, 2, rows)]
    ).astype(float)
    return RowValues(start, NAMES, values, random.random(rows) > 0.1)


def cut_at(rows: RowValues, places: list[int]) -> list[RowValues]:
    edges = [rows.start, *sorted({p for p in places if rows.start < p < rows.stop}), rows.stop]
    return [rows.part(a, b) for a, b in pairwise(edges)]


def finished(pieces: list[RowValues]) -> tuple[object, ...]:
    totals = Totals(NAMES, ROWS, quantiles_of="kl", calibrated=("student",))
    for piece in pieces:
        totals.add(piece)
    done = totals.finish()
    figures = [done.mean(n) for n in NAMES] + [done.standard_error(n) for n in NAMES]
    error = done.block.calibrations["student"].error()
    return (done.rows, done.skipped, *figures, error, *done.spread.quantiles([0, 0.5, 0.999, 1]))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, ROWS - 1), max_size=40))
def test_cuts_change_no_bit(places: list[int]) -> None:
    """The totals of rows that arrive in any pieces are those of the rows in one piece."""
    rows = made()
    assert finished(cut_at(rows, places)) == finished([rows])


def test_totals_are_right() -> None:
    """Means, standard errors and quantiles agree with NumPy's on the kept rows."""
    rows = made()
    kl = rows.kept("kl")
    count, skipped, mean, _, _, stderr, *_, error, low, median, high, largest = finished([rows])
    assert (count, skipped) == (len(kl), ROWS - len(kl))
    assert mean == pytest.approx(kl.mean(), rel=1e-13)
    assert stderr == pytest.approx(kl.std(ddof=1) / math.sqrt(len(kl)), rel=1e-12)
    expected = np.quantile(kl, [0, 0.5, 0.999, 1])
    assert [low, median, high, largest] == pytest.approx(list(expected), rel=1e-14)
    assert error == pytest.approx(slow_ece(rows), rel=1e-12)


def slow_ece(rows: RowValues) -> float:
    confidence, correct = rows.kept("student_confidence"), rows.kept("student_accuracy")
    gaps = 0.0
    for index in range(15):
        low, high = index / 15, (index + 1) / 15
        inside = [n for n, c in enumerate(confidence) if low < c <= high]
        gaps += abs(sum(confidence[n] - correct[n] for n in inside))
    return gaps / len(confidence)


def test_an_infinite_value_is_counted_and_leaves_the_other_columns_alone() -> None:
    """One infinite row makes its own column infinite, and the count says how many there were."""
    rows = made()
    rows.values[0, 5] = math.inf
    rows.keep[5] = True
    totals = Totals(NAMES, ROWS)
    totals.add(rows)
    done = totals.finish()
    assert done.mean("kl") == math.inf
    assert done.nonfinite("kl") == 1
    assert done.nonfinite("student_accuracy") == 0
    assert done.mean("student_accuracy") == pytest.approx(rows.kept("student_accuracy").mean())


def test_what_stands_at_skipped_rows_is_never_used() -> None:
    """NaN at rows that are not kept changes nothing."""
    rows = made()
    before = finished([rows])
    rows.values[:, ~rows.keep] = math.nan
    assert finished([rows]) == before


def test_equal_values_have_no_spread() -> None:
    """The standard error of a constant column is no more than rounding."""
    rows = RowValues(0, ("kl",), np.full((1, 3 * BLOCK), 0.1), np.ones(3 * BLOCK, bool))
    totals = Totals(("kl",), 3 * BLOCK)
    totals.add(rows)
    assert totals.finish().standard_error("kl") < 1e-17
    assert math.isnan(Moments.of(rows.part(0, 1)).standard_error(0))


def same(left: Moments, right: Moments) -> bool:
    return (left.rows, left.skipped) == (right.rows, right.skipped) and all(
        np.array_equal(getattr(left, name), getattr(right, name))
        for name in ("sums", "squares", "nonfinite")
    )


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 60))
def test_the_tree_of_blocks_is_associative_to_the_bit(one: int, two: int, total: int) -> None:
    """(a + b) + c equals a + (b + c) exactly, and nothing added changes nothing."""
    first, second = sorted((min(one, total), min(two, total)))
    blocks = [Dyadic.of(n, Moments.of(made(7, 7 * n, seed=n))) for n in range(total)]

    def merged(items: list[Dyadic[Moments]]) -> Dyadic[Moments]:
        tree: Dyadic[Moments] = Dyadic()
        for item in items:
            tree = tree.merge(item)
        return tree

    a, b, c = (merged(part) for part in (blocks[:first], blocks[first:second], blocks[second:]))
    left, right = a.merge(b).merge(c), a.merge(b.merge(c))
    for tree in (left, right, merged([left, Dyadic()])):
        value, expected = tree.value(), merged(blocks).value()
        assert value is not None
        assert expected is not None
        assert same(value, expected)
    assert len(left.nodes) <= total.bit_length()


def test_calibration_bins_are_open_below_and_closed_above() -> None:
    """A confidence on a bin's upper edge belongs to that bin; 0 belongs to the first."""
    bins = Calibration.of(confidence=np.array([0.0, 1.0, 3 / 15, 3.5 / 15]), correct=np.ones(4))
    assert list(np.flatnonzero(bins.rows)) == [0, 2, 3, 14]


@pytest.mark.parametrize("levels", [[0.5, 0.9, 0.95, 0.99, 0.999]])
def test_the_histogram_keeps_its_relative_error(levels: list[float]) -> None:
    """Quantiles from the histogram are within 2**-10 of the exact ones; the largest is exact."""
    values = np.random.default_rng(1).lognormal(-3, 4, 200_001)
    histogram = Histogram.empty()
    for part in np.array_split(values, 7):
        histogram = histogram.including(part)
    exact = np.quantile(values, levels)
    assert histogram.quantiles(levels) == pytest.approx(list(exact), rel=2**-10)
    assert histogram.quantiles([1.0]) == [values.max()]


def test_the_histogram_knows_zero_and_infinity() -> None:
    """Zeros count below everything, infinities above."""
    histogram = Histogram.of(np.array([0.0, 0.0, 0.0, 1.0, math.inf]))
    assert histogram.quantiles([0.0, 0.5, 1.0]) == [0.0, 0.0, math.inf]


def test_a_sample_of_many_arrays_keeps_few() -> None:
    """Arrays are joined as they come, so that a million small ones cost no more than a few."""
    sample = Sample()
    for value in range(1000):
        sample = sample.including(np.array([float(value)]))
    assert len(sample.arrays) <= 11
    assert sample.quantiles([0.0, 0.25, 1.0]) == [0.0, 249.75, 999.0]


@pytest.mark.parametrize("size", [1, 7, 5000, 10**6])
def test_batches_cover_the_run(size: int) -> None:
    """Batches follow each other without a gap, whatever the pieces were."""
    rows = made(9000, start=500)
    batches = Batches(size, rows.start, rows.stop)
    for piece in cut_at(rows, [501, 777, 4096, 8192]):
        batches.add(piece)
    edges = [(batch.start, batch.stop) for batch in batches.found]
    assert edges[0][0] == rows.start
    assert edges[-1][1] == rows.stop
    assert all(one[1] == two[0] for one, two in pairwise(edges))
    assert all(stop - start == size for start, stop in edges[:-1])
    first = batches.found[0]
    part = rows.part(first.start, first.stop)
    assert first.moments.rows == np.count_nonzero(part.keep)
    assert first.moments.sums == pytest.approx(Moments.of(part).sums, rel=1e-12)
