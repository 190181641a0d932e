"""How often rows of a top probability are right: frozen, mergeable."""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from distillcli.sums.rows import Floats

CALIBRATION_BINS = 15


@dataclass(frozen=True)
class Calibration:
    """Rows, correct rows and summed confidence in equal bins (lo, hi] of the top probability.

    Reference: Guo et al. (2017), arXiv:1706.04599, section 2.
    """

    rows: npt.NDArray[np.int64]
    correct: npt.NDArray[np.int64]
    confidence: Floats

    @classmethod
    def of(cls, *, confidence: Floats, correct: Floats) -> Self:
        """Bins of some rows: `confidence` in [0, 1] and `correct` 0 or 1, both [rows]."""
        bins = np.ceil(confidence * CALIBRATION_BINS).astype(np.intp) - 1
        bins = bins.clip(0, CALIBRATION_BINS - 1)
        return cls(
            np.bincount(bins, minlength=CALIBRATION_BINS),
            np.bincount(bins, correct, CALIBRATION_BINS).astype(np.int64),
            np.bincount(bins, confidence, CALIBRATION_BINS).astype(np.float64),
        )

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
