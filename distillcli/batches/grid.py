"""Where rows are cut: tiles and slabs on a grid from row 0 of the dump."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import gcd, prod

from distillcli.batches.inputs import Input
from distillcli.formats import Reader

SLAB_BYTES = 32 * 2**20
SLAB_ROWS = 2**17  # at most: with few classes the values of the rows are larger than the rows
TILE_BYTES = 2**20  # smaller ones lie in a nearer cache, but Python's part of the work grows
# Where a kernel sweeps over a tile in pieces, only the row values need be there at once, and
# Python's part of the work is the smaller the larger the tile. So a slab that nobody must hold is
# larger, and is cut into few tiles.
SWEPT_SLAB = 4  # times the bytes of others
SWEPT_TILES = 2
PIECE_ROWS = 2**16  # read and swept over at once, at most
TILE_ROWS = 16384  # at most; a power of two, so that tiles and blocks of rows fit into each other
PRODUCT_ROWS = 512  # at least, where rows are multiplied by a matrix that must be read each time


@dataclass(frozen=True)
class Grid:
    """How a run is cut: rows `first` to `stop`, tiles and slabs of so many rows.

    Args:
        origin: the row that tiles and slabs are counted from.
        together: so many rows, counted from row 0, are in one tile.
        whole: whether what is found depends on the rows of a tile being together.
        piece_rows: how many rows are read and computed at once where a kernel sweeps over a tile
            and nothing else needs its scores; all of the tile elsewhere.
    """

    first: int
    stop: int
    tile_rows: int
    slab_rows: int
    origin: int = 0
    whole: bool = False
    piece_rows: int = 0
    together: int = 1

    @classmethod
    def of(
        cls,
        inputs: Sequence[Input],
        *,
        first: int,
        stop: int,
        itemsize: int,
        products: bool,
        batch: int | None = None,
        device_bytes: int | None = None,
        swept: int | None = None,
        together: int = 1,
    ) -> "Grid":
        """The cut for these inputs, computed on numbers of `itemsize` bytes.

        Args:
            products: whether rows are multiplied by a matrix.
            batch: rows that must be computed at once, counted from `first`.
            device_bytes: how much a GPU takes at once, for which a tile is a slab; None without.
            swept: bytes of the widest input that a kernel sweeps over at once; None where more
                than its row values is needed.
            together: see there; a batch holds whole ones of it.
        """
        row_bytes = sum(item.reader.row_bytes for item in inputs)
        if device_bytes is not None:
            rows = batch or _power_of_two(min(SLAB_ROWS, device_bytes // row_bytes))
            rows = _multiple(rows, together)
            origin = first if batch else 0
            return cls(first, stop, rows, rows, origin, batch is not None, together=together)
        widest = max(item.width for item in inputs) * itemsize
        if swept is not None:
            return cls._swept(inputs, first, stop, swept // widest)
        tile = min(TILE_ROWS, _power_of_two(TILE_BYTES // widest))
        if products:
            positions = max(prod(item.reader.row_shape[:-1]) for item in inputs)
            tile = max(tile, PRODUCT_ROWS // positions)
        tile = _multiple(tile, together) if batch is None else batch
        slab = min(SLAB_ROWS, SLAB_BYTES // row_bytes)
        origin = 0 if batch is None else first
        whole = batch is not None
        slab = max(tile, slab - slab % tile)
        return cls(first, stop, tile, slab, origin, whole, together=together)

    @classmethod
    def _swept(cls, inputs: Sequence[Input], first: int, stop: int, rows: int) -> "Grid":
        """Tiles that a kernel sweeps over, so many rows at once."""
        piece = min(PIECE_ROWS, _power_of_two(rows))
        row_bytes = sum(item.reader.row_bytes for item in inputs)
        for size in (SWEPT_SLAB * SLAB_BYTES, SLAB_BYTES):
            # With few classes a slab is one tile: each call of NumPy hands the interpreter's lock
            # to another thread, which takes longer than the call where an array is small.
            slab = min(SLAB_ROWS, size // row_bytes)
            tile = max(piece, min(slab, _power_of_two(size // row_bytes // SWEPT_TILES)))
            grid = cls(first, stop, tile, max(tile, slab - slab % tile), piece_rows=piece)
            if all(grid.read_at_once(item.reader) for item in inputs if item.is_scores):
                break
        return grid

    @property
    def at_once(self) -> int:
        """How many rows are read at once, at least, by the thread that computes on them."""
        return self.piece_rows or self.tile_rows

    @property
    def rows(self) -> int:
        return self.stop - self.first

    def slabs(self) -> Iterator[tuple[int, int]]:
        return _steps(self.first, self.stop, self.slab_rows, self.origin)

    def tiles(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        return self.cut(start, stop, self.tile_rows)

    def cut(self, start: int, stop: int, rows: int) -> Iterator[tuple[int, int]]:
        """`start` to `stop`, cut into steps of so many rows of the grid."""
        return _steps(start, stop, rows, self.origin)

    def around(self, start: int, stop: int, rows: int) -> tuple[int, int]:
        """The steps of so many rows that `start` to `stop` lie in."""
        return start - (start - self.origin) % rows, stop + (self.origin - stop) % rows

    def read_at_once(self, reader: Reader) -> int | None:
        """How many rows of an input a thread may read before it computes on them.

        None where it is cheaper to read what many threads need at once.
        """
        rows, most = self.at_once, self.tile_rows if self.piece_rows else self.slab_rows
        while rows < most:
            if reader.splits(gcd(rows, self.slab_rows, self.origin)):
                return rows
            rows *= 2
        cut = gcd(most, self.slab_rows, self.origin)
        return most if reader.splits(cut, loosely=True) else None


def _power_of_two(number: int) -> int:
    return 1 << max(0, number.bit_length() - 1)


def _multiple(number: int, of: int) -> int:
    """The largest multiple that is not above the number, or the least there is."""
    return max(of, number - number % of)


def _steps(start: int, stop: int, step: int, origin: int) -> Iterator[tuple[int, int]]:
    """`start` to `stop`, cut at the multiples of `step` from `origin`."""
    while start < stop:
        end = min(stop, origin + ((start - origin) // step + 1) * step)
        yield start, end
        start = end
