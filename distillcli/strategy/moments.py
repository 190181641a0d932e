"""Sums over the rows of two layers, from which linear CKA follows."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from distillcli.numerics.arrays import ROUNDING

Matrix = npt.NDArray[np.float64]


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
