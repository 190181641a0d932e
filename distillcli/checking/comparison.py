"""Two results number by number: what moved, how far it might, and what to make of it."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from distillcli.checking.conditions import Difference
from distillcli.checking.saved import saved_facts
from distillcli.config import Check, as_data
from distillcli.metrics import METRICS
from distillcli.result import Number, Result, finite

if TYPE_CHECKING:
    from distillcli.checking.noise import Noise  # it loads NumPy, which no comparison needs

SCHEMA = "distillcli.check/1"
NEAR = 0.5  # from this share of its limit on, a number that passes is a near miss

Better = Literal["lower", "higher"] | None
Verdict = Literal[
    "fail", "near", "pass", "better", "insignificant", "reported", "new", "worse", "same"
]

_ORDER = ("fail", "near")


@dataclass(frozen=True)
class Row:
    """One number before and now.

    Attributes:
        difference: now - baseline; None where one of them is no number.
        allowed: how far it may move; None where nothing is demanded of it.
        better: the direction in which it improves; None where it has none.
        verdict: `fail`; `near`, `pass`: within the limit; `better`, `insignificant`, `reported`:
            beyond it, but an improvement, chance, or without a direction; `new`: not in the
            baseline. Without limits `better`, `worse`, `reported`, `same`.
        reason: why, in a few words.
    """

    name: str
    baseline: Number
    now: Number
    difference: Number
    allowed: Number
    better: Better
    verdict: Verdict
    reason: str

    @property
    def share(self) -> float:
        """The difference as a share of what is allowed; infinite where nothing is."""
        if self.difference is None:
            return float("inf")
        if not self.difference or self.allowed is None:
            return 0.0
        return abs(self.difference) / self.allowed if self.allowed else float("inf")


@dataclass(frozen=True)
class Comparison:
    """A baseline and a result side by side.

    Attributes:
        command: `check` holds the rows against their limits; `diff` and `update` only show them.
        baseline, now: what the sides are called.
        rows: of a check failures first, then near misses, then the rest.
        lifted: conditions that differ and were allowed to.
        changes: facts that differ and may.
        check: the limits in force.
        noise: what the rows of both sides say about the loss.
    """

    command: Literal["check", "diff", "update"]
    baseline: str
    now: str
    rows: tuple[Row, ...]
    lifted: tuple[Difference, ...] = ()
    changes: tuple[Difference, ...] = ()
    check: Check | None = None
    noise: "Noise | None" = None

    def counted(self, *verdicts: Verdict) -> tuple[Row, ...]:
        """The rows with these verdicts."""
        return tuple(row for row in self.rows if row.verdict in verdicts)

    @property
    def failures(self) -> tuple[Row, ...]:
        """The rows outside their limits."""
        return self.counted("fail")

    def as_dict(self) -> dict[str, Any]:
        """The comparison as JSON-ready data."""
        verdict = "fail" if self.failures else "pass"
        return {
            "schema": SCHEMA,
            "command": self.command,
            **({"verdict": verdict} if self.command == "check" else {}),
            "baseline": self.baseline,
            "now": self.now,
            **({"check": as_data(self.check)} if self.check else {}),
            "numbers": [asdict(row) for row in self.rows],
            **({"loss_over_rows": self.noise.as_dict()} if self.noise else {}),
            "lifted": [_difference(one) for one in self.lifted],
            "changes": [_difference(one) for one in self.changes],
        }


def _difference(difference: Difference) -> dict[str, str]:
    return {key: value for key, value in asdict(difference).items() if value or key != "condition"}


def checked(
    baseline: Result,
    now: Result,
    check: Check,
    *,
    noise: "Noise | None" = None,
    metrics_may_go: bool = False,
) -> tuple[Row, ...]:
    """Every number of two results held against its limit: failures, near misses, the rest.

    Args:
        noise: of the loss; decides beside its limit where the check asks for significance.
        metrics_may_go: whether a number of the baseline may be missing now.
    """
    judge = _Judge(check, noise, metrics_may_go)
    rows = _rows(baseline, now, judge)
    return tuple(sorted(rows, key=_urgency))


def side_by_side(baseline: Result, now: Result) -> tuple[Row, ...]:
    """Every number of two results, without limits.

    What relates the rows of batches of one size is neither better nor worse than of another size.
    """
    rows = tuple(_rows(baseline, now, _shown))
    if baseline.facts.get("related_rows") == now.facts.get("related_rows"):
        return rows
    apart = _relating(baseline) | _relating(now)
    return tuple(
        replace(row, better=None, verdict="reported", reason="of other batches")
        if row.name in apart and row.verdict in ("better", "worse")
        else row
        for row in rows
    )


def _relating(result: Result) -> set[str]:
    """The terms that relate the rows of a batch, and the loss where one of them counts."""
    # They load NumPy, which no other comparison needs.
    from distillcli.losses import LAYER_LOSSES, SCORE_LOSSES

    known = {**LAYER_LOSSES, **SCORE_LOSSES}
    relating = [name for name, loss in known.items() if loss.least_batch is not None]
    found = {term for term in result.terms if saved_facts(result, "losses", term) in relating}
    return found | {"loss" for term in found if result.weights.get(term)}


@dataclass(frozen=True)
class _Pair:
    """A number on both sides; `undefined`: where it is none, not for infinite rows."""

    name: str
    baseline: Number
    now: Number
    better: Better
    undefined: bool = False

    @property
    def difference(self) -> Number:
        if self.baseline is None or self.now is None:
            return None
        return finite(self.now - self.baseline)

    @property
    def rose(self) -> bool:
        """Whether it is higher now; only of numbers that both sides have."""
        assert self.baseline is not None
        assert self.now is not None
        return self.now > self.baseline

    @property
    def worse(self) -> bool:
        """Whether it is on the worse side of the baseline."""
        return (
            self.better is not None
            and self.baseline != self.now
            and (self.rose == (self.better == "lower"))
        )

    def row(self, allowed: Number, verdict: Verdict, reason: str = "") -> Row:
        return Row(
            self.name,
            self.baseline,
            self.now,
            self.difference,
            allowed,
            self.better,
            verdict,
            reason,
        )


def _urgency(row: Row) -> tuple[int, float]:
    rank = _ORDER.index(row.verdict) if row.verdict in _ORDER else len(_ORDER)
    return rank, -row.share if rank < len(_ORDER) else 0.0


def _numbers(result: Result) -> dict[str, Number]:
    return {"loss": result.loss, **result.terms, **result.metrics}


def _rows(
    baseline: Result, now: Result, judge: Callable[[_Pair, bool, bool], Row]
) -> Iterable[Row]:
    before, after = _numbers(baseline), _numbers(now)
    for name in dict.fromkeys((*before, *after)):
        pair = _Pair(
            name,
            before.get(name),
            after.get(name),
            _direction(name, baseline, now),
            name in METRICS and name not in {*baseline.nonfinite, *now.nonfinite},
        )
        yield judge(pair, name in before, name in after)


def _direction(name: str, *results: Result) -> Better:
    """Lower is better for the loss and its terms."""
    if name in METRICS:
        return METRICS[name].better
    return "lower" if name == "loss" or any(name in one.terms for one in results) else None


@dataclass(frozen=True)
class _Judge:
    check: Check
    noise: "Noise | None"
    metrics_may_go: bool

    def __call__(self, pair: _Pair, before: bool, after: bool) -> Row:
        if not before:
            return pair.row(None, "new", "not in the baseline")
        if not after:
            verdict: Verdict = "reported" if self.metrics_may_go else "fail"
            return pair.row(None, verdict, "missing now")
        if pair.baseline is None and pair.now is None and pair.undefined:
            return pair.row(None, "pass", "undefined on both sides")
        if pair.baseline is None or pair.now is None:
            return pair.row(None, "fail", f"not finite {_where_not_finite(pair)}")
        return self._measured(pair, self.check.tolerance(pair.name).allowed(pair.baseline))

    def _measured(self, pair: _Pair, allowed: float) -> Row:
        row = pair.row(allowed, "pass")
        if row.share <= 1.0:
            harmless = self.check.mode == "regression" and not pair.worse
            near = row.share >= NEAR and not harmless
            return pair.row(allowed, "near" if near else "pass", _margin(row) if near else "")
        reason = f"{_way(pair)}, {_margin(row)}"
        if self.check.mode == "regression" and not pair.worse:
            return pair.row(allowed, "better" if pair.better else "reported", reason)
        if pair.name == "loss" and self.check.significant and not self._significant():
            return pair.row(allowed, "insignificant", f"{reason}, not significant")
        return pair.row(allowed, "fail", reason)

    def _significant(self) -> bool:
        return self.noise is not None and self.noise.significant


def _shown(pair: _Pair, before: bool, after: bool) -> Row:
    if not (before and after):
        return pair.row(None, "new" if after else "reported", f"only in {'B' if after else 'A'}")
    if pair.baseline == pair.now:
        return pair.row(None, "same")
    if pair.baseline is None or pair.now is None:
        return pair.row(None, "reported", f"not finite in {'A' if pair.baseline is None else 'B'}")
    if pair.better is None:
        return pair.row(None, "reported", _way(pair))
    return pair.row(None, "worse" if pair.worse else "better")


def _where_not_finite(pair: _Pair) -> str:
    if pair.baseline is None and pair.now is None:
        return "on both sides"
    return "in the baseline" if pair.baseline is None else "now"


def _way(pair: _Pair) -> str:
    if pair.better is None:
        return "higher" if pair.rose else "lower"
    return "worse" if pair.worse else "better"


def _margin(row: Row) -> str:
    if row.share == float("inf"):
        return "and no move is allowed"
    if row.share >= 1e9:
        return "far beyond the limit"
    return f"{row.share:,.0f} x the limit" if row.share >= 100 else f"{row.share:.3g} x the limit"
