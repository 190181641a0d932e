"""`distill check`: a result, new or saved, held number by number against a saved one."""

import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from distillcli.checking.comparison import Comparison, checked, side_by_side
from distillcli.checking.conditions import (
    CONDITIONS,
    Difference,
    differing_conditions,
    other_differences,
)
from distillcli.checking.noise import Noise, RowFile, paired
from distillcli.checking.saved import read_result, result_json
from distillcli.commands.score import Note, score
from distillcli.config import Check, Config
from distillcli.config.text import suggestion
from distillcli.errors import (
    DataError,
    FormatError,
    MismatchError,
    MissingError,
    NoBaselineError,
    UsageError,
)
from distillcli.result import Result
from distillcli.sinks.collection import Wishes
from distillcli.strategy.passes import ALL, Watch
from distillcli.strategy.selection import Selection
from distillcli.writing.outputs import replacing
from distillcli.writing.written import Written, check_writable

METRICS = "metrics"  # lifts the demand that no number of the baseline is missing now
LIFTABLE = (*CONDITIONS, METRICS)


@dataclass(frozen=True)
class Scored:
    """What is held against a baseline; `rows`: the loss of every row, if it is known."""

    name: str
    result: Result
    rows: RowFile | None


# Opens what is held against a baseline; told whether the loss of every row is wanted.
Current = Callable[[bool], AbstractContextManager[Scored]]


def scored_now(
    config: Config,
    *,
    name: str,
    progress: Watch,
    note: Note,
    selection: Selection = ALL,
    written: tuple[Written, ...] = (),
) -> Current:
    """A config, to be scored; the arguments are those of `score`, and what it is called."""

    @contextmanager
    def opened(with_rows: bool) -> Iterator[Scored]:
        with ExitStack() as stack:
            path = None
            if with_rows:
                folder = stack.enter_context(TemporaryDirectory(prefix="distill-"))
                path = Path(folder) / "rows.npy"
            result = score(
                config,
                progress=progress,
                note=note,
                selection=selection,
                wishes=Wishes(per_row=path),
                written=written,
            )
            rows = RowFile.of(result.facts.get("per_row"), Path(), name)
            yield Scored(name, _without_rows(result), rows)

    return opened


def saved_before(path: Path, *, any_schema: bool = False) -> Current:
    """A saved result in place of a new one."""

    @contextmanager
    def opened(with_rows: bool) -> Iterator[Scored]:
        result = _saved(path, "--current", any_schema)
        rows = RowFile.of(result.facts.get("per_row"), path.parent, f"--current {path}")
        yield Scored(str(path), _without_rows(result), rows if with_rows else None)

    return opened


def check(
    current: Current,
    baseline: Path,
    limits: Check,
    *,
    note: Note,
    allow: Collection[str] = (),
    make: str = "distill check CONFIG --baseline FILE --update-baseline",
) -> Comparison:
    """Hold a result against a saved one.

    Args:
        current: what is held against it: `scored_now` or `saved_before`.
        baseline: the saved result.
        limits: how far each number may move.
        note: told where a file with the loss of every row is gone, and nothing needs it.
        allow: conditions, of LIFTABLE, that may differ.
        make: the command that makes a baseline.

    Raises:
        NoBaselineError: there is none yet. MismatchError: the two cannot be compared.
        UsageError: no such condition. DataError: a file cannot be used; what scoring raises.
    """
    check_allowed(allow)
    if not baseline.exists():
        raise NoBaselineError(f"baseline {baseline}", "there is none yet", f"make it with: {make}")
    saved = _saved(baseline, "baseline", "schema" in allow)
    rows = RowFile.of(saved.facts.get("per_row"), baseline.parent, f"baseline {baseline}")
    if limits.significant and rows is None:
        hint = "write it again with --update-baseline, or set check.significant to false"
        problem = "has no loss of single rows, which check.significant needs"
        raise DataError(f"baseline {baseline}", problem, hint)
    rows = _at_hand(rows, limits, note)
    with current(rows is not None) as now:
        lifted = _comparable(saved, now.result, baseline, allow)
        now = replace(now, rows=_at_hand(now.rows, limits, note))
        noise = _noise(rows, now, lifted, limits)
        may_go = METRICS in allow
        return Comparison(
            command="check",
            baseline=str(baseline),
            now=now.name,
            rows=checked(saved, now.result, limits, noise=noise, metrics_may_go=may_go),
            lifted=lifted,
            changes=other_differences(saved, now.result),
            check=limits,
            noise=noise,
        )


def update(current: Current, baseline: Path, limits: Check, *, note: Note) -> Comparison:
    """Write a baseline, whole or not at all, and tell what it changes.

    The loss of every row goes beside it, as NAME.rows.npy, where the check asks for significance or
    the old baseline has it.

    Raises:
        DataError: it cannot be written, or something else is in its place; what scoring raises.
    """
    check_writable([Written("--baseline", baseline)])
    old = _old(baseline)
    with_rows = limits.significant or (old is not None and "per_row" in old.facts)
    rows = _rows_beside(baseline, old) if with_rows else None
    with current(with_rows) as now:
        if limits.significant and now.rows is None:
            raise DataError(now.name, "has no loss of single rows, which check.significant needs")
        if now.rows is not None:
            now.rows.require()
        _write(baseline, now, rows)
        lost = list(now.result.nonfinite)
        if lost:
            note(f"not finite, so that every check against this baseline fails: {', '.join(lost)}")
        return Comparison(
            command="update",
            baseline=str(baseline),
            now=now.name,
            rows=side_by_side(old, now.result) if old else (),
            lifted=differing_conditions(old, now.result) if old else (),
            changes=other_differences(old, now.result) if old else (),
        )


def check_allowed(allow: Collection[str]) -> None:
    """Refuse the name of a condition that there is not.

    Raises:
        UsageError: there is none of this name.
    """
    for name in allow:
        if name not in LIFTABLE:
            raise UsageError(f"--allow {name}", "is no condition", suggestion(name, LIFTABLE))


def _saved(path: Path, role: str, any_schema: bool) -> Result:
    result = read_result(path, role=role, any_schema=any_schema)
    if result.command != "score" and not any_schema:
        problem = f"is a result of {result.command!r}, not of score"
        raise FormatError(f"{role} {path}", problem, "save one with: distill score --format json")
    return result


def _without_rows(result: Result) -> Result:
    facts = {name: fact for name, fact in result.facts.items() if name != "per_row"}
    return replace(result, facts=facts)


def _comparable(
    saved: Result, now: Result, baseline: Path, allow: Collection[str]
) -> tuple[Difference, ...]:
    """What differs and was allowed to."""
    found = differing_conditions(saved, now)
    hard = [one for one in found if one.condition not in allow]
    if not hard:
        return found
    names = dict.fromkeys(one.condition for one in hard)
    flags = " ".join(f"--allow {name}" for name in names)
    problem = f"cannot be compared: {'; '.join(map(str, hard))}"
    hint = f"write it again with --update-baseline, or compare all the same with {flags}"
    raise MismatchError(f"baseline {baseline}", problem, hint)


def _at_hand(rows: RowFile | None, limits: Check, note: Note) -> RowFile | None:
    """The loss of every row, as far as its file is there or is needed."""
    try:
        if rows is not None:
            rows.require()
    except MissingError as error:
        if limits.significant:
            raise
        note(f"{error.where}: {error.problem}; the loss is not compared row by row")
        return None
    return rows


def _noise(
    rows: RowFile | None, now: Scored, lifted: Collection[Difference], limits: Check
) -> Noise | None:
    """What the same rows on both sides say; None where they are not known, or not the same."""
    same = not any(one.condition == "rows" for one in lifted)
    noise = paired(rows, now.rows) if rows and now.rows and same else None
    if noise is None and limits.significant:
        problem = "no row has a finite loss on both sides" if same else "other rows than before"
        if now.rows is None:
            problem = "has no loss of single rows"
        raise DataError(now.name, f"{problem}, and check.significant needs them")
    return noise


def _old(baseline: Path) -> Result | None:
    """The baseline that is replaced. Any other file in its place stays: it may be an input.

    Raises:
        FormatError: what is there is no saved result.
    """
    try:
        return read_result(baseline, role="baseline")
    except MissingError:
        return None
    except FormatError as error:
        hint = "only a saved result is replaced: give another path, or remove the file"
        raise FormatError(error.where, error.problem, hint) from None


def _rows_beside(baseline: Path, old: Result | None) -> Path:
    """Where the loss of every row goes: NAME.rows.npy, free or of the baseline that is replaced.

    Raises:
        DataError: another file is there.
    """
    path = baseline.with_name(f"{baseline.stem}.rows.npy")
    known = old.facts.get("per_row") if old is not None else None
    mine = isinstance(known, dict) and known.get("path") == path.name
    if path.exists() and not mine:
        problem = "is there already, and belongs to no baseline"
        raise DataError(f"rows of the baseline {path}", problem, "call the baseline something else")
    return path


def _write(path: Path, now: Scored, beside: Path | None) -> None:
    """Both files take their names one right after the other, when both are whole."""
    facts = dict(now.result.facts)
    with ExitStack() as files:
        baseline = files.enter_context(replacing(path, role="baseline"))
        if now.rows is not None and beside is not None:
            rows = files.enter_context(replacing(beside, role="rows of the baseline"))
            with open(now.rows.path, "rb") as source:
                shutil.copyfileobj(source, rows)
            facts["per_row"] = {"path": beside.name, "crc32": now.rows.crc32, "rows": now.rows.rows}
        baseline.write(result_json(replace(now.result, facts=facts)).encode("ascii"))
