"""`distill ensemble`: several teachers blended into soft targets, written to a file."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from distillcli.backend import choose
from distillcli.config import Config
from distillcli.ensembles.blend_run import BlendRun, Done, hash_of, job_of
from distillcli.ensembles.ensemble_result import EnsembleResult
from distillcli.errors import ConfigError, DataError, DistillError, UsageError
from distillcli.formats.hdf5.writing import Planned
from distillcli.planning.memory import require_room
from distillcli.sinks.tabulate import input_facts, versions
from distillcli.strategy.badrows import bad_rows
from distillcli.strategy.batchwise import loss_of
from distillcli.strategy.inputs import opened
from distillcli.strategy.measures import remarks_on
from distillcli.strategy.passes import ALL, Passes, Watch
from distillcli.strategy.selection import Selection
from distillcli.targets import Partial, Spec
from distillcli.targets.checking import words_of
from distillcli.targets.partial import partial_of

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
    _refuse_relations(config)
    with opened(config) as inputs:
        backend = choose(config.device, note)  # not before: see there
        spec.refuse_inputs([file.path for item in inputs for file in item.reader.files()])
        passes = Passes.over(config, inputs, backend, progress, selection)
        require_room(passes)
        assert inputs.classes is not None
        plan = spec.datasets(passes.rows_taken, inputs.classes)
        if spec.copy_labels and "labels" not in inputs:
            raise UsageError("--copy-labels", "there are no labels", "name them in the config")
        job = job_of(passes, spec)
        _require_free(spec.path, existing, job)
        with Partial(spec.path, job, resume=existing.resume, discard=existing.overwrite) as partial:
            run = BlendRun(passes, spec, plan, partial, job, note)
            done = run.write(bad_rows(config, inputs))
        notes = [*remarks_on(done.what.weighting), *done.notes]
        for text in notes:
            note(text)
        return _result(passes, spec, plan, done, notes, started)


def _refuse_relations(config: Config) -> None:
    """Rows are blended one by one, and pieces of the file are no batches."""
    for term in config.terms():
        if loss_of(term).least_batch is not None:
            problem = (
                f"{term.loss.name} relates the rows of a batch, which is left to distill score"
            )
            raise ConfigError(config.where(*term.path), problem, "take it out of losses here")


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


def _written_by(path: Path, job: Mapping[str, Any]) -> bool:
    """Whether a file was written by this very job, which may have been killed right after."""
    try:
        return words_of(path).get("job_sha256") == hash_of(job)
    except DistillError:
        return False


def _result(
    passes: Passes,
    spec: Spec,
    plan: Mapping[str, Planned],
    done: Done,
    notes: list[str],
    started: float,
) -> EnsembleResult:
    what, held = done.what, done.held_out
    fit = what.weighting.fit
    return EnsembleResult(
        rows=done.all.rows,
        rows_skipped=done.all.skipped,
        rows_masked=done.all.masked,
        sources=tuple(source.given for source in passes.config.teachers),
        weights=what.weights(done.all),
        term_weights=what.term_weights,
        all=what.figures(done.all, passes.first, passes.stop),
        held_out=what.figures(held, done.held_from, passes.stop) if held is not None else None,
        pairs=what.pairs(done.all),
        fit=asdict(fit) if fit is not None else None,
        output=_output(passes, spec, plan, done),
        nonfinite=what.nonfinite(done.all),
        facts=_facts(passes, notes, started),
    )


def _output(passes: Passes, spec: Spec, plan: Mapping[str, Planned], done: Done) -> dict[str, Any]:
    what = done.what
    assert what.config.ensemble is not None
    return {
        "path": str(spec.path),
        **spec.written(),
        "temperature": what.config.ensemble.temperature,
        "combine": what.config.ensemble.combine,
        "weights_rule": what.weighting.rule,
        "rows": passes.rows_taken,
        "rows_nan": done.bare,
        "classes": passes.inputs.classes,
        "bytes": spec.path.stat().st_size,
        "datasets": {
            name: {"dtype": str(one.dtype), "shape": list(one.shape)} for name, one in plan.items()
        },
    }


def _facts(passes: Passes, notes: list[str], started: float) -> dict[str, Any]:
    machine = passes.machine
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
