"""Rows of many classes, one after the other: a row is read once and then lies in the cache.

Every loop runs over blocks of a row, so that sums of float32 stay short: their blocks are added in
float64. The compiler may reorder the additions of a block. It does so once, when it compiles, and
for all rows alike: a row has the same bits in any company, on any thread.
"""

import math

import numpy as np
from numba.extending import overload

from distillcli.kernels.fast.compiling import HOW, compiled
from distillcli.kernels.fast.scalars import (
    FAR_ABOVE,
    FUSED,
    LINE,
    MASKED,
    SAFE_SQUARES,
    exponential,
    from_ordered,
    like,
    log_ratio,
    logarithm,
    narrow_gap,
    number,
    ordered,
    parted,
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
# What `narrow_gap` loses at most, in units of the gap and of its centre; what a divergence may lose
# to that, a third of what it may be wrong by.
GAP_LOSES, MAY_LOSE = 2.0**-24, 3e-6


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
    first = temperatures[0] if len(temperatures) else 0.0
    for index in range(p.shape[0]):
        ahead = (p[index + 1 : index + 2], q[index + 1 : index + 2])
        x = in_type(p[index], scratch[0])
        _look(p[index], x, of_p, one)
        if of_p & NLL:
            one[NLL_AT] = x[labels[index]]
        if paired:
            y = in_type(q[index], scratch[1])
            _look(q[index], y, of_q, other)
            if of_q & NLL:
                other[NLL_AT] = y[labels[index]]
            _measure(x, y, of_pair, pair)
            if of_pair & ABOVE:
                chosen = tops[index] if len(tops) else np.int64(one[TOP_AT])
                pair[ABOVE_AT] = _above(y, y[chosen])
            tempered[:] = 0.0
            if one[MASKED_AT] or other[MASKED_AT]:
                x, y = _copied(x, scratch[0]), _copied(y, scratch[1])
                _unmask(x, y, one, other, tempered)
            # The exponentials of the first are the last to be made: see `_total`.
            at_one = (0.0, 0.0)
            for last in range(len(temperatures) - 1, -1, -1):
                found = tempered[EACH * last : EACH * (last + 1)]
                at_one = _diverge(
                    x,
                    y,
                    scratch[2:],
                    temperatures[last],
                    directions[last],
                    one,
                    other,
                    found,
                    ahead,
                )
            _total(x, scratch[2], first, at_one[0], of_p, one)
            _total(y, scratch[3], first, at_one[1], of_q, other)
            if (of_p | of_q) & ENTROPY or of_pair & OVERLAP:
                weighed, other_weighed, lesser = _weigh(x, y, scratch[2:], first, one, other)
                _leave(weighed, of_p, one)
                _leave(other_weighed, of_q, other)
                pair[OVERLAP_AT] = lesser
        else:
            if one[MASKED_AT]:
                x = _copied(x, scratch[0])
                _unmask_alone(x, one)
            _total(x, scratch[2], 0.0, 0.0, of_p, one)
            if of_p & ENTROPY:  # as a pair of which the other side is not looked at
                _leave(_weigh(x, x, scratch[2:], 1.0, one, one)[0], of_p, one)
        for column in columns:
            table[column, index] = row[column]


def in_type(source, place):
    """Where a row in the type of the arithmetic is: where it has been, or else in its place.

    A row that is not copied leaves the cache to the exponentials.
    """


@overload(in_type, jit_options=FUSED)
def _in_type(source, place):
    if source.dtype == place.dtype:
        return lambda source, place: source
    return lambda source, place: place


@compiled
def _look(source, row, asked, found):
    """Bring a row to `row`; its maximum, its top class, whether it has masked classes."""
    highest, lowest = brought(source, row)
    infinity = ordered(like(math.inf, row[0]))
    masked = ordered(like(-math.inf, row[0]))
    broken = highest > infinity or lowest < masked
    found[MAX_AT] = math.nan if broken else from_ordered(highest)
    found[MASKED_AT] = lowest <= masked
    if asked & TOP:
        found[TOP_AT] = _first(row, from_ordered(highest))


def brought(source, row):
    """A row brought where `in_type` has it; its highest and its lowest number as `ordered`."""


@overload(brought, jit_options=HOW)
def _brought(source, row):
    return _there if source.dtype == row.dtype else _widened


def _there(source, row):
    highest = lowest = ordered(row[0])
    for start in range(0, len(row), BLOCK):
        part = row[start : start + BLOCK]
        for index in range(len(part)):
            bits = ordered(part[index])
            highest, lowest = max(highest, bits), min(lowest, bits)
    return highest, lowest


def _widened(source, row):
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
def _copied(source, into):
    for index in range(len(into)):
        into[index] = source[index]
    return into


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
def _unmask(p, q, one, other, tempered):
    """Masked classes get a finite score; a pair of which one side alone masks is infinite."""
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
def _measure(p, q, asked, pair):
    """The distances of the numbers as they are stored."""
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
def _diverge(p, q, exps, temperature, asked, one, other, found, ahead):
    """The exponentials of both sides at the temperature, and the divergences.

    Returns: the sums of exponentials at temperature 1, of both sides, where `_soften` has them.
    """
    scale = 1.0 / temperature
    total, at_one = _soften(p, one[MAX_AT], temperature, exps[0], ahead[0])
    other_total, other_at_one = _soften(q, other[MAX_AT], temperature, exps[1], ahead[1])
    found[TOTAL_AT], found[OTHER_TOTAL_AT] = total, other_total
    e, f, of_p, of_q = exps[0], exps[1], one[MAX_AT], other[MAX_AT]
    if asked & FORWARD:
        found[FORWARD_AT] += _divergence(p, q, e, f, of_p, of_q, scale, total, other_total)
    if asked & REVERSE:
        found[REVERSE_AT] += _divergence(q, p, f, e, of_q, of_p, scale, other_total, total)
    return at_one, other_at_one


@compiled
def _soften(row, highest, temperature, exps, ahead):
    """exp((score - highest) / temperature), and their sum; at temperature 2, 4 or 8 the sum of
    their powers too, which are the exponentials at 1, at others the sum again.

    What comes next, a row or none, is fetched on the way: the processor's own reading ahead ends
    with a page of memory, and with a row that is swept several times.
    """
    line = LINE // exps.itemsize
    top, factor = like(highest, row[0]), like(1.0 / temperature, row[0])
    powered = temperature in (2.0, 4.0, 8.0)
    fourth, eighth = temperature > 2.0, temperature > 4.0
    total = at_one = 0.0
    for start in range(0, len(row), BLOCK):
        part, into = row[start : start + BLOCK], exps[start : start + BLOCK]
        for coming in range(len(ahead)):
            for index in range(start, min(start + BLOCK, len(row)), line):
                prefetch(ahead[coming], index)  # type: ignore[call-arg]  # the first is numba's
        partial = powers = like(0.0, row[0])
        if powered:
            for index in range(len(part)):
                value = exponential((part[index] - top) * factor)
                into[index] = value
                partial += value
                powers += _raised(value, True, fourth, eighth)
        else:
            for index in range(len(part)):
                value = exponential((part[index] - top) * factor)
                into[index] = value
                partial += value
        total += partial
        at_one += powers if powered else partial
    return total, at_one


@compiled
def _divergence(p, q, exps_p, exps_q, of_p, of_q, scale, total, other_total):
    """KL(p || q) from exponentials and their sums: the sum of p log(p / q) + q - p."""
    ratio = total / other_total
    if exps_p.itemsize == 4:
        centre = (of_p - of_q) * scale + logarithm(ratio)
        found, gaps = _in_float32(p, q, exps_p, exps_q, scale, ratio, centre)
        loses = GAP_LOSES * (4.0 * gaps + 2.0 * abs(centre) * total)
        if loses <= MAY_LOSE * found and found < math.inf:
            return found / total
    return _in_float64(p, q, exps_p, exps_q, of_p, of_q, scale, ratio) / total


@compiled
def _in_float32(p, q, exps_p, exps_q, scale, ratio, centre):
    """The sum with differences of float32, and that of p times their size, which bounds what their
    rounding does to it. Neither is divided by the sum of exponentials."""
    scale_of, rest_of_scale = parted(scale)
    centre_of, rest = parted(centre)
    total = gaps = 0.0
    for start in range(0, len(p), BLOCK):
        x, y = p[start : start + BLOCK], q[start : start + BLOCK]
        e, f = exps_p[start : start + BLOCK], exps_q[start : start + BLOCK]
        part = sizes = like(0.0, p[0])
        for index in range(len(x)):
            gap = narrow_gap(x[index], y[index], scale_of, rest_of_scale, centre_of, rest)
            part += share_of_divergence(e[index], f[index] * np.float32(ratio), gap)
            sizes += e[index] * abs(gap)
        total += part
        gaps += sizes
    return total, gaps


@compiled
def _in_float64(p, q, exps_p, exps_q, of_p, of_q, scale, ratio):
    """The sum with differences of float64."""
    constant, total = logarithm(ratio), 0.0
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
def _total(row, exps, temperature, at_one, asked, found):
    """The sum of exponentials at temperature 1, and what is had from it alone.

    Args:
        exps: at another temperature, the last that they were made at; 0 says that there are none.
        at_one: the sum, where `_soften` has found it on the way.
    """
    if asked & ONE == 0:
        return
    if temperature in (1.0, 2.0, 4.0, 8.0):
        found[ONE_AT] = at_one
    else:
        found[ONE_AT] = _soften(row, found[MAX_AT], 1.0, exps, exps[:0].reshape(0, 1))[0]
    if asked & NLL:  # the label's score stands there
        found[NLL_AT] = logarithm(found[ONE_AT]) - (found[NLL_AT] - found[MAX_AT])


@compiled
def _leave(weighed, asked, found):
    if asked & ENTROPY:
        found[ENTROPY_AT] = logarithm(found[ONE_AT]) - weighed / found[ONE_AT]


@compiled
def _weigh(p, q, exps, temperature, one, other):
    """What needs every class at temperature 1, of both sides at once; exponentials at 2, 4 or 8 are
    raised to that power.

    Returns: the sums of exps * (score - highest), <= 0, of both; that of the lesser probability.
    """
    squared, fourth, eighth = temperature in (2.0, 4.0, 8.0), temperature > 2.0, temperature > 4.0
    of_p, of_q = like(1.0 / one[ONE_AT], p[0]), like(1.0 / other[ONE_AT], p[0])
    top, other_top = like(one[MAX_AT], p[0]), like(other[MAX_AT], p[0])
    weighed = other_weighed = lesser = 0.0
    for start in range(0, len(p), BLOCK):
        x, y = p[start : start + BLOCK], q[start : start + BLOCK]
        e, f = exps[0, start : start + BLOCK], exps[1, start : start + BLOCK]
        part = other_part = least = like(0.0, p[0])
        for index in range(len(x)):
            v = _raised(e[index], squared, fourth, eighth)
            w = _raised(f[index], squared, fourth, eighth)
            part += v * (x[index] - top)
            other_part += w * (y[index] - other_top)
            least += min(v * of_p, w * of_q)
        weighed += part
        other_weighed += other_part
        lesser += least
    return weighed, other_weighed, lesser


@compiled
def _raised(x, squared, fourth, eighth):
    """To the power 2, 4 or 8, or as it is."""
    x = x * x if squared else x
    x = x * x if squared and fourth else x
    return x * x if squared and eighth else x
