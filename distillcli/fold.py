"""The loop: slabs of rows in, what was found in them out, in row order.

This is the one place that runs threads. A command hands it a measure, `Tile -> values of every
row`, and folds what comes out into accumulators.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from distillcli.backend import Array, Backend
from distillcli.batches.grid import Grid
from distillcli.batches.inputs import Input
from distillcli.batches.tiles import Tile
from distillcli.errors import DataError
from distillcli.fitting import Fitting
from distillcli.slabs import Slab, Slabs
from distillcli.sums.rows import Floats, Mask, RowValues

T = TypeVar("T")

# What a measure finds out about a tile: float64 [rows] per column, and as bool [rows] the rows
# that cannot be used, by (role, what is wrong).
Columns = Mapping[str, Array]
BadRows = Mapping[tuple[str, str], Array]


@dataclass(frozen=True)
class Measure:
    """What is computed for each row.

    Args:
        names: the columns, in order.
        columns: their values for a tile, each float64 [rows].
        bad: the rows of a tile that no figure can be had from; looked at before the columns.
        prepare: called with each tile before anything else.
    """

    names: tuple[str, ...]
    columns: Callable[[Tile], Columns]
    bad: Callable[[Tile], BadRows]
    prepare: Callable[[Tile], None] = lambda tile: None


@dataclass(frozen=True)
class Machine:
    """Where and how the work is done; `precision` is the type of the arithmetic."""

    backend: Backend
    threads: int
    precision: npt.DTypeLike

    def host(self, array: Array) -> npt.NDArray[np.generic]:
        """The array as NumPy's."""
        return np.asarray(self.backend.to_host(array))

    def hosts(self, arrays: Sequence[Array]) -> list[npt.NDArray[np.generic]]:
        """Arrays [rows] as NumPy's; those of a GPU as float64, for all of which is waited once."""
        if self.backend.gpu is not None and arrays:
            return list(self.backend.gpu.at_once(arrays))
        return [self.host(array) for array in arrays]

    @property
    def workers(self) -> int:
        """Threads that compute; on a GPU each feeds a stream."""
        return self.threads if self.backend.gpu is None else self.backend.gpu.streams


def in_row_order(
    work: Callable[[Tile], T], inputs: Sequence[Input], grid: Grid, machine: Machine
) -> Iterator[list[T]]:
    """What `work` finds in the tiles of each slab; a slab is read and another computed meanwhile.

    Raises:
        What `work` raises, that of an early tile before that of a later one; errors of reading.
    """
    slabs = Slabs(inputs, grid, machine.backend, machine.workers)
    fitting = Fitting(grid, machine.backend)

    def computed(tiles: Sequence[Tile]) -> list[T]:
        return [one for tile in tiles for one in fitting.all_of(tile, work)]

    def finished() -> list[T]:
        slab, shares = pending.popleft()
        found = [one for some in slab.settled(shares) for one in some]
        slabs.release(slab)
        return found

    pending: deque[tuple[Slab, list[Future[list[T]]]]] = deque()
    with _threads("tiles", machine.workers) as pool, _threads("read", machine.threads) as readers:
        coming = slabs.begin(readers)
        while coming is not None:
            slab = coming
            slab.arrive()
            shares = slab.shares(machine.precision, machine.backend)
            pending.append((slab, [pool.submit(computed, tiles) for tiles in shares]))
            coming = slabs.begin(readers)
            if len(pending) == slabs.feed.computed:
                yield finished()
        while pending:
            yield finished()


def side_by_side(work: Callable[[Tile], T], tiles: Sequence[Tile], machine: Machine) -> list[T]:
    """What `work` finds in a few tiles, which threads take one by one."""
    with _threads("tiles", machine.workers) as pool:
        return list(pool.map(work, tiles))


@contextmanager
def _threads(name: str, count: int) -> Iterator[Executor]:
    """So many threads; none of them outlives the work, for no read may outlive the files."""
    pool = ThreadPoolExecutor(count, thread_name_prefix=name)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True)
class _Made(Generic[T]):
    bad: Mapping[tuple[str, str], npt.NDArray[np.intp]]  # rows of the dump, by role and problem
    made: T


def made_of_rows(
    measure: Measure,
    make: Callable[[Tile, RowValues], T],
    inputs: Sequence[Input],
    grid: Grid,
    machine: Machine,
    *,
    skip_bad: bool,
) -> Iterator[T]:
    """What `make` makes of each tile and the values of its rows, in row order; on any thread.

    Raises:
        DataError: rows that cannot be used, and `skip_bad` is false. What `make` raises.
    """
    by_role = {item.role: item for item in inputs}

    def work(tile: Tile) -> _Made[T]:
        values, masked, bad = _measured(measure, tile, machine)
        keep = np.ones(tile.stop - tile.start, bool) if masked is None else ~masked
        for rows in bad.values():
            keep[rows - tile.start] = False
        return _Made(bad, make(tile, RowValues(tile.start, measure.names, values, keep, masked)))

    for tiles in in_row_order(work, inputs, grid, machine):
        if not skip_bad:
            _refuse_bad(tiles, by_role)
        for tile in tiles:
            yield tile.made


def _measured(
    measure: Measure, tile: Tile, machine: Machine
) -> tuple[list[Floats], Mask | None, Mapping[tuple[str, str], npt.NDArray[np.intp]]]:
    """The values of a tile's rows, those that are masked, those that cannot be used."""
    masked = tile.masked()
    if masked is not None and masked.all():
        return [np.zeros(len(masked))] * len(measure.names), masked, {}
    measure.prepare(tile)
    masks, columns = measure.bad(tile), measure.columns(tile)
    found = machine.hosts([*masks.values(), *(columns[name] for name in measure.names)])
    bad = {
        key: tile.start + _where(mask != 0, masked) for key, mask in zip(masks, found, strict=False)
    }
    values = [rows.astype(np.float64, copy=False) for rows in found[len(masks) :]]
    return values, masked, bad


def _refuse_bad(tiles: Sequence[_Made[Any]], by_role: Mapping[str, Input]) -> None:
    """The first of all that is wrong with rows of these tiles."""
    for role, problem in dict.fromkeys(key for tile in tiles for key in tile.bad):
        rows = np.concatenate([tile.bad[role, problem] for tile in tiles if tile.bad])
        if len(rows):
            raise _unusable(by_role[role], problem, rows)


def _where(bad: npt.NDArray[Any], masked: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.intp]:
    """The bad rows that are to count."""
    return np.flatnonzero(bad if masked is None else bad & ~masked)


def _unusable(item: Input, problem: str, rows: npt.NDArray[np.intp]) -> DataError:
    more = f" and {len(rows) - 1:,} more of the rows read with it" if len(rows) > 1 else ""
    return DataError(
        item.reader.where,
        f"row {rows[0]}{more}: {problem}",
        "mend the dump, or leave such rows out with on_bad_rows: skip",
    )
