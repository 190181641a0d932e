"""The rows of a tile that no figure can be had from, by input and by what is wrong with them."""

from collections.abc import Callable

from distillcli.backend import Array, namespace
from distillcli.batches.tiles import Tile
from distillcli.config import Config
from distillcli.fold import BadRows
from distillcli.numerics.arrays import finite_rows
from distillcli.numerics.scores import Logits
from distillcli.strategy.alignment import STUDENT, check_tokens
from distillcli.strategy.batchwise import loss_of
from distillcli.strategy.counting import kept_positions
from distillcli.strategy.inputs import Inputs
from distillcli.strategy.topk import top_k
from distillcli.strategy.vocabulary import others_bad

NOT_FINITE = "NaN or infinity"
NO_CLASS = "what this teacher and the others mask leaves their blend no class"
TOO_MUCH = (
    "the largest classes hold more than all of the mass; are the values what the source says, and "
    "is log_z the log of the sum of exp(value / temperature) over all classes?"
)
NOT_SCORES = {
    "logits": "NaN, +infinity or no finite score",
    "probabilities": "NaN, infinity, a negative number or no mass; are these probabilities, as the "
    "source says?",
    "log_probabilities": "NaN, +infinity or no finite score",
}


def bad_rows(config: Config, inputs: Inputs) -> Callable[[Tile], BadRows]:
    """Rows that nothing can be had from; a loss on raw outputs cannot use masked classes either."""
    on_scores = [term for term in config.terms() if term.on == "logits"]
    strict = [term.loss.name for term in on_scores if not loss_of(term).allows_masked]
    hidden = [item.role for item in inputs if item.is_hidden]
    scores = [item.role for item in inputs if item.is_scores]
    tops = [item.role for item in inputs if item.top_of is not None]
    no_mask = (
        f"{NOT_FINITE}; -infinity, a masked class, is nothing that {', '.join(strict)} can use"
    )

    def bad(tile: Tile) -> BadRows:
        found: dict[tuple[str, str], Array] = {}
        if "labels" in tile:
            tile.labels()
        if STUDENT in tile:
            check_tokens(tile)
        for role in scores:
            logits = tile.logits(role)
            found[role, NOT_SCORES[logits.kind]] = logits.bad | others_bad(tile, role)
            if strict:
                found[role, no_mask] = ~logits.bad & ~logits.raw_finite
        for role in tops:
            known = top_k(tile, role)
            found[role, NOT_SCORES["log_probabilities"]] = known.bad
            found[role, TOO_MUCH] = known.beyond
        for role in hidden:
            found[role, NOT_FINITE] = ~finite_rows(_numbers(tile, role))
        return found

    return bad


def _numbers(tile: Tile, role: str) -> Array:
    """All that a row of a layer holds, [rows, numbers]; 0 at positions that a mask leaves out."""
    x = tile.features(role)
    xp = namespace(x)
    if len(x.shape) == 3 and (kept := kept_positions(tile)) is not None:
        x = xp.where(tile.backend.to_device(kept)[:, :, None], x, xp.zeros_like(x))
    return xp.reshape(x, (x.shape[0], -1))


def or_without_classes(
    bad: Callable[[Tile], BadRows], blend: Callable[[Tile], Logits], role: str
) -> Callable[[Tile], BadRows]:
    """Adds the rows of which the teachers' masks together leave the blend nothing; told of `role`.

    Each teacher alone may be good there.
    """
    return lambda tile: {**bad(tile), (role, NO_CLASS): blend(tile).bad}
