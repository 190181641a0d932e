"""How often rows of a top probability are right: frozen, mergeable."""

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from distillcli.sums.rows import Floats

CALIBRATION_BINS = 15


@dataclass(frozen=True)
class Calibration:
    """Rows, correct rows and summed confidence in equal bins (lo, hi] of the top probability.

    Those of several stretches of rows at once have an axis more in front, [stretches].

    Reference: Guo et al. (2017), arXiv:1706.04599, section 2.
    """

    rows: npt.NDArray[np.int64]
    correct: npt.NDArray[np.int64]
    confidence: Floats

    @classmethod
    def of(cls, *, confidence: Floats, correct: Floats) -> Self:
        """Bins of some rows: `confidence` in [0, 1] and `correct` 0 or 1, both [rows]."""
        stretch = np.zeros(len(confidence), np.intp)
        return cls.of_each(confidence=confidence, correct=correct, stretch=stretch, count=1).at(0)

    @classmethod
    def of_each(
        cls, *, confidence: Floats, correct: Floats, stretch: npt.NDArray[np.intp], count: int
    ) -> Self:
        """Those of `count` stretches; `stretch` says for each row which one it belongs to.

        Rows may come as [stretches, rows] as well, with `stretch` [stretches, 1].
        """
        # In place, as floats: each pass over numbers that no near cache holds counts.
        numbers = confidence * CALIBRATION_BINS
        np.ceil(numbers, out=numbers)
        np.fmin(numbers, CALIBRATION_BINS, out=numbers)  # with what is no number
        np.maximum(numbers, 1, out=numbers)
        numbers *= 2  # rows that are wrong and rows that are right beside each other
        numbers += correct
        numbers += (stretch * CALIBRATION_BINS - 1) * 2
        places = numbers.astype(np.intp).ravel()
        shape = count, CALIBRATION_BINS, 2
        rows = np.bincount(places, minlength=math.prod(shape)).reshape(shape)
        sums = np.bincount(places, confidence.ravel(), math.prod(shape)).reshape(shape)
        return cls(rows.sum(axis=-1), rows[..., 1].copy(), sums.sum(axis=-1, dtype=np.float64))

    def at(self, index: Any) -> Self:
        """One of several stretches, or some of them by a slice."""
        return type(self)(self.rows[index], self.correct[index], self.confidence[index])

    def merge(self, other: Self) -> Self:
        return type(self)(
            self.rows + other.rows,
            self.correct + other.correct,
            self.confidence + other.confidence,
        )

    def error(self) -> float:
        """The expected calibration error; NaN without rows."""
        total = int(self.rows.sum())
        if not total:
            return math.nan
        return float(np.abs(self.confidence - self.correct).sum()) / total
