"""Row values -> the figures of the whole run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from distillcli.errors import DataError
from distillcli.sums.calibration import Calibration
from distillcli.sums.dyadic import Dyadic, Mergeable
from distillcli.sums.moments import Moments
from distillcli.sums.quantiles import Histogram, Sample, spread
from distillcli.sums.rows import BLOCK, RowValues, joined


class Collector(Protocol):
    """Whatever makes something of the values of all rows."""

    def add(self, rows: RowValues) -> None:
        """Take up the rows that follow."""


@dataclass(frozen=True)
class Block:
    """The statistics of the rows of one block: moments of all columns, bins of calibration."""

    moments: Moments
    calibrations: dict[str, Calibration]

    @classmethod
    def of(cls, rows: RowValues, sides: tuple[str, ...]) -> "Block":
        return cls(Moments.of(rows), _bins(rows, sides))

    @classmethod
    def of_blocks(cls, rows: RowValues, sides: tuple[str, ...]) -> "list[Block]":
        """Those of each of some whole blocks."""
        found = zip(Moments.of_blocks(rows), rows.pieces(BLOCK), strict=True)
        return [cls(moments, _bins(block, sides)) for moments, block in found]

    def merge(self, other: "Block") -> "Block":
        bins = {
            side: bins.merge(other.calibrations[side]) for side, bins in self.calibrations.items()
        }
        return Block(self.moments.merge(other.moments), bins)


def _bins(rows: RowValues, sides: tuple[str, ...]) -> dict[str, Calibration]:
    return {
        side: Calibration.of(
            confidence=rows.kept(f"{side}_confidence"), correct=rows.kept(f"{side}_accuracy")
        )
        for side in sides
    }


T = TypeVar("T", bound=Mergeable)


class Blockwise(Generic[T]):
    """Statistics of all rows from those of their blocks; rows arrive in order, in any pieces.

    Args:
        of: the statistics of one block.
        of_blocks: those of each of some whole blocks, where that is faster.
    """

    def __init__(
        self,
        of: Callable[[RowValues], T],
        of_blocks: Callable[[RowValues], Sequence[T]] | None = None,
    ) -> None:
        self._of = of
        self._of_blocks = of_blocks
        self._blocks: Dyadic[T] = Dyadic()
        self._waiting: list[RowValues] = []

    def add(self, rows: RowValues) -> None:
        """Take up the rows that follow."""
        first, last = -(-rows.start // BLOCK) * BLOCK, rows.stop // BLOCK * BLOCK
        if self._of_blocks is None or last <= first:
            self._add(rows)
            return
        self._add(rows.part(rows.start, first))
        for block, found in enumerate(self._of_blocks(rows.part(first, last)), first // BLOCK):
            self._blocks = self._blocks.merge(Dyadic.of(block, found))
        self._add(rows.part(last, rows.stop))

    def _add(self, rows: RowValues) -> None:
        for piece in rows.pieces(BLOCK):
            self._waiting.append(piece)
            if piece.stop % BLOCK == 0:
                self._close_block()

    def _close_block(self) -> None:
        if self._waiting:
            rows = joined(self._waiting)
            self._blocks = self._blocks.merge(Dyadic.of(rows.start // BLOCK, self._of(rows)))
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


class Totals:
    """The statistics of all rows, taken up in row order.

    Args:
        names: the columns.
        rows: how many rows there will be; of very many the quantiles are estimated.
        quantiles_of: the column whose quantiles are wanted, if any.
        calibrated: the sides, teacher or student, whose calibration is wanted.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        rows: int,
        *,
        quantiles_of: str | None = None,
        calibrated: tuple[str, ...] = (),
    ) -> None:
        self.names = names
        self._quantiles_of = quantiles_of
        self._spread = spread(rows)
        self._blocks = Blockwise(
            lambda block: Block.of(block, calibrated),
            lambda rows: Block.of_blocks(rows, calibrated),
        )

    def add(self, rows: RowValues) -> None:
        """Take up the rows that follow; their columns begin with `names`."""
        rows = rows.first(len(self.names))
        if self._quantiles_of is not None:
            self._spread = self._spread.including(rows.kept(self._quantiles_of))
        self._blocks.add(rows)

    @property
    def blocks(self) -> Blockwise[Block]:
        """What the figures but the quantiles come from."""
        return self._blocks

    def finish(self) -> "Finished":
        """The figures, once all rows are in.

        Raises:
            DataError: there is no row that can be used.
        """
        block = self._blocks.value()
        assert block is not None  # an empty input is refused before
        if not block.moments.rows:
            raise _nothing_left(block.moments)
        return Finished(self.names, block, self._spread)


def _nothing_left(moments: Moments) -> DataError:
    skipped, masked = moments.skipped, moments.masked
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
        return self.block.moments.rows

    @property
    def skipped(self) -> int:
        return self.block.moments.skipped

    @property
    def masked(self) -> int:
        return self.block.moments.masked

    def mean(self, name: str) -> float:
        return self.block.moments.mean(self.names.index(name))

    def standard_error(self, name: str) -> float:
        return self.block.moments.standard_error(self.names.index(name))

    def nonfinite(self, name: str) -> int:
        return int(self.block.moments.nonfinite[self.names.index(name)])
