"""What a strategy's losses and metrics will ask of the scores of a tile, asked of a kernel at once.

Whatever is left out here, or cannot be had from a kernel, the plain functions compute when asked.
"""

from collections.abc import Callable, Collection, Sequence

from distillcli.batches import Tile
from distillcli.kernels import Wanted, fill
from distillcli.losses import LOGIT_LOSSES
from distillcli.metrics import METRICS
from distillcli.numerics import Logits
from distillcli.strategy.terms import Target


def primer(
    *,
    losses: Collection[str],
    metrics: Collection[str],
    target: Target | None,
    teachers: Sequence[str],
    student: bool,
    temperature: float,
) -> Callable[[Tile], None]:
    """Prepares a tile for its measure.

    Args:
        losses: names of the losses on class scores in use.
        metrics: names of the metrics.
        target: what the student is held against, at a temperature.
        teachers: roles of teachers that are held against the labels one by one.
        student: whether there is a student whose classes are all known.
        temperature: that of the loss and of the KL metrics.
    """
    columns = {column for name in metrics for column in METRICS[name].columns}
    asked = {ask for name in losses if name in LOGIT_LOSSES for ask in LOGIT_LOSSES[name].asks}
    if "kl" in columns:
        asked.add("forward")
    ranked = "top5_agreement" in columns
    agree = ranked or "top1_agreement" in columns

    def sides(tile: Tile) -> dict[str, Logits]:
        found = {"student": tile.logits("student")} if student else {}
        return found | ({"teacher": target(tile, 1.0)} if target is not None else {})

    def one_by_one(tile: Tile) -> list[Logits]:
        return [tile.logits(role) for role in teachers if "labels" in tile]

    def asks(side: str, *names: str) -> bool:
        return any(f"{side}_{name}" in columns for name in names)

    def prepare(tile: Tile) -> None:
        scores, others = sides(tile), one_by_one(tile)
        hard = ["student"] if "cross_entropy" in losses else []
        pair = None
        if target is not None and "student" in scores and (asked or ranked):
            pair = (target(tile, temperature), scores["student"])
        wanted = Wanted(
            pair,
            temperature,
            forward="forward" in asked,
            reverse="reverse" in asked,
            squares="squares" in asked,
            cosine="cosine" in asked,
            above=scores.get("teacher") if ranked and pair is not None else None,
            ones=others
            + [
                one
                for side, one in scores.items()
                if side in hard or asks(side, "nll", "entropy", "confidence")
            ],
            entropies=[one for side, one in scores.items() if asks(side, "entropy")],
            tops=others + [one for side, one in scores.items() if agree or asks(side, "accuracy")],
        )
        fill(wanted, tile.backend.kernel)

    return prepare
