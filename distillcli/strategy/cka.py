"""Linear CKA of pairs of layers over all rows at once, from moments that are summed as rows come.

It is a metric: unlike the losses of that name it does not depend on how the rows fall into batches.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from distillcli.batches.grid import PRODUCT_ROWS
from distillcli.batches.inputs import Input
from distillcli.batches.tiles import Tile
from distillcli.config import Config
from distillcli.fold import BadRows
from distillcli.formats import widen
from distillcli.strategy.batchwise import rows_that_count
from distillcli.strategy.inputs import Inputs
from distillcli.strategy.moments import Matrix, Moments

NAMES = ("cka", "cka_unbiased")
SAMPLE_ROWS = 64

Pair = tuple[int, int]  # student layer, teacher layer


@dataclass(frozen=True)
class Part:
    """Rows of one cell: their sums, or the rows themselves where more of the cell is to come.

    Args:
        rows: of each layer, less the constant row, those that count; None where they are summed.
    """

    cell: int
    moments: dict[Pair, Moments]
    rows: dict[str, Matrix] | None = None


class Alignment:
    """Sums the moments of pairs of layers as the rows come, in row order.

    The sums of `PRODUCT_ROWS` rows of the dump at a time are added up one after the other, on the
    host: no figure depends on how many rows are computed at once.

    Args:
        first, stop: the rows that are taken.
        pairs: the pairs of layers.
        keep: tells which rows of a tile count, bool [rows], on the host.
        shares: what each of the pairs weighs.
    """

    def __init__(
        self,
        inputs: Inputs,
        first: int,
        stop: int,
        pairs: Sequence[Pair],
        keep: Callable[[Tile], npt.NDArray[np.bool_]],
        shares: Sequence[float],
    ) -> None:
        self._weighted = list(zip(pairs, shares, strict=True))
        roles = {role for pair in pairs for role in _roles(pair)}
        self._first, self._stop = first, stop
        self._shifts = {role: _typical(inputs[role], first, stop) for role in roles}
        self._keep = keep
        self._sums: dict[Pair, Moments | None] = dict.fromkeys(pairs)
        self._begun: list[Part] = []  # of one cell

    def of(self, tile: Tile) -> list[Part]:
        """What a tile has of each cell."""
        keep = self._keep(tile)
        rows = {role: _on_host(tile, role) for role in self._shifts}
        bounds = [tile.start, *range(*_inner(tile.start, tile.stop), PRODUCT_ROWS), tile.stop]
        parts = []
        for start, stop in pairwise(bounds):
            here = slice(start - tile.start, stop - tile.start)
            some = {role: x[here][keep[here]] - self._shifts[role] for role, x in rows.items()}
            cell = start // PRODUCT_ROWS
            # The few large batches of a GPU have many cells, whose sums may be larger than rows.
            if tile.backend.gpu is None and self._is_whole(start, stop):
                parts.append(Part(cell, self._moments(some)))
            else:
                parts.append(Part(cell, {}, some))
        return parts

    def add(self, found: Sequence[Part]) -> None:
        """Take up what the tile that follows has."""
        for part in found:
            if self._begun and self._begun[0].cell != part.cell:
                self._end_cell()
            if part.rows is None:
                self._merge(part.moments)
            else:
                self._begun.append(part)

    def _is_whole(self, start: int, stop: int) -> bool:
        """Whether nothing else of the cell is taken."""
        begin = start // PRODUCT_ROWS * PRODUCT_ROWS
        return start == max(begin, self._first) and stop == min(begin + PRODUCT_ROWS, self._stop)

    def _end_cell(self) -> None:
        parts = [part.rows for part in self._begun if part.rows is not None]
        self._begun = []
        if parts:
            rows = {role: np.concatenate([some[role] for some in parts]) for role in self._shifts}
            self._merge(self._moments(rows))

    def _moments(self, rows: Mapping[str, Matrix]) -> dict[Pair, Moments]:
        return {pair: Moments.of(*(rows[role] for role in _roles(pair))) for pair in self._sums}

    def _merge(self, found: Mapping[Pair, Moments]) -> None:
        for pair, moments in found.items():
            before = self._sums[pair]
            self._sums[pair] = moments if before is None else before.merge(moments)

    def values(self) -> dict[Pair, tuple[float, float]]:
        """Both figures of each pair, biased and unbiased."""
        self._end_cell()
        done = {pair: sums for pair, sums in self._sums.items() if sums is not None}
        return {pair: (sums.biased(), sums.unbiased()) for pair, sums in done.items()}

    def mean(self, values: Mapping[Pair, tuple[float, float]], name: str) -> float:
        """One of the two figures over all pairs, by their weights."""
        which = NAMES.index(name)
        return sum(share * values[pair][which] for pair, share in self._weighted)


def alignment(
    config: Config,
    inputs: Inputs,
    first: int,
    stop: int,
    bad: Callable[[Tile], BadRows],
    names: Sequence[str],
) -> Alignment | None:
    """What sums the moments of the pairs of layers, where the metrics ask for it."""
    if config.progressive is None or not set(NAMES) & set(names):
        return None
    pairs, shares = config.progressive.layer_mapping, config.progressive.shares
    return Alignment(inputs, first, stop, pairs, lambda tile: rows_that_count(tile, bad), shares)


def _on_host(tile: Tile, role: str) -> Matrix:
    rows: Matrix = widen(tile.stored(role), tile.inputs[role].reader.element, np.float64)
    return rows


def _inner(start: int, stop: int) -> tuple[int, int]:
    """Between which rows cells begin inside of `start` to `stop`."""
    return (start // PRODUCT_ROWS + 1) * PRODUCT_ROWS, stop


def _roles(pair: Pair) -> tuple[str, str]:
    return f"student_hidden[{pair[0]}]", f"teacher_hidden[{pair[1]}]"


def _typical(item: Input, first: int, stop: int) -> Matrix:
    """A row of finite numbers; 0 where none of the first ones is. Less it, sums keep their digits.

    It is a row as it stands and no mean, so that rows which are all equal leave exactly 0.
    """
    stop = min(stop, first + SAMPLE_ROWS)
    raw = item.reader.read(first, stop, item.reader.empty(stop - first))
    rows = widen(raw, item.reader.element, np.float64)
    there = rows[np.isfinite(rows).all(axis=1)]
    found: Matrix = there[0] if len(there) else np.zeros(rows.shape[1])
    return found
