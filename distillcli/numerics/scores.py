"""Class scores of some rows, and what is derived from them."""

import math
from collections.abc import Callable, Hashable
from functools import cached_property, partial
from typing import Any, Literal
from weakref import ReferenceType, ref

from distillcli.backend import Array, namespace
from distillcli.errors import MismatchError
from distillcli.numerics.arrays import at, at_least, cast, finite_rows, row_sum, widen
from distillcli.numerics.divergence import kl
from distillcli.numerics.softened import Made, Softened
from distillcli.numerics.stored import Stored

Kind = Literal["logits", "probabilities", "log_probabilities"]


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

    @property
    def dtype(self) -> Any:
        """The type of the arithmetic."""
        stored = self.as_stored
        return stored.dtype if stored is not None else self.scores.dtype

    @property
    def at_once(self) -> int:
        """How many rows to take at a time where all of them are not needed at once."""
        stored = self.as_stored
        return stored.at_once if stored is not None else self.shape[0]

    def part(self, start: int, stop: int) -> "Logits":
        """The rows `start` to `stop` alone; what they are read into is used again by the next."""
        if (start, stop) == (0, self.shape[0]):
            return self
        if (stored := self.as_stored) is not None:
            return Logits(stored.of(stored.rows(start, stop)))
        return Logits(self.scores[start:stop, :])

    def taken(self, rows: Array) -> "Logits":
        """Some of the rows, as they are stored."""
        if (stored := self.as_stored) is not None:
            return Logits(stored.of(stored.taken(rows)))
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

    def learn_nll(self, labels: Array, rows: Array) -> None:
        """Take what `nll` finds for these labels from a kernel that has computed it."""
        self._nll = (labels, rows)

    def learn_total(self, temperature: float, total: Array) -> None:
        """Take the sum of `softened(temperature)` from a kernel that has computed it; the first
        that is told stays, for what rests on it must not change its bits."""
        if temperature not in self._softened:
            self._softened[temperature] = Softened(self._scores, self.max, temperature, total)

    def learn_exps(self, temperature: float, exps: Array, total: Array) -> None:
        """Take the numerators of `softened(temperature)` as well."""
        self.learn_total(temperature, total)
        self._softened[temperature].exps = exps


def as_logits(x: "Logits | Array") -> Logits:
    """Logits as they are; an array [rows, classes] as logits."""
    return x if isinstance(x, Logits) else Logits(x)


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


def _log(p: Array) -> Array:
    """log p without warnings: -inf at 0, NaN for what is negative or NaN."""
    xp = namespace(p)
    positive = p > 0
    other = xp.where(p == 0, xp.full_like(p, -math.inf), math.nan)
    return xp.where(positive, xp.log(xp.where(positive, p, 1.0)), other)


def _above(scores: Logits, other: Logits) -> Array:
    xp = namespace(scores.scores)
    chosen = at(scores.scores, other.top)
    return xp.count_nonzero(scores.scores > chosen[:, None], axis=-1)
