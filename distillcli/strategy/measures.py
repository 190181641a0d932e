"""A strategy as a measure: which columns are computed for each row, and which terms they form."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from distillcli import metrics
from distillcli.backend import Array
from distillcli.batches.tiles import Tile
from distillcli.config import Config, LayerPair
from distillcli.fold import BadRows, Columns, Measure
from distillcli.numerics.scores import Logits
from distillcli.strategy.badrows import or_without_classes
from distillcli.strategy.batchwise import Related, related_rows
from distillcli.strategy.cka import Alignment, alignment
from distillcli.strategy.incomplete import unavailable
from distillcli.strategy.inputs import Inputs
from distillcli.strategy.positions import rows_are_whole
from distillcli.strategy.priming import primer
from distillcli.strategy.tails import known_of, over_tails, pair_of, require_tails, tail_columns
from distillcli.strategy.terms import (
    Pair,
    Rows,
    Target,
    Term,
    check_kinds,
    temperature_of,
    terms_of,
)
from distillcli.strategy.vocabulary import lost_columns, over, uneven
from distillcli.strategy.weighting import Weighting, blended
from distillcli.sums.totals import Finished


@dataclass(frozen=True)
class Scoring:
    """All that a strategy computes.

    Args:
        temperature: of the KL metrics: that of the soft loss, 1 where it has none.
        metrics: the names that can be had; `unavailable` are the others, each with the reason.
        products: whether rows are multiplied by matrices.
        alignment: sums what the CKA of layers over all rows is made of; None where it is not asked
            for.
        batch: the rows of a batch where a loss relates them to each other.
        blended: whether that is made of several teachers.
        by_kernel: whether a kernel can leave all that is asked of a row.
        over: which classes the figures are about, where these are not all.
        target: what the student is held against, at a temperature; None without logits.
    """

    measure: Measure
    terms: tuple[Term, ...]
    temperature: float
    metrics: tuple[str, ...]
    unavailable: dict[str, str]
    products: bool
    alignment: Alignment | None
    batch: int | None
    target: Target | None
    blended: bool
    by_kernel: bool
    over: str = ""


def scoring(
    config: Config,
    inputs: Inputs,
    bad: Callable[[Tile], BadRows],
    *,
    weighting: Weighting | None = None,
    projections: Mapping[LayerPair, Array] | None = None,
    rows: tuple[int, int] | None = None,
) -> Scoring:
    """The measure of a strategy.

    Args:
        weighting: what the teachers of an ensemble weigh.
        bad: tells the rows of a tile that cannot be used, see `bad_rows`.
        projections: by pair of layers, where one is needed; on the device, in the type
            of the arithmetic.
        rows: the first row and the end of those that are taken; all of them where it is left out.
    """
    target = _target(config, inputs, weighting)
    pair = _pair(config, inputs, target)
    temperature = temperature_of(config)
    if config.ensemble is not None and target is not None:
        bad = or_without_classes(bad, partial(_blend_at, target, temperature), inputs.teachers[0])
    bad = _remembered(bad)
    batch = related_rows(config)
    related = Related(batch or 0, bad, skip_bad=config.on_bad_rows == "skip")
    terms = terms_of(config, inputs, pair, projections or {}, related)
    columns = _teacher_columns(inputs, weighting) | lost_columns(inputs)
    for term in terms:
        columns |= term.columns
    check_kinds(config, inputs, terms)
    columns |= tail_columns(config, inputs, pair, temperature)
    wanted = metrics.asked(config.metrics)
    there = _there(config, inputs, pair)
    lacking = _lacking(inputs)
    names = tuple(n for n in metrics.available(there) if n in wanted and n not in lacking)
    align = alignment(config, inputs, *(rows or (0, inputs.rows)), bad, names)
    own = {term.column: term.rows for term in terms}

    def compute(tile: Tile) -> Columns:
        measured = _metric_columns(tile, names, target, pair, temperature)
        for name, rows in (*columns.items(), *own.items()):
            measured[name] = tile.once(name, partial(rows, tile))
        return measured

    prepare = primer(
        terms=[term for term in terms if term.as_stored],
        metrics=names,
        target=target,
        teachers=inputs.teachers,
        student="student" in inputs and inputs["student"].is_scores,
        temperature=temperature,
    )
    needed = {column for name in names for column in metrics.METRICS[name].columns}
    order = (*own, *columns, *(name for name in metrics.COLUMNS if name in needed))
    return Scoring(
        Measure(order, compute, bad, prepare),
        tuple(terms),
        temperature,
        names,
        {n: lacking.get(n) or _reason(n, there) for n in wanted if n not in names},
        products=bool(projections) or align is not None,
        alignment=align,
        batch=batch,
        target=target,
        blended=config.ensemble is not None,
        by_kernel=_by_kernel(config, inputs, terms),
        over=over(config, inputs) or over_tails(config, inputs),
    )


def _by_kernel(config: Config, inputs: Inputs, terms: Sequence[Term]) -> bool:
    scores = [item for item in inputs if item.is_scores or item.lacks_classes]
    plain = all(
        item.is_scores and item.kind == "logits" and item.compared is None for item in scores
    )
    return config.strategy == "response" and plain and all(term.by_kernel for term in terms)


def _remembered(bad: Callable[[Tile], BadRows]) -> Callable[[Tile], BadRows]:
    """Found once for each tile: the fold asks for it, and what relates the rows of a batch."""
    return lambda tile: tile.once("bad rows", partial(bad, tile))


def _blend_at(target: Target, temperature: float, tile: Tile) -> Logits:
    return target(tile, temperature)


def _target(config: Config, inputs: Inputs, weighting: Weighting | None) -> Target | None:
    if config.ensemble is not None:
        assert weighting is not None
        return partial(blended, config.ensemble, weighting, inputs.teachers)
    if "teacher" not in inputs or inputs["teacher"].lacks_classes:
        return None
    return lambda tile, _: tile.logits("teacher")


def _pair(config: Config, inputs: Inputs, target: Target | None) -> Pair | None:
    """Teacher and student over the same classes; None where one of them is not there."""
    require_tails(config, inputs)
    if "student" not in inputs or (target is None and "teacher" not in inputs):
        return None
    if target is None or inputs["student"].lacks_classes:
        return pair_of(config, inputs, target)
    return lambda tile, temperature: (target(tile, temperature), tile.logits("student"))


def _lacking(inputs: Inputs) -> dict[str, str]:
    """The metrics that cannot be had of these classes, each with the reason."""
    if uneven(inputs):
        reason = "teacher and student do not have the same classes"
        return {name: reason for name in metrics.METRICS if _of_both(name)}
    return unavailable(inputs)


def _of_both(name: str) -> bool:
    """Whether a metric needs classes that are the same on both sides; labels are the student's."""
    needs = metrics.METRICS[name].needs
    return {"teacher", "student"} <= needs or {"teacher", "labels"} <= needs


def teacher_column(index: int, name: str) -> str:
    """The column of a figure, `accuracy`, `nll` or `weight`, of one teacher of an ensemble."""
    return f"teacher {index} {name}"


def mean_weight(weighting: Weighting, index: int, done: Finished) -> float:
    """What a teacher weighs; the mean over the rows where that varies."""
    if weighting.weights is not None:
        return weighting.weights[index]
    return done.mean(teacher_column(index, "weight"))


def remarks_on(weighting: Weighting | None) -> Iterator[str]:
    """What to know about weights before taking figures that rest on them at face value."""
    if weighting is None:
        return
    if weighting.found_on is not None:
        where = f"the first {weighting.found_on:,} rows"
        yield f"the weights were found on the labels of {where}, on which the blend looks too good"
    if weighting.rule == "best_per_row":
        yield "each row's teacher is chosen by its label: accuracy and nll of the blend flatter"


def _teacher_columns(inputs: Inputs, weighting: Weighting | None) -> dict[str, Rows]:
    """How right each teacher of an ensemble is, where there are labels; weights that vary."""
    found: dict[str, Rows] = {}
    if weighting is not None and weighting.weights is None:
        for index in range(len(inputs.teachers)):
            found[teacher_column(index, "weight")] = partial(
                _row_weight, weighting, inputs.teachers, index
            )
    for index, role in enumerate(inputs.teachers if "labels" in inputs else ()):
        for name, rows in (("accuracy", metrics.accuracy), ("nll", metrics.nll)):
            found[teacher_column(index, name)] = partial(_against_labels, role, rows)
    return found


def _row_weight(weighting: Weighting, roles: Sequence[str], index: int, tile: Tile) -> Array:
    return weighting.of(tile, roles)[index]


def _against_labels(role: str, rows: Callable[[Logits, Array], Array], tile: Tile) -> Array:
    return rows(tile.logits(role), tile.labels())


def _there(config: Config, inputs: Inputs, pair: Pair | None) -> list[str]:
    roles = [role for role in ("student", "labels") if role in inputs]
    paired = config.progressive is not None and bool(config.progressive.layer_mapping)
    layers = ["hidden"] if paired and not rows_are_whole(inputs) else []
    return [*roles, *layers] if pair is None else ["teacher", *roles, *layers]


def _reason(name: str, there: Sequence[str]) -> str:
    missing = sorted(metrics.METRICS[name].needs - set(there))
    if missing == ["hidden"]:
        return "needs a layer_mapping of progressive, and layers whose rows are single positions"
    return f"needs {' and '.join(missing)}"


def _metric_columns(
    tile: Tile,
    names: Sequence[str],
    target: Target | None,
    pair: Pair | None,
    temperature: float,
) -> dict[str, Array]:
    """The KL at its temperature, everything else at 1; a blend of teachers may differ between."""
    kl = [name for name in names if metrics.METRICS[name].columns == ("kl",)]
    others = [name for name in names if name not in kl]
    found: dict[str, Array] = {}
    if kl and pair is not None:
        teacher, student = pair(tile, temperature)
        found |= metrics.rows(kl, teacher=teacher, student=student, temperature=temperature)
    if others:
        found |= metrics.rows(
            others,
            teacher=target(tile, 1.0) if target is not None else _ranked(tile, pair),
            student=_student(tile) if "student" in tile else None,
            labels=tile.labels() if "labels" in tile else None,
        )
    return found


def _ranked(tile: Tile, pair: Pair | None) -> Any:
    """What tells a teacher's top class, which no temperature changes, and little else."""
    return known_of(tile, "teacher") if pair is not None else None


def _student(tile: Tile) -> Any:
    return (
        known_of(tile, "student")
        if tile.inputs["student"].lacks_classes
        else tile.logits("student")
    )
