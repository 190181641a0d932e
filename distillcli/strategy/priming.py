"""What a strategy's losses and metrics will ask of the scores of a tile, asked of a kernel at once.

Whatever is left out here, or cannot be had from a kernel, the plain functions compute when asked.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from distillcli.batches.tiles import Tile
from distillcli.kernels import Wanted, fill
from distillcli.kernels.wanted import DIRECTIONS, Direction
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
    compared = not columns.isdisjoint(("nll_gap", "label_probability_gap"))
    agree = ranked or "top1_agreement" in columns
    related = ranked or accepted or any(asked.values())

    def sides(tile: Tile) -> dict[str, Logits]:
        found = {"student": tile.logits("student")} if student else {}
        return found | ({"teacher": target(tile, 1.0)} if target is not None else {})

    def one_by_one(tile: Tile) -> list[Logits]:
        return [tile.logits(role) for role in teachers if "labels" in tile]

    def asks(side: str, *names: str) -> bool:
        return any(f"{side}_{name}" in columns for name in names)

    def label_is_asked(side: str) -> bool:
        return compared or asks(side, "nll") or (hard and side == "student")

    def one_is_asked(side: str) -> bool:
        return accepted or label_is_asked(side) or asks(side, "entropy", "confidence")

    def of_sides(tile: Tile, scores: dict[str, Logits], others: list[Logits]) -> Wanted:
        return Wanted(
            ones=others + [one for side, one in scores.items() if one_is_asked(side)],
            entropies=[one for side, one in scores.items() if asks(side, "entropy")],
            tops=others + [one for side, one in scores.items() if agree or asks(side, "accuracy")],
            labels=tile.labels() if "labels" in tile else None,
            nlls=others + [one for side, one in scores.items() if label_is_asked(side)],
            # Tells the rows that cannot be used.
            maxima=list(scores.values()),
        )

    def of_pairs(tile: Tile, student: Logits, wanted: Wanted) -> Iterator[Wanted]:
        """What is asked about each target that the student is held against, all else with the
        first: that of the metrics' temperature."""
        assert target is not None
        by_target: dict[int, tuple[Logits, list[float]]] = {}
        for at in asked:
            found = target(tile, at)
            by_target.setdefault(id(found), (found, []))[1].append(at)
        unscaled = target(tile, 1.0)
        for found, temperatures in by_target.values():
            statistics = set[Ask]().union(*(asked[at] for at in temperatures))
            first = temperature in temperatures
            if not first and not statistics:
                continue
            yield replace(
                wanted,
                pair=(found, student),
                divergences=_divergences({at: asked[at] for at in temperatures}),
                squares="squares" in statistics,
                cosine="cosine" in statistics,
                above=unscaled if ranked and first else None,
                overlap=accepted and first and found is unscaled,
            )
            wanted = Wanted()  # of another target only what belongs to it

    def prepare(tile: Tile) -> None:
        scores = sides(tile)
        wanted = [of_sides(tile, scores, one_by_one(tile))]
        if related and target is not None and "student" in scores:
            wanted = list(of_pairs(tile, scores["student"], wanted[0]))
        for one in wanted:
            fill(one, tile.backend.kernel, tile.backend.gpu)

    return prepare


def _divergences(asked: Mapping[float, set[Ask]]) -> dict[float, set[Direction]]:
    """What of it is a divergence, by temperature."""
    found = {
        at: {one for one in DIRECTIONS if one in statistics} for at, statistics in asked.items()
    }
    return {at: directions for at, directions in found.items() if directions}


def _asked(terms: Sequence[Term], temperature: float) -> dict[float, set[Ask]]:
    """What losses rest on, by temperature, that of the metrics first."""
    found: dict[float, set[Ask]] = {temperature: set()}
    for term in terms:
        at = term.written.loss.parameters.get("temperature", temperature)
        found.setdefault(at, set()).update(term.known.asks)
    return found
