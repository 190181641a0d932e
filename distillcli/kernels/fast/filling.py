"""From what is wanted of a tile to a call of the compiled loops, and back into its scores."""

import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from distillcli.kernels.fast import layout, narrow, wide
from distillcli.kernels.wanted import NARROW, Wanted, mended
from distillcli.losses.features import cosine, mse
from distillcli.numerics.divergence import kl
from distillcli.numerics.scores import Logits

Array = npt.NDArray[Any]

# How the loops tell stored types apart.
READ_AS = {"float16": np.uint16, "bfloat16": np.int16, "float32": np.float32, "float64": np.float64}
NO_TOPS = np.empty(0, np.int64)


def fill(wanted: Wanted) -> None:
    """Compute what is wanted and leave it with the scores, which then need not compute it."""
    for scores in wanted.alone():
        asked = _asked(scores, wanted, paired=False)
        table = _swept((scores,), (asked,), wanted)
        _leave(scores, table[: layout.SIDE], wanted, asked)
    if wanted.pair is not None:
        for one in wanted.by_temperature():
            _fill_pair(*wanted.pair, one)


def _fill_pair(p: Logits, q: Logits, wanted: Wanted) -> None:
    of_p, of_q = (_asked(scores, wanted, paired=True) for scores in (p, q))
    table = _swept((p, q), (of_p, of_q), wanted)
    _leave(p, table[: layout.SIDE], wanted, of_p)
    _leave(q, table[layout.SIDE : layout.PAIR], wanted, of_q)
    _leave_pair(table[layout.PAIR :], wanted)


def _swept(sides: tuple[Logits, ...], asked: tuple[int, ...], wanted: Wanted) -> Array:
    """One call of the loops: float64 [COLUMNS, rows], good until the thread's next call."""
    read = [_readable(scores) for scores in sides]
    dtype = np.result_type(*(arithmetic for _, arithmetic in read))
    (rows, classes), paired = sides[0].shape, len(sides) == 2
    table = _scratch.of("table", (layout.COLUMNS, rows), np.dtype(np.float64))
    is_narrow = classes < NARROW
    loops, shape = (narrow if is_narrow else wide), (4, classes, narrow.LANES)[: 2 + is_narrow]
    loops.sweep(
        read[0][0],
        read[-1][0],
        paired,
        float(wanted.first[0]),
        _asked_of_pair(wanted) if paired else 0,
        asked[0],
        asked[-1],
        _tops(sides, wanted) if paired else NO_TOPS,
        _scratch.of("rows", shape, dtype),
        table,
    )
    return table


def _readable(scores: Logits) -> tuple[Array, np.dtype[Any]]:
    """The array that the loops read, and the type of the arithmetic."""
    stored = scores.as_stored
    if stored is not None and stored.element in READ_AS:
        bits = np.require(stored.bits, requirements=("C", "A"))
        return bits.view(READ_AS[stored.element]), np.dtype(stored.dtype)
    values = np.require(scores.scores, requirements=("C", "A"))
    return values, values.dtype


class _Scratch(threading.local):
    """Where rows are brought, and what is found: each thread's own, used again for every tile."""

    def __init__(self) -> None:
        self.arrays: dict[str, Array] = {}

    def of(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        known = self.arrays.get(name)
        if known is None or (known.shape, known.dtype) != (shape, dtype):
            known = self.arrays[name] = np.empty(shape, dtype)
        return known


_scratch = _Scratch()


def _asked(scores: Logits, wanted: Wanted, *, paired: bool) -> int:
    top = scores in wanted.tops or (paired and wanted.above is scores)
    return (
        layout.TOP * top
        + layout.TOTAL * (paired and bool(wanted.first[1]))
        + layout.ONE * (scores in wanted.ones)
        + layout.ENTROPY * (scores in wanted.entropies)
    )


def _asked_of_pair(wanted: Wanted) -> int:
    directions = wanted.first[1]
    return (
        layout.FORWARD * ("forward" in directions)
        + layout.REVERSE * ("reverse" in directions)
        + layout.SQUARES * wanted.squares
        + layout.COSINE * wanted.cosine
        + layout.ABOVE * (wanted.above is not None)
        + layout.OVERLAP * wanted.overlap
    )


def _tops(sides: tuple[Logits, ...], wanted: Wanted) -> Array:
    """The classes to count against, where they are not the tops of the first side."""
    if wanted.above is None or wanted.above is sides[0]:
        return NO_TOPS
    return np.ascontiguousarray(wanted.above.top, np.int64)


def _leave(scores: Logits, found: Array, wanted: Wanted, asked: int) -> None:
    """What is asked about one side alone."""
    scores.max = found[layout.MAX_AT].astype(_readable_type(scores))
    scores.finite = np.isfinite(found[layout.MAX_AT]) & (found[layout.MASKED_AT] == 0)
    if asked & layout.TOP:
        scores.top = found[layout.TOP_AT].astype(np.int64)
    if asked & layout.TOTAL:
        scores.learn_total(wanted.first[0], found[layout.TOTAL_AT].copy())
    if asked & layout.ONE:
        scores.learn_total(1.0, found[layout.ONE_AT].copy())
    if asked & layout.ENTROPY:
        entropy = found[layout.ENTROPY_AT].copy()
        doubtful = ~np.isfinite(entropy) & ~scores.bad
        scores.entropy = mended(entropy, doubtful, lambda at: scores.taken(at).entropy)


def _readable_type(scores: Logits) -> Any:
    stored = scores.as_stored
    return stored.dtype if stored is not None else scores.scores.dtype


def _leave_pair(found: Array, wanted: Wanted) -> None:
    assert wanted.pair is not None
    p, q = wanted.pair
    temperature, directions = wanted.first
    if "forward" in directions:
        _leave_divergence(p, q, found[layout.FORWARD_AT], temperature)
    if "reverse" in directions:
        _leave_divergence(q, p, found[layout.REVERSE_AT], temperature)
    if (p.kind, q.kind) == ("logits", "logits"):
        if wanted.squares:
            _leave_distance(p, q, "squares", found[layout.SQUARES_AT])
        if wanted.cosine:
            _leave_distance(p, q, "cosine", found[layout.COSINE_AT])
    if wanted.above is not None:
        q.learn("above", wanted.above, found[layout.ABOVE_AT].copy())
    if wanted.overlap:
        p.learn("overlap", q, found[layout.OVERLAP_AT].copy())


def _leave_divergence(p: Logits, q: Logits, found: Array, temperature: float) -> None:
    """What the loops cannot do, scores beyond the range of differences, is no number there."""
    doubtful = np.isnan(found) & ~p.bad & ~q.bad
    rows = mended(
        np.maximum(found, 0.0), doubtful, lambda at: kl(p.taken(at), q.taken(at), temperature)
    )
    p.learn(("kl", temperature), q, rows)


def _leave_distance(p: Logits, q: Logits, name: str, found: Array) -> None:
    careful = cosine if name == "cosine" else mse
    rows = mended(
        found.copy(),
        ~np.isfinite(found),
        lambda at: careful(teacher=p.taken(at).raw, student=q.taken(at).raw),
    )
    p.learn(name, q, rows)
