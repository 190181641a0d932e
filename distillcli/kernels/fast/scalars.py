"""Numbers one by one: their bits, stored types as numbers, the exponential function.

All of it is inlined into loops that the compiler turns into vector instructions. So there are no
branches, only choices between two values, and the operations of a number do not depend on its place
in a row: nothing is reordered, and a product with a sum is always one fused operation.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload
from numba.np.arrayobj import make_array

# Stands for the score of a masked class where differences are taken, in rows whose maximum is far
# above; in others no number is left of what is made of differences.
MASKED, FAR_ABOVE = -1e30, -1e29
# Where sums of squares in float64 have lost nothing to underflow or overflow.
SAFE_SQUARES = 1e-280, 1e280

LINE = 64  # bytes that come from memory at a time

FUSED: Any = {"fastmath": {"contract"}}


def _bitcast(source: Any, target: Any, kind: Any) -> Any:
    """The same bits read as another type of the same size."""

    def typed(context, x):
        def emit(context, builder, signature, arguments):
            return builder.bitcast(arguments[0], kind)

        return target(source), emit

    return intrinsic(typed)


# Integers of less than 64 bits become 64 bits wide with every operation; these take them back.
float32_of = _bitcast(types.int32, types.float32, ir.FloatType())
int32_of = _bitcast(types.float32, types.int32, ir.IntType(32))
float64_of = _bitcast(types.int64, types.float64, ir.DoubleType())
int64_of = _bitcast(types.float64, types.int64, ir.IntType(64))


@intrinsic
def prefetch(typed, array, index):
    """Have a number of an array [n] brought near; it is no error if the array ends before."""

    def emit(context, builder, signature, arguments):
        data = make_array(signature.args[0])(context, builder, arguments[0]).data
        place = builder.gep(data, [arguments[1]])
        number, flag = ir.IntType(32), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [place.type, number, number, flag])
        call = builder.module.declare_intrinsic("llvm.prefetch", [place.type], kind)
        # To be read, wanted soon but not at once, data.
        builder.call(call, [place, number(0), number(2), flag(1)])
        return context.get_dummy_value()

    return types.void(array, index), emit


def like(x, other):
    """The number in the type of another."""


@overload(like)
def _like(x, other):
    return _as32 if other == types.float32 else _as64


def _as32(x, other):
    return np.float32(x)


def _as64(x, other):
    return np.float64(x)


def ordered(x):
    """The bits of a float so that integers stand in the order of the floats, NaNs at both ends.

    The largest is found in integers because a maximum of floats is not free to be reordered: a NaN
    counts for nothing on one side of it.
    """


@overload(ordered)
def _ordered(x):
    return _ordered32 if x == types.float32 else _ordered64


def _ordered32(x):
    return _turned32(int32_of(x))


def _ordered64(x):
    return _turned64(int64_of(x))


@njit
def _turned32(bits):
    return np.int32(bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@njit
def _turned64(bits):
    return bits ^ ((bits >> np.int64(63)) & np.int64(0x7FFFFFFFFFFFFFFF))


def from_ordered(bits):
    """The float of `ordered`."""


@overload(from_ordered)
def _from_ordered(bits):
    return _from_ordered32 if bits == types.int32 else _from_ordered64


def _from_ordered32(bits):
    return float32_of(_turned32(bits))


def _from_ordered64(bits):
    return float64_of(_turned64(bits))


def number(x):
    """A stored element as a number: float32 and float64 are, uint16 are the bits of a float16, and
    int16 those of a bfloat16."""


@overload(number, jit_options=FUSED)
def _number(x):
    if x == types.int16:
        return _from_bfloat16
    return _from_float16 if x == types.uint16 else lambda x: x


def _from_bfloat16(x):
    return float32_of(np.int32(x) << np.int32(16))


REBIAS = np.float32(2.0**112)  # between the exponents' offsets of float16 and float32
INFINITE16, INFINITE32 = np.int32(0x7C00), np.int32(0x7F800000)


def _from_float16(x):
    """Exponent and fraction moved to their places; a product sets the exponent's offset right.

    The product is exact, and makes subnormal numbers normal. Infinity and NaN keep their fraction.
    """
    size = np.int32(x & np.uint16(0x7FFF))
    magnitude = int32_of(float32_of(size << np.int32(13)) * REBIAS)
    magnitude = magnitude if size < INFINITE16 else np.int32(magnitude | INFINITE32)
    sign = np.int32(x & np.uint16(0x8000)) << np.int32(16)
    return float32_of(magnitude | sign)


def exponential(x):
    """exp(x) for x <= 0, within 2 units in the last place; 0 where that is no normal number.

    exp(x) = 2^n exp(r) with |r| <= log(2) / 2, exp(r) by its series; log(2) is taken in two parts
    of which the first has few digits, so that n times it is exact.
    """


LOG2E32, HIGH32, LOW32 = np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.12194440e-4)
HALF32, ONE32, ZERO32, LEAST32 = np.float32(0.5), np.float32(1), np.float32(0), np.float32(-87)
A7, A6, A5, A4, A3 = (np.float32(1 / n) for n in (5040, 720, 120, 24, 6))
BIAS32, PLACES32 = np.int32(127), np.int32(23)
LOG2E64, LEAST64 = 1.4426950408889634, -708.0
HIGH64, LOW64 = 0.693145751953125, 1.42860682030941723e-6
BIAS64, PLACES64 = np.int64(1023), np.int64(52)


@overload(exponential, jit_options=FUSED)
def _exponential(x):
    return _exponential32 if x == types.float32 else _exponential64


def _exponential32(x):
    y = x if x > LEAST32 else LEAST32
    n = np.floor(y * LOG2E32 + HALF32)
    r = y - n * HIGH32
    r = r - n * LOW32
    p = A7 * r + A6
    p = p * r + A5
    p = p * r + A4
    p = p * r + A3
    p = p * r + HALF32
    p = p * r + ONE32
    p = p * r + ONE32
    power = float32_of((np.int32(n) + BIAS32) << PLACES32)
    return p * power if x > LEAST32 else ZERO32


def _exponential64(x):
    y = x if x > LEAST64 else LEAST64
    n = np.floor(y * LOG2E64 + 0.5)
    r = y - n * HIGH64
    r = r - n * LOW64
    p = r / 6227020800.0 + 1 / 479001600.0
    p = p * r + 1 / 39916800.0
    p = p * r + 1 / 3628800.0
    p = p * r + 1 / 362880.0
    p = p * r + 1 / 40320.0
    p = p * r + 1 / 5040.0
    p = p * r + 1 / 720.0
    p = p * r + 1 / 120.0
    p = p * r + 1 / 24.0
    p = p * r + 1 / 6.0
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    power = float64_of((np.int64(n) + BIAS64) << PLACES64)
    return p * power if x > LEAST64 else 0.0


def logarithm(x):
    """log(x) for a normal x > 0, float64, within 2 units in the last place of the larger summand.

    x = 2^n m with m from sqrt(1/2) to sqrt(2), and log(m) = 2 artanh(s), s = (m - 1) / (m + 1), by
    its series. The library's own is a call for every number.
    """


FRACTION, EXPONENT_OF_HALF = np.int64(0x000FFFFFFFFFFFFF), np.int64(0x3FE0000000000000)


@overload(logarithm, jit_options=FUSED)
def _logarithm(x):
    return _logarithm64


def _logarithm64(x):
    bits = int64_of(x)
    n = np.float64((bits >> PLACES64) - np.int64(1022))
    m = float64_of((bits & FRACTION) | EXPONENT_OF_HALF)
    low = m < 0.7071067811865476
    m, n = (2.0 * m, n - 1.0) if low else (m, n)
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    t = z * (1 / 21.0) + 1 / 19.0
    t = t * z + 1 / 17.0
    t = t * z + 1 / 15.0
    t = t * z + 1 / 13.0
    t = t * z + 1 / 11.0
    t = t * z + 1 / 9.0
    t = t * z + 1 / 7.0
    t = t * z + 1 / 5.0
    t = t * z + 1 / 3.0
    value = 2.0 * s + (2.0 * s * z * t + n * LOW64)
    return n * HIGH64 + value


def log_ratio(x, y, highest, other, scale, constant):
    """((x - highest) - (y - other)) scale - constant in float64, with nothing lost by large scores.

    Of float32 scores every difference is exact, in whatever order they are taken.
    """


@overload(log_ratio, jit_options=FUSED)
def _log_ratio(x, y, highest, other, scale, constant):
    return _log_ratio32 if x == types.float32 else _log_ratio64


def _log_ratio32(x, y, highest, other, scale, constant):
    return ((np.float64(x) - np.float64(y)) - (highest - other)) * scale - constant


def _log_ratio64(x, y, highest, other, scale, constant):
    return ((x - highest) - (y - other)) * scale - constant


def parted(x):
    """A float64 as two float32, which together have twice the digits of one."""


@overload(parted, jit_options=FUSED)
def _parted(x):
    return lambda x: (np.float32(x), np.float32(x - np.float64(np.float32(x))))


def narrow_gap(x, y, scale, rest_of_scale, centre, rest):
    """(x - y) scale - centre in float32, where scale and centre come in two parts each.

    No constant is rounded, so that no error is common to all classes: what is lost is half a unit
    in the last place of x - y, of the first sum and of the last. Where a product with a sum is no
    fused operation, half a unit of the product too. Together that is at most 2^-24 (4 |gap| +
    2 |centre|).
    """


@overload(narrow_gap, jit_options=FUSED)
def _narrow_gap(x, y, scale, rest_of_scale, centre, rest):
    def gap(x, y, scale, rest_of_scale, centre, rest):
        difference = np.float32(x - y)
        return (difference * scale - centre) + (difference * rest_of_scale - rest)

    return gap


C8, C7, C6, C5, C4, C3 = (np.float32(1 / n) for n in (40320, 5040, 720, 120, 24, 6))


def share_of_divergence(p, q, gap):
    """What a class adds to KL(p || q), q - p included: p d + q - p, never below 0.

    Args:
        p, q: in the type of the arithmetic, whose rounding the result must not show.
        gap: d = log(p / q). With p in float32 it may be too: all that follows then is, and loses a
            few units in the last place of what the class adds, for nothing cancels.

    Near d = 0 it is p times the series of exp(-d) - 1 + d, which loses no digits.
    """


@overload(share_of_divergence, jit_options=FUSED)
def _share_of_divergence(p, q, gap):
    if gap == types.float32:
        return _narrow_share
    return _share32 if p == types.float32 else _share64


def _narrow_share(p, q, gap):
    series = gap * C8 - C7
    series = series * gap + C6
    series = series * gap - C5
    series = series * gap + C4
    series = series * gap - C3
    series = series * gap + HALF32
    return p * (series * gap * gap) if abs(gap) < HALF32 else p * gap + (q - p)


def _share32(p, q, gap):
    series = gap * (1 / 40320.0) - 1 / 5040.0
    series = series * gap + 1 / 720.0
    series = series * gap - 1 / 120.0
    series = series * gap + 1 / 24.0
    series = series * gap - 1 / 6.0
    series = series * gap + 0.5
    return p * (series * gap * gap) if abs(gap) < 0.5 else p * gap + (q - p)


def _share64(p, q, gap):
    series = 1 / 479001600.0 - gap * (1 / 6227020800.0)
    series = series * gap - 1 / 39916800.0
    series = series * gap + 1 / 3628800.0
    series = series * gap - 1 / 362880.0
    series = series * gap + 1 / 40320.0
    series = series * gap - 1 / 5040.0
    series = series * gap + 1 / 720.0
    series = series * gap - 1 / 120.0
    series = series * gap + 1 / 24.0
    series = series * gap - 1 / 6.0
    series = series * gap + 0.5
    return p * (series * gap * gap) if abs(gap) < 0.25 else p * gap + (q - p)
