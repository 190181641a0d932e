"""From what is wanted of a tile to a kernel's sweep over its rows, and back into its scores."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from distillcli.kernels import table
from distillcli.kernels.mending import (
    mend_cosines,
    mend_divergences,
    mend_entropies,
    mend_squares,
)
from distillcli.kernels.table import Asked
from distillcli.kernels.wanted import Wanted
from distillcli.numerics.scores import Logits

Array = npt.NDArray[Any]
# Finds what is asked about one side, or about two, at the rows from a first one up to a last, and
# leaves it in the part of a table that is theirs.
Sweep = Callable[[Sequence[Logits], Asked, int, int, Array], None]


def fill(wanted: Wanted, sweep: Sweep) -> None:
    """Compute what is wanted and leave it with the scores, which then need not compute it."""
    for scores in wanted.alone():
        _fill((scores,), wanted, sweep)
    if wanted.pair is not None:
        _fill(wanted.pair, wanted, sweep)


def _fill(sides: tuple[Logits, ...], wanted: Wanted, sweep: Sweep) -> None:
    asked = Asked.of(sides, wanted)
    found = np.empty((asked.columns, sides[0].shape[0]))  # what is not asked for is left as it is
    for start, stop in _pieces(sides):
        sweep(sides, asked, start, stop, found[:, start:stop])
    for index, scores in enumerate(sides):
        own = found[table.SIDE * index : table.SIDE * (index + 1)]
        _leave(scores, own, asked.of_sides[index], wanted)
    if len(sides) == 2:
        _leave_pair(*sides, found, asked, wanted)


def _pieces(sides: Sequence[Logits]) -> Iterator[tuple[int, int]]:
    """What is read at a time: it is then still in the cache when it is swept."""
    rows, step = sides[0].shape[0], min(side.at_once for side in sides)
    for start in range(0, rows, max(1, step)):
        yield start, min(rows, start + step)


def _leave(scores: Logits, found: Array, asked: int, wanted: Wanted) -> None:
    """What is asked about one side alone."""
    scores.max = found[table.MAX_AT].astype(scores.dtype)
    if asked & table.FINITE:
        scores.finite = ~scores.bad & (found[table.MASKED_AT] == 0)
    if asked & table.TOP:
        scores.top = found[table.TOP_AT].astype(np.int64)
    if asked & table.ONE:
        scores.learn_total(1.0, found[table.ONE_AT])
    if asked & table.NLL:
        assert wanted.labels is not None
        scores.learn_nll(wanted.labels, found[table.NLL_AT])
    if asked & table.ENTROPY:
        entropy = found[table.ENTROPY_AT]
        if not _all_finite(entropy):
            doubtful = ~np.isfinite(entropy) & ~scores.bad
            mend_entropies(entropy, doubtful, scores)
        scores.entropy = entropy


def _leave_pair(p: Logits, q: Logits, found: Array, asked: Asked, wanted: Wanted) -> None:
    for index, (temperature, directions) in enumerate(asked.divergences):
        at = table.tempered(found, index)
        p.learn_total(temperature, at[table.TOTAL_AT])
        q.learn_total(temperature, at[table.OTHER_TOTAL_AT])
        if directions & table.FORWARD:
            _leave_divergence(p, q, at[table.FORWARD_AT], temperature)
        if directions & table.REVERSE:
            _leave_divergence(q, p, at[table.REVERSE_AT], temperature)
    of_pair = found[table.PAIR : table.TEMPERED]
    if asked.of_pair & table.SQUARES:
        _leave_distance(p, q, "squares", of_pair[table.SQUARES_AT], mend_squares)
    if asked.of_pair & table.COSINE:
        _leave_distance(p, q, "cosine", of_pair[table.COSINE_AT], mend_cosines)
    if wanted.above is not None:
        q.learn("above", wanted.above, of_pair[table.ABOVE_AT])
    if asked.of_pair & table.OVERLAP:
        p.learn("overlap", q, of_pair[table.OVERLAP_AT])


def _leave_divergence(p: Logits, q: Logits, found: Array, temperature: float) -> None:
    """What a sweep cannot do, scores beyond the range of differences, is no number there."""
    if not _all_finite(found):
        mend_divergences(found, np.isnan(found) & ~p.bad & ~q.bad, p, q, temperature)
    p.learn(("kl", temperature), q, found)


def _leave_distance(
    p: Logits, q: Logits, name: str, found: Array, mend: Callable[..., Array]
) -> None:
    if not _all_finite(found):
        mend(found, ~np.isfinite(found) & p.finite & q.finite, p, q)
    p.learn(name, q, found)


def _all_finite(found: Array) -> bool:
    """Whether no number is infinite or NaN, as their sum tells in one pass; false if it is too
    large as well."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(found.sum()))
