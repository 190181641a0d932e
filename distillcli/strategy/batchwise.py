"""What relates the rows of a batch to each other, and so needs all of a batch at once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from distillcli.backend import Array, namespace
from distillcli.batches.inputs import Mask
from distillcli.batches.tiles import Tile
from distillcli.config import Config, LossTerm
from distillcli.errors import ConfigError, DataError
from distillcli.fold import BadRows
from distillcli.losses import LABEL_LOSSES, LAYER_LOSSES, SCORE_LOSSES, Loss
from distillcli.numerics.scores import Logits


def loss_of(term: LossTerm) -> Loss:
    """The loss of a term."""
    if term.on == "hidden":
        return LAYER_LOSSES[term.loss.name]
    return {**LABEL_LOSSES, **SCORE_LOSSES}[term.loss.name]


def related_rows(config: Config) -> int | None:
    """The rows of a batch where a loss relates them to each other; None where none does.

    The tiles of such a run are its batches.
    """
    relates = any(loss_of(term).least_batch is not None for term in config.terms())
    return config.batch_size if relates and isinstance(config.batch_size, int) else None


def check_last_batch(config: Config, rows: int) -> None:
    """Refuse a cut that leaves a loss fewer rows than it needs.

    Raises:
        ConfigError: the last batch is too small.
    """
    size = related_rows(config)
    if size is None:
        return
    last = rows % size or min(rows, size)
    for term in config.terms():
        least = loss_of(term).least_batch
        if least is not None and last < least:
            problem = f"leaves {last} for the last batch, and {term.loss.name} needs {least} rows"
            hint = f"take another size, or leave them out with --limit {rows - last}"
            if rows == last:
                hint = "score more rows"
            raise ConfigError(config.where("batch_size"), problem, hint)


@dataclass(frozen=True)
class Related:
    """Computes a loss on the rows of a tile; one that relates them, on those that count at once.

    Args:
        size: rows of a batch; 0 where no loss relates them.
        bad: tells the rows of a tile that cannot be used.
        skip_bad: whether such rows are left out; else they end the run.
    """

    size: int
    bad: Callable[[Tile], BadRows]
    skip_bad: bool

    def __call__(
        self, tile: Tile, inputs: Mapping[str, Any], loss: Loss, parameters: Mapping[str, Any]
    ) -> Array:
        """The values of a tile, float64 [rows]; of related rows 0 for those that do not count.

        Raises:
            DataError: some rows count, and fewer than the loss needs.
        """
        if loss.least_batch is None:
            return loss.function(**inputs, **parameters)
        keep = rows_that_count(tile, self.bad)
        self._check(tile, int(keep.sum()), loss)
        if keep.all():
            return loss.function(**inputs, **parameters)
        some = next(iter(inputs.values()))
        xp = namespace(some.raw if isinstance(some, Logits) else some)
        values = xp.zeros(len(keep), dtype=xp.float64)
        if keep.any():
            chosen = tile.backend.to_device(np.flatnonzero(keep))
            parts = {name: _rows(x, chosen) for name, x in inputs.items()}
            values[chosen] = loss.function(**parts, **parameters)
        return values

    def _check(self, tile: Tile, kept: int, loss: Loss) -> None:
        """Rows that are to end the run are no reason; it is they that are told of."""
        assert loss.least_batch is not None
        masked = tile.masked()
        rows = tile.stop - tile.start
        there = kept if self.skip_bad else rows - (0 if masked is None else int(masked.sum()))
        if 0 < there < loss.least_batch:
            raise DataError(
                f"batch of rows {tile.start:,} to {tile.stop - 1:,}",
                f"rows that count: {there} of {rows:,}, and {loss.name} needs {loss.least_batch}",
                "take a larger batch_size, or mask these rows too",
            )


def rows_that_count(tile: Tile, bad: Callable[[Tile], BadRows]) -> Mask:
    """The rows that are neither bad nor masked: bool [rows], on the host."""

    def find() -> Mask:
        keep = np.ones(tile.stop - tile.start, bool)
        for mask in bad(tile).values():
            keep &= ~np.asarray(tile.backend.to_host(mask))
        masked = tile.masked()
        return keep if masked is None else keep & ~masked

    return tile.once("rows that count", find)


def _rows(x: Any, chosen: Array) -> Any:
    if isinstance(x, Logits):
        return Logits(x.raw[chosen], x.kind, temperature=x.temperature)
    return x[chosen]
