"""How much of a difference is noise: the same rows before and now, and a bootstrap over them."""

import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distillcli.errors import FormatError, MissingError
from distillcli.formats.npy import check_length, parse_header
from distillcli.sums.rows import Floats

RESAMPLES = 2000
SEED = 0
UNITS = 16384  # what is drawn: rows, or where there are more of them neighbouring rows together

_PIECE = 1 << 20
_HINT = "restore it, or write the result again"


@dataclass(frozen=True)
class Noise:
    """The mean over rows of `now - baseline` of the loss, with a 95 % bootstrap interval.

    Attributes:
        rows: pairs of rows that were compared.
        left_out: rows whose loss is not finite on one of the sides.
    """

    rows: int
    left_out: int
    mean: float
    low: float
    high: float
    resamples: int = RESAMPLES
    seed: int = SEED

    @property
    def significant(self) -> bool:
        """Whether zero, no difference, is outside the interval."""
        return self.low > 0.0 or self.high < 0.0

    def as_dict(self) -> dict[str, Any]:
        """The interval as JSON-ready data."""
        return {**asdict(self), "significant": self.significant}


@dataclass(frozen=True)
class RowFile:
    """The loss of every row in a file, as `score --per-row` saves it; NaN where it was skipped.

    Args:
        path: an NPY file of one dimension.
        rows: how many rows it must have.
        crc32: its checksum, eight hexadecimal digits.
    """

    path: Path
    rows: int
    crc32: str

    @classmethod
    def of(cls, fact: Any, folder: Path, where: str) -> "RowFile | None":
        """The file that a saved result in `folder` refers to, if it does.

        Where there is no such path it is looked for beside the result: `score` writes the path as
        it was given, from the folder that it ran in.

        Raises:
            FormatError: the reference is damaged.
        """
        if fact is None:
            return None
        match fact:
            case {"path": str(path), "rows": int(rows), "crc32": str(crc32)} if rows > 0:
                found, beside = folder / path, folder / Path(path).name
                return cls(beside if beside.exists() and not found.exists() else found, rows, crc32)
        raise FormatError(where, "is not a saved result: per_row is not {path, crc32, rows}")

    def require(self) -> None:
        """Raise MissingError where there is no such file."""
        if not self.path.exists():
            raise MissingError(self._where, "no such file", _HINT)

    @property
    def _where(self) -> str:
        return f"rows of a saved result, {self.path}"

    def losses(self) -> Iterator[Floats]:
        """All rows in pieces of the same size; the file is checked before the first of them.

        Raises:
            MissingError: there is no such file. FormatError: it is not the file that was meant.
        """
        where = self._where
        self.require()
        try:
            self._check_sum(where)
            with open(self.path, "rb") as file:
                header = parse_header(lambda count, at: _read(file, count, at), where)
                if header.code != "f8" or header.swapped or header.shape != (self.rows,):
                    raise FormatError(where, f"does not hold {self.rows:,} float64 numbers")
                check_length(header, 8, self.path.stat().st_size, where)
                file.seek(header.begin)
                while data := file.read(8 * _PIECE):
                    yield np.frombuffer(data, np.float64)
        except OSError as error:
            raise FormatError(where, f"cannot be read: {error.strerror}") from None

    def _check_sum(self, where: str) -> None:
        crc = 0
        with open(self.path, "rb") as file:
            while data := file.read(8 * _PIECE):
                crc = zlib.crc32(data, crc)
        if f"{crc:08x}" != self.crc32:
            raise FormatError(where, "has changed since the result was saved", _HINT)


def _read(file: Any, count: int, offset: int) -> bytes:
    file.seek(offset)
    data: bytes = file.read(count)
    return data


def paired(baseline: RowFile, now: RowFile) -> Noise | None:
    """The mean difference of the loss over the same rows; None where no row is finite on both.

    Above `UNITS` rows, runs of neighbouring rows are drawn together: as many draws, bounded memory.

    Raises:
        FormatError, MissingError: see `RowFile.losses`; or the files differ in their rows.
    """
    if baseline.rows != now.rows:
        problem = f"holds {now.rows:,} rows, the baseline's {baseline.path} {baseline.rows:,}"
        raise FormatError(str(now.path), problem, "row values are compared over the same rows")
    units = min(baseline.rows, UNITS)
    sums, counts, start = np.zeros(units), np.zeros(units), 0
    for before, after in zip(baseline.losses(), now.losses(), strict=True):
        with np.errstate(invalid="ignore", over="ignore"):
            moved = after - before
        finite = np.isfinite(moved)
        unit = np.arange(start, start + len(moved)) * units // baseline.rows
        sums += np.bincount(unit, np.where(finite, moved, 0.0), minlength=units)
        counts += np.bincount(unit, finite, minlength=units)
        start += len(moved)
    filled = counts > 0
    return _bootstrapped(sums[filled], counts[filled], start) if filled.any() else None


def _bootstrapped(sums: Floats, counts: Floats, rows: int) -> Noise:
    draws = np.random.RandomState(SEED)  # its stream is the same in every version of NumPy
    means = np.empty(RESAMPLES)
    for index in range(RESAMPLES):
        drawn = draws.randint(0, len(sums), len(sums))
        means[index] = sums[drawn].sum() / counts[drawn].sum()
    low, high = np.quantile(means, (0.025, 0.975))
    used = int(counts.sum())
    return Noise(used, rows - used, float(sums.sum() / used), float(low), float(high))
