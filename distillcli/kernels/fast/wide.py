"""Rows of many classes, one after the other: a row is read once and then lies in the cache.

Every loop runs over blocks of a row, so that sums of float32 stay short: their blocks are added in
float64. The compiler may reorder the additions of a block. It does so once, when it compiles, and
for all rows alike: a row has the same bits in any company, on any thread.
"""

import math

import numpy as np

from distillcli.kernels.fast.compiling import compiled
from distillcli.kernels.fast.scalars import (
    FAR_ABOVE,
    MASKED,
    SAFE_SQUARES,
    exponential,
    from_ordered,
    like,
    log_ratio,
    logarithm,
    number,
    ordered,
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

BLOCK = 1024
LINE = 64  # bytes that are fetched at a time


def places(classes, columns, dtype):
    """What `sweep` works with: rows of both sides and their exponentials, what is found of one."""
    return np.empty((4, classes), dtype), np.empty(columns)


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
    row,
    columns,
    table,
):
    """What is asked about rows [rows, classes] of one side, or of both, left in the table.

    Args:
        p, q: elements as `number` takes them; `q` is looked at only where `paired`.
        temperatures, directions: of each divergence, the temperature and bits.
        of_pair, of_p, of_q: what else is asked, bits.
        tops: the classes that those of `q` are counted against; empty: the top classes of `p`.
        labels: the classes whose likelihood is asked for, if it is.
        scratch, row: see `places`.
        columns: those of the table that are to be filled in.
        table: float64 [columns, rows].
    """
    one, other, pair, tempered = row[:SIDE], row[SIDE:PAIR], row[PAIR:TEMPERED], row[TEMPERED:]
    for index in range(p.shape[0]):
        ahead = (p[index + 1 : index + 2], q[index + 1 : index + 2])
        _look(p[index], scratch[0], of_p, one)
        if of_p & NLL:
            one[NLL_AT] = scratch[0, labels[index]]
        if paired:
            _look(q[index], scratch[1], of_q, other)
            if of_q & NLL:
                other[NLL_AT] = scratch[1, labels[index]]
            _measure(scratch, of_pair, pair)
            if of_pair & ABOVE:
                chosen = tops[index] if len(tops) else np.int64(one[TOP_AT])
                pair[ABOVE_AT] = _above(scratch[1], scratch[1, chosen])
            tempered[:] = 0.0
            _unmask(scratch, one, other, tempered)
            # The exponentials of the first are the last to be made: see `_weigh`.
            for last in range(len(temperatures) - 1, -1, -1):
                found = tempered[EACH * last : EACH * (last + 1)]
                _diverge(scratch, temperatures[last], directions[last], one, other, found, ahead)
            temperature = temperatures[0] if len(temperatures) else 0.0
            total = tempered[OTHER_TOTAL_AT] if len(temperatures) else 0.0
            _weigh(scratch[1], scratch[3], temperature, total, of_q, other)
            total = tempered[TOTAL_AT] if len(temperatures) else 0.0
            _weigh(scratch[0], scratch[2], temperature, total, of_p, one)
        else:
            _unmask_alone(scratch[0], one)
            _weigh(scratch[0], scratch[2], 0.0, 0.0, of_p, one)
        if of_pair & OVERLAP:
            pair[OVERLAP_AT] = _overlap(scratch[2], scratch[3], one[ONE_AT], other[ONE_AT])
        for column in columns:
            table[column, index] = row[column]


@compiled
def _look(source, row, asked, found):
    """Bring a row to `row`; its maximum, its top class, whether it has masked classes."""
    highest, lowest = _bring(source, row)
    infinity = ordered(like(math.inf, row[0]))
    masked = ordered(like(-math.inf, row[0]))
    broken = highest > infinity or lowest < masked
    found[MAX_AT] = math.nan if broken else from_ordered(highest)
    found[MASKED_AT] = lowest <= masked
    if asked & TOP:
        found[TOP_AT] = _first(row, from_ordered(highest))


@compiled
def _bring(source, row):
    row[0] = number(source[0])
    highest = lowest = ordered(row[0])
    for start in range(0, len(row), BLOCK):
        part, into = source[start : start + BLOCK], row[start : start + BLOCK]
        for index in range(len(into)):
            value = like(number(part[index]), into[index])
            into[index] = value
            bits = ordered(value)
            highest, lowest = max(highest, bits), min(lowest, bits)
    return highest, lowest


@compiled
def _first(row, value):
    """The lowest index at which a value stands; 0 if it does nowhere."""
    for start in range(0, len(row), BLOCK):
        part = row[start : start + BLOCK]
        first = np.int32(BLOCK)
        for index in range(len(part)):
            first = min(first, np.int32(index) if part[index] == value else np.int32(BLOCK))
        if first < BLOCK:
            return start + first
    return 0


@compiled
def _above(row, value):
    count = np.int32(0)
    for index in range(len(row)):
        count += np.int32(row[index] > value)
    return count


@compiled
def _unmask(scratch, one, other, tempered):
    """Masked classes get a finite score; a pair of which one side alone masks is infinite."""
    if one[MASKED_AT] == 0 and other[MASKED_AT] == 0:
        return
    p, q = scratch[0], scratch[1]
    forward = reverse = 0.0
    for index in range(len(p)):
        if q[index] == -math.inf and p[index] != -math.inf:
            forward = math.inf
        if p[index] == -math.inf and q[index] != -math.inf:
            reverse = math.inf
    for start in range(0, len(tempered), EACH):
        tempered[start + FORWARD_AT], tempered[start + REVERSE_AT] = forward, reverse
    _unmask_alone(p, one)
    _unmask_alone(q, other)


@compiled
def _unmask_alone(row, found):
    if found[MASKED_AT] and found[MAX_AT] > FAR_ABOVE:
        for index in range(len(row)):
            row[index] = like(MASKED, row[index]) if row[index] == -math.inf else row[index]


@compiled
def _measure(scratch, asked, pair):
    """The distances of the numbers as they are stored."""
    p, q = scratch[0], scratch[1]
    if asked & SQUARES:
        pair[SQUARES_AT] = _squares(p, q, 1.0, 1.0) / len(p)
    if asked & COSINE:
        squares = _squares(p, p, 1.0, 0.0), _squares(q, q, 1.0, 0.0)
        pair[COSINE_AT] = math.nan
        if min(squares) > SAFE_SQUARES[0] and max(squares) < SAFE_SQUARES[1]:
            distance = _squares(p, q, 1.0 / math.sqrt(squares[0]), 1.0 / math.sqrt(squares[1]))
            pair[COSINE_AT] = min(0.5 * distance, 2.0)


@compiled
def _squares(p, q, of_p, of_q):
    """Sum of (of_p p - of_q q)^2."""
    total = 0.0
    for start in range(0, len(p), BLOCK):
        x, y = p[start : start + BLOCK], q[start : start + BLOCK]
        part = 0.0
        for index in range(len(x)):
            gap = of_p * np.float64(x[index]) - of_q * np.float64(y[index])
            part += gap * gap
        total += part
    return total


@compiled
def _diverge(scratch, temperature, asked, one, other, found, ahead):
    """The exponentials of both sides at the temperature, and the divergences."""
    scale = 1.0 / temperature
    total = _soften(scratch[0], one[MAX_AT], scale, scratch[2], ahead[0])
    other_total = _soften(scratch[1], other[MAX_AT], scale, scratch[3], ahead[1])
    found[TOTAL_AT], found[OTHER_TOTAL_AT] = total, other_total
    ratio, highest = total / other_total, (one[MAX_AT], other[MAX_AT])
    if asked & FORWARD:
        found[FORWARD_AT] += _divergence(scratch, 0, highest, scale, ratio) / total
    if asked & REVERSE:
        found[REVERSE_AT] += _divergence(scratch, 1, highest, scale, 1.0 / ratio) / other_total


@compiled
def _soften(row, highest, scale, exps, ahead):
    """exp((score - highest) * scale) and their sum.

    What comes next, a row or none, is fetched on the way: the processor's own reading ahead ends
    with a page of memory, and with a row that is swept several times.
    """
    line = LINE // exps.itemsize
    top, factor = like(highest, row[0]), like(scale, row[0])
    total = 0.0
    for start in range(0, len(row), BLOCK):
        part, into = row[start : start + BLOCK], exps[start : start + BLOCK]
        for coming in range(len(ahead)):
            for index in range(start, min(start + BLOCK, len(row)), line):
                prefetch(ahead[coming], index)  # type: ignore[call-arg]  # the first is numba's
        partial = like(0.0, row[0])
        for index in range(len(part)):
            value = exponential((part[index] - top) * factor)
            into[index] = value
            partial += value
        total += partial
    return total


@compiled
def _divergence(scratch, first, highest, scale, ratio):
    """Sum of p log(p / q) + q - p, with p not divided by its sum, q by the ratio of the sums."""
    p, q, exps_p, exps_q = (
        scratch[first],
        scratch[1 - first],
        scratch[2 + first],
        scratch[3 - first],
    )
    of_p, of_q, constant = highest[first], highest[1 - first], logarithm(ratio)
    total = 0.0
    for start in range(0, len(p), BLOCK):
        x, y = p[start : start + BLOCK], q[start : start + BLOCK]
        e, f = exps_p[start : start + BLOCK], exps_q[start : start + BLOCK]
        part = 0.0
        for index in range(len(x)):
            gap = log_ratio(x[index], y[index], of_p, of_q, scale, constant)
            part += share_of_divergence(e[index], f[index] * ratio, gap)
        total += part
    return total


@compiled
def _weigh(row, exps, temperature, total, asked, found):
    """What is asked at temperature 1; exponentials at another, with their total, are squared where
    that is enough. A temperature of 0 says that there are none."""
    if asked & ONE == 0:
        return
    if temperature == 1.0:
        found[ONE_AT] = total
    elif temperature in (2.0, 4.0, 8.0):
        found[ONE_AT] = _square(exps, temperature)
    else:
        found[ONE_AT] = _soften(row, found[MAX_AT], 1.0, exps, exps[:0].reshape(0, 1))
    if asked & ENTROPY:
        weighed = _weighed(row, found[MAX_AT], exps)
        found[ENTROPY_AT] = logarithm(found[ONE_AT]) - weighed / found[ONE_AT]
    if asked & NLL:  # the label's score stands there
        found[NLL_AT] = logarithm(found[ONE_AT]) - (found[NLL_AT] - found[MAX_AT])


@compiled
def _square(exps, power):
    """Raise to the power, 2, 4 or 8; the sum."""
    total = 0.0
    for start in range(0, len(exps), BLOCK):
        part = exps[start : start + BLOCK]
        times = power
        while times > 2.0:
            for index in range(len(part)):
                part[index] *= part[index]
            times *= 0.5
        partial = like(0.0, exps[0])
        for index in range(len(part)):
            value = part[index] * part[index]
            part[index] = value
            partial += value
        total += partial
    return total


@compiled
def _overlap(exps_p, exps_q, total_p, total_q):
    """Sum of the lesser of both probabilities."""
    of_p, of_q = like(1.0 / total_p, exps_p[0]), like(1.0 / total_q, exps_p[0])
    total = 0.0
    for start in range(0, len(exps_p), BLOCK):
        one, other = exps_p[start : start + BLOCK], exps_q[start : start + BLOCK]
        partial = like(0.0, exps_p[0])
        for index in range(len(one)):
            partial += min(one[index] * of_p, other[index] * of_q)
        total += partial
    return total


@compiled
def _weighed(row, highest, exps):
    """Sum of exps * (score - highest): <= 0."""
    top = like(highest, row[0])
    total = 0.0
    for start in range(0, len(row), BLOCK):
        part, weights = row[start : start + BLOCK], exps[start : start + BLOCK]
        partial = like(0.0, row[0])
        for index in range(len(part)):
            partial += weights[index] * (part[index] - top)
        total += partial
    return total
