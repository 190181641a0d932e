"""How much memory a run needs: an estimate from above, part by part, from its shapes alone."""

import os
import resource
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from distillcli.address_space import address_space
from distillcli.batches.grid import PRODUCT_ROWS, Grid
from distillcli.config import LayerPair
from distillcli.errors import DataError
from distillcli.metrics import asked
from distillcli.planning.plan import Part
from distillcli.slabs import Feed
from distillcli.strategy.batchwise import related_rows
from distillcli.strategy.cka import NAMES
from distillcli.strategy.measures import Scoring
from distillcli.strategy.passes import Passes
from distillcli.strategy.positions import keeps_together
from distillcli.strategy.projections import widths
from distillcli.sums.quantiles import EXACT_ROWS

PROGRAM = 64 * 2**20  # Python, NumPy and HDF5 with nothing loaded
# Of each value of a tile there are so many at once: widened, divided by the temperature,
# exponentials, differences and what is on the way to them.
COPIES = 10
COMPILER = 112 * 2**20  # numba and what it loads
KERNEL_ROWS = {"fast": 1}  # where a kernel brings rows to a place of its own, one by one
STATISTICS = 64  # numbers that are found out about a row, and what is made of them on the way
FLOAT = 8
PAIR_MATRICES = 8  # [rows, rows] that a loss on the relations of a batch has at once
# Address space that a thread takes beside what it computes on. Where the last of it goes to one,
# the C library ends the process instead of saying so.
THREAD = 80 * 2**20


def needed(passes: Passes, what: Scoring, fitted: Sequence[LayerPair]) -> tuple[Part, ...]:
    """The parts of the memory of a run.

    Args:
        what: what is computed of each row.
        fitted: the pairs of layers whose projection is fitted in a first pass.
    """
    roles = list(passes.inputs.items)
    grid = passes.grid(roles, products=what.products, batch=what.batch, by_kernel=what.by_kernel)
    parts = [
        Part("program", PROGRAM, "Python, NumPy and HDF5"),
        *_compiler(passes),
        *_slabs(passes, grid),
        *_own_tiles(passes, grid),
        _tiles(passes, grid),
        *_relations(passes, grid),
        *_positions(passes, grid),
        _row_values(passes, what, grid),
        *_quantiles(what, grid.rows),
        *_fits(passes, fitted),
        *_moments(passes, what.metrics),
    ]
    return tuple(parts)


def require_room(passes: Passes) -> None:
    """Refuse rows so wide that what is read and computed at once cannot fit into the memory.

    Raises:
        DataError: it names the input with the widest rows, or the batch that is too large.
    """
    roles, batch = list(passes.inputs.items), related_rows(passes.config)
    names = asked(passes.config.metrics)
    grid = passes.grid(roles, products=passes.config.progressive is not None, batch=batch)
    parts = [*_slabs(passes, grid), *_own_tiles(passes, grid), _tiles(passes, grid)]
    parts += [*_relations(passes, grid), *_positions(passes, grid), *_moments(passes, names)]
    need = sum(part.bytes for part in parts)
    there = memory_there(_threads(passes, grid))
    if need > there:
        if batch is not None:
            raise DataError(
                passes.config.where("batch_size"),
                f"batches of {grid.tile_rows:,} rows take about {need / 1e9:,.2f} GB of memory to "
                f"compute with at once, and there is room for {there / 1e9:,.2f} GB",
                "take a smaller batch_size, or try --threads 1",
            )
        widest = max(passes.inputs, key=lambda item: item.width)
        raise DataError(
            widest.reader.where,
            f"rows of {widest.width:,} numbers take about {need / 1e9:,.2f} GB of memory to "
            f"compute with, and there is room for {there / 1e9:,.2f} GB",
            "try --threads 1, or raise the limit",
        )


def memory_there(threads: int) -> int:
    """Bytes that this process may come to hold: the machine's, or what a limit leaves of them."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in ("memory.max", "memory/memory.limit_in_bytes"):  # of a container: v2, v1
        with suppress(OSError, ValueError):
            found.append(int(Path("/sys/fs/cgroup", path).read_text()))
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        taken = address_space() or PROGRAM
        found.append(max(0, limit - taken - (threads + 2) * THREAD))
    return min(found)


def _compiler(passes: Passes) -> Iterator[Part]:
    if passes.machine.backend.kernel == "fast":
        yield Part("compiler", COMPILER, "numba, which the compiled kernel comes with")


def _slabs(passes: Passes, grid: Grid) -> Iterator[Part]:
    """What is read ahead."""
    feed, rows = _feed(passes, grid), min(grid.slab_rows, grid.rows)
    ahead = [item for item in passes.inputs if item.role not in feed.at_once]
    if ahead:
        why = f"{feed.buffers} buffers of {rows:,} rows, as they are stored"
        size = rows * sum(item.reader.row_bytes for item in ahead)
        yield Part("read ahead", feed.buffers * size, why)


def _own_tiles(passes: Passes, grid: Grid) -> Iterator[Part]:
    """What each thread reads by itself."""
    feed, threads = _feed(passes, grid), _threads(passes, grid)
    if feed.at_once:
        why = f"{min(feed.share, grid.rows):,} rows as they are stored, for each thread"
        size = sum(
            min(rows, grid.rows) * passes.inputs[role].reader.row_bytes
            for role, rows in feed.at_once.items()
        )
        yield Part("reading", threads * size, why)


def _feed(passes: Passes, grid: Grid) -> Feed:
    machine = passes.machine
    return Feed.of(list(passes.inputs), grid, machine.backend, machine.workers)


def _threads(passes: Passes, grid: Grid) -> int:
    """How many threads find something to do: there may be fewer shares in all slabs at once."""
    feed = _feed(passes, grid)
    rows = min(grid.rows, feed.computed * grid.slab_rows)
    return min(passes.machine.workers, -(-rows // feed.share))


def _tiles(passes: Passes, grid: Grid) -> Part:
    rows = min(grid.tile_rows, grid.rows)
    if passes.machine.backend.gpu is not None:
        return Part("computing", 0, f"on {passes.machine.backend.device}, {rows:,} rows at once")
    threads = _threads(passes, grid)
    itemsize = np.dtype(passes.machine.precision).itemsize
    width = sum(item.width for item in passes.inputs)
    if grid.piece_rows:
        at_once = min(rows, KERNEL_ROWS.get(passes.machine.backend.kernel, grid.piece_rows))
        size = at_once * COPIES * width * itemsize + rows * STATISTICS * FLOAT
        why = "rows as the kernel takes them, and what is found out about each"
        return Part("computing", threads * size, why)
    values = rows * width
    why = f"tiles of {rows:,} rows in {passes.machine.precision}, one a thread"
    return Part("computing", threads * COPIES * values * itemsize, why)


def _relations(passes: Passes, grid: Grid) -> Iterator[Part]:
    """Matrices of all pairs of rows of a batch."""
    if related_rows(passes.config) is not None:
        rows = min(grid.tile_rows, grid.rows)
        size = _threads(passes, grid) * PAIR_MATRICES * rows * rows * FLOAT
        yield Part("relations", size, f"{rows:,} x {rows:,} pairs of rows of a batch, a thread")


def _positions(passes: Passes, grid: Grid) -> Iterator[Part]:
    """Matrices of all pairs of positions of a sequence, where layers are relations of those."""
    if keeps_together(passes.config):
        layers = [item.reader.shape for item in passes.inputs if item.is_hidden]
        longest = max((shape[1] for shape in layers if len(shape) == 3), default=1)
        sequences = max(1, min(grid.tile_rows, grid.rows) // grid.together)
        size = _threads(passes, grid) * COPIES * sequences * longest**2 * FLOAT
        yield Part("positions", size, f"{longest:,} x {longest:,} positions of sequences, a thread")


def _row_values(passes: Passes, what: Scoring, grid: Grid) -> Part:
    rows, columns = min(grid.tile_rows, grid.rows), len(what.measure.names)
    times = _threads(passes, grid) + 1
    why = f"{columns} numbers for each of {rows:,} rows, {times} times"
    return Part("row values", times * rows * columns * FLOAT, why)


def _quantiles(what: Scoring, rows: int) -> Iterator[Part]:
    """All values of the KL while they are few enough to be exact, then a histogram."""
    if "kl" not in what.measure.names:
        return
    if rows <= EXACT_ROWS:
        yield Part("quantiles", 3 * rows * FLOAT, f"the KL of {rows:,} rows, and sorting them")
    else:
        yield Part("quantiles", 2**21, "a histogram: there are too many rows for exact ones")


def _moments(passes: Passes, names: Sequence[str]) -> Iterator[Part]:
    """The second moments of pairs of layers: the sums, and those of the cells of all slabs that are
    computed at once, or their rows where these come in parts."""
    progressive = passes.config.progressive
    if progressive is None or not set(NAMES) & set(names):
        return
    batch = related_rows(passes.config)
    grid = passes.grid(list(passes.inputs.items), products=True, batch=batch)
    rows = min(grid.rows, _feed(passes, grid).computed * grid.slab_rows)
    cells = -(-rows // PRODUCT_ROWS) + 1
    size = several = 0
    for pair in set(progressive.layer_mapping):
        student, teacher = widths(passes.inputs, pair)
        matrices = (student**2 + student * teacher + teacher**2) * FLOAT
        size += 2 * matrices
        in_parts = grid.whole or grid.together > 1 or passes.machine.backend.gpu is not None
        several += rows * (student + teacher) * FLOAT if in_parts else cells * matrices
    yield Part("CKA", size + several, f"moments of the layers, {PRODUCT_ROWS} rows at a time")


def _fits(passes: Passes, fitted: Sequence[LayerPair]) -> Iterator[Part]:
    """The sums of products of a pair, and those of all tiles that are on their way there."""
    if not fitted:
        return
    grid = passes.grid(list(passes.inputs.items), products=True)
    rows = min(grid.rows, _feed(passes, grid).computed * grid.slab_rows)
    tiles = -(-rows // grid.tile_rows)
    size = 0
    for pair in fitted:
        student, teacher = widths(passes.inputs, pair)
        size += student * (student + teacher) * FLOAT
    why = f"products of {len(fitted)} pairs of layers for each of {tiles} tiles"
    yield Part("fitting", (tiles + 1) * size, why)
