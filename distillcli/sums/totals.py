"""Row values -> the figures of the whole run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from distillcli.errors import DataError
from distillcli.sums.calibration import Calibration
from distillcli.sums.dyadic import Dyadic, Mergeable, Several
from distillcli.sums.moments import Moments, Sums
from distillcli.sums.quantiles import Histogram, Sample, spread
from distillcli.sums.rows import BLOCK, Collector, Floats, RowValues, joined

FEW = 2**14  # values of which no histogram is made


@dataclass(frozen=True)
class Block:
    """The statistics of the rows of one block, or of several at once: moments of all columns, bins
    of calibration."""

    moments: Moments
    calibrations: dict[str, Calibration]

    @classmethod
    def of_each(
        cls, rows: RowValues, size: int, sides: Sequence[str], deviating: Sequence[str]
    ) -> "Block":
        """Those of each block of `size` rows."""
        columns = tuple(rows.names.index(name) for name in deviating)
        return cls(Moments.of_each(rows, columns, size), _bins(rows, size, sides))

    def at(self, index: Any) -> "Block":
        """One of several blocks, or some of them by a slice."""
        bins = {side: bins.at(index) for side, bins in self.calibrations.items()}
        return Block(self.moments.at(index), bins)

    def merge(self, other: "Block") -> "Block":
        bins = {
            side: bins.merge(other.calibrations[side]) for side, bins in self.calibrations.items()
        }
        return Block(self.moments.merge(other.moments), bins)


def _bins(rows: RowValues, size: int, sides: Sequence[str]) -> dict[str, Calibration]:
    if not sides:
        return {}
    count = len(rows.keep) // size
    shape: tuple[int, ...] = (-1,)
    if rows.whole:  # a number for each row would be another array to go through
        shape, stretch = (count, size), np.arange(count)[:, None]
    else:
        stretch = np.flatnonzero(rows.keep) // size
    return {
        side: Calibration.of_each(
            confidence=rows.kept(f"{side}_confidence").reshape(shape),
            correct=rows.kept(f"{side}_accuracy").reshape(shape),
            stretch=stretch,
            count=count,
        )
        for side in sides
    }


T = TypeVar("T", bound=Mergeable)


class Cut(NamedTuple, Generic[T]):
    """Rows cut into blocks: the statistics of those that are whole, and the rows around them."""

    before: list[RowValues]
    blocks: Dyadic[T]
    behind: list[RowValues]


class Blockwise(Collector, Generic[T]):
    """Statistics of all rows from those of their blocks; rows arrive in order, in any pieces.

    Args:
        of_each: the statistics of each block of so many rows, (rows, size) -> several at once.
    """

    def __init__(self, of_each: Callable[[RowValues, int], Several]) -> None:
        self._of_each = of_each
        self._blocks: Dyadic[T] = Dyadic()
        self._waiting: list[RowValues] = []

    def of(self, rows: RowValues) -> Cut[T]:
        first, last = -(-rows.start // BLOCK) * BLOCK, rows.stop // BLOCK * BLOCK
        if last <= first:
            return Cut(list(rows.pieces(BLOCK)), Dyadic(), [])
        found = self._of_each(rows.part(first, last), BLOCK)
        return Cut(
            list(rows.part(rows.start, first).pieces(BLOCK)),
            Dyadic.of_each(first // BLOCK, (last - first) // BLOCK, found),
            list(rows.part(last, rows.stop).pieces(BLOCK)),
        )

    def take(self, found: Cut[T]) -> None:
        self._wait(found.before)
        self._blocks = self._blocks.merge(found.blocks)
        self._wait(found.behind)

    def _wait(self, pieces: Sequence[RowValues]) -> None:
        for piece in pieces:
            self._waiting.append(piece)
            if piece.stop % BLOCK == 0:
                self._close_block()

    def _close_block(self) -> None:
        if self._waiting:
            rows = joined(self._waiting)
            block = self._of_each(rows, len(rows.keep)).at(0)
            self._blocks = self._blocks.merge(Dyadic.of(rows.start // BLOCK, block))
            self._waiting = []

    def state(self) -> tuple[Dyadic[T], list[RowValues]]:
        """The blocks that are whole, and the rows of the one that is not."""
        return self._blocks, self._waiting

    def resume(self, blocks: Dyadic[T], waiting: Sequence[RowValues]) -> None:
        """Go on from a state."""
        self._blocks, self._waiting = blocks, list(waiting)

    def value(self) -> T | None:
        """The statistics once all rows are in; None without rows."""
        self._close_block()
        return self._blocks.value()


class Totals(Collector):
    """The statistics of all rows, taken up in row order.

    Args:
        names: the columns; those of the rows begin with them.
        rows: how many rows there will be; of very many the quantiles are estimated.
        quantiles_of: the column whose quantiles are wanted, if any.
        calibrated: the sides, teacher or student, whose calibration is wanted.
        deviating: the columns whose standard error is wanted.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        rows: int,
        *,
        quantiles_of: str | None = None,
        calibrated: tuple[str, ...] = (),
        deviating: tuple[str, ...] = (),
    ) -> None:
        self.names = names
        self.deviating = deviating
        self._quantiles_of = quantiles_of
        self._spread = spread(rows)
        self._few: list[Floats] = []
        self._waiting = 0  # values in it
        self._blocks: Blockwise[Block] = Blockwise(
            lambda rows, size: Block.of_each(rows, size, calibrated, deviating)
        )

    def of(self, rows: RowValues) -> tuple[Sample | Histogram | Floats | None, Cut[Block]]:
        rows = rows.first(len(self.names))
        return self._spread_of(rows), self._blocks.of(rows)

    def _spread_of(self, rows: RowValues) -> Sample | Histogram | Floats | None:
        """Of few values they themselves: a histogram of its own is larger and slower."""
        if self._quantiles_of is None:
            return None
        values = rows.kept(self._quantiles_of)
        return values.copy() if len(values) < FEW else self._spread.of(values)

    def take(self, found: tuple[Any, Cut[Block]]) -> None:
        values, blocks = found
        if isinstance(values, np.ndarray):
            self._few.append(values)
            self._waiting += len(values)
            if self._waiting >= FEW:
                self._take_few()
        elif values is not None:
            self._spread = self._spread.merge(values)
        self._blocks.take(blocks)

    def _take_few(self) -> None:
        self._spread = self._spread.including(np.concatenate([np.empty(0), *self._few]))
        self._few, self._waiting = [], 0

    @property
    def blocks(self) -> Blockwise[Block]:
        """What the figures but the quantiles come from."""
        return self._blocks

    def finish(self) -> "Finished":
        """The figures, once all rows are in.

        Raises:
            DataError: there is no row that can be used.
        """
        self._take_few()
        block = self._blocks.value()
        assert block is not None  # an empty input is refused before
        if not block.moments.total.rows:
            raise _nothing_left(block.moments.total)
        return Finished(self.names, block, self._spread)


def _nothing_left(sums: Sums) -> DataError:
    skipped, masked = int(sums.skipped), int(sums.masked)
    if not skipped:
        return DataError(
            "inputs",
            f"{'the only row is' if masked == 1 else f'all {masked:,} rows are'} masked, there is "
            "nothing to tell",
            "a mask is 1 where a row counts; see ignore_index, shift_labels and positions too",
        )
    rest = f" that are not masked ({masked:,} are)" if masked else ""
    return DataError(
        "inputs",
        f"none of the {skipped:,} rows{rest} can be used, there is nothing to tell",
        "on_bad_rows: error names the input and what is wrong with its rows",
    )


@dataclass(frozen=True)
class Finished:
    """The figures of a run by column name."""

    names: tuple[str, ...]
    block: Block
    spread: Sample | Histogram

    @property
    def rows(self) -> int:
        return int(self.block.moments.total.rows)

    @property
    def skipped(self) -> int:
        return int(self.block.moments.total.skipped)

    @property
    def masked(self) -> int:
        return int(self.block.moments.total.masked)

    def mean(self, name: str) -> float:
        return self.block.moments.total.mean(self.names.index(name))

    def standard_error(self, name: str) -> float:
        return self.block.moments.standard_error(self.names.index(name))

    def nonfinite(self, name: str) -> int:
        return int(self.block.moments.total.nonfinite[self.names.index(name)])
