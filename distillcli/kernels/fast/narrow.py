"""Rows of few classes, some at a time: a class of all of them is one vector, and rows never meet.

Nothing is added up across a vector, so no order could matter; the last rows of a tile are computed
in a full group like all others, with zeros beside them.
"""

import math

import numpy as np

from distillcli.kernels.fast.compiling import compiled
from distillcli.kernels.fast.scalars import (
    FAR_ABOVE,
    LINE,
    MASKED,
    SAFE_SQUARES,
    exponential,
    like,
    log_ratio,
    logarithm,
    number,
    prefetch,
    share_of_divergence,
)
from distillcli.kernels.table import (
    ABOVE,
    ABOVE_AT,
    COSINE,
    COSINE_AT,
    EACH,
    ENTROPY,
    ENTROPY_AT,
    FORWARD,
    FORWARD_AT,
    MASKED_AT,
    MAX_AT,
    NLL,
    NLL_AT,
    ONE,
    ONE_AT,
    OTHER_TOTAL_AT,
    OVERLAP,
    OVERLAP_AT,
    PAIR,
    REVERSE,
    REVERSE_AT,
    SIDE,
    SQUARES,
    SQUARES_AT,
    TEMPERED,
    TOP,
    TOP_AT,
    TOTAL_AT,
)

LANES = 128


def places(classes, columns, dtype):
    """What `sweep` works with: classes of both sides and their exponentials, one number for each
    lane, what is found of a group.

    Numbers are arrays of their own: of parts of one the compiler cannot tell that they are apart.
    """
    work = tuple(np.empty(LANES, dtype) for _ in range(3))
    wide = tuple(np.empty(LANES) for _ in range(4))
    return np.empty((4, classes, LANES), dtype), work, wide, np.zeros((columns, LANES))


@compiled
def sweep(
    p,
    q,
    paired,
    temperatures,
    directions,
    of_pair,
    of_p,
    of_q,
    tops,
    labels,
    scratch,
    work,
    wide,
    group,
    columns,
    table,
):
    """What is asked about rows [rows, classes] of one side, or of both, left in the table.

    Args: as those of `wide.sweep`, but for
        scratch, work, wide, group: see `places`.
    """
    one, other, pair = group[:SIDE], group[SIDE:PAIR], group[PAIR:TEMPERED]
    tempered = group[TEMPERED:]
    for start in range(0, len(p), LANES):
        count = min(LANES, len(p) - start)
        if start + LANES < len(p):
            _expect(p, start + LANES)
            if paired:
                _expect(q, start + LANES)
        tempered[:] = 0.0
        masked = _look(p[start : start + count], scratch[0], of_p, one, work)
        if of_p & NLL:
            _choose(scratch[0], labels[start : start + count], one[NLL_AT])
        if paired:
            masked |= _look(q[start : start + count], scratch[1], of_q, other, work)
            if of_q & NLL:
                _choose(scratch[1], labels[start : start + count], other[NLL_AT])
            _measure(scratch, of_pair, pair, wide)
            if of_pair & ABOVE:
                if len(tops):
                    _choose(scratch[1], tops[start : start + count], pair[ABOVE_AT])
                else:
                    _choose(scratch[1], one[TOP_AT, :count], pair[ABOVE_AT])
                _count_above(scratch[1], pair[ABOVE_AT], work)
            if masked:
                _unmask(scratch, one, other, tempered)
            # The exponentials of the first are the last to be made: see `_weigh`.
            for last in range(len(temperatures) - 1, -1, -1):
                each = tempered[EACH * last : EACH * (last + 1)]
                _diverge(
                    scratch, temperatures[last], directions[last], one, other, each, work, wide
                )
            temperature, at_first = 0.0, group[:EACH]
            if len(temperatures):
                temperature, at_first = temperatures[0], tempered[:EACH]
            _weigh(scratch[1], scratch[3], temperature, at_first[OTHER_TOTAL_AT], of_q, other, work)
            _weigh(scratch[0], scratch[2], temperature, at_first[TOTAL_AT], of_p, one, work)
        else:
            if masked:
                _unmask_alone(scratch[0], one[MAX_AT])
            _weigh(scratch[0], scratch[2], 0.0, one[ONE_AT], of_p, one, work)
        if of_pair & OVERLAP:
            _overlap(scratch[2:], one[ONE_AT], other[ONE_AT], pair[OVERLAP_AT], work)
        for column in columns:
            into, out = table[column, start : start + count], group[column]
            for lane in range(count):
                into[lane] = out[lane]


@compiled
def _expect(rows, start):
    """Have the rows of a group brought near while the one before is computed: classes that are
    gathered from many rows are no stream that a processor foresees."""
    first = rows[start]
    for place in range(0, LANES * rows.shape[1], LINE // rows.itemsize):
        prefetch(first, place)  # type: ignore[call-arg]  # the first is numba's


@compiled
def _copy(source, into):
    for lane in range(LANES):
        into[lane] = source[lane]


@compiled
def _look(source, rows, asked, found, work):
    """Turn rows round into `rows`; their maxima, top classes, whether they have masked classes."""
    for column in range(len(rows)):
        into = rows[column]
        for lane in range(len(source)):
            into[lane] = like(number(source[lane, column]), into[lane])
        for lane in range(len(source), LANES):
            into[lane] = like(0.0, into[lane])
    top, least, place = work[0], work[1], work[2]
    first = rows[0]
    for lane in range(LANES):
        top[lane], least[lane], place[lane] = first[lane], first[lane], like(0.0, first[lane])
    for column in range(1, len(rows)):
        row, number_of = rows[column], like(column, rows[0, 0])
        for lane in range(LANES):
            value = row[lane]
            # A NaN stays: nothing compares with it.
            kept = top[lane] >= value or top[lane] != top[lane]
            top[lane] = top[lane] if kept else value
            place[lane] = place[lane] if kept else number_of
            least[lane] = value if value < least[lane] else least[lane]
    masked = np.int32(0)
    for lane in range(LANES):
        found[MAX_AT, lane] = top[lane]
        found[MASKED_AT, lane] = least[lane] == -math.inf
        masked += np.int32(least[lane] == -math.inf)
    if asked & TOP:
        _copy(place, found[TOP_AT])
    return masked > 0


@compiled
def _choose(rows, classes, chosen):
    """The score of a class of each row."""
    for lane in range(len(classes)):
        chosen[lane] = rows[np.int64(classes[lane]), lane]


@compiled
def _count_above(rows, values, work):
    """The count of classes above each value, in its place."""
    counts, least = work[0], work[1]
    counts[:] = like(0.0, rows[0, 0])
    _copy(values, least)
    none, one = like(0.0, rows[0, 0]), like(1.0, rows[0, 0])
    for column in range(len(rows)):
        row = rows[column]
        for lane in range(LANES):
            counts[lane] += one if row[lane] > least[lane] else none
    _copy(counts, values)


@compiled
def _unmask(scratch, one, other, tempered):
    """Masked classes get a finite score; a pair of which one side alone masks is infinite."""
    for column in range(scratch.shape[1]):
        p, q = scratch[0, column], scratch[1, column]
        for start in range(0, len(tempered), EACH):
            forward, reverse = tempered[start + FORWARD_AT], tempered[start + REVERSE_AT]
            for lane in range(LANES):
                of_p, of_q = p[lane] == -math.inf, q[lane] == -math.inf
                forward[lane] = math.inf if of_q and not of_p else forward[lane]
                reverse[lane] = math.inf if of_p and not of_q else reverse[lane]
    _unmask_alone(scratch[0], one[MAX_AT])
    _unmask_alone(scratch[1], other[MAX_AT])


@compiled
def _unmask_alone(rows, highest):
    for column in range(len(rows)):
        row = rows[column]
        for lane in range(LANES):
            hidden = row[lane] == -math.inf and highest[lane] > FAR_ABOVE
            row[lane] = like(MASKED, row[lane]) if hidden else row[lane]


@compiled
def _measure(scratch, asked, pair, wide):
    """The distances of the numbers as they are stored."""
    ones, zeros = wide[0], wide[1]
    if asked & SQUARES:
        ones[:] = 1.0
        _squares(scratch[0], scratch[1], ones, ones, pair[SQUARES_AT])
        for lane in range(LANES):
            pair[SQUARES_AT, lane] /= np.float64(scratch.shape[1])
    if asked & COSINE:
        of_p, of_q = wide[2], wide[3]
        ones[:], zeros[:] = 1.0, 0.0
        _squares(scratch[0], scratch[0], ones, zeros, of_p)
        _squares(scratch[1], scratch[1], ones, zeros, of_q)
        for lane in range(LANES):
            shorter, longer = min(of_p[lane], of_q[lane]), max(of_p[lane], of_q[lane])
            safe = shorter > SAFE_SQUARES[0] and longer < SAFE_SQUARES[1]
            ones[lane] = 1.0 if safe else math.nan
            of_p[lane], of_q[lane] = 1.0 / math.sqrt(of_p[lane]), 1.0 / math.sqrt(of_q[lane])
        _squares(scratch[0], scratch[1], of_p, of_q, pair[COSINE_AT])
        for lane in range(LANES):
            pair[COSINE_AT, lane] = ones[lane] * min(0.5 * pair[COSINE_AT, lane], 2.0)


@compiled
def _squares(p, q, of_p, of_q, sums):
    """Sums of (of_p p - of_q q)^2."""
    sums[:] = 0.0
    for column in range(len(p)):
        x, y = p[column], q[column]
        for lane in range(LANES):
            gap = of_p[lane] * np.float64(x[lane]) - of_q[lane] * np.float64(y[lane])
            sums[lane] += gap * gap


@compiled
def _diverge(scratch, temperature, asked, one, other, found, work, wide):
    """The exponentials of both sides at the temperature, and the divergences."""
    scale = 1.0 / temperature
    total, other_total = found[TOTAL_AT], found[OTHER_TOTAL_AT]
    _soften(scratch[0], one[MAX_AT], scale, scratch[2], total, work)
    _soften(scratch[1], other[MAX_AT], scale, scratch[3], other_total, work)
    highest, other_highest = one[MAX_AT], other[MAX_AT]
    if asked & FORWARD:
        sides = highest, other_highest, total, other_total
        _divergence(scratch, 0, scale, sides, found[FORWARD_AT], work, wide)
    if asked & REVERSE:
        sides = other_highest, highest, other_total, total
        _divergence(scratch, 1, scale, sides, found[REVERSE_AT], work, wide)


@compiled
def _soften(rows, highest, scale, exps, totals, work):
    """exp((score - highest) * scale) and their sums, which of so few need not be wide."""
    top, sums = work[0], work[1]
    _copy(highest, top)
    sums[:] = like(0.0, top[0])
    factor = like(scale, rows[0, 0])
    for column in range(len(rows)):
        row, into = rows[column], exps[column]
        for lane in range(LANES):
            value = exponential((row[lane] - top[lane]) * factor)
            into[lane] = value
            sums[lane] += value
    _copy(sums, totals)


@compiled
def _divergence(scratch, first, scale, sides, sums, work, wide):
    """Adds the sum of p log(p / q) + q - p; p is not divided by its sum before the end.

    Only the differences of scores need float64: with so few classes their sum does not.
    """
    constant, shift = wide[0], wide[1]
    found, ratio, gaps = work[0], work[1], work[2]
    highest, other, totals, other_totals = sides
    for lane in range(LANES):
        quotient = totals[lane] / other_totals[lane]
        ratio[lane], constant[lane] = quotient, logarithm(quotient)
        shift[lane] = highest[lane] - other[lane]
    found[:] = like(0.0, found[0])
    for column in range(scratch.shape[1]):
        x, y = scratch[first, column], scratch[1 - first, column]
        e, f = scratch[2 + first, column], scratch[3 - first, column]
        for lane in range(LANES):
            gap = log_ratio(x[lane], y[lane], shift[lane], 0.0, scale, constant[lane])
            gaps[lane] = like(gap, gaps[lane])
        for lane in range(LANES):  # apart, so that vectors of it are as long as they can be
            found[lane] += share_of_divergence(e[lane], f[lane] * ratio[lane], gaps[lane])
    for lane in range(LANES):
        # What is beyond the type of the arithmetic is not beyond every number.
        sum_of = found[lane] if found[lane] < math.inf else math.nan
        sums[lane] += sum_of / totals[lane]


@compiled
def _weigh(rows, exps, temperature, totals, asked, found, work):
    """What is asked at temperature 1; exponentials at another, with their totals, are squared where
    that is enough. A temperature of 0 says that there are none."""
    if asked & ONE == 0:
        return
    if temperature == 1.0:
        _copy(totals, found[ONE_AT])
    elif temperature in (2.0, 4.0, 8.0):
        _square(exps, temperature, found[ONE_AT], work[0])
    else:
        _soften(rows, found[MAX_AT], 1.0, exps, found[ONE_AT], work)
    if asked & ENTROPY:
        _spread(rows, exps, found, work)
    if asked & NLL:  # the label's score stands there
        for lane in range(LANES):
            below = found[NLL_AT, lane] - found[MAX_AT, lane]
            found[NLL_AT, lane] = logarithm(found[ONE_AT, lane]) - below


@compiled
def _square(exps, power, totals, sums):
    """Raise to the power, 2, 4 or 8; the sums, which with so few classes need not be wide."""
    sums[:] = like(0.0, sums[0])
    for column in range(len(exps)):
        part = exps[column]
        times = power
        while times > 1.0:
            for lane in range(LANES):
                part[lane] *= part[lane]
            times *= 0.5
        for lane in range(LANES):
            sums[lane] += part[lane]
    _copy(sums, totals)


@compiled
def _overlap(exps, total_p, total_q, sums, work):
    """Sums of the lesser of both probabilities."""
    of_p, of_q = work[0], work[1]
    for lane in range(LANES):
        of_p[lane], of_q[lane] = 1.0 / total_p[lane], 1.0 / total_q[lane]
    sums[:] = 0.0
    for column in range(exps.shape[1]):
        one, other = exps[0, column], exps[1, column]
        for lane in range(LANES):
            sums[lane] += np.float64(min(one[lane] * of_p[lane], other[lane] * of_q[lane]))


@compiled
def _spread(rows, exps, found, work):
    """The entropies: log(total) - sum of exps * (score - highest) / total."""
    weighed, top = work[0], work[1]
    weighed[:] = like(0.0, top[0])
    _copy(found[MAX_AT], top)
    for column in range(len(rows)):
        row, weights = rows[column], exps[column]
        for lane in range(LANES):
            weighed[lane] += weights[lane] * (row[lane] - top[lane])
    for lane in range(LANES):
        total = found[ONE_AT, lane]
        found[ENTROPY_AT, lane] = logarithm(total) - np.float64(weighed[lane]) / total
