"""The rows with the highest loss."""

from collections.abc import Sequence

import numpy as np

from distillcli.result import WorstRow, finite
from distillcli.sinks.details import LABEL, LOSS, SIDES, class_column, confidence_column
from distillcli.sums.rows import Floats, RowValues


class Worst:
    """Keeps the `count` rows of the highest loss; of equal ones those that come first.

    Args:
        names: the columns that are kept of them, LOSS among them.
    """

    def __init__(self, count: int, names: Sequence[str]) -> None:
        self._count = count
        self._names = list(names)
        self._rows = np.empty(0, np.int64)
        self._values = np.empty((len(names), 0))

    def add(self, rows: RowValues) -> None:
        """Take up the rows that follow."""
        new = np.flatnonzero(rows.keep & (_ranked(rows.column(LOSS)) > self._least()))
        values = np.stack([rows.column(name)[new] for name in self._names])
        self._rows = np.concatenate([self._rows, rows.start + new])
        self._values = np.concatenate([self._values, values], axis=1)
        losses = _ranked(self._values[self._names.index(LOSS)])
        order = np.lexsort((self._rows, -losses))[: self._count]
        self._rows, self._values = self._rows[order], self._values[:, order]

    def _least(self) -> float:
        """What a row must be above to come in."""
        if len(self._rows) < self._count:
            return -np.inf
        return float(_ranked(self._values[self._names.index(LOSS), -1:])[0])

    def found(self) -> tuple[WorstRow, ...]:
        """The rows, the worst first."""
        columns = self._values.T.tolist()
        return tuple(
            _row(int(row), dict(zip(self._names, values, strict=True)))
            for row, values in zip(self._rows, columns, strict=True)
        )


def _ranked(losses: Floats) -> Floats:
    """Losses to be compared: what is no number counts as infinite."""
    return np.where(np.isnan(losses), np.inf, losses)


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
