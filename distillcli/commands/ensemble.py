"""`distill ensemble`: several teachers blended into soft targets, written to a file."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial as partial_function
from math import prod
from pathlib import Path
from typing import Any

from distillcli import __version__
from distillcli.backend import choose
from distillcli.badrows import bad_rows
from distillcli.batches import Input, Tile
from distillcli.blending import Blending, blending
from distillcli.config import Config
from distillcli.ensemble_result import EnsembleResult
from distillcli.errors import DataError, DistillError, UsageError
from distillcli.fold import BadRows, rows_and
from distillcli.formats.declared import SCHEMA
from distillcli.formats.hdf5.writing import Planned
from distillcli.inputs import opened
from distillcli.measures import remarks_on
from distillcli.memory import require_room
from distillcli.passes import ALL, Passes, Watch
from distillcli.selection import Selection
from distillcli.tabulate import input_facts, versions
from distillcli.targets import Partial, Spec, assemble, encode
from distillcli.targets.checking import words_of
from distillcli.targets.encoding import Encoded
from distillcli.targets.gathering import Gatherer, piece_rows
from distillcli.targets.partial import partial_of
from distillcli.totals import Finished, Totals
from distillcli.weighting import Weighting, blended, teacher_weights

Note = Callable[[str], None]
# Of the config, what the numbers in the file do not depend on.
_WITHOUT_EFFECT = ("threads", "batch_size", "device", "metrics")


CONVENTIONS = (
    "figures of teachers and blends at T = 1; ece over 15 equal bins of the top probability; "
    "KL(first || second); natural logarithm, sums over classes, means over rows"
)


@dataclass(frozen=True)
class Existing:
    """What to do with what is there already: the output, or pieces of it."""

    resume: bool = False
    overwrite: bool = False


def ensemble(
    config: Config,
    spec: Spec,
    existing: Existing,
    *,
    progress: Watch,
    note: Note,
    selection: Selection = ALL,
) -> EnsembleResult:
    """Blend the teachers of a config into a file of soft targets.

    Args:
        config: of the strategy `ensemble`; a student and labels are optional.
        spec: the file.
        existing: what to do with what is there already.
        progress: opens a progress display for a pass.
        note: takes what a user should know, one line each.
        selection: the rows to write.

    Raises:
        DataError, ConfigError, UsageError: see `distillcli.errors`; an output that was there before
        is untouched then.
    """
    started = time.perf_counter()
    if config.ensemble is None:
        raise UsageError(config.where("strategy"), "must be ensemble", "see distill init ensemble")
    backend = choose(config.device)
    if backend.note is not None:
        note(backend.note)
    with opened(config) as inputs:
        spec.refuse_inputs([file.path for item in inputs for file in item.reader.files()])
        passes = Passes.over(config, inputs, backend, progress, selection)
        require_room(passes)
        assert inputs.classes is not None
        plan = spec.datasets(passes.rows_taken, inputs.classes)
        if spec.copy_labels and "labels" not in inputs:
            raise UsageError("--copy-labels", "there are no labels", "name them in the config")
        job = _job(passes, spec)
        _require_free(spec.path, existing, job)
        with _partial(spec.path, job, existing) as partial:
            return _Run(passes, spec, plan, partial, job, note).result(started)


def _require_free(path: Path, existing: Existing, job: Mapping[str, Any]) -> None:
    """Refuse to touch an output that is there, unless that is wanted, or it is this very job's."""
    if not path.parent.is_dir():
        raise DataError(f"--output {path}", "its folder is not there", "make the folder first")
    if path.is_dir():
        raise DataError(f"--output {path}", "is a folder", "give the path of a file")
    if not path.exists() or existing.overwrite:
        return
    if existing.resume and (partial_of(path).is_dir() or _written_by(path, job)):
        return
    raise DataError(f"--output {path}", "is there already", "replace it with --overwrite")


def _partial(path: Path, job: Mapping[str, Any], existing: Existing) -> Partial:
    return Partial(path, job, resume=existing.resume, discard=existing.overwrite)


def _job(passes: Passes, spec: Spec) -> dict[str, Any]:
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


def _hash(job: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(job, sort_keys=True).encode("ascii")).hexdigest()


def _written_by(path: Path, job: Mapping[str, Any]) -> bool:
    """Whether a file was written by this very job, which may have been killed right after."""
    try:
        return words_of(path).get("job_sha256") == _hash(job)
    except DistillError:
        return False


@dataclass
class _Run:
    """One run, from the weights to the report."""

    passes: Passes
    spec: Spec
    plan: Mapping[str, Planned]
    partial: Partial
    job: Mapping[str, Any]
    note: Note

    def result(self, started: float) -> EnsembleResult:
        config, inputs = self.passes.config, self.passes.inputs
        bad = bad_rows(config, inputs)
        weighting = self._weighting(bad)
        notes = list(remarks_on(weighting))
        what = blending(config, inputs, weighting, bad)
        gatherer = self._gatherer(what)
        self._pass(what, gatherer)
        done = gatherer.totals.finish()
        held = gatherer.held_out.finish() if gatherer.held_out is not None else None
        self._assemble(what, done)
        notes += list(_losses(self.spec, gatherer))
        for text in notes:
            self.note(text)
        first, stop = self.passes.first, self.passes.stop
        return EnsembleResult(
            rows=done.rows,
            rows_skipped=done.skipped,
            sources=tuple(source.given for source in config.teachers),
            weights=what.weights(done),
            term_weights=what.term_weights,
            all=what.figures(done, first, stop),
            held_out=what.figures(held, gatherer.held_from, stop) if held is not None else None,
            pairs=what.pairs(done),
            fit=asdict(weighting.fit) if weighting.fit is not None else None,
            output=self._output(what),
            nonfinite=what.nonfinite(done),
            facts=self._facts(notes, started),
        )

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
            return Totals(names, 1, calibrated=what.calibrated)

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
        make = partial_function(self._encoded, what)
        with passes.watch("blend", grid.rows, grid.rows * row_bytes) as progress:
            found = rows_and(what.measure, make, items, grid, passes.machine, skip_bad=skip_bad)
            for rows, made in found:
                gatherer.add(rows, made)
                progress.advance(len(rows.keep), len(rows.keep) * row_bytes)

    def _encoded(self, what: Blending, tile: Tile) -> Encoded:
        ensemble = what.config.ensemble
        assert ensemble is not None
        blend = blended(ensemble, what.weighting, what.inputs.teachers, tile, ensemble.temperature)
        host = self.passes.machine.host
        found = encode(blend, self.spec, ensemble.temperature, host, tile.start)
        if self.spec.copy_labels:
            found.arrays["labels"] = host(tile.labels())
        return found

    def _assemble(self, what: Blending, done: Finished) -> None:
        rows = self.passes.rows_taken
        size = rows * sum(prod(o.shape[1:]) * o.dtype.itemsize for o in self.plan.values())
        with self.passes.watch(f"write {self.spec.path.name}", rows, size) as progress:
            words = self._words(what, done)
            assemble(self.partial, self.spec, self.plan, words, progress.advance)

    def _words(self, what: Blending, done: Finished) -> dict[str, str]:
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
            "rows_skipped": str(done.skipped),
            "dtype": self.spec.dtype,
            "compression": self.spec.compression,
            "config": json.dumps(config.resolved()),
            "config_sha256": config.sha256(),
            "inputs": json.dumps([input_facts(item) for item in self.passes.inputs]),
            "job_sha256": _hash(self.job),
            "tool": f"distillcli {__version__}",
        }
        if self.spec.top_k is not None:
            words["top_k"] = str(self.spec.top_k)
        return words

    def _output(self, what: Blending) -> dict[str, Any]:
        assert what.config.ensemble is not None
        return {
            "path": str(self.spec.path),
            **self.spec.written(),
            "temperature": what.config.ensemble.temperature,
            "combine": what.config.ensemble.combine,
            "weights_rule": what.weighting.rule,
            "rows": self.passes.rows_taken,
            "classes": self.passes.inputs.classes,
            "bytes": self.spec.path.stat().st_size,
            "datasets": {
                name: {"dtype": str(one.dtype), "shape": list(one.shape)}
                for name, one in self.plan.items()
            },
        }

    def _facts(self, notes: list[str], started: float) -> dict[str, Any]:
        passes, machine = self.passes, self.passes.machine
        return {
            "config": passes.config.resolved(),
            "config_sha256": passes.config.sha256(),
            "inputs": [input_facts(item) for item in passes.inputs],
            "row_range": [passes.first, passes.stop],
            "bytes_read": passes.rows_taken * passes.inputs.row_bytes,
            "conventions": CONVENTIONS,
            "precision": str(machine.precision),
            "device": machine.backend.device,
            "kernel": machine.backend.kernel,
            "threads": machine.threads,
            "versions": versions(),
            "notes": notes,
            "seconds": time.perf_counter() - started,
        }


def _losses(spec: Spec, gatherer: Gatherer) -> Iterator[str]:
    """A warning where the type was too small for the probabilities."""
    if gatherer.lost:
        share = gatherer.lost / gatherer.entries
        yield (
            f"{share:.2%} of the probabilities are too small for {spec.dtype} and are stored as 0; "
            "--kind log_probabilities or --kind logits keeps them"
        )
