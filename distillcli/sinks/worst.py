"""The rows with the highest loss."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from distillcli.result import WorstRow, finite
from distillcli.sinks.details import LABEL, LOSS, SIDES, class_column, confidence_column
from distillcli.sums.rows import Collector, Floats, RowValues

Rows = npt.NDArray[np.int64]


class Worst(Collector):
    """Keeps the `count` rows of the highest loss; of equal ones those that come first.

    Args:
        names: the columns that are kept of them, LOSS among them.
    """

    def __init__(self, count: int, names: Sequence[str]) -> None:
        self._count = count
        self._names = list(names)
        self._rows = np.empty(0, np.int64)
        self._values = np.empty((len(names), 0))

    def of(self, rows: RowValues) -> tuple[Rows, Floats]:
        """Of some rows those that may be among the worst, the worst first: their numbers, and what
        is kept of them."""
        kept = np.flatnonzero(rows.keep)
        some = kept[_highest(rows.column(LOSS)[kept], self._count)]
        return rows.start + some, np.stack([rows.column(name)[some] for name in self._names])

    def take(self, found: tuple[Rows, Floats]) -> None:
        rows = np.concatenate([self._rows, found[0]])
        values = np.concatenate([self._values, found[1]], axis=1)
        best = _highest(values[self._names.index(LOSS)], self._count)
        self._rows, self._values = rows[best], values[:, best]

    def found(self) -> tuple[WorstRow, ...]:
        """The rows, the worst first."""
        columns = self._values.T.tolist()
        return tuple(
            _row(int(row), dict(zip(self._names, values, strict=True)))
            for row, values in zip(self._rows, columns, strict=True)
        )


def _highest(losses: Floats, count: int) -> Rows:
    """Where the highest are, equal ones in their order; what is no number counts as infinite."""
    losses = np.where(np.isnan(losses), np.inf, losses)
    places = np.arange(len(losses))
    if len(losses) > count:  # most are told by one look
        places = np.flatnonzero(losses >= np.partition(losses, -count)[-count])
    return places[np.argsort(-losses[places], kind="stable")][:count]


def _row(row: int, values: dict[str, float]) -> WorstRow:
    def whole(name: str) -> int | None:
        return int(values[name]) if name in values else None

    student, teacher = SIDES
    return WorstRow(
        row=row,
        loss=finite(values[LOSS]),
        label=whole(LABEL),
        student_class=whole(class_column(student)),
        student_probability=values.get(confidence_column(student)),
        teacher_class=whole(class_column(teacher)),
        teacher_probability=values.get(confidence_column(teacher)),
    )
