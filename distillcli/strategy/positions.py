"""Whether a row is a position or a whole sequence, where layers are [rows, positions, dim].

What is beside the layers tells: logits or a mask with a row for each sequence make a row of it, and
what has a row for each position makes a row of that. A loss has the same mean over the rows either
way where all positions count, for all sequences have as many. Beside logits of whole sequences a
mask of positions leaves these out of what is compared of layers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

from distillcli.batches.inputs import Input
from distillcli.batches.tiles import Raw
from distillcli.config import Config
from distillcli.formats import Reader
from distillcli.strategy.batchwise import loss_of
from distillcli.strategy.counting import GROUPED, MASKED, Derived


def keeps_together(config: Config) -> bool:
    """Whether a loss compares whole sequences."""
    return any(loss_of(term).family == "sequences" for term in config.terms())


def in_rows(config: Config, items: Sequence[Input]) -> list[Input]:
    """The inputs; layers have a row for each sequence where the rest of the run has."""
    if not _rows_are_sequences(config, items):
        return list(items)
    return [_whole(item) if item.reader.lead == 2 else item for item in items]


def _whole(item: Input) -> Input:
    """With a row for each sequence; of a mask, its positions are told beside."""
    return replace(item, reader=Whole(item.reader), is_part=not item.is_hidden)


def _rows_are_sequences(config: Config, items: Sequence[Input]) -> bool:
    layers = [item.reader for item in items if _is_sequences(item)]
    others = [item for item in items if not _is_sequences(item)]
    if not layers:
        return False
    masks = [item.reader.shape for item in others if _of_positions(item)]
    others = [item for item in others if not _of_positions(item)]
    if any(item.reader.lead == 2 for item in others) or config.counting.by_position:
        return False
    rows = [item.reader.rows for item in others if item.role != GROUPED]
    if rows:
        fit = all(mask == reader.shape[:2] for mask in masks for reader in layers)
        return fit and all(count == reader.shape[0] for count in rows for reader in layers)
    if masks:
        return False
    hidden = [term for term in config.terms() if term.on == "hidden"]
    return all(loss_of(term).family == "sequences" for term in hidden)


def _is_sequences(item: Input) -> bool:
    return item.is_hidden and item.reader.lead == 2


def _of_positions(item: Input) -> bool:
    """Whether it is a mask with a number for each position."""
    return item.role == MASKED and item.reader.lead == 2


class Whole(Derived):
    """Rows that are all positions of a sequence, [positions, dim] each."""

    def __init__(self, reader: Reader) -> None:
        super().__init__(reader)
        self.lead = 1
        self._positions = reader.shape[1]

    def read(self, start: int, stop: int, out: Raw) -> Raw:
        """Sequences [start, stop) into `out`."""
        rows = out.reshape(-1, *self.shape[2:])
        self._reader.read(start * self._positions, stop * self._positions, rows)
        return out

    def splits(self, step: int, *, loosely: bool = False) -> bool:
        """As its positions do."""
        return self._reader.splits(step * self._positions, loosely=loosely)

    def pieces(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Those of its positions, cut between sequences."""
        size = self._positions
        cuts = {last // size for _, last in self._reader.pieces(start * size, stop * size)}
        return list(pairwise(sorted({start, stop} | {cut for cut in cuts if cut > start})))

    def expect(self, start: int, stop: int) -> None:
        """Have their positions fetched."""
        self._reader.expect(start * self._positions, stop * self._positions)


def rows_are_whole(items: Iterable[Input]) -> bool:
    """Whether a row of the layers is a whole sequence."""
    return any(item.is_hidden and len(item.reader.row_shape) == 2 for item in items)


def positions_kept(config: Config, items: Iterable[Input]) -> int:
    """How many positions that are rows a loss keeps together; 1 where none does."""
    lengths = [item.reader.shape[1] for item in items if item.is_hidden and item.reader.lead == 2]
    return lengths[0] if lengths and keeps_together(config) else 1
