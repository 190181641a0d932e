"""The large pair of dumps, in small."""

from pathlib import Path

import large
import numpy as np


def test_a_sharded_pair_with_masks(tmp_path: Path) -> None:
    """Every sampled row is what float64 makes of its bits; memory stays far below the bound."""
    found = large.judged(tmp_path, sequences=4, count=40)
    labels, mask = np.load(tmp_path / "labels.npy"), np.load(tmp_path / "mask.npy")
    kept = int(((labels != large.IGNORED) & (mask == 1)).sum())
    assert (found.rows, found.masked) == (kept, labels.size - kept)
    assert 0 < found.error < 1
    assert found.peak < large.MEMORY
