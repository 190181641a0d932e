"""How far two distributions over the same classes are apart, also where they are all but equal."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from distillcli.backend import Array, namespace
from distillcli.numerics.arrays import at_least, row_sum, scale_rows, widen

if TYPE_CHECKING:
    from distillcli.numerics.scores import Logits

# A masked class (score -inf) takes this score in differences, so that no inf - inf arises. A
# difference beyond INFINITE_GAP can only come from a mask.
MASKED_SCORE = -1e300
INFINITE_GAP = 1e290
# Below this gap q = p * exp(-gap) could overflow; what p has to add there is below exp(-50) of q.
LOWEST_GAP = -50.0


def kl(p: "Logits", q: "Logits", temperature: float) -> Array:
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


def log_ratio(p: "Logits", q: "Logits", temperature: float) -> Array:
    """log(P / Q) of the distributions at a temperature: float64 [rows, classes], always finite.

    Scores are subtracted in float64, where a difference of two float32 is all but exact, and only
    then the row's constant is taken off. A difference of two rounded log-softmaxes would be noise
    where the distributions are close. An error of the constant counts by its square only: the terms
    that are built on the ratio are least at zero on average. A class masked in q alone is above
    INFINITE_GAP, one masked in p alone below its negative, one masked in both has any value.
    """
    soft_p, soft_q = p.softened(temperature), q.softened(temperature)
    constant = (widen(p.max) - widen(q.max)) / temperature + soft_p.log_total - soft_q.log_total
    gap = _unmasked(p.scores) - _unmasked(q.scores)
    gap *= 1.0 / temperature
    gap -= constant[:, None]
    return gap


def _unmasked(scores: Array) -> Array:
    """Scores in float64, finite ones in place of those that mask a class, if there are any."""
    is_free = bool(namespace(scores).min(scores) > -math.inf)
    return widen(scores) if is_free else at_least(widen(scores), MASKED_SCORE)


def weighted_by_p(
    p: "Logits",
    q: "Logits",
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
    xp = namespace(gap)
    far = (xp.min(gap, axis=-1) < LOWEST_GAP) | (xp.min(soft_p.exps, axis=-1) == 0)
    any_far = bool(xp.any(far))  # or else there is less to do
    terms = term(at_least(gap, LOWEST_GAP) if any_far else gap)
    terms *= soft_p.exps
    near = row_sum(terms) / soft_p.total
    if not any_far:
        return at_least(near, 0.0)
    # As shares of the exponentials of q.
    unreached = scale_rows(soft_p.exps, -math.exp(-LOWEST_GAP) * (soft_q.total / soft_p.total))
    unreached += soft_q.exps
    beyond = row_sum(at_least(unreached, 0.0)) / soft_q.total
    return at_least(xp.where(far, near + tail * beyond, near), 0.0)


def probability_gap(p: "Logits", q: "Logits", temperature: float) -> Array:
    """Q - P at a temperature: float64 [rows, classes], with all its digits where both are close."""
    soft_p, soft_q = p.softened(temperature), q.softened(temperature)
    near = namespace(p.raw).expm1(-at_least(log_ratio(p, q, temperature), LOWEST_GAP))
    near *= soft_p.exps
    near /= soft_p.total[:, None]
    reached = scale_rows(soft_p.exps, math.exp(-LOWEST_GAP) / soft_p.total)
    return near + at_least(scale_rows(soft_q.exps, 1.0 / soft_q.total) - reached, 0.0)
