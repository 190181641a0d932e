"""The figures of each group of rows, told apart by one integer per row."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from distillcli.errors import DataError
from distillcli.sinks.details import GROUP
from distillcli.sums.dyadic import Apart
from distillcli.sums.rows import Collector, Floats, RowValues
from distillcli.sums.totals import Blockwise, Cut

MOST = 1000

Keys = npt.NDArray[np.int64]


@dataclass(frozen=True)
class GroupSums:
    """Rows and sums of each group.

    Args:
        keys: int64 [groups], ascending, each once.
        rows: int64 [groups].
        sums: float64 [columns, groups].
    """

    keys: Keys
    rows: Keys
    sums: Floats

    @classmethod
    def of(cls, rows: RowValues, columns: int) -> "GroupSums":
        """Those of some rows, over the first `columns` columns."""
        numbers = rows.kept(GROUP).astype(np.int64)
        keys, places = np.unique(numbers, return_inverse=True)
        sums = np.zeros((columns, len(keys)))
        for index, name in enumerate(rows.names[:columns]):
            sums[index] = np.bincount(places, rows.kept(name), len(keys))
        return cls(keys, np.bincount(places, minlength=len(keys)), sums)

    def merge(self, other: "GroupSums") -> "GroupSums":
        keys = np.union1d(self.keys, other.keys)
        counts = np.zeros(len(keys), np.int64)
        sums = np.zeros((len(self.sums), len(keys)))
        for part in (self, other):
            places = np.searchsorted(keys, part.keys)
            counts[places] += part.rows
            sums[:, places] += part.sums
        return GroupSums(keys, counts, sums)


class Groups(Collector):
    """Collects the sums of the groups.

    Args:
        names: the columns that are summed; those of the rows begin with them.
        where: what messages call the source of the groups.
    """

    def __init__(self, names: Sequence[str], where: str) -> None:
        self._names, self._where = list(names), where
        self._seen = np.empty(0, np.int64)
        self._sums: Blockwise[GroupSums] = Blockwise(
            lambda rows, size: Apart(
                [GroupSums.of(one, len(names)) for one in rows.pieces(size, rows.start)]
            )
        )

    def of(self, rows: RowValues) -> tuple[int, Keys, Cut[GroupSums]]:
        return rows.stop, np.unique(rows.kept(GROUP).astype(np.int64)), self._sums.of(rows)

    def take(self, found: tuple[int, Keys, Cut[GroupSums]]) -> None:
        """Take up what has been made of the rows that follow.

        Raises:
            DataError: there are more groups than a table can show.
        """
        stop, keys, sums = found
        self._seen = np.union1d(self._seen, keys)
        if len(self._seen) > MOST:
            raise DataError(
                self._where,
                f"{len(self._seen):,} different groups in the rows up to {stop - 1:,}; "
                f"at most {MOST:,} are told apart",
                "give a source with fewer different integers",
            )
        self._sums.take(sums)

    def means(self) -> list[tuple[int, int, dict[str, float]]]:
        """Number, rows and mean of each column by name, of every group, by ascending number."""
        total = self._sums.value()
        if total is None:
            return []
        means = (total.sums / total.rows).T.tolist()
        return [
            (int(key), int(count), dict(zip(self._names, row, strict=True)))
            for key, count, row in zip(total.keys, total.rows, means, strict=True)
        ]
