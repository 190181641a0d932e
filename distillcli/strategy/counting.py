"""Which rows count: masks, labels to be ignored, and where in its sequence a row stands.

A dump of a language model is [rows, positions, ...]: one row of what is stored for each position of
each sequence.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from distillcli.batches.inputs import Input, Mask
from distillcli.batches.tiles import Raw, Tile
from distillcli.config import Config
from distillcli.errors import ConfigError, DataError
from distillcli.formats import Reader

GROUPED = "groups"  # the role of the source that tells the rows apart
MASKED = "mask"  # that of the one that tells which rows count
BEFORE = 2  # in a mask: no padding itself, and the next position is

Counts = Callable[[Tile], Mask]


def only_counted(config: Config, items: Sequence[Input]) -> list[Input]:
    """The inputs with what the config says of rows that do not count, and of sequences.

    Raises:
        ConfigError: it speaks of positions, and there are none, or none is left.
    """
    positions = next((item.reader.shape[1] for item in items if item.reader.lead == 2), None)
    _check_positions(config, positions)
    found = [_in_sequences(config, item, items[0].reader.rows, positions) for item in items]
    first, last = config.counting.skip_first, int(config.counting.shift_labels)
    if positions is not None and (first or last):
        place = _by_position(positions, first, last)
        found[0] = replace(found[0], counts=_both(found[0].counts, place))
    return found


def _check_positions(config: Config, positions: int | None) -> None:
    first, shifted = config.counting.skip_first, config.counting.shift_labels
    key = ("positions", "skip_first") if first else ("shift_labels",)
    if positions is None and (first or shifted):
        raise ConfigError(
            config.where(*key),
            "needs to know where sequences end, and no input is [rows, positions, ...]",
            "save the labels, the mask or the logits with one axis for rows and one for positions",
        )
    if positions is not None and first + shifted >= positions:
        problem = f"leaves nothing of sequences of {positions:,} positions"
        raise ConfigError(config.where(*key), problem, "save longer sequences, or skip less")


def _in_sequences(config: Config, item: Input, rows: int, positions: int | None) -> Input:
    """An input that belongs to positions, read as the config says."""
    shifted = config.counting.shift_labels
    if item.role == "labels":
        reader = Shifted(item.reader) if shifted else item.reader
        return replace(item, reader=reader, counts=_unlike(config.counting.ignore_index))
    if item.role == MASKED:
        return replace(item, reader=Ones(item.reader, shifted=shifted), counts=_ones)
    grouped = item.role == GROUPED and item.reader.lead == 1
    if grouped and positions is not None and item.reader.rows * positions == rows:
        return replace(item, reader=Repeated(item.reader, positions))
    return item


def _unlike(ignored: int | None) -> Counts | None:
    return None if ignored is None else lambda tile: np.asarray(tile.stored("labels") != ignored)


def _ones(tile: Tile) -> Mask:
    ones = np.asarray(tile.stored(MASKED) == 1)
    return ones if ones.ndim == 1 else np.asarray(ones.any(axis=1))


def kept_positions(tile: Tile) -> Mask | None:
    """Which positions of rows that are sequences a mask leaves: bool [rows, positions].

    None where all are, or rows are positions.
    """
    ones = tile.stored(MASKED) == 1 if MASKED in tile else np.zeros(0)
    return np.asarray(ones) if ones.ndim == 2 else None


def padding(tile: Tile) -> Mask | None:
    """The rows of which the mask says so, whatever else leaves rows out: bool [rows]; None: none.

    A prompt that is not to be scored is no padding: its tokens are those of the dump.
    """
    return np.asarray(tile.stored(MASKED) == 0) if MASKED in tile else None


def _by_position(positions: int, first: int, last: int) -> Counts:
    """All but the first and the last so many positions of each sequence."""

    def counts(tile: Tile) -> Mask:
        place = np.arange(tile.start, tile.stop) % positions
        return np.asarray((place >= first) & (place < positions - last))

    return counts


def _both(one: Counts | None, other: Counts) -> Counts:
    """What counts for both of them."""
    return other if one is None else lambda tile: one(tile) & other(tile)


class Derived(Reader):
    """Rows made of those of another reader."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.name, self.where, self.path = reader.name, reader.where, reader.path
        self.dataset, self.shape, self.lead = reader.dataset, reader.shape, reader.lead
        self.element, self.declared = reader.element, reader.declared

    def files(self) -> Sequence[Any]:
        """The files of the other one."""
        return self._reader.files()

    def close(self) -> None:
        """Give its files back."""
        self._reader.close()

    def fingerprint(self) -> dict[str, Any]:
        """That of the other one."""
        return self._reader.fingerprint()

    def splits(self, step: int, *, loosely: bool = False) -> bool:
        """They are few bytes a row, and read ahead."""
        return False

    def pieces(self, start: int, stop: int) -> list[tuple[int, int]]:
        """All at once."""
        return [(start, stop)]

    def expect(self, start: int, stop: int) -> None:
        """They are read ahead."""


class Shifted(Derived):
    """Labels that are the tokens themselves: each row has that of the next position.

    The last position of a sequence has none; what it gets is not to count.
    """

    def read(self, start: int, stop: int, out: Raw) -> Raw:
        """Rows [start, stop) into `out`."""
        end = min(stop + 1, self.rows)
        if stop > start:
            self._reader.read(start + 1, end, out[: end - start - 1])
        out[end - start - 1 :] = 0
        return out


class Ones(Derived):
    """A mask, 1 where a row counts; where labels are shifted, the next position must count too.

    So a position whose token is padding, 0, or is followed by padding, `BEFORE`, is left out.
    """

    def __init__(self, reader: Reader, *, shifted: bool) -> None:
        super().__init__(reader)
        self._shifted = shifted

    def read(self, start: int, stop: int, out: Raw) -> Raw:
        """Rows [start, stop) into `out`.

        Raises:
            DataError: a number that is neither 0 nor 1.
        """
        end = min(stop + 1, self.rows) if self._shifted else stop
        mask = self._reader.read(start, end, self._reader.empty(end - start))
        self._check(mask, start)
        out[...] = mask[: stop - start]
        if self._shifted:
            out[: end - start - 1][(mask[:-1] == 1) & (mask[1:] == 0)] = BEFORE
        return out

    def _check(self, mask: Raw, start: int) -> None:
        other = (mask != 0) & (mask != 1)
        if other.any():
            row = int(np.argmax(other.reshape(len(other), -1).any(axis=1)))
            wrong = mask[row][other[row]].flat[0]
            raise DataError(
                self.where,
                f"row {start + row}: {wrong} is neither 0 nor 1",
                "a mask is 1 where a row counts and 0 elsewhere",
            )


class Repeated(Derived):
    """One number for each sequence, given to all of its positions."""

    def __init__(self, reader: Reader, positions: int) -> None:
        super().__init__(reader)
        self._positions = positions

    @property
    def rows(self) -> int:
        """Those of all positions."""
        return self._reader.rows * self._positions

    def read(self, start: int, stop: int, out: Raw) -> Raw:
        """Rows [start, stop) into `out`."""
        if stop > start:
            first, end = start // self._positions, -(-stop // self._positions)
            own = self._reader.read(first, end, self._reader.empty(end - first))
            places = np.arange(start, stop) // self._positions - first
            out[...] = own[places]
        return out
