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
from distillcli.sums.rows import BLOCK, Collector, InBlocks, RowValues, joined
from distillcli.sums.totals import Block, Totals

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
    totals = Totals(NAMES, ROWS, quantiles_of="kl", calibrated=("student",), deviating=NAMES)
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
    rows.values[0][5] = math.inf
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
    for column in rows.values:
        column[~rows.keep] = math.nan
    assert finished([rows]) == before


def test_equal_values_have_no_spread() -> None:
    """The standard error of a constant column is no more than rounding."""
    rows = RowValues(0, ("kl",), np.full((1, 3 * BLOCK), 0.1), np.ones(3 * BLOCK, bool))
    totals = Totals(("kl",), 3 * BLOCK, deviating=("kl",))
    totals.add(rows)
    assert totals.finish().standard_error("kl") < 1e-17
    assert math.isnan(moments(rows.part(0, 1), 0).standard_error(0))


def moments(rows: RowValues, *columns: int) -> Moments:
    """Of all these rows."""
    return Moments.of_each(rows, columns, len(rows.keep)).at(0)


def same(left: Moments, right: Moments) -> bool:
    ours, theirs = left.total, right.total
    return np.array_equal(left.squares, right.squares, equal_nan=True) and all(
        np.array_equal(getattr(ours, name), getattr(theirs, name))
        for name in ("rows", "skipped", "masked", "sums", "nonfinite")
    )


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 60))
def test_the_tree_of_blocks_is_associative_to_the_bit(one: int, two: int, total: int) -> None:
    """(a + b) + c equals a + (b + c) exactly, and nothing added changes nothing."""
    first, second = sorted((min(one, total), min(two, total)))
    blocks = [Dyadic.of(n, moments(made(7, 7 * n, seed=n), 0, 2)) for n in range(total)]

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


@given(st.integers(0, 40), st.integers(1, 40), st.booleans())
def test_many_blocks_at_once_are_the_same_to_the_bit(first: int, count: int, whole: bool) -> None:
    """A tree grown level by level from blocks beside each other is that of one block after another,
    with rows left out and without, with bins of calibration and numbers that are not finite."""
    rows = made(count * 7, first * 7)
    rows.keep[:] |= whole
    rows.values[0][3] = math.inf

    def of(some: RowValues) -> Block:
        return Block.of_each(some, 7, ("student",), ("kl", "student_accuracy"))

    one_by_one: Dyadic[Block] = Dyadic()
    for index, piece in enumerate(rows.pieces(7), first):
        one_by_one = one_by_one.merge(Dyadic.of(index, of(piece).at(0)))
    at_once: Dyadic[Block] = Dyadic.of_each(first, count, of(rows))
    assert [node[:2] for node in at_once.nodes] == [node[:2] for node in one_by_one.nodes]
    for (*_, found), (*_, expected) in zip(at_once.nodes, one_by_one.nodes, strict=True):
        assert same(found.moments, expected.moments)
        bins, others = found.calibrations["student"], expected.calibrations["student"]
        for name in ("rows", "correct", "confidence"):
            np.testing.assert_array_equal(getattr(bins, name), getattr(others, name))


@given(st.lists(st.integers(1, ROWS - 1), max_size=10))
def test_rows_in_blocks(places: list[int]) -> None:
    """However rows come, they go on in the same blocks."""
    rows, found = made(), Kept()
    blocks = InBlocks(found)
    for piece in cut_at(rows, places):
        blocks.add(piece)
    blocks.finish()
    edges = [(piece.start, piece.stop) for piece in found.pieces]
    assert edges == [(p.start, p.stop) for p in rows.pieces(BLOCK)]
    np.testing.assert_array_equal(joined(found.pieces).values, rows.values)


class Kept(Collector):
    """Keeps what it is handed."""

    def __init__(self) -> None:
        self.pieces: list[RowValues] = []

    def take(self, found: RowValues) -> None:
        self.pieces.append(found)


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
    batches = Batches(size, rows.start, rows.stop, range(len(NAMES)))
    for piece in cut_at(rows, [501, 777, 4096, 8192]):
        batches.add(piece)
    edges = [(batch.start, batch.stop) for batch in batches.found]
    assert edges[0][0] == rows.start
    assert edges[-1][1] == rows.stop
    assert all(one[1] == two[0] for one, two in pairwise(edges))
    assert all(stop - start == size for start, stop in edges[:-1])
    first = batches.found[0]
    part = rows.part(first.start, first.stop)
    assert first.sums.rows == np.count_nonzero(part.keep)
    assert first.sums.sums == pytest.approx(
        np.where(part.keep, np.stack(part.values), 0).sum(1), rel=1e-12
    )
