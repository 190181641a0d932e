"""`distill score`: losses and metrics of a student against its teacher(s)."""

import time
from collections.abc import Callable, Sequence

from distillcli.backend import choose
from distillcli.config import Config
from distillcli.planning.memory import require_room
from distillcli.result import Result, TeacherResult, finite
from distillcli.sinks.collection import Wishes, batch_size, collecting
from distillcli.sinks.tabulate import tabulate
from distillcli.strategy.badrows import bad_rows
from distillcli.strategy.inputs import opened
from distillcli.strategy.measures import mean_weight, remarks_on, scoring, teacher_column
from distillcli.strategy.passes import ALL, Passes, Watch, projections
from distillcli.strategy.remarks import assumptions, look_alikes, targets
from distillcli.strategy.sampled import alignment
from distillcli.strategy.selection import Selection
from distillcli.strategy.tails import tail_facts, tail_remarks
from distillcli.strategy.vocabulary import vocabulary_facts, vocabulary_remarks
from distillcli.strategy.weighting import Weighting, teacher_weights
from distillcli.sums.batches import neighbours_joined
from distillcli.sums.totals import Finished
from distillcli.writing.written import Written, keep_apart

NOTHING = Wishes()

Note = Callable[[str], None]


def score(
    config: Config,
    *,
    progress: Watch,
    note: Note,
    selection: Selection = ALL,
    wishes: Wishes = NOTHING,
    written: Sequence[Written] = (),
) -> Result:
    """Score a student against its teacher(s).

    Args:
        config: a checked strategy.
        progress: opens a progress display for a pass.
        note: takes what a user should know, one line each.
        selection: the rows to score.
        wishes: what is to be found beside the figures.
        written: files that the caller is going to write, none of which may be an input.

    Raises:
        DataError, ConfigError: see `distillcli.errors`. BackendError: no such device.
    """
    started = time.perf_counter()
    with opened(config) as inputs:
        backend = choose(config.device, note)  # not before: see there
        keep_apart(written, inputs.files())
        passes = Passes.over(config, inputs, backend, progress, selection)
        require_room(passes)
        alike = [*look_alikes(inputs)]  # first: what it unpacks, the other need not
        fit = alignment(passes)
        warnings = [*alike, *fit.warnings()]
        for warning in warnings:
            note(warning)
        bad = bad_rows(config, inputs)
        weighting = teacher_weights(passes, bad)
        what = scoring(
            config,
            inputs,
            bad,
            weighting=weighting,
            projections=projections(passes, bad),
            rows=(passes.first, passes.stop),
        )
        with collecting(passes, what, wishes) as found:
            roles = list(inputs.items)
            passes.fold(
                "score",
                found.measure(),
                found,
                roles,
                products=what.products,
                batch=what.batch,
                by_kernel=what.by_kernel,
                beside=what.alignment,
            )
        done = found.totals.finish()
        classes = {**vocabulary_facts(config, inputs, done), **tail_facts(config, inputs, done)}
        return tabulate(
            passes,
            what,
            done,
            found.batches.found,
            teachers=_teachers(config, weighting, done),
            groups=found.groups(),
            worst=found.worst(),
            facts={
                **found.facts(),
                **classes,
                **fit.facts(),
                "rows_stored": inputs.rows,
                "row_range": [passes.first, passes.stop],
                "batch_size": batch_size(passes),
                "batches_joined": neighbours_joined(batch_size(passes), passes.rows_taken),
                "bytes_read": passes.rows_taken * inputs.row_bytes,
                "notes": [
                    *assumptions(config),
                    *targets(config, inputs),
                    *remarks_on(weighting),
                    *fit.remarks(),
                    *vocabulary_remarks(classes),
                    *tail_remarks(classes),
                    *warnings,
                ],
                "seconds": time.perf_counter() - started,
            },
        )


def _teachers(
    config: Config, weighting: Weighting | None, done: Finished
) -> tuple[TeacherResult, ...] | None:
    if weighting is None:
        return None

    def figure(index: int, name: str) -> float | None:
        column = teacher_column(index, name)
        return finite(done.mean(column)) if column in done.names else None

    return tuple(
        TeacherResult(
            source=source.given,
            weight=mean_weight(weighting, index, done),
            accuracy=figure(index, "accuracy"),
            nll=figure(index, "nll"),
        )
        for index, source in enumerate(config.teachers)
    )
