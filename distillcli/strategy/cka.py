"""Linear CKA of pairs of layers over all rows at once, from moments that are summed as rows come.

It is a metric: unlike the losses of that name it does not depend on how the rows fall into batches.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from distillcli.batches import PRODUCT_ROWS, Input, Tile
from distillcli.config import Config
from distillcli.fold import BadRows
from distillcli.formats import widen
from distillcli.numerics.arrays import ROUNDING
from distillcli.strategy.batchwise import loss_of, rows_that_count
from distillcli.strategy.inputs import Inputs

NAMES = ("cka", "cka_unbiased")
SAMPLE_ROWS = 64

Matrix = npt.NDArray[np.float64]
Pair = tuple[int, int]  # student layer, teacher layer


@dataclass(frozen=True)
class Moments:
    """Sums over some rows x of one layer and y of the other, both less a constant row.

    Args:
        rows: how many.
        first: sums of x and of y.
        second: sums of x x^T, x y^T and y y^T.
        weighted: the sums of |x|^2 x, |y|^2 x, |x|^2 y and |y|^2 y.
        lengths: the sums of |x|^4, |x|^2 |y|^2 and |y|^4.
    """

    rows: int
    first: tuple[Matrix, ...]
    second: tuple[Matrix, ...]
    weighted: tuple[Matrix, ...]
    lengths: Matrix

    @classmethod
    def of(cls, x: Matrix, y: Matrix) -> "Moments":
        """Those of rows [rows, dim] and [rows, other dim]."""
        p, q = (x * x).sum(axis=1), (y * y).sum(axis=1)
        return cls(
            len(x),
            (x.sum(axis=0), y.sum(axis=0)),
            (x.T @ x, x.T @ y, y.T @ y),
            (p @ x, q @ x, p @ y, q @ y),
            np.array([p @ p, p @ q, q @ q]),
        )

    def merge(self, other: "Moments") -> "Moments":
        """Those of both."""

        def both(one: tuple[Matrix, ...], more: tuple[Matrix, ...]) -> tuple[Matrix, ...]:
            return tuple(a + b for a, b in zip(one, more, strict=True))

        return Moments(
            self.rows + other.rows,
            both(self.first, other.first),
            both(self.second, other.second),
            both(self.weighted, other.weighted),
            self.lengths + other.lengths,
        )

    def biased(self) -> float:
        """CKA as published first.

        Where the rows of one side are all the same it is 0, where those of both are, 1.

        Reference: Kornblith, Norouzi, Lee, Hinton (2019), arXiv:1905.00414, section 3.
        """
        return _quotient(*self._spread())

    def unbiased(self) -> float:
        """CKA from the unbiased estimator of HSIC; 0 for fewer than 4 rows. It may be negative.

        Where the rows of one side are all the same it is 0, where those of both are, 1.

        Reference: Song et al. (2012), Journal of Machine Learning Research 13; Nguyen, Raghu,
        Kornblith (2021), arXiv:2010.15327.
        """
        if self.rows < 4:
            return 0.0
        _, one, other = self._spread()
        if not one or not other:
            return _quotient(0.0, one, other)
        (x, y), (xx, xy, yy) = self.first, self.second
        px, qx, py, qy = self.weighted
        pp, pq, qq = map(float, self.lengths)
        of_x, of_y = float(x @ x - np.trace(xx)), float(y @ y - np.trace(yy))
        return _quotient(
            self._hsic(xy, pq, of_x * of_y, float(x @ xy @ y - x @ qx - y @ py) + pq),
            self._hsic(xx, pp, of_x * of_x, float(x @ xx @ x - 2 * (x @ px)) + pp),
            self._hsic(yy, qq, of_y * of_y, float(y @ yy @ y - 2 * (y @ qy)) + qq),
        )

    def _spread(self) -> tuple[float, float, float]:
        """Squared norms of the covariances: of both, of x and of y; 0 where it is rounding."""
        x, y = self.first
        xx, xy, yy = (
            np.square(sums - np.outer(a, b) / self.rows).sum()
            for sums, (a, b) in zip(self.second, ((x, x), (x, y), (y, y)), strict=True)
        )
        least = [ROUNDING**2 * np.square(self.second[side]).sum() for side in (0, 2)]
        return float(xy), float(xx * (xx > least[0])), float(yy * (yy > least[1]))

    def _hsic(self, products: Matrix, diagonal: float, totals: float, crossed: float) -> float:
        """n (n - 3) times the estimator, of the kernel matrices without their diagonals.

        Args:
            products: the second moments of both sides.
            diagonal: the product of the diagonals.
            totals: the product of the sums of all entries.
            crossed: the product of the sums of rows.
        """
        n = self.rows
        size = float(np.square(products).sum())
        found = size - diagonal + totals / ((n - 1) * (n - 2)) - 2 / (n - 2) * crossed
        return found if abs(found) > ROUNDING * size else 0.0


def _quotient(both: float, one: float, other: float) -> float:
    """both / sqrt(one * other); where a side has no spread 0, and 1 where neither has any."""
    if one <= 0 or other <= 0:
        return float(one <= 0 and other <= 0)
    return both / math.sqrt(one) / math.sqrt(other)


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
    """

    def __init__(
        self,
        inputs: Inputs,
        first: int,
        stop: int,
        pairs: Sequence[Pair],
        keep: Callable[[Tile], npt.NDArray[np.bool_]],
    ) -> None:
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
    pairs = list(dict.fromkeys(config.progressive.layer_mapping))
    return Alignment(inputs, first, stop, pairs, lambda tile: rows_that_count(tile, bad))


def keeps_positions(config: Config) -> bool:
    """Whether rows are whole sequences, of which there are no features."""
    return any(loss_of(term).family == "sequences" for term in config.terms())


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
