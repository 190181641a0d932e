"""What is wanted of a tile, asked of the CUDA kernels and left with its scores."""

from dataclasses import dataclass

import numpy as np

from distillcli.backend import Array, namespace
from distillcli.backend.interface import Device
from distillcli.kernels.cuda.variant import (
    MOST_CLASSES,
    MOST_TEMPERATURES,
    SQUARINGS,
    STORED,
    Variant,
    blocks,
    columns,
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
        if scores.shape[1] < MOST_CLASSES:
            _alone(scores, wanted, device)
    if wanted.pair is not None and wanted.pair[0].shape[1] < MOST_CLASSES:
        for part in wanted.by_temperature(MOST_TEMPERATURES):
            _pair(*wanted.pair, part, device)


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
    temperatures = list(wanted.divergences) or [1.0]
    variant = Variant(
        one.element,
        other.element,
        "float64" if "float64" in (one.real, other.real) else "float32",
        lanes(classes),
        frozenset(asked),
        len(temperatures),
        SQUARINGS.get(temperatures[0]),
    )
    given = [float(at) for at in temperatures] + [1.0] * (MOST_TEMPERATURES - len(temperatures))
    arguments = (one.values, other.values, rows, classes, *given, against)
    found = _run(device, variant, "pair", rows, arguments, one)
    _leave(p, "teacher", found, wanted, one)
    _leave(q, "student", found, wanted, other)
    for index, (at, directions) in enumerate(wanted.divergences.items()):
        if directions:
            p.learn_total(at, found[f"teacher_tempered_{index}"])
            q.learn_total(at, found[f"student_tempered_{index}"])
        if "forward" in directions:
            p.learn(("kl", at), q, found[f"forward_{index}"])
        if "reverse" in directions:
            q.learn(("kl", at), p, found[f"reverse_{index}"])
    for name in asked & {"squares", "cosine"}:
        p.learn(name, q, found[name])
    if wanted.above is not None:
        q.learn("above", wanted.above, found["above"])
    if wanted.overlap:
        p.learn("overlap", q, found["overlap"])


def _asked(p: Logits, q: Logits, wanted: Wanted) -> set[str]:
    """Distances are those of the numbers as they are stored, which must be logits for that."""
    raw = (p.kind, q.kind) == ("logits", "logits")
    wishes = {
        "squares": wanted.squares and raw,
        "cosine": wanted.cosine and raw,
        "above": wanted.above is not None,
        "ones": any(one in wanted.ones for one in (p, q)),
        "overlap": wanted.overlap,
    }
    return {name for name, wish in wishes.items() if wish}.union(*wanted.divergences.values())


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
    names = columns(variant.temperatures)
    out = xp.empty((len(names), rows), dtype=xp.float64)
    grid = blocks(rows, variant.lanes)
    device.launch(source_text(), variant.options, name, grid, (*arguments, out))
    return {column: out[index] for index, column in enumerate(names)}


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
