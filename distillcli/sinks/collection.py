"""What is made of the row values of a run: its figures, and whatever else is wished for."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distillcli.batches.grid import SLAB_BYTES
from distillcli.fold import Measure
from distillcli.metrics import with_errors
from distillcli.result import BatchResult, GroupResult, WorstRow
from distillcli.sinks.details import GROUP, LABEL, LOSS, SIDES, available, class_column, detailed
from distillcli.sinks.details import confidence_column as confidence
from distillcli.sinks.groups import Groups
from distillcli.sinks.perrow import PerRow, per_row_file
from distillcli.sinks.tabulate import batch_result, group_results, told_of_batches
from distillcli.sinks.worst import Worst
from distillcli.strategy.counting import GROUPED
from distillcli.strategy.measures import Scoring
from distillcli.strategy.passes import Passes
from distillcli.sums.batches import Batch, Batches, neighbours_joined
from distillcli.sums.rows import Collector, RowValues
from distillcli.sums.totals import Totals

_TOLD = (LOSS, LABEL, *(column(side) for side in SIDES for column in (class_column, confidence)))


@dataclass(frozen=True)
class Wishes:
    """What a run is to find beside its figures.

    Args:
        worst: how many of the rows with the highest loss are told.
        per_row: the file that takes the loss of every row.
        on_batch: takes every batch as soon as it is whole, none of them joined.
    """

    worst: int = 0
    per_row: Path | None = None
    on_batch: Callable[[BatchResult], None] | None = None


class Collection(Collector):
    """The collectors of one run, as the strategy and the wishes have it."""

    def __init__(
        self, passes: Passes, what: Scoring, wishes: Wishes, per_row: PerRow | None
    ) -> None:
        names, first, stop = what.measure.names, passes.first, passes.stop
        self._what = what
        self.totals = Totals(
            names,
            passes.rows_taken,
            quantiles_of="kl" if "kl" in names else None,
            calibrated=tuple(side for side in SIDES if f"{side}_ece" in what.metrics),
            deviating=with_errors(what.metrics),
        )
        size = batch_size(passes)
        entry = size * neighbours_joined(size, passes.rows_taken)
        told = [names.index(name) for name in told_of_batches(what)]
        self.batches = Batches(entry, first, stop, told)
        self._per_row = per_row
        self._details = available(passes.config, passes.inputs, what)
        details = [name for name in _TOLD if name in self._details]
        self._worst = Worst(wishes.worst, details) if wishes.worst else None
        self._groups = Groups(names, _groups_where(passes)) if GROUP in self._details else None
        every = None
        if wishes.on_batch is not None:
            every = Batches(size, first, stop, told, _numbered(what, wishes.on_batch))
        extras = (every, per_row, self._worst, self._groups)
        self._collectors: list[Collector] = [
            self.totals, self.batches, *(extra for extra in extras if extra is not None)
        ]  # fmt: skip

    def measure(self) -> Measure:
        """The measure of the strategy with the columns that the wishes need."""
        wanted = {GROUP}
        wanted |= {LOSS} if self._per_row is not None else set()
        wanted |= set(_TOLD) if self._worst is not None else set()
        details = {name: detail for name, detail in self._details.items() if name in wanted}
        return detailed(self._what.measure, details)

    def of(self, rows: RowValues) -> list[Any]:
        """What each of them makes of some rows; on any thread."""
        return [collector.of(rows) for collector in self._collectors]

    def take(self, found: Sequence[Any]) -> None:
        """Take up what has been made of the rows that follow."""
        for collector, made in zip(self._collectors, found, strict=True):
            collector.take(made)

    def worst(self) -> tuple[WorstRow, ...] | None:
        """The rows with the highest loss, if they are wished for."""
        return None if self._worst is None else self._worst.found()

    def groups(self) -> tuple[GroupResult, ...] | None:
        """The figures of each group, the worst first, if there are groups."""
        return None if self._groups is None else group_results(self._what, self._groups.means())

    def facts(self) -> dict[str, Any]:
        """What a result says about the files written on the way."""
        return {} if self._per_row is None else {"per_row": self._per_row.facts()}


@contextmanager
def collecting(passes: Passes, what: Scoring, wishes: Wishes) -> Iterator[Collection]:
    """The collectors, with the files that they write as the rows come.

    Raises:
        DataError: a file cannot be written, or there are too many groups.
    """
    with ExitStack() as stack:
        per_row = None
        if wishes.per_row is not None:
            per_row = stack.enter_context(per_row_file(wishes.per_row, passes.rows_taken))
        yield Collection(passes, what, wishes, per_row)


def batch_size(passes: Passes) -> int:
    """Rows of a batch of the report; `auto` is as many as 32 MB hold, and at most all."""
    if isinstance(passes.config.batch_size, int):
        return passes.config.batch_size
    return max(1, min(passes.rows_taken, SLAB_BYTES // passes.inputs.row_bytes))


def _groups_where(passes: Passes) -> str:
    role = "labels" if passes.config.groups == "labels" else GROUPED
    return passes.inputs[role].reader.where


def _numbered(what: Scoring, take: Callable[[BatchResult], None]) -> Callable[[Batch], None]:
    """Hands on each batch as a result, counted from 0."""
    count = 0

    def pass_on(batch: Batch) -> None:
        nonlocal count
        take(batch_result(what, count, batch))
        count += 1

    return pass_on
