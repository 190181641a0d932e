"""What is wanted of a tile, asked of the CUDA kernels and left with its scores."""

from dataclasses import dataclass

import numpy as np

from distillcli.backend import Array, namespace
from distillcli.backend.interface import Device
from distillcli.kernels.cuda.variant import (
    COLUMNS,
    STORED,
    Variant,
    blocks,
    lanes,
    source_text,
)
from distillcli.kernels.wanted import Wanted
from distillcli.numerics.arrays import cast
from distillcli.numerics.scores import Logits


@dataclass(frozen=True)
class _Given:
    """One side as a kernel reads it: [rows, classes], the type it is in, and that of the sums."""

    values: Array
    element: str
    real: str

    @classmethod
    def of(cls, scores: Logits) -> "_Given":
        stored = scores.as_stored
        if stored is not None and stored.element in STORED:
            return cls(stored.bits, stored.element, str(np.dtype(stored.dtype)))
        values = scores.scores
        name = str(values.dtype)
        return cls(namespace(values).ascontiguousarray(values), name, name)


def fill(wanted: Wanted, device: Device) -> None:
    """Compute what is wanted and leave it with the scores; the kernels keep the bounds by
    themselves, so nothing is looked at on the way."""
    for scores in wanted.alone():
        _alone(scores, wanted, device)
    if wanted.pair is not None:
        for one in wanted.by_temperature():
            _pair(*wanted.pair, one, device)


def _alone(scores: Logits, wanted: Wanted, device: Device) -> None:
    given = _Given.of(scores)
    rows, classes = given.values.shape
    ones = frozenset({"ones"}) if scores in wanted.ones else frozenset()
    variant = Variant(given.element, given.element, given.real, lanes(classes), ones)
    found = _run(device, variant, "alone", rows, (given.values, rows, classes), given)
    _leave(scores, "teacher", found, wanted, given)


def _pair(p: Logits, q: Logits, wanted: Wanted, device: Device) -> None:
    one, other = _Given.of(p), _Given.of(q)
    rows, classes = one.values.shape
    asked = _asked(p, q, wanted)
    against = None if wanted.above in (None, p) else wanted.above.top
    temperature, directions = wanted.first
    variant = Variant(
        one.element,
        other.element,
        "float64" if "float64" in (one.real, other.real) else "float32",
        lanes(classes),
        frozenset(asked),
        tempered=temperature != 1.0,
    )
    arguments = (one.values, other.values, rows, classes, float(temperature), against)
    found = _run(device, variant, "pair", rows, arguments, one)
    _leave(p, "teacher", found, wanted, one)
    _leave(q, "student", found, wanted, other)
    if directions:
        for side, scores in (("teacher", p), ("student", q)):
            scores.learn_total(temperature, found[f"{side}_tempered"])
    if "forward" in directions:
        p.learn(("kl", temperature), q, found["forward"])
    if "reverse" in directions:
        q.learn(("kl", temperature), p, found["reverse"])
    for name in asked & {"squares", "cosine"}:
        p.learn(name, q, found[name])
    if wanted.above is not None:
        q.learn("above", wanted.above, found["above"])


def _asked(p: Logits, q: Logits, wanted: Wanted) -> set[str]:
    """Distances are those of the numbers as they are stored, which must be logits for that."""
    raw = (p.kind, q.kind) == ("logits", "logits")
    wishes = {
        "squares": wanted.squares and raw,
        "cosine": wanted.cosine and raw,
        "above": wanted.above is not None,
        "ones": any(one in wanted.ones for one in (p, q)),
    }
    return {name for name, wish in wishes.items() if wish} | set(wanted.first[1])


def _run(
    device: Device,
    variant: Variant,
    name: str,
    rows: int,
    arguments: tuple[object, ...],
    at: _Given,
) -> dict[str, Array]:
    """The columns that the kernel writes; those that were not asked for hold anything."""
    xp = namespace(at.values)
    out = xp.empty((len(COLUMNS), rows), dtype=xp.float64)
    grid = blocks(rows, variant.lanes)
    device.launch(source_text(), variant.options, name, grid, (*arguments, out))
    return {column: out[index] for index, column in enumerate(COLUMNS)}


def _leave(
    scores: Logits, side: str, found: dict[str, Array], wanted: Wanted, given: _Given
) -> None:
    """What is asked about one side alone."""
    xp = namespace(given.values)
    scores.max = cast(found[f"{side}_max"], getattr(xp, given.real))
    scores.finite = found[f"{side}_finite"] != 0
    if scores in wanted.tops or scores is wanted.above:
        scores.top = cast(found[f"{side}_top"], xp.int64)
    if scores in wanted.ones:
        scores.learn_total(1.0, found[f"{side}_total"])
        if scores in wanted.entropies:
            scores.entropy = found[f"{side}_entropy"]
