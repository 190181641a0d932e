"""The metrics: what is measured on each row, and what is made of the rows.

A metric is a reduction of one or two columns, and a column is one float64 number per row. METRICS
is the only list of them; the sums over rows are made elsewhere.
"""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

from distillcli.backend import Array, namespace
from distillcli.numerics.arrays import row_sum, widen
from distillcli.numerics.scores import Logits

Role = Literal["teacher", "student", "labels", "hidden"]
Finish = Literal["mean", "stderr", "quantile", "max", "ece", "root", "exp", "exp_stderr", "given"]

TOP = 5  # how many of the student's classes count for top5_agreement


@dataclass(frozen=True)
class Metric:
    """One figure of the result.

    Attributes:
        group: under which heading a report shows it.
        better: the direction in which it improves; None where it has none.
        needs: the inputs it is computed from.
        columns: the row values it is made of; for `ece` the top probability and the correctness.
        finish: how rows become one number; `stderr` is s / sqrt(n), `root` that of the mean, `exp`
            of the mean, and `exp_stderr` the standard error of that, exp(mean) * s / sqrt(n);
            `given` is made of no columns, but handed over whole.
        quantile: which one, for `quantile`.
        meaning: one line for a reader.
        costly: whether `all` leaves it out, so that it must be asked for by name.
    """

    name: str
    group: Literal["divergence", "agreement", "student", "teacher", "likelihood"]
    better: Literal["lower", "higher"] | None
    needs: frozenset[Role]
    columns: tuple[str, ...]
    finish: Finish
    meaning: str
    quantile: float | None = None
    costly: bool = False


@dataclass(frozen=True)
class Column:
    """One number per row; `values` takes the inputs it needs, in that order."""

    needs: tuple[Role, ...]
    values: Callable[..., Array]


def rows(
    wanted: Collection[str],
    *,
    teacher: Logits | None = None,
    student: Logits | None = None,
    labels: Array | None = None,
    temperature: float = 1.0,
) -> dict[str, Array]:
    """The columns that the wanted metrics are made of, as far as their inputs are there.

    Args:
        wanted: names of METRICS.
        teacher: scores, [rows, classes].
        student: scores, same shape.
        labels: integers, [rows].
        temperature: that of the KL column; every other column is at temperature 1.

    Returns:
        float64 [rows] for each column, in the order of COLUMNS.
    """
    inputs = {"teacher": teacher, "student": student, "labels": labels}
    columns = {column for name in wanted for column in METRICS[name].columns}
    found = {}
    for name, column in COLUMNS.items():
        given = [inputs[role] for role in column.needs]
        if name in columns and all(value is not None for value in given):
            extra = (temperature,) if name == "kl" else ()
            found[name] = column.values(*given, *extra)
    return found


def available(roles: Collection[str]) -> tuple[str, ...]:
    """The metrics that can be had from these inputs, in the order of METRICS."""
    return tuple(name for name, metric in METRICS.items() if metric.needs <= set(roles))


def with_errors(names: Collection[str]) -> tuple[str, ...]:
    """The columns whose standard error these metrics are made of."""
    finishes = ("stderr", "exp_stderr")
    found = (METRICS[name].columns[0] for name in names if METRICS[name].finish in finishes)
    return tuple(dict.fromkeys(found))


def kl(teacher: Logits, student: Logits, temperature: float) -> Array:
    """KL(teacher || student) at the temperature, without its square: nats, >= 0."""
    return teacher.divergence(student, temperature)


def top1_agreement(teacher: Logits, student: Logits) -> Array:
    """1 where both have the same top class, the lowest index among equals; else 0."""
    return _as_numbers(teacher.top == student.top)


def top5_agreement(teacher: Logits, student: Logits) -> Array:
    """1 where fewer than five student scores are strictly above that of the teacher's top class."""
    return _as_numbers(student.above_top_of(teacher) < TOP)


def acceptance_rate(teacher: Logits, student: Logits) -> Array:
    """Sum of min(P, Q), in [0, 1]: how likely the teacher accepts what the student draws.

    Reference: Leviathan, Kalman, Matias (2023), arXiv:2211.17192, section 3.
    """

    def overlap() -> Array:
        p, q = (side.softened(1.0).probabilities for side in (teacher, student))
        return row_sum(namespace(p).minimum(p, q))

    return teacher.remembered("overlap", student, overlap)


def accuracy(scores: Logits, labels: Array) -> Array:
    """1 where the top class, the lowest index among equals, is the label; else 0."""
    return _as_numbers(scores.top == labels)


def nll(scores: Logits, labels: Array) -> Array:
    """Negative log-likelihood of the label: nats, >= 0."""
    return scores.nll(labels)


def entropy(scores: Logits) -> Array:
    """Entropy of the distribution: nats, from 0 to log(classes). A masked class adds 0."""
    return scores.entropy


def confidence(scores: Logits) -> Array:
    """The top probability, in (0, 1]."""
    return 1.0 / scores.softened(1.0).total


def nll_gap(teacher: Logits, student: Logits, labels: Array) -> Array:
    """How much less likely the student finds the label: nats; NaN where it is masked in both."""
    xp = namespace(labels)
    above, below = student.nll(labels), teacher.nll(labels)
    return xp.where(xp.minimum(above, below) < math.inf, above, math.nan) - below


def label_probability_gap(teacher: Logits, student: Logits, labels: Array) -> Array:
    """The squared difference of the label's probability, in [0, 1]."""
    exp = namespace(labels).exp
    return (exp(-student.nll(labels)) - exp(-teacher.nll(labels))) ** 2


def _as_numbers(truths: Array) -> Array:
    return widen(truths)


COLUMNS: dict[str, Column] = {
    "kl": Column(("teacher", "student"), kl),
    "top1_agreement": Column(("teacher", "student"), top1_agreement),
    "top5_agreement": Column(("teacher", "student"), top5_agreement),
    "acceptance_rate": Column(("teacher", "student"), acceptance_rate),
    "student_accuracy": Column(("student", "labels"), accuracy),
    "teacher_accuracy": Column(("teacher", "labels"), accuracy),
    "student_nll": Column(("student", "labels"), nll),
    "teacher_nll": Column(("teacher", "labels"), nll),
    "student_entropy": Column(("student",), entropy),
    "teacher_entropy": Column(("teacher",), entropy),
    "student_confidence": Column(("student",), confidence),
    "teacher_confidence": Column(("teacher",), confidence),
    "nll_gap": Column(("teacher", "student", "labels"), nll_gap),
    "label_probability_gap": Column(("teacher", "student", "labels"), label_probability_gap),
}


def _divergence(name: str, finish: Finish, meaning: str, quantile: float | None = None) -> Metric:
    return Metric(
        name,
        group="divergence",
        better=None if finish == "stderr" else "lower",
        needs=frozenset(("teacher", "student")),
        columns=("kl",),
        finish=finish,
        meaning=meaning,
        quantile=quantile,
    )


def _agreement(name: str, meaning: str) -> Metric:
    needs: frozenset[Role] = frozenset(("teacher", "student"))
    return Metric(name, "agreement", "higher", needs, (name,), "mean", meaning)


def _of_layers(name: str, meaning: str) -> Metric:
    needs: frozenset[Role] = frozenset(("hidden",))
    return Metric(name, "agreement", "higher", needs, (), "given", meaning, costly=True)


def _of_role(role: Literal["student", "teacher"]) -> tuple[Metric, ...]:
    alone: frozenset[Role] = frozenset((role,))
    with_labels: frozenset[Role] = frozenset((role, "labels"))
    correct, sure = f"{role}_accuracy", f"{role}_confidence"
    likely, spread = f"{role}_nll", f"{role}_entropy"
    ece = f"expected calibration error of the {role}: 15 equal bins of the top probability"
    return (
        Metric(correct, role, "higher", with_labels, (correct,), "mean",
               f"share of rows where the {role}'s top class is the label"),
        Metric(likely, role, "lower", with_labels, (likely,), "mean",
               f"mean negative log-likelihood of the label under the {role}, nats"),
        Metric(f"{role}_perplexity", role, "lower", with_labels, (likely,), "exp",
               f"exp of the {role}'s mean negative log-likelihood of the label"),
        Metric(spread, role, None, alone, (spread,), "mean",
               f"mean entropy of the {role}'s distribution, nats"),
        Metric(f"{role}_ece", role, "lower", with_labels, (sure, correct), "ece", ece),
    )  # fmt: skip


def _likelihood(
    name: str, better: Literal["lower"] | None, column: str, finish: Finish, meaning: str
) -> Metric:
    needs: frozenset[Role] = frozenset(("teacher", "student", "labels"))
    return Metric(name, "likelihood", better, needs, (column,), finish, meaning)


_ALL = (
    _divergence("kl_mean", "mean", "mean over rows of KL(teacher || student), without T^2, nats"),
    _divergence("kl_stderr", "stderr", "standard error of kl_mean"),
    _divergence("kl_median", "quantile", "median over rows of the KL", 0.5),
    _divergence("kl_p90", "quantile", "90th percentile of the KL", 0.9),
    _divergence("kl_p95", "quantile", "95th percentile of the KL", 0.95),
    _divergence("kl_p99", "quantile", "99th percentile of the KL", 0.99),
    _divergence("kl_p999", "quantile", "99.9th percentile of the KL", 0.999),
    _divergence("kl_max", "max", "largest KL of a row"),
    _agreement("top1_agreement", "share of rows with the same top class in teacher and student"),
    _agreement(
        "top5_agreement", "share of rows with the teacher's top class in the student's five"
    ),
    _agreement(
        "acceptance_rate", "mean of the sum of min(P, Q): drafts accepted in speculative decoding"
    ),
    _of_layers("cka", "linear CKA of the pairs of layers over all rows, by layer weights"),
    _of_layers("cka_unbiased", "the same from the unbiased estimate of HSIC; may be negative"),
    *_of_role("student"),
    *_of_role("teacher"),
    _likelihood(
        "perplexity_ratio",
        "lower",
        "nll_gap",
        "exp",
        "the student's perplexity over the teacher's",
    ),
    _likelihood(
        "perplexity_ratio_stderr",
        None,
        "nll_gap",
        "exp_stderr",
        "standard error of perplexity_ratio, row by row against the teacher",
    ),
    _likelihood(
        "label_probability_rms",
        "lower",
        "label_probability_gap",
        "root",
        "root of the mean squared difference of the label's probability",
    ),
)


def asked(wanted: str | Collection[str]) -> tuple[str, ...]:
    """The metrics that `all`, or names with `all` among them, mean."""
    every = wanted == "all" or "all" in wanted
    return tuple(
        name
        for name, metric in METRICS.items()
        if (every and not metric.costly) or (wanted != "all" and name in wanted)
    )


METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}
