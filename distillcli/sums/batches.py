"""Row values -> the figures of each batch of the report."""

from collections.abc import Callable
from dataclasses import dataclass, field

from distillcli.sums.moments import Moments
from distillcli.sums.rows import RowValues

BATCHES_KEPT = 4096


@dataclass(frozen=True)
class Batch:
    """The rows `start` to `stop` of the report and their moments."""

    start: int
    stop: int
    moments: Moments


@dataclass
class Batches:
    """The run cut at every `size` rows from its first, for the report.

    Args:
        columns: how many of the columns count; None for all.
        on_batch: takes each batch as soon as it is whole; without it they are kept in `found`.
    """

    size: int
    first: int
    stop: int
    columns: int | None = None
    on_batch: Callable[[Batch], None] | None = None
    found: list[Batch] = field(default_factory=list)
    _open: Batch | None = None

    def add(self, rows: RowValues) -> None:
        """Take up the rows that follow."""
        if self.columns is not None:
            rows = rows.first(self.columns)
        for piece in rows.pieces(self.size, self.first):
            moments, start = Moments.of(piece), piece.start
            if self._open is not None:
                moments, start = self._open.moments.merge(moments), self._open.start
            self._open = Batch(start, piece.stop, moments)
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
