"""Row values -> the figures of each batch of the report."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from distillcli.sums.moments import Sums
from distillcli.sums.rows import Collector, RowValues

BATCHES_KEPT = 4096


@dataclass(frozen=True)
class Batch:
    """The rows `start` to `stop` of the report and the sums of the columns that it tells of."""

    start: int
    stop: int
    sums: Sums

    def merge(self, other: "Batch") -> "Batch":
        """With the rows that follow."""
        return Batch(self.start, other.stop, self.sums.merge(other.sums))


@dataclass
class Batches(Collector):
    """The run cut at every `size` rows from its first, for the report.

    Args:
        columns: the numbers of the columns that count.
        on_batch: takes each batch as soon as it is whole; without it they are kept in `found`.
    """

    size: int
    first: int
    stop: int
    columns: Sequence[int]
    on_batch: Callable[[Batch], None] | None = None
    found: list[Batch] = field(default_factory=list)
    _open: Batch | None = None

    def of(self, rows: RowValues) -> list[Batch]:
        return [
            Batch(piece.start, piece.stop, Sums.of(piece, self.columns))
            for piece in rows.pieces(self.size, self.first)
        ]

    def take(self, found: list[Batch]) -> None:
        for piece in found:
            self._open = piece if self._open is None else self._open.merge(piece)
            if piece.stop == self.stop or (piece.stop - self.first) % self.size == 0:
                self._close()

    def _close(self) -> None:
        assert self._open is not None
        (self.on_batch or self.found.append)(self._open)
        self._open = None


def neighbours_joined(batch_size: int, rows: int) -> int:
    """How many neighbouring batches make one entry, so that at most `BATCHES_KEPT` are kept."""
    batches = -(-rows // batch_size)
    return -(-batches // BATCHES_KEPT)
