"""Row values -> the figures of each batch of the report."""

from collections.abc import Callable, Iterator, Sequence
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


@dataclass(frozen=True)
class Whole:
    """Whole batches of `size` rows from row `start` on; together, for small ones are many."""

    start: int
    size: int
    sums: Sums

    def each(self) -> Iterator[Batch]:
        for index in range(len(self.sums.rows)):
            start = self.start + index * self.size
            yield Batch(start, start + self.size, self.sums.at(index))


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

    def of(self, rows: RowValues) -> list[Batch | Whole]:
        begin = rows.start + (self.first - rows.start) % self.size
        end = rows.stop - (rows.stop - self.first) % self.size
        if end <= begin:
            return [self._piece(one) for one in rows.pieces(self.size, self.first)]
        whole = Sums.of_each(rows.part(begin, end), self.columns, self.size)
        around = [rows.part(rows.start, begin), rows.part(end, rows.stop)]
        before, behind = ([self._piece(one)] if len(one.keep) else [] for one in around)
        return [*before, Whole(begin, self.size, whole), *behind]

    def _piece(self, rows: RowValues) -> Batch:
        return Batch(rows.start, rows.stop, Sums.of(rows, self.columns))

    def take(self, found: list[Batch | Whole]) -> None:
        for part in found:
            for piece in part.each() if isinstance(part, Whole) else (part,):
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
