"""Rows as they are computed -> pieces that are kept, and the figures that go with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from distillcli.sums.rows import RowValues
from distillcli.sums.totals import Totals
from distillcli.targets.encoding import Encoded
from distillcli.targets.partial import Partial
from distillcli.targets.pieces import Piece
from distillcli.targets.state import resume, state_of

PIECE_BYTES = 32 << 20

Array = npt.NDArray[Any]


def piece_rows(row_bytes: int, tile_rows: int) -> int:
    """Rows of a piece: a power of two, whole tiles, about 32 MB."""
    return max(tile_rows, 1 << max(0, (PIECE_BYTES // row_bytes).bit_length() - 1))


@dataclass
class Gatherer:
    """Cuts what comes in at every `step` rows from row 0, and hands the pieces on.

    Args:
        totals: the figures of all rows; held_out: those of the rows from `held_from` on.
        stop: the end of the rows.
        lost, entries: see `Encoded`. bare: rows that hold NaN.
    """

    partial: Partial
    totals: Totals
    held_out: Totals | None
    held_from: int
    step: int
    stop: int
    sides: Sequence[str]
    lost: int = 0
    entries: int = 0
    bare: int = 0
    _waiting: list[Mapping[str, Array]] = field(default_factory=list)
    _start: int | None = None

    def resume(self) -> int | None:
        """Go on from the last finished piece; the row behind it, None where there is none."""
        piece = self.partial.last()
        if piece is None:
            return None
        for name, totals in self._running().items():
            prefix = f"{name}/"
            state = {k.removeprefix(prefix): v for k, v in piece.state.items() if prefix in k}
            resume(totals, state, self.sides)
        counts = piece.counts
        self.lost, self.entries, self.bare = counts["lost"], counts["entries"], counts["bare"]
        return piece.stop

    def add(self, rows: RowValues, made: Encoded) -> None:
        """Take up the rows that follow."""
        bare = _bare(rows, made)
        _blank(made, bare)
        self.bare += int(np.count_nonzero(bare))
        self.lost += made.lost
        self.entries += made.entries
        for part in rows.pieces(self.step):
            span = slice(part.start - rows.start, part.stop - rows.start)
            self._take(part, {name: values[span] for name, values in made.arrays.items()})
            if part.stop % self.step == 0 or part.stop == self.stop:
                self._finish(part.stop)

    def _take(self, rows: RowValues, arrays: Mapping[str, Array]) -> None:
        if self._start is None:
            self._start = rows.start
        self._waiting.append(arrays)
        self.totals.add(rows)
        if self.held_out is not None and rows.stop > self.held_from:
            self.held_out.add(rows.part(max(rows.start, self.held_from), rows.stop))

    def _finish(self, stop: int) -> None:
        assert self._start is not None
        arrays = {name: [one[name] for one in self._waiting] for name in self._waiting[0]}
        state = {
            f"{name}/{key}": value
            for name, totals in self._running().items()
            for key, value in state_of(totals).items()
        }
        counts = {"lost": self.lost, "entries": self.entries, "bare": self.bare}
        self.partial.add(Piece(self._start, stop, arrays, state, counts))
        self._waiting, self._start = [], None

    def _running(self) -> dict[str, Totals]:
        held = {"held": self.held_out} if self.held_out is not None else {}
        return {"all": self.totals, **held}


def _bare(rows: RowValues, made: Encoded) -> Array:
    """Rows without usable inputs. Of those that are masked nobody has said so: they are looked at.

    A masked row has a target like any other, so that a file goes with its dump row by row.
    """
    if rows.masked is None:
        return ~rows.keep
    return np.where(rows.masked, ~np.isfinite(made.scores.max(axis=1)), ~rows.keep)


def _blank(made: Encoded, bare: Array) -> None:
    """They hold NaN, so that what follows stays in its row."""
    if not bare.any():
        return
    for name, values in made.arrays.items():
        if name != "labels":
            values[bare] = np.nan if values.dtype.kind == "f" else 0
