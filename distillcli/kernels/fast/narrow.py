"""Rows of few classes, 64 at a time: a class of all of them is one vector, and rows never meet.

Nothing is added up across a vector, so no order could matter; the last rows of a tile are computed
in a full group like all others, with zeros beside them.
"""

import math

import numpy as np

from distillcli.kernels.fast.compiling import compiled
from distillcli.kernels.fast.layout import (
    ABOVE,
    ABOVE_AT,
    COLUMNS,
    COSINE,
    COSINE_AT,
    ENTROPY,
    ENTROPY_AT,
    FORWARD,
    FORWARD_AT,
    MASKED,
    MASKED_AT,
    MAX_AT,
    ONE,
    ONE_AT,
    OVERLAP,
    OVERLAP_AT,
    PAIR,
    REVERSE,
    REVERSE_AT,
    SIDE,
    SQUARES,
    SQUARES_AT,
    TOP,
    TOP_AT,
    TOTAL,
    TOTAL_AT,
)
from distillcli.kernels.fast.scalars import (
    exponential,
    like,
    log_ratio,
    logarithm,
    number,
    share_of_divergence,
)

LANES = 64


@compiled
def sweep(p, q, paired, temperature, of_pair, of_p, of_q, tops, scratch, table):
    """What is asked about rows [rows, classes] of one side, or of both, left in the table.

    Args: as those of `wide.sweep`, but for
        scratch: [4, classes, LANES], in the type of the arithmetic.
    """
    group = np.empty((COLUMNS, LANES))
    for start in range(0, len(p), LANES):
        count = min(LANES, len(p) - start)
        group[:] = 0.0
        one, other, pair = group[:SIDE], group[SIDE:PAIR], group[PAIR:]
        _look(p[start : start + count], scratch[0], of_p, one)
        if paired:
            _look(q[start : start + count], scratch[1], of_q, other)
            _measure(scratch, of_pair, pair)
            if of_pair & ABOVE:
                for lane in range(count):
                    chosen = tops[start + lane] if len(tops) else np.int64(one[TOP_AT, lane])
                    pair[ABOVE_AT, lane] = scratch[1, chosen, lane]
                _count_above(scratch[1], pair[ABOVE_AT])
            if one[MASKED_AT].any() or other[MASKED_AT].any():
                _unmask(scratch, pair)
            if of_pair & (FORWARD | REVERSE):
                _diverge(scratch, temperature, of_pair, one, other, pair)
            _weigh(scratch[1], scratch[3], temperature, of_q, other)
        elif one[MASKED_AT].any():
            _unmask_alone(scratch[0])
        _weigh(scratch[0], scratch[2], temperature, of_p, one)
        if of_pair & OVERLAP:
            _overlap(scratch[2], scratch[3], one[ONE_AT], other[ONE_AT], pair[OVERLAP_AT])
        table[:, start : start + count] = group[:, :count]


@compiled
def _look(source, rows, asked, found):
    """Turn rows round into `rows`; their maxima, top classes, whether they have masked classes."""
    for column in range(len(rows)):
        into = rows[column]
        for lane in range(len(source)):
            into[lane] = like(number(source[lane, column]), into[lane])
        for lane in range(len(source), LANES):
            into[lane] = like(0.0, into[lane])
    top, masked = rows[0].copy(), np.zeros(LANES, rows.dtype)
    none, yes = like(-math.inf, rows[0, 0]), like(1.0, rows[0, 0])
    for column in range(len(rows)):
        row = rows[column]
        for lane in range(LANES):
            value = row[lane]
            # A NaN stays: nothing compares with it.
            top[lane] = top[lane] if top[lane] >= value or top[lane] != top[lane] else value
            masked[lane] = yes if value == none else masked[lane]
    found[MAX_AT, :], found[MASKED_AT, :] = top, masked
    if asked & TOP:
        _find(rows, top, found[TOP_AT])


@compiled
def _find(rows, values, places):
    """The first class with each value."""
    found = np.zeros(LANES, rows.dtype)
    for column in range(len(rows) - 1, -1, -1):
        row, place = rows[column], like(column, rows[0, 0])
        for lane in range(LANES):
            found[lane] = place if row[lane] == values[lane] else found[lane]
    places[:] = found


@compiled
def _count_above(rows, values):
    """The count of classes above each value, in its place."""
    counts, least = np.zeros(LANES, rows.dtype), np.empty(LANES, rows.dtype)
    least[:] = values
    none, one = like(0.0, rows[0, 0]), like(1.0, rows[0, 0])
    for column in range(len(rows)):
        row = rows[column]
        for lane in range(LANES):
            counts[lane] += one if row[lane] > least[lane] else none
    values[:] = counts


@compiled
def _unmask(scratch, pair):
    """Masked classes get a finite score; a pair of which one side alone masks is infinite."""
    for column in range(scratch.shape[1]):
        p, q = scratch[0, column], scratch[1, column]
        for lane in range(LANES):
            of_p, of_q = p[lane] == -math.inf, q[lane] == -math.inf
            pair[FORWARD_AT, lane] = math.inf if of_q and not of_p else pair[FORWARD_AT, lane]
            pair[REVERSE_AT, lane] = math.inf if of_p and not of_q else pair[REVERSE_AT, lane]
    _unmask_alone(scratch[0])
    _unmask_alone(scratch[1])


@compiled
def _unmask_alone(rows):
    for column in range(len(rows)):
        row = rows[column]
        for lane in range(LANES):
            row[lane] = max(row[lane], like(MASKED, row[lane]))


@compiled
def _measure(scratch, asked, pair):
    """The distances of the numbers as they are stored."""
    ones = np.ones(LANES)
    if asked & SQUARES:
        _squares(scratch[0], scratch[1], ones, ones, pair[SQUARES_AT])
        pair[SQUARES_AT] /= np.float64(scratch.shape[1])
    if asked & COSINE:
        of_p, of_q = np.empty(LANES), np.empty(LANES)
        _squares(scratch[0], scratch[0], ones, np.zeros(LANES), of_p)
        _squares(scratch[1], scratch[1], ones, np.zeros(LANES), of_q)
        for lane in range(LANES):
            of_p[lane], of_q[lane] = 1.0 / math.sqrt(of_p[lane]), 1.0 / math.sqrt(of_q[lane])
        _squares(scratch[0], scratch[1], of_p, of_q, pair[COSINE_AT])
        for lane in range(LANES):
            angle = max(of_p[lane], of_q[lane]) < math.inf
            pair[COSINE_AT, lane] = min(0.5 * pair[COSINE_AT, lane], 2.0) if angle else 1.0


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
def _diverge(scratch, temperature, asked, one, other, pair):
    """The exponentials of both sides at the temperature, and the divergences."""
    scale = 1.0 / temperature
    _soften(scratch[0], one[MAX_AT], scale, scratch[2], one[TOTAL_AT])
    _soften(scratch[1], other[MAX_AT], scale, scratch[3], other[TOTAL_AT])
    if asked & FORWARD:
        _divergence(scratch, 0, scale, one, other, pair[FORWARD_AT])
    if asked & REVERSE:
        _divergence(scratch, 1, scale, other, one, pair[REVERSE_AT])


@compiled
def _soften(rows, highest, scale, exps, totals):
    """exp((score - highest) * scale) and their sums."""
    totals[:] = 0.0
    top = np.empty(LANES, rows.dtype)
    top[:] = highest
    factor = like(scale, rows[0, 0])
    for column in range(len(rows)):
        row, into = rows[column], exps[column]
        for lane in range(LANES):
            into[lane] = exponential((row[lane] - top[lane]) * factor)
        for lane in range(LANES):
            totals[lane] += np.float64(into[lane])


@compiled
def _divergence(scratch, first, scale, of_p, of_q, sums):
    """Adds the sum of p log(p / q) + q - p; p is not divided by its sum before the end."""
    found, ratio, constant = np.zeros(LANES), np.empty(LANES), np.empty(LANES)
    highest, other, totals = of_p[MAX_AT], of_q[MAX_AT], of_p[TOTAL_AT]
    for lane in range(LANES):
        ratio[lane] = totals[lane] / of_q[TOTAL_AT, lane]
        constant[lane] = logarithm(ratio[lane])
    for column in range(scratch.shape[1]):
        x, y = scratch[first, column], scratch[1 - first, column]
        e, f = scratch[2 + first, column], scratch[3 - first, column]
        for lane in range(LANES):
            gap = log_ratio(x[lane], y[lane], highest[lane], other[lane], scale, constant[lane])
            found[lane] += share_of_divergence(e[lane], f[lane] * ratio[lane], gap)
    for lane in range(LANES):
        sums[lane] += found[lane] / totals[lane]


@compiled
def _weigh(rows, exps, temperature, asked, found):
    """What is asked at temperature 1; exponentials at another are squared where that is enough."""
    if asked & ONE == 0:
        return
    if asked & TOTAL and temperature == 1.0:
        found[ONE_AT] = found[TOTAL_AT]
    elif asked & TOTAL and temperature in (2.0, 4.0, 8.0):
        _square(exps, temperature, found[ONE_AT])
    else:
        _soften(rows, found[MAX_AT], 1.0, exps, found[ONE_AT])
    if asked & ENTROPY:
        _spread(rows, exps, found[MAX_AT], found[ONE_AT], found[ENTROPY_AT])


@compiled
def _square(exps, power, totals):
    """Raise to the power, 2, 4 or 8; the sums, which with so few classes need not be wide."""
    sums = np.zeros(LANES, exps.dtype)
    for column in range(len(exps)):
        part = exps[column]
        times = power
        while times > 1.0:
            for lane in range(LANES):
                part[lane] *= part[lane]
            times *= 0.5
        for lane in range(LANES):
            sums[lane] += part[lane]
    totals[:] = sums


@compiled
def _overlap(exps_p, exps_q, total_p, total_q, sums):
    """Sums of the lesser of both probabilities."""
    of_p, of_q = np.empty(LANES, exps_p.dtype), np.empty(LANES, exps_p.dtype)
    found = np.zeros(LANES, exps_p.dtype)
    of_p[:], of_q[:] = 1.0 / total_p, 1.0 / total_q
    for column in range(len(exps_p)):
        one, other = exps_p[column], exps_q[column]
        for lane in range(LANES):
            found[lane] += min(one[lane] * of_p[lane], other[lane] * of_q[lane])
    sums[:] = found


@compiled
def _spread(rows, exps, highest, totals, entropies):
    """The entropies: log(total) - sum of exps * (score - highest) / total."""
    weighed, top = np.zeros(LANES, rows.dtype), np.empty(LANES, rows.dtype)
    top[:] = highest
    for column in range(len(rows)):
        row, weights = rows[column], exps[column]
        for lane in range(LANES):
            weighed[lane] += weights[lane] * (row[lane] - top[lane])
    for lane in range(LANES):
        entropies[lane] = logarithm(totals[lane]) - np.float64(weighed[lane]) / totals[lane]
