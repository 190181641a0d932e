"""Teacher and student whose classes are not the same: which are compared, and what that leaves out.

Both sides are renormalised over the classes that are compared; every figure is one of those.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from distillcli.backend import Array, namespace
from distillcli.batches.inputs import Input
from distillcli.batches.tiles import Tile
from distillcli.config import Config, Source
from distillcli.errors import FormatError, MismatchError
from distillcli.formats import CLASS_MAP, describe, open_rows
from distillcli.numerics.arrays import widen
from distillcli.result import finite
from distillcli.strategy.batchwise import loss_of
from distillcli.sums.totals import Finished

ROLE = "vocabulary map"

Numbers = npt.NDArray[np.int64]


def compared(config: Config, items: Sequence[Input]) -> list[Input]:
    """The inputs with the classes that are compared, as the config says.

    Raises:
        MismatchError, FormatError: a map that does not fit the classes.
    """
    rule, scores = config.vocabulary, [item for item in items if item.is_scores]
    if rule.rule == "error" or not scores:
        return _student_labels(items)
    for item in items:
        if item.lacks_classes:
            problem = "does not hold every class; vocabulary is for whole rows"
            hint = "leave it out; the largest classes alone go with classes: N of the other side"
            if item.floored:
                hint = f"leave it out, and save logits[..., :{item.width}] of a padded student"
            raise MismatchError(item.reader.where, problem, hint)
    if rule.map is not None:
        return _mapped(items, rule.map)
    common = min(item.width for item in scores)
    return [
        replace(item, compared=np.arange(common))
        if item.is_scores and item.width > common
        else item
        for item in items
    ]


def any_width(config: Config) -> bool:
    """Whether all that compares teacher and student takes rows of any number of classes."""
    on_scores = [loss_of(term) for term in config.terms() if term.on == "logits"]
    held = [loss for loss in on_scores if "teacher" in loss.inputs]
    return bool(held) and all(loss.any_width for loss in held)


def uneven(inputs: Any) -> bool:
    """Whether teacher and student do not have the same classes."""
    return len({item.classes for item in inputs if item.classes is not None}) > 1


def _student_labels(items: Sequence[Input]) -> list[Input]:
    """Where the classes differ, labels are those of the student."""
    known = {item.role: item for item in items}
    if not uneven(items) or "student" not in known or "labels" not in known:
        return list(items)
    places = np.arange(known["student"].width)
    return [replace(item, compared=places) if item.role == "labels" else item for item in items]


def over(config: Config, inputs: Any) -> str:
    """Which classes the figures are about, where these are not all."""
    if config.vocabulary.rule == "error" or inputs.classes is None:
        return ""
    which = "first" if config.vocabulary.map is None else "paired"
    return f"over the {inputs.classes:,} {which} classes, renormalised"


def _mapped(items: Sequence[Input], source: Source) -> list[Input]:
    known = {item.role: item for item in items}
    teacher, student = known.get("teacher"), known.get("student")
    if teacher is None or student is None:
        return list(items)
    pairs = _read(source, student=student, teacher=teacher)
    own = np.flatnonzero(pairs >= 0)
    places = np.full(len(pairs), -1)
    places[own] = np.arange(len(own))
    chosen = {"teacher": pairs[own], "student": own, "labels": places}
    return [
        replace(item, compared=chosen[item.role]) if item.role in chosen else item for item in items
    ]


def _read(source: Source, *, student: Input, teacher: Input) -> Numbers:
    """The map, looked at: int64 [student classes]."""
    with open_rows(source, role=ROLE, row_dims=0, need=CLASS_MAP) as reader:
        if reader.rows != student.width:
            raise MismatchError(
                reader.where,
                f"has {reader.rows:,} entries, {student.role} has {student.width:,} classes",
                "a map holds the teacher's class of each class of the student, -1 for none",
            )
        stored = reader.read(0, reader.rows, reader.empty(reader.rows))
        _check(stored, teacher, reader.where)
    return stored.astype(np.int64)


def _check(stored: npt.NDArray[Any], teacher: Input, where: str) -> None:
    outside = (stored < -1) | (stored >= teacher.width)
    if outside.any():
        at = int(np.argmax(outside))
        problem = f"entry {at}: {stored[at]} is no class of the teacher, 0 to {teacher.width - 1}"
        raise FormatError(where, problem, "write -1 for a class that the teacher does not have")
    there = np.sort(stored[stored >= 0])
    if not len(there):
        raise FormatError(where, "pairs no class: every entry is -1", "leave vocabulary out")
    twice = there[1:][there[1:] == there[:-1]]
    if len(twice):
        first, second = np.flatnonzero(stored == twice[0])[:2]
        problem = f"entries {first} and {second} are both {twice[0]}"
        raise FormatError(
            where, problem, "a class of the teacher can be paired with one class only"
        )


def _loses(item: Input) -> bool:
    """Whether some of its classes are not compared."""
    return item.is_scores and item.compared is not None and len(item.compared) < item.width


def others_bad(tile: Tile, role: str) -> Array:
    """Rows of which a class that is not compared is NaN or infinite: bool [rows], or False."""
    if not _loses(tile.inputs[role]):
        return False
    highest = _others(tile, role).max
    xp = namespace(highest)
    return xp.isnan(highest) | (highest == xp.inf)


def _others(tile: Tile, role: str) -> Any:
    return tile.once(f"{role} not compared", partial(tile.others, role))


def lost_column(role: str) -> str:
    """The column of the mass that a side loses."""
    return f"{role} mass lost"


def lost_columns(inputs: Any) -> dict[str, Callable[[Tile], Array]]:
    """The share of each side's probability at T = 1 that is on classes that are not compared."""
    return {lost_column(item.role): partial(_lost, item.role) for item in inputs if _loses(item)}


def _lost(role: str, tile: Tile) -> Array:
    kept, others = tile.logits(role), _others(tile, role)
    xp = namespace(kept.max)
    there = xp.isfinite(others.max)
    above = widen(kept.max) + kept.softened(1.0).log_total
    rest = xp.where(there, widen(others.max) + others.softened(1.0).log_total, above)
    return xp.where(there, 1.0 / (1.0 + xp.exp(above - rest)), 0.0)


def vocabulary_facts(config: Config, inputs: Any, done: Finished) -> dict[str, Any]:
    """What a result says of classes that are not compared; nothing where all are."""
    rule = config.vocabulary
    if rule.rule == "error":
        return {}
    lost = {
        item.role: finite(done.mean(lost_column(item.role))) if _loses(item) else 0.0
        for item in inputs
        if item.is_scores
    }
    sizes = {item.role: item.width for item in inputs if item.is_scores}
    found: dict[str, Any] = {"rule": rule.rule, "compared": inputs.classes, "classes": sizes}
    if rule.map is not None:
        with open_rows(rule.map, role=ROLE, row_dims=0, need=CLASS_MAP) as reader:
            found["map"] = describe(reader)
    return {"vocabulary": {**found, "mass_lost": lost}}


def vocabulary_remarks(found: Mapping[str, Any]) -> Iterator[str]:
    """The same for people."""
    known = found.get("vocabulary")
    if known is None:
        return
    sizes = ", ".join(f"{role} {size:,}" for role, size in known["classes"].items())
    lost = ", ".join(f"{role} {share:.3g}" for role, share in known["mass_lost"].items())
    which = "paired" if known["rule"] == "map" else "first"
    yield (
        f"vocabulary: the {known['compared']:,} {which} classes are compared ({sizes}); "
        f"mean mass of the others: {lost}"
    )
