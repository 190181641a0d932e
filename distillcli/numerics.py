"""The few stable primitives: class scores, what is derived from them, and their divergence.

Everything is written over the array API standard, with no branch on an array's values. Class scores
are float32 or float64; every number that belongs to a row is float64.
"""

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Literal
from weakref import ReferenceType, ref

from distillcli.backend import Array, namespace
from distillcli.errors import MismatchError

Kind = Literal["logits", "probabilities", "log_probabilities"]

# A masked class (score -inf) takes this score in differences, so that no inf - inf arises. A
# difference beyond INFINITE_GAP can only come from a mask.
MASKED_SCORE = -1e300
INFINITE_GAP = 1e290
# Below this gap q = p * exp(-gap) could overflow; what p has to add there is below exp(-50) of q.
LOWEST_GAP = -50.0
# What computed numbers that ought to be the same may differ by, as a share of them.
ROUNDING = 2.0**-46


def cast(x: Array, dtype: Any) -> Array:
    """The array in another type; itself if it has that type."""
    xp = namespace(x)
    if hasattr(xp, "astype"):
        return xp.astype(x, dtype, copy=False)
    return x.astype(dtype, copy=False)  # CuPy before 14


def widen(x: Array) -> Array:
    """The array as float64; itself if it is."""
    return cast(x, namespace(x).float64)


def at_least(x: Array, low: float) -> Array:
    """max(x, low). With both bounds given NumPy takes a third of the time."""
    return namespace(x).clip(x, low, math.inf)


def row_sum(x: Array) -> Array:
    """Sum over the last axis, added up in float64."""
    xp = namespace(x)
    return xp.sum(x, axis=-1, dtype=xp.float64)


def at(x: Array, index: Array) -> Array:
    """x[row, index[row]] for every row: [rows]."""
    xp = namespace(x)
    return xp.take_along_axis(x, index[:, None], axis=-1)[:, 0]


def finite_rows(x: Array) -> Array:
    """Which rows of [rows, n] hold finite numbers only: bool [rows]."""
    xp = namespace(x)
    return xp.isfinite(xp.max(x, axis=-1)) & xp.isfinite(xp.min(x, axis=-1))


def check_same_shape(**arrays: Array) -> None:
    """Raise MismatchError, with names and shapes, unless all arrays are [rows, n] of one shape."""
    shapes = {name: tuple(array.shape) for name, array in arrays.items()}
    shown = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
    if any(len(shape) != 2 for shape in shapes.values()):
        raise MismatchError(shown, "two dimensions are needed", "reshape(1, -1) makes one row")
    if len(set(shapes.values())) > 1:
        raise MismatchError(shown, "the shapes differ", "both must come from the same rows")


class Made:
    """An array that is made when somebody first needs it, and then kept."""

    def __init__(self, make: Callable[[], Array]) -> None:
        self._make = make

    @cached_property
    def array(self) -> Array:
        return self._make()

    @property
    def is_there(self) -> bool:
        """Whether it has been needed yet."""
        return "array" in vars(self)


class Softened:
    """Rows of class scores divided by a temperature, as numerators and sums of their softmax.

    It refers to arrays alone: what is remembered of a tile must not refer back to it, for a circle
    is freed late.

    Args:
        scores: [rows, classes], made when first needed.
        highest: the maximum of each row.

    Attributes:
        total: sum of exps over the classes, float64 [rows]; computed unless it is given.
        log_total: its logarithm.
    """

    def __init__(
        self, scores: "Made", highest: Array, temperature: float, total: Array | None = None
    ) -> None:
        self._scores = scores
        self._highest = highest
        self._temperature = temperature
        self.total = row_sum(self.exps) if total is None else total
        self.log_total = namespace(self.total).log(self.total)

    @cached_property
    def exps(self) -> Array:
        """exp((score - the row's maximum) / temperature), [rows, classes]."""
        scaled = self._scores.array - self._highest[:, None]
        if self._temperature != 1.0:
            scaled = scaled * (1.0 / self._temperature)
        return namespace(scaled).exp(scaled)

    @property
    def probabilities(self) -> Array:
        """The softmax, [rows, classes], in the type of the scores."""
        return scale_rows(self.exps, 1.0 / self.total)


def scale_rows(x: Array, factor: Array) -> Array:
    """x * factor[:, None], in the type of x."""
    return x * cast(factor, x.dtype)[:, None]


@dataclass(frozen=True)
class Stored:
    """Class scores as they are stored, which a kernel may read as they are.

    Args:
        bits: [rows, classes], of any type.
        element: the name of that type, which `bits` alone does not tell.
        dtype: the type of the arithmetic, float32 or float64.
        widen: makes that of any such array.
    """

    bits: Array
    element: str
    dtype: Any
    widen: Callable[[Array], Array]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.bits.shape)


class Logits:
    """Class scores of some rows, with what was derived from them kept for the next who asks.

    Args:
        values: [rows, classes], float32 or float64 (other types are widened to float64). -inf masks
            a class. Or as they are stored: they are then widened when a plain function asks.
        kind: what the values are.
        temperature: at which stored (log-)probabilities were taken; no meaning for logits.

    Everything is computed when first asked for and lives as long as the object, so make one per
    tile of rows. Not for use from several threads.
    """

    def __init__(
        self, values: Array | Stored, kind: Kind = "logits", temperature: float = 1.0
    ) -> None:
        if len(values.shape) != 2:
            where, problem = f"array of shape {list(values.shape)}", "[rows, classes] is needed"
            raise MismatchError(where, problem, "reshape(1, -1) makes one row")
        self.values = values
        self.shape = tuple(values.shape)
        self.kind: Kind = kind
        self.temperature = temperature
        self._raw = Made(partial(_widened, values))
        self._scores = Made(partial(_log_space, self._raw, kind, temperature))
        self._softened: dict[float, Softened] = {}
        self._nll: tuple[Array, Array] | None = None
        self._of_pair: dict[Hashable, tuple[ReferenceType[Logits], Array]] = {}

    @property
    def raw(self) -> Array:
        """The values in the type of the arithmetic, whatever their kind: [rows, classes]."""
        return self._raw.array

    @property
    def scores(self) -> Array:
        """Log-space scores: softmax(scores / T) is the distribution at T; -inf masks a class."""
        return self._scores.array

    @property
    def as_stored(self) -> Stored | None:
        """The logits as they are stored, if nobody has needed them in another form yet."""
        untouched = self.kind == "logits" and not self._raw.is_there
        return self.values if untouched and isinstance(self.values, Stored) else None

    @cached_property
    def max(self) -> Array:
        """The highest score of each row, [rows]; NaN where the row holds one."""
        return namespace(self.scores).max(self.scores, axis=-1)

    @cached_property
    def bad(self) -> Array:
        """Rows that are no scores: a NaN, a +inf, or nothing but -inf. bool [rows]."""
        return ~namespace(self.max).isfinite(self.max)

    @cached_property
    def finite(self) -> Array:
        """Rows without any NaN, infinity or masked class. bool [rows]."""
        return finite_rows(self.scores)

    @property
    def raw_finite(self) -> Array:
        """Rows of whose values, whatever they are, all are finite. bool [rows]."""
        return self.finite if self.kind == "logits" else finite_rows(self.raw)

    @cached_property
    def top(self) -> Array:
        """The class with the highest score, the lowest index among equals: int64 [rows]."""
        return namespace(self.scores).argmax(self.scores, axis=-1)

    @property
    def wide(self) -> "Logits":
        """The same as float64 logits; for losses that an error of a probability enters in full."""
        is_wide = self.kind == "logits" and self.raw.dtype == namespace(self.raw).float64
        return self if is_wide else self._widened

    @cached_property
    def _widened(self) -> "Logits":
        return Logits(widen(self.scores))

    @cached_property
    def standardized(self) -> "Logits":
        """As float64 logits of mean 0 and sample standard deviation 1 in each row.

        Masked classes stay masked and do not count; a row of equal scores becomes one of zeros.
        """
        return Logits(standardized(self.scores))

    @property
    def shifted(self) -> Array:
        """Scores minus the row's maximum: <= 0."""
        return self.scores - self.max[:, None]

    def softened(self, temperature: float = 1.0) -> Softened:
        """The distribution at a temperature, remembered for each temperature."""
        if temperature not in self._softened:
            self._softened[temperature] = Softened(self._scores, self.max, temperature)
        return self._softened[temperature]

    def log_softmax(self, temperature: float = 1.0) -> Array:
        """log softmax(scores / temperature), [rows, classes], in the type of the scores."""
        log_total = cast(self.softened(temperature).log_total, self.raw.dtype)
        return self.shifted * (1.0 / temperature) - log_total[:, None]

    @cached_property
    def entropy(self) -> Array:
        """Entropy of the distribution at temperature 1: nats, >= 0. A masked class adds 0."""
        soft = self.softened(1.0)
        # A masked class has the weight 0, which must meet a finite number.
        mean_shifted = row_sum(soft.exps * at_least(self.shifted, -1e30)) / soft.total
        return soft.log_total - mean_shifted

    def taken(self, rows: Array) -> "Logits":
        """Some of the rows, as they are stored."""
        if (stored := self.as_stored) is not None:
            return Logits(replace(stored, bits=stored.bits[rows]))
        return Logits(self.scores[rows])

    def chosen(self, index: Array) -> Array:
        """The score of one class of each row: float64 [rows]."""
        if (stored := self.as_stored) is not None:
            return widen(stored.widen(at(stored.bits, index)[:, None])[:, 0])
        return widen(at(self.scores, index))

    def nll(self, labels: Array) -> Array:
        """-log softmax(scores)[label], nats, float64 [rows]; NaN where the label is no class.

        That of the last labels is remembered.
        """
        if self._nll is None or self._nll[0] is not labels:
            self._nll = (labels, self._nll_anew(labels))
        return self._nll[1]

    def _nll_anew(self, labels: Array) -> Array:
        xp = namespace(labels)
        known = (labels >= 0) & (labels < self.shape[1])
        chosen = self.chosen(xp.where(known, labels, 0))
        value = self.softened(1.0).log_total - (chosen - widen(self.max))
        return xp.where(known, value, math.nan)

    def divergence(self, other: "Logits", temperature: float) -> Array:
        """KL(self || other) at a temperature, without factor: nats, >= 0, float64 [rows]."""
        make = partial(kl, self, other, temperature)
        return self.remembered(("kl", temperature), other, make)

    def above_top_of(self, other: "Logits") -> Array:
        """How many classes are strictly above the class that is the other's top: [rows]."""
        return self.remembered("above", other, partial(_above, self, other))

    def remembered(self, what: Hashable, other: "Logits", make: Callable[[], Array]) -> Array:
        """One number per row that two sides have together, made unless it is known.

        The last `other` is remembered for each name, so that a loss and a metric share it, and a
        kernel may have left it here.
        """
        known = self._of_pair.get(what)
        if known is None or known[0]() is not other:
            known = (ref(other), make())
            self._of_pair[what] = known
        return known[1]

    def learn(self, what: Hashable, other: "Logits", rows: Array) -> None:
        """Take what `remembered` asks for from a kernel that has computed it."""
        self._of_pair[what] = (ref(other), rows)

    def learn_total(self, temperature: float, total: Array) -> None:
        """Take the sum of `softened(temperature)` from a kernel that has computed it."""
        self._softened[temperature] = Softened(self._scores, self.max, temperature, total)


def widened(bits: Array, *, element: str, dtype: Any) -> Array:
    """Stored numbers of a float type in that of the arithmetic; bfloat16 comes as its bits."""
    xp = namespace(bits)
    if element == "bfloat16":  # the upper half of a float32
        bits = (cast(bits, xp.uint32) << 16).view(xp.float32)
    return cast(bits, dtype)


def _widened(values: Array | Stored) -> Array:
    if isinstance(values, Stored):
        return values.widen(values.bits)
    xp = namespace(values)
    return values if values.dtype in (xp.float32, xp.float64) else widen(values)


def _log_space(raw: Made, kind: Kind, temperature: float) -> Array:
    if kind == "logits":
        return raw.array
    log_p = _log(raw.array) if kind == "probabilities" else raw.array
    return log_p if temperature == 1.0 else log_p * temperature


def _above(scores: Logits, other: Logits) -> Array:
    xp = namespace(scores.scores)
    chosen = at(scores.scores, other.top)
    return xp.count_nonzero(scores.scores > chosen[:, None], axis=-1)


def standardized(x: Array) -> Array:
    """Each row less its mean, by its sample standard deviation: float64, -inf left alone."""
    xp = namespace(x)
    there = xp.isfinite(x)
    count = row_sum(widen(there))
    x = widen(x)
    mean = row_sum(xp.where(there, x, 0.0)) / at_least(count, 1.0)
    centred = xp.where(there, x - mean[:, None], 0.0)
    variance = row_sum(centred * centred) / at_least(count - 1.0, 1.0)
    deviation = xp.sqrt(xp.where(variance == 0, 1.0, variance))
    return xp.where(there, centred / deviation[:, None], x)


def as_logits(x: "Logits | Array") -> Logits:
    """Logits as they are; an array [rows, classes] as logits."""
    return x if isinstance(x, Logits) else Logits(x)


def _log(p: Array) -> Array:
    """log p without warnings: -inf at 0, NaN for what is negative or NaN."""
    xp = namespace(p)
    positive = p > 0
    other = xp.where(p == 0, xp.full_like(p, -math.inf), math.nan)
    return xp.where(positive, xp.log(xp.where(positive, p, 1.0)), other)


def kl(p: Logits, q: Logits, temperature: float) -> Array:
    """KL(p || q) at a temperature, computed anew; see `Logits.divergence`."""
    gap = log_ratio(p, q, temperature)
    xp = namespace(gap)
    infinite = xp.max(gap, axis=-1) > INFINITE_GAP
    return xp.where(infinite, math.inf, weighted_by_p(p, q, temperature, gap, kl_term, tail=1.0))


def kl_term(gap: Array) -> Array:
    """exp(-d) - 1 + d, which p weighs to KL(p || q) when d = log(p / q): >= 0."""
    value = namespace(gap).expm1(-gap)
    value += gap
    return value


def jsd_term(gap: Array, beta: float) -> Array:
    """What p weighs to beta KL(p || m) + (1 - beta) KL(q || m), m = beta p + (1 - beta) q.

    With x = q/p - 1 and w = 1 - beta, m/p is 1 + w x.
    """
    xp = namespace(gap)
    x = xp.expm1(-gap)
    mixed = x * (1.0 - beta)
    return -(1.0 + mixed) * xp.log1p(mixed) - (1.0 - beta) * (1.0 + x) * gap


def log_ratio(p: Logits, q: Logits, temperature: float) -> Array:
    """log(P / Q) of the distributions at a temperature: float64 [rows, classes], always finite.

    Scores are subtracted in float64, where a difference of two float32 is all but exact, and only
    then the row's constant is taken off. A difference of two rounded log-softmaxes would be noise
    where the distributions are close. An error of the constant counts by its square only: the terms
    that are built on the ratio are least at zero on average. A class masked in q alone is above
    INFINITE_GAP, one masked in p alone below its negative, one masked in both has any value.
    """
    soft_p, soft_q = p.softened(temperature), q.softened(temperature)
    constant = (widen(p.max) - widen(q.max)) / temperature + soft_p.log_total - soft_q.log_total
    gap = _unmasked(p.scores)
    gap -= _unmasked(q.scores)
    gap *= 1.0 / temperature
    gap -= constant[:, None]
    return gap


def _unmasked(scores: Array) -> Array:
    return at_least(widen(scores), MASKED_SCORE)


def weighted_by_p(
    p: Logits,
    q: Logits,
    temperature: float,
    gap: Array,
    term: Callable[[Array], Array],
    tail: float,
) -> Array:
    """Sum over the classes of P * term(log P/Q), which must be >= 0: float64 [rows].

    `term` times P tends to `tail` * Q where P is far below Q; from LOWEST_GAP on that is added for
    the part of Q that P * exp(-gap) does not reach. It is also right where P underflows to 0.
    """
    soft_p, soft_q = p.softened(temperature), q.softened(temperature)
    terms = term(at_least(gap, LOWEST_GAP))
    terms *= soft_p.exps
    near = row_sum(terms) / soft_p.total
    reached = scale_rows(soft_p.exps, math.exp(-LOWEST_GAP) / soft_p.total)
    beyond = row_sum(at_least(scale_rows(soft_q.exps, 1.0 / soft_q.total) - reached, 0.0))
    return at_least(near + tail * beyond, 0.0)


def probability_gap(p: Logits, q: Logits, temperature: float) -> Array:
    """Q - P at a temperature: float64 [rows, classes], with all its digits where both are close."""
    soft_p, soft_q = p.softened(temperature), q.softened(temperature)
    near = namespace(p.raw).expm1(-at_least(log_ratio(p, q, temperature), LOWEST_GAP))
    near *= soft_p.exps
    near /= soft_p.total[:, None]
    reached = scale_rows(soft_p.exps, math.exp(-LOWEST_GAP) / soft_p.total)
    return near + at_least(scale_rows(soft_q.exps, 1.0 / soft_q.total) - reached, 0.0)


def multiplied(features: Array, matrix: Array, *, start: int, cell: int) -> Array:
    """Rows times a matrix; a row's product does not depend on the rows that come with it.

    A library adds up in another order for another number of rows. So it is always given whole cells
    of a grid from row 0 of the dump, the ends filled up with zeros.

    Args:
        features: [rows, in].
        matrix: [in, out].
        start: the number of the first row.
        cell: rows of a cell.

    Returns:
        [rows, out].
    """
    xp = namespace(features)
    rows, width = features.shape
    before = start % cell
    cells = -(-(before + rows) // cell)
    if cells * cell != rows:
        filled = xp.zeros((cells * cell, width), dtype=features.dtype)
        filled[before : before + rows, :] = features
        features = filled
    # One by one: a library may take another way for several at once.
    parts = [
        xp.matmul(features[index * cell : (index + 1) * cell, :], matrix) for index in range(cells)
    ]
    join = xp.concat if hasattr(xp, "concat") else xp.concatenate  # CuPy before 14
    product = parts[0] if cells == 1 else join(parts, axis=0)
    return product[before : before + rows, :]
