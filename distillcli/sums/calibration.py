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
        """Those of `count` stretches; `stretch` says for each row which one it belongs to."""
        places = np.ceil(confidence * CALIBRATION_BINS).astype(np.intp) - 1
        np.clip(places, 0, CALIBRATION_BINS - 1, out=places)
        places += stretch * CALIBRATION_BINS
        shape = count, CALIBRATION_BINS
        bins = count * CALIBRATION_BINS
        # Rows that are wrong and rows that are right beside each other.
        told = np.bincount(2 * places + correct.astype(np.intp), minlength=2 * bins)
        wrong, right = told.reshape(*shape, 2).transpose(2, 0, 1)
        sums = np.bincount(places, confidence, bins).astype(np.float64)
        return cls(wrong + right, right.copy(), sums.reshape(shape))

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
