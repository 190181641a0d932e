"""What a strategy's losses and metrics will ask of the scores of a tile, asked of a kernel at once.

Whatever is left out here, or cannot be had from a kernel, the plain functions compute when asked.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from distillcli.batches.tiles import Tile
from distillcli.kernels import Wanted, fill
from distillcli.losses.table import Ask
from distillcli.metrics import METRICS
from distillcli.numerics.scores import Logits
from distillcli.strategy.terms import Target, Term


def primer(
    *,
    terms: Sequence[Term],
    metrics: Collection[str],
    target: Target | None,
    teachers: Sequence[str],
    student: bool,
    temperature: float,
) -> Callable[[Tile], None]:
    """Prepares a tile for its measure.

    Args:
        terms: those on class scores as they are.
        metrics: names of the metrics.
        target: what the student is held against, at a temperature.
        teachers: roles of teachers that are held against the labels one by one.
        student: whether there is a student whose classes are all known.
        temperature: that of the KL metrics.
    """
    columns = {column for name in metrics for column in METRICS[name].columns}
    asked = _asked(terms, temperature)
    if "kl" in columns:
        asked[temperature].add("forward")
    hard = any(term.loss == "cross_entropy" for term in terms)
    ranked = "top5_agreement" in columns
    accepted = "acceptance_rate" in columns
    agree = ranked or "top1_agreement" in columns

    def sides(tile: Tile) -> dict[str, Logits]:
        found = {"student": tile.logits("student")} if student else {}
        return found | ({"teacher": target(tile, 1.0)} if target is not None else {})

    def one_by_one(tile: Tile) -> list[Logits]:
        return [tile.logits(role) for role in teachers if "labels" in tile]

    def asks(side: str, *names: str) -> bool:
        return any(f"{side}_{name}" in columns for name in names)

    def one_is_asked(side: str) -> bool:
        if accepted or (hard and side == "student"):
            return True
        return asks(side, "nll", "entropy", "confidence")

    def of_sides(scores: dict[str, Logits], others: list[Logits]) -> Wanted:
        return Wanted(
            ones=others + [one for side, one in scores.items() if one_is_asked(side)],
            entropies=[one for side, one in scores.items() if asks(side, "entropy")],
            tops=others + [one for side, one in scores.items() if agree or asks(side, "accuracy")],
        )

    def prepare(tile: Tile) -> None:
        scores = sides(tile)
        wanted = of_sides(scores, one_by_one(tile))
        for at, statistics in asked.items():
            if target is not None and "student" in scores and (statistics or ranked or accepted):
                teacher, first = target(tile, at), at == temperature
                wanted = replace(
                    wanted,
                    pair=(teacher, scores["student"]),
                    temperature=at,
                    forward="forward" in statistics,
                    reverse="reverse" in statistics,
                    squares="squares" in statistics,
                    cosine="cosine" in statistics,
                    above=scores["teacher"] if ranked and first else None,
                    overlap=accepted and first and teacher is scores["teacher"],
                )
            fill(wanted, tile.backend.kernel, tile.backend.gpu)
            wanted = Wanted()  # of another temperature only what belongs to it

    return prepare


def _asked(terms: Sequence[Term], temperature: float) -> dict[float, set[Ask]]:
    """What losses rest on, by temperature, that of the metrics first."""
    found: dict[float, set[Ask]] = {temperature: set()}
    for term in terms:
        at = term.written.loss.parameters.get("temperature", temperature)
        found.setdefault(at, set()).update(term.known.asks)
    return found
