"""The passes over the data: the main one, and those that find matrices first."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from distillcli.backend import Array, Backend, choose
from distillcli.batches.grid import Grid
from distillcli.batches.inputs import Mask
from distillcli.batches.tiles import Tile
from distillcli.config import Config, LayerPair, LeastSquares
from distillcli.fold import BadRows, Machine, Measure, in_row_order, made_of_rows
from distillcli.kernels import kernel_for, swept_bytes
from distillcli.strategy.batchwise import check_last_batch
from distillcli.strategy.counting import kept_positions
from distillcli.strategy.inputs import Inputs
from distillcli.strategy.positions import positions_kept
from distillcli.strategy.projections import Matrix, drawn, least_squares, unequal_pairs, widths
from distillcli.strategy.selection import Selection
from distillcli.strategy.sequences import check_cut
from distillcli.sums.rows import Collector, InBlocks, RowValues
from distillcli.sums.totals import Finished, Totals


class Progress(Protocol):
    """What is told how far a pass is."""

    def advance(self, rows: int, read: int = 0) -> None:
        """So many more rows and bytes are done."""


class Beside(Protocol):
    """Makes something of each tile, and takes it up in row order."""

    def of(self, tile: Tile) -> Any:
        """What it makes of a tile, on any thread."""

    def add(self, found: Any) -> None:
        """Take that up."""


ALL = Selection()

# (what is being done, rows, bytes to read) -> what is told how far it is
Watch = Callable[[str, int, int], AbstractContextManager[Progress]]


@dataclass(frozen=True)
class Passes:
    """Runs passes over the rows `first` to `stop` of the same inputs in the same way."""

    config: Config
    inputs: Inputs
    machine: Machine
    watch: Watch
    first: int
    stop: int

    @classmethod
    def over(
        cls,
        config: Config,
        inputs: Inputs,
        backend: Backend,
        watch: Watch,
        selection: Selection = ALL,
    ) -> "Passes":
        """With the threads and the precision that the config asks for, over the selected rows.

        Raises:
            UsageError: the inputs end before the selection does.
            ConfigError: the last batch is too small for a loss, or cuts what it needs whole.
            BackendError: the kernel that the config names is not there.
        """
        if backend.device == "cpu":
            size = sum(item.reader.rows * item.reader.row_bytes for item in inputs)
            backend = replace(backend, kernel=kernel_for(config.kernel, size))
        threads = config.threads if isinstance(config.threads, int) else available_threads()
        machine = Machine(backend, threads, precision(config, inputs))
        first, stop = selection.bounds(inputs.rows)
        check_last_batch(config, stop - first)
        check_cut(config, inputs, selection)
        return cls(config, inputs, machine, watch, first, stop)

    def on_host(self) -> "Passes":
        """The same on the CPU: for what is little work, or must have the same bits."""
        if self.machine.backend.gpu is None:
            return self
        return replace(self, machine=replace(self.machine, backend=choose("cpu")))

    @property
    def rows_taken(self) -> int:
        """How many rows there are from `first` to `stop`."""
        return self.stop - self.first

    def grid(
        self,
        roles: Sequence[str],
        *,
        products: bool = False,
        batch: int | None = None,
        by_kernel: bool = False,
    ) -> Grid:
        """The cut for a pass over these inputs; see `Grid.of`.

        Args:
            by_kernel: whether a kernel leaves all that is asked of a row.
        """
        gpu = self.machine.backend.gpu
        swept = None
        if by_kernel and gpu is None:
            swept = swept_bytes(self.machine.backend.kernel, self.inputs.classes)
        return Grid.of(
            self.inputs.only(roles),
            first=self.first,
            stop=self.stop,
            itemsize=np.dtype(self.machine.precision).itemsize,
            products=products,
            batch=batch,
            device_bytes=gpu.batch_bytes if gpu is not None else None,
            swept=swept,
            together=positions_kept(self.config, self.inputs),
        )

    def fold(
        self,
        label: str,
        measure: Measure,
        taker: Collector,
        roles: Sequence[str],
        *,
        products: bool = False,
        batch: int | None = None,
        by_kernel: bool = False,
        beside: Beside | None = None,
    ) -> None:
        """One pass, with progress: the values of all rows are handed on in row order.

        Args:
            taker: takes them up; of some rows by the threads that have computed them.
            products, batch, by_kernel: as for `grid`.
            beside: takes what it makes of each tile, in row order.
        """
        grid = self.grid(roles, products=products, batch=batch, by_kernel=by_kernel)
        items = self.inputs.only(roles)
        row_bytes = sum(item.reader.row_bytes for item in items)
        # How much a GPU takes at once depends on its free memory; what is made of the rows must
        # not.
        taken = taker if self.machine.backend.gpu is None else InBlocks(taker)

        def make(tile: Tile, rows: RowValues) -> tuple[int, Any, Any]:
            further = None if beside is None else beside.of(tile)
            return len(rows.keep), taken.of(rows), further

        skip_bad = self.config.on_bad_rows == "skip"
        with self.watch(label, grid.rows, grid.rows * row_bytes) as progress:
            for rows, made, further in made_of_rows(
                measure, make, items, grid, self.machine, skip_bad=skip_bad
            ):
                if beside is not None:
                    beside.add(further)
                taken.take(made)
                progress.advance(rows, rows * row_bytes)
            if isinstance(taken, InBlocks):
                taken.finish()

    def totals(self, label: str, measure: Measure, roles: Sequence[str]) -> Finished:
        """The sums of one pass."""
        totals = Totals(measure.names, self.rows_taken)
        self.fold(label, measure, totals, roles)
        return totals.finish()


def available_threads() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def precision(config: Config, inputs: Inputs) -> str:
    """The type of the arithmetic: float64 if an input is and the config leaves it open."""
    if config.precision != "auto":
        return config.precision
    wide = any(item.reader.element.name == "float64" for item in inputs if not item.is_part)
    return "float64" if wide else "float32"


def projections(passes: Passes, bad: Callable[[Tile], BadRows]) -> dict[LayerPair, Array]:
    """The matrix of each pair of layers whose widths differ, ready to multiply with.

    Raises:
        ConfigError: widths differ and there is no projection. MismatchError: a saved one differs.
    """
    config = passes.config
    if config.progressive is None:
        return {}
    pairs = unequal_pairs(config, passes.inputs)
    matrices = drawn(config, passes.inputs, pairs)
    if pairs and isinstance(config.progressive.projection, LeastSquares):
        matrices = _fitted(passes.on_host(), pairs, config.progressive.projection.ridge, bad)
    backend, dtype = passes.machine.backend, passes.machine.precision
    return {pair: backend.to_device(matrix.astype(dtype)) for pair, matrix in matrices.items()}


def _fitted(
    passes: Passes, pairs: Sequence[LayerPair], ridge: float, bad: Callable[[Tile], BadRows]
) -> dict[LayerPair, Matrix]:
    """Least squares for each pair, from products summed tile by tile in row order, in float64.

    Always on the CPU: the sums then have the same bits on every device.
    """
    grams = {pair: _zeros(passes.inputs, pair) for pair in pairs}
    roles = list(passes.inputs.items)
    grid = passes.grid(roles, products=True)
    row_bytes = sum(item.reader.row_bytes for item in passes.inputs)

    def products(tile: Tile) -> Mapping[LayerPair, tuple[Matrix, Matrix]]:
        keep = ~np.any([passes.machine.host(mask) for mask in bad(tile).values()], axis=0)
        if (masked := tile.masked()) is not None:
            keep &= ~masked
        positions = kept_positions(tile)
        found = {}
        for student, teacher in pairs:
            roles = f"student_hidden[{student}]", f"teacher_hidden[{teacher}]"
            sides = (passes.machine.host(tile.features(role)) for role in roles)
            x, y = (_kept(side, keep, positions).astype(np.float64) for side in sides)
            found[student, teacher] = (x.T @ x, x.T @ y)
        return found

    with passes.watch("fitting projections", grid.rows, grid.rows * row_bytes) as progress:
        for tiles in in_row_order(products, list(passes.inputs), grid, passes.machine):
            for tile in tiles:
                for pair, (gram, cross) in tile.items():
                    grams[pair][0][...] += gram
                    grams[pair][1][...] += cross
            progress.advance(grid.tile_rows * len(tiles), grid.tile_rows * len(tiles) * row_bytes)
    return {
        pair: least_squares(gram=gram, cross=cross, ridge=ridge)
        for pair, (gram, cross) in grams.items()
    }


def _kept(x: Any, keep: Mask, positions: Mask | None) -> Any:
    """The rows that are kept; of those that are sequences, their positions that are."""
    if positions is None:
        return x[keep].reshape(-1, x.shape[-1])
    return x[keep][positions[keep]]


def _zeros(inputs: Inputs, layers: LayerPair) -> tuple[Matrix, Matrix]:
    student, teacher = widths(inputs, layers)
    return np.zeros((student, student)), np.zeros((student, teacher))
