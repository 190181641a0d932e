"""Sides of which only the largest classes are known, held against each other.

`tail: bucket`: all classes that are not known on both sides are one class more. A divergence of
such distributions is never above that of the whole ones, and never negative. `tail: renormalize`:
the classes that the teacher has stored, alone, each side renormalised over them; it may be above
or below. The sum of the known terms alone, which can be negative, is nothing that is offered.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from distillcli.backend import Array, namespace
from distillcli.batches.tiles import Tile
from distillcli.config import Config
from distillcli.errors import ConfigError
from distillcli.numerics.scores import Logits
from distillcli.result import finite
from distillcli.strategy.floored import Floored, floored
from distillcli.strategy.incomplete import check, has_mass, lacking
from distillcli.strategy.terms import Pair, Rows, Target
from distillcli.strategy.topk import TopK, top_k
from distillcli.strategy.union import united
from distillcli.sums.totals import Finished

TEACHER, STUDENT = "teacher", "student"
BELOW = "label below the teacher's floor"  # a column


def known_of(tile: Tile, role: str) -> TopK | Floored:
    """The rows of such a side."""
    held = top_k if tile.inputs[role].top_of is not None else floored
    return held(tile, role)


def pair_of(config: Config, inputs: Any, target: Target | None) -> Pair:
    """Teacher and student over the same classes, where one or both lack some.

    Args:
        target: the teacher, where its classes are all known.

    Raises:
        ConfigError, MismatchError: what cannot be had of them.
    """
    check(config, inputs)
    if "student" not in [item.role for item in lacking(inputs)]:
        return _alone if config.tail == "renormalize" else _bucketed
    return united if target is None else partial(_bucketed_student, target)


def _bucketed(tile: Tile, _: float) -> tuple[Logits, Logits]:
    known = known_of(tile, "teacher")
    teacher = tile.once("teacher bucketed", known.bucketed)
    return teacher, tile.once(
        "student bucketed", lambda: known.bucketed_alike(tile.logits("student"))
    )


def _bucketed_student(target: Target, tile: Tile, temperature: float) -> tuple[Logits, Logits]:
    known = top_k(tile, "student")
    teacher = tile.once("teacher bucketed", lambda: known.bucketed_alike(target(tile, temperature)))
    return teacher, tile.once("student bucketed", known.bucketed)


def _alone(tile: Tile, _: float) -> tuple[Logits, Logits]:
    known = top_k(tile, "teacher")
    teacher = tile.once("teacher alone", known.alone)
    return teacher, tile.once("student alone", lambda: known.alone_alike(tile.logits("student")))


# --- what is told of it ---------------------------------------------------------------------------


def require_tails(config: Config, inputs: Any) -> None:
    """Refuse a rule for what is not there.

    Raises:
        ConfigError: the largest classes alone are meant, and all are stored.
    """
    if config.tail == "renormalize" and not any(item.top_of is not None for item in inputs):
        raise ConfigError(
            config.where("tail"),
            "is about a teacher of whom only the largest classes are stored, and there is none",
            "leave it out; {path: ..., classes: N} names such a source",
        )


def tail_column(role: str) -> str:
    """The column of the mass of a side outside the classes that are known."""
    return f"{role} tail mass"


def tail_columns(
    config: Config, inputs: Any, pair: Pair | None, temperature: float
) -> dict[str, Rows]:
    """The mass of each side, at the temperature of the KL, outside the classes that are stored."""
    sides = [item.role for item in lacking(inputs) if item.top_of is not None]
    if not sides or pair is None:
        below = "labels" in inputs and any(item.floored for item in inputs)
        return {BELOW: _label_below} if below else {}
    if config.tail == "renormalize":
        found: dict[str, Rows] = {tail_column(STUDENT): partial(_outside, temperature)}
        teacher = inputs[TEACHER]
        if has_mass(inputs, teacher) and teacher.temperature == temperature:
            found[tail_column(TEACHER)] = partial(_rest, TEACHER)
        return found
    if len(sides) == 2:
        return {tail_column(role): partial(_rest, role) for role in sides}
    return {
        tail_column(role): partial(_last, pair, index, temperature)
        for index, role in enumerate((TEACHER, STUDENT))
    }


def _label_below(tile: Tile) -> Array:
    return floored(tile, TEACHER).holds_below(tile.labels())


def _rest(role: str, tile: Tile) -> Array:
    return top_k(tile, role).rest()


def _outside(temperature: float, tile: Tile) -> Array:
    return top_k(tile, TEACHER).outside(tile.logits(STUDENT), temperature)


def _last(pair: Pair, index: int, temperature: float, tile: Tile) -> Array:
    scores = pair(tile, temperature)[index].raw[:, -1]
    return namespace(scores).exp(scores / temperature)


def over_tails(config: Config, inputs: Any) -> str:
    """Which classes the figures are about, where these are not all."""
    tops = [item for item in lacking(inputs) if item.top_of is not None]
    if not tops:
        floor = any(item.floored for item in lacking(inputs))
        return "what is at the floor of the teacher's file is one class, the tail" if floor else ""
    largest = " and ".join(f"the {item.role}'s top {item.width:,}" for item in tops)
    if config.tail == "renormalize":
        return f"over {largest}, renormalised"
    if len(tops) == 2:
        return f"what not both of {largest} hold is in three tail buckets: a lower bound"
    return f"what is outside {largest} is one class, a tail bucket"


def tail_facts(config: Config, inputs: Any, done: Finished) -> dict[str, Any]:
    """What a result says of classes that are not stored; nothing where all are."""
    tops = [item for item in lacking(inputs) if item.top_of is not None]
    if not tops:
        return _floor_facts(inputs, done)
    masses = {role: tail_column(role) for role in (TEACHER, STUDENT)}
    return {
        "tail": {
            "rule": config.tail,
            "classes": tops[0].top_of,
            "stored": {item.role: item.width for item in tops},
            "mass": {
                role: finite(done.mean(name)) for role, name in masses.items() if name in done.names
            },
        }
    }


def _floor_facts(inputs: Any, done: Finished) -> dict[str, Any]:
    if not any(item.floored for item in inputs):
        return {}
    below = round(done.mean(BELOW) * done.rows) if BELOW in done.names else None
    return {"floor": {"role": TEACHER, "labels_below": below, "of": done.rows}}


def tail_remarks(found: Mapping[str, Any]) -> Iterator[str]:
    """The same for people."""
    floor = found.get("floor", {})
    if below := floor.get("labels_below"):
        yield (
            f"{below:,} of {floor['of']:,} labels are below the floor of the teacher's file: their "
            "likelihood counts as that of the floor, so the teacher's nll and perplexity are at "
            "least as told"
        )
    known = found.get("tail")
    if known is None:
        return
    rule = {
        "bucket": "the others are one class, a tail bucket, which never makes a divergence larger",
        "renormalize": "the others are left out and both sides renormalised, which may make a "
        "divergence smaller or larger",
    }[known["rule"]]
    if len(known["stored"]) == 2:
        rule = "what only one side has stored is bounded by the least value of the other, and the "
        rule += "rest is a tail bucket: divergences are lower bounds"
    stored = " and ".join(f"the {role}'s {k:,} largest" for role, k in known["stored"].items())
    mass = ", ".join(
        f"{role} {'not known' if share is None else f'{share:.3g}'}"
        for role, share in known["mass"].items()
    )
    told = f"; mean mass outside: {mass}" if mass else ""
    yield f"{stored} of {known['classes']:,} classes are known; {rule}{told}"
