"""The teachers of an ensemble, pass by pass, into the pieces of a file and the file itself."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from distillcli import __version__
from distillcli.batches.inputs import Input
from distillcli.batches.tiles import Tile
from distillcli.config import IGNORE_INDEX
from distillcli.ensembles.blending import Blending, blending
from distillcli.fold import BadRows, made_of_rows
from distillcli.formats.declared import SCHEMA
from distillcli.formats.hdf5.writing import Planned
from distillcli.sinks.tabulate import input_facts, versions
from distillcli.strategy.passes import Passes
from distillcli.strategy.weighting import Weighting, blended, teacher_weights
from distillcli.sums.rows import RowValues
from distillcli.sums.totals import Finished, Totals
from distillcli.targets import Encoded, Partial, Spec, assemble, encode
from distillcli.targets.gathering import Gatherer, piece_rows

Note = Callable[[str], None]
# Of the config, what the numbers in the file do not depend on.
_WITHOUT_EFFECT = ("threads", "batch_size", "device", "metrics")


def job_of(passes: Passes, spec: Spec) -> dict[str, Any]:
    """Everything that the bytes of the output depend on."""
    config = passes.config.resolved()
    return {
        "config": {key: value for key, value in config.items() if key not in _WITHOUT_EFFECT},
        "inputs": {item.role: _fingerprint(item) for item in passes.inputs},
        "output": spec.written(),
        "rows": [passes.first, passes.stop],
        "arithmetic": [str(passes.machine.precision), passes.machine.backend.kernel],
        "versions": versions(),
    }


def _fingerprint(item: Input) -> dict[str, Any]:
    """An input; its time of change too, for the samples of a fingerprint do not see everything."""
    times = [file.identity.mtime_ns for file in item.reader.files()]
    return {**item.reader.fingerprint(), "changed": times}


def hash_of(job: Mapping[str, Any]) -> str:
    """What tells one job from another."""
    return hashlib.sha256(json.dumps(job, sort_keys=True).encode("ascii")).hexdigest()


@dataclass(frozen=True)
class Done:
    """A run that has come to its end.

    Args:
        what: what was measured.
        all, held_out: the figures of all rows, and of those that no weights were found on.
        held_from: the first of the latter.
        bare: rows that hold NaN in the file, masked ones too.
        notes: what to know about the file.
    """

    what: Blending
    all: Finished
    held_out: Finished | None
    held_from: int
    bare: int
    notes: tuple[str, ...]


@dataclass
class BlendRun:
    """One run, from the weights to the file."""

    passes: Passes
    spec: Spec
    plan: Mapping[str, Planned]
    partial: Partial
    job: Mapping[str, Any]
    note: Note

    def write(self, bad: Callable[[Tile], BadRows]) -> Done:
        """Write the file, from where an earlier run of this job has left off.

        Args:
            bad: tells the rows of a tile that cannot be used.
        """
        weighting = self._weighting(bad)
        what = blending(self.passes.config, self.passes.inputs, weighting, bad)
        gatherer = self._gatherer(what)
        self._pass(what, gatherer)
        done = gatherer.totals.finish()
        held = gatherer.held_out.finish() if gatherer.held_out is not None else None
        self._assemble(what, done, gatherer.bare)
        notes = tuple(_losses(self.spec, gatherer))
        return Done(what, done, held, gatherer.held_from, gatherer.bare, notes)

    def _weighting(self, bad: Callable[[Tile], BadRows]) -> Weighting:
        """The weights, from an earlier run of this job if it found them."""
        known = self.partial.notes.get("weighting")
        if known is not None:
            return Weighting.parsed(known)
        found = teacher_weights(self.passes, bad)
        assert found is not None
        self.partial.note(weighting=asdict(found))
        return found

    def _gatherer(self, what: Blending) -> Gatherer:
        passes, names = self.passes, what.measure.names
        held_from = passes.first + (what.weighting.found_on or passes.rows_taken)
        row_bytes = sum(prod(one.shape[1:]) * one.dtype.itemsize for one in self.plan.values())

        def totals() -> Totals:
            return Totals(names, 1, calibrated=what.calibrated, deviating=what.deviating)

        return Gatherer(
            partial=self.partial,
            totals=totals(),
            held_out=totals() if held_from < passes.stop else None,
            held_from=held_from,
            step=piece_rows(row_bytes, passes.grid(list(passes.inputs.items)).tile_rows),
            stop=passes.stop,
            sides=what.calibrated,
        )

    def _pass(self, what: Blending, gatherer: Gatherer) -> None:
        """Compute what is not there yet."""
        done = gatherer.resume()
        if done is not None:
            rest = f"{self.passes.stop - done:,} of {self.passes.rows_taken:,} rows are left"
            self.note(f"resumed at row {done:,}: {rest}")
        passes = replace(self.passes, first=done if done is not None else self.passes.first)
        if passes.first == passes.stop:
            return
        items = list(passes.inputs)
        row_bytes = passes.inputs.row_bytes
        grid = passes.grid(list(passes.inputs.items))
        skip_bad = passes.config.on_bad_rows == "skip"

        def make(tile: Tile, rows: RowValues) -> tuple[RowValues, Encoded]:
            return rows, self._encoded(what, tile)

        with passes.watch("blend", grid.rows, grid.rows * row_bytes) as progress:
            for rows, made in made_of_rows(
                what.measure, make, items, grid, passes.machine, skip_bad=skip_bad
            ):
                gatherer.add(rows, made)
                progress.advance(len(rows.keep), len(rows.keep) * row_bytes)

    def _encoded(self, what: Blending, tile: Tile) -> Encoded:
        ensemble = what.config.ensemble
        assert ensemble is not None
        blend = blended(ensemble, what.weighting, what.inputs.teachers, tile, ensemble.temperature)
        host = self.passes.machine.host
        found = encode(blend, self.spec, ensemble.temperature, host, tile.start, tile.masked())
        if self.spec.copy_labels:
            found.arrays["labels"] = _labels(host(tile.labels()), tile)
        return found

    def _assemble(self, what: Blending, done: Finished, bare: int) -> None:
        rows = self.passes.rows_taken
        size = rows * sum(prod(o.shape[1:]) * o.dtype.itemsize for o in self.plan.values())
        with self.passes.watch(f"write {self.spec.path.name}", rows, size) as progress:
            words = self._words(what, done, bare)
            assemble(self.partial, self.spec, self.plan, words, progress.advance)

    def _words(self, what: Blending, done: Finished, bare: int) -> dict[str, str]:
        """What the file says of itself; nothing in it depends on when or how fast it was made."""
        config, weighting = self.passes.config, what.weighting
        assert config.ensemble is not None
        words = {
            "schema": SCHEMA,
            "kind": self.spec.kind,
            "temperature": repr(config.ensemble.temperature),
            "combine": config.ensemble.combine,
            "weights": json.dumps(list(what.weights(done))),
            "weights_rule": weighting.rule,
            "classes": str(self.passes.inputs.classes),
            "rows": str(self.passes.rows_taken),
            "first_row": str(self.passes.first),
            "rows_skipped": str(bare),
            "dtype": self.spec.dtype,
            "compression": self.spec.compression,
            "config": json.dumps(config.resolved()),
            "config_sha256": config.sha256(),
            "inputs": json.dumps([input_facts(item) for item in self.passes.inputs]),
            "job_sha256": hash_of(self.job),
            "tool": f"distillcli {__version__}",
        }
        if done.masked:
            words["rows_masked"] = str(done.masked)
        if self.spec.top_k is not None:
            words["top_k"] = str(self.spec.top_k)
        return words


def _labels(labels: npt.NDArray[Any], tile: Tile) -> npt.NDArray[Any]:
    """Labels as they are written; those of masked rows are what every reader ignores."""
    masked = tile.masked()
    return labels if masked is None else np.where(masked, IGNORE_INDEX, labels)


def _losses(spec: Spec, gatherer: Gatherer) -> Iterator[str]:
    """A warning where the type was too small for the probabilities."""
    if gatherer.lost:
        share = gatherer.lost / gatherer.entries
        yield (
            f"{share:.2%} of the probabilities are too small for {spec.dtype} and are stored as 0; "
            "--kind log_probabilities or --kind logits keeps them"
        )
