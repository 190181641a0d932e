"""The bootstrap over rows: right on average, the same in every run, bounded in memory."""

import zlib
from pathlib import Path

import numpy as np
import pytest

from distillcli.checking.noise import UNITS, RowFile, paired
from distillcli.errors import FormatError


def saved(path: Path, values: object) -> RowFile:
    array = np.asarray(values, np.float64)
    np.save(path, array)
    return RowFile(path, len(array), f"{zlib.crc32(path.read_bytes()):08x}")


def files(folder: Path, before: object, now: object) -> tuple[RowFile, RowFile]:
    return saved(folder / "before.npy", before), saved(folder / "now.npy", now)


def test_the_interval_is_that_of_the_standard_error(tmp_path: Path) -> None:
    """For many rows it is about 1.96 standard errors on either side of the mean."""
    random = np.random.RandomState(1)
    before, moved = random.normal(5.0, 1.0, 2000), random.normal(0.1, 1.0, 2000)
    noise = paired(*files(tmp_path, before, before + moved))
    assert noise is not None
    error = moved.std(ddof=1) / np.sqrt(2000)
    assert noise.mean == pytest.approx(moved.mean())
    assert noise.low == pytest.approx(moved.mean() - 1.96 * error, abs=0.1 * error)
    assert noise.high == pytest.approx(moved.mean() + 1.96 * error, abs=0.1 * error)
    assert noise.significant == (noise.low > 0)


def test_chance_is_called_significant_about_once_in_twenty(tmp_path: Path) -> None:
    """Of 60 differences that are noise alone, a few at most lie outside."""
    random = np.random.RandomState(2)
    found = 0
    for _ in range(60):
        before = random.normal(0.0, 1.0, 100)
        noise = paired(*files(tmp_path, before, before + random.normal(0.0, 1.0, 100)))
        found += noise is not None and noise.significant
    assert found <= 9


def test_many_rows_are_drawn_in_runs(tmp_path: Path) -> None:
    """The mean is that of all rows, and the interval about as wide as that over single rows."""
    rows = 3 * UNITS + 5
    random = np.random.RandomState(3)
    moved = random.normal(0.0, 2.0, rows)
    noise = paired(*files(tmp_path, np.zeros(rows), moved))
    assert noise is not None
    assert noise.rows == rows
    assert noise.mean == pytest.approx(moved.mean())
    assert noise.high - noise.low == pytest.approx(2 * 1.96 * 2.0 / np.sqrt(rows), rel=0.1)


def test_rows_without_a_finite_loss_are_left_out(tmp_path: Path) -> None:
    before, now = [1.0, np.nan, 1.0, np.inf, 2.0], [2.0, 1.0, np.inf, np.inf, 3.0]
    noise = paired(*files(tmp_path, before, now))
    assert noise is not None
    assert (noise.rows, noise.left_out, noise.mean) == (2, 3, 1.0)
    assert paired(*files(tmp_path, [np.nan], [1.0])) is None


def test_other_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="holds 3 rows"):
        paired(*files(tmp_path, [1.0, 2.0], [1.0, 2.0, 3.0]))


@pytest.mark.parametrize("values", [np.zeros((2, 1)), np.zeros(2, np.float32), np.zeros(2, ">f8")])
def test_a_file_of_another_form_is_refused(values: object, tmp_path: Path) -> None:
    path = tmp_path / "rows.npy"
    np.save(path, np.asarray(values))
    file = RowFile(path, 2, f"{zlib.crc32(path.read_bytes()):08x}")
    with pytest.raises(FormatError, match="does not hold 2 float64 numbers"):
        paired(file, file)


@pytest.mark.parametrize("fact", [1, {}, {"path": "a.npy"}, {"path": 1, "rows": 2, "crc32": "x"},
                                  {"path": "a.npy", "rows": 0, "crc32": "x"}])  # fmt: skip
def test_a_damaged_reference_is_refused(fact: object) -> None:
    with pytest.raises(FormatError, match="per_row is not"):
        RowFile.of(fact, Path(), "base.json")
