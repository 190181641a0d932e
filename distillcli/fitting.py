"""Tiles that do not fit into the memory of a device are computed in halves, to the same numbers."""

import threading
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from distillcli.backend import Backend
from distillcli.batches.grid import Grid
from distillcli.batches.tiles import Tile
from distillcli.errors import DeviceMemoryError

T = TypeVar("T")


class Fitting:
    """How many rows of a run have turned out to fit at once; every thread asks the same one."""

    def __init__(self, grid: Grid, backend: Backend) -> None:
        self._grid = grid
        self._backend = backend
        self._lock = threading.Lock()
        self._rows = grid.tile_rows

    def all_of(self, tile: Tile, work: Callable[[Tile], T]) -> list[T]:
        """What `work` finds in a tile, or in its parts, in row order.

        Raises:
            DeviceMemoryError: one row, or a batch that must stay whole, does not fit.
        """
        if tile.stop - tile.start <= self._rows:
            found = self._tried(tile, work)
            if found is not None:
                return found
        first, second = tile.halves(self._grid.together)
        return [*self.all_of(first, work), *self.all_of(second, work)]

    def _tried(self, tile: Tile, work: Callable[[Tile], T]) -> list[T] | None:
        """None where it does not fit; what was made of the tile is given back by then.

        A pool that keeps pieces for later may have no room and the device have it: once it is
        cleared there is a second try.
        """
        for is_last in (False, True) if self._backend.gpu is not None else (True,):
            try:
                with self._backend.active(), np.errstate(all="ignore"):
                    return [work(tile)]
            except DeviceMemoryError as error:
                if is_last:
                    self._halve(tile.stop - tile.start, error)
            tile.memo.clear()
            if self._backend.gpu is not None:
                self._backend.gpu.clear()
        return None

    def _halve(self, rows: int, error: DeviceMemoryError) -> None:
        if self._grid.whole:
            hint = "a loss relates the rows of a batch to each other: set a smaller batch_size"
            raise DeviceMemoryError(error.where, f"no room for a batch of {rows:,} rows", hint)
        together = self._grid.together
        if rows <= together:
            least = "row" if rows == 1 else f"sequence of {rows:,} positions"
            raise DeviceMemoryError(error.where, f"no room for a single {least}", error.hint)
        with self._lock:
            half = -(-rows // together // 2) * together
            if half >= self._rows:  # another thread has told
                return
            self._rows = half
        self._backend.tell(
            f"{self._backend.device}: {rows:,} rows at once do not fit into its memory; going on "
            f"with {half:,} at once, which changes no number"
        )
