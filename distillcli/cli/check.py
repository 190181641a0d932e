"""`distill check` on the command line."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from distillcli.cli.completion import complete_config
from distillcli.cli.options import command
from distillcli.cli.verdicts import Checking, Verdicts
from distillcli.errors import UsageError
from distillcli.writing.written import Written, keep_apart

if TYPE_CHECKING:
    from distillcli.commands.check import Current
    from distillcli.config import Check, Config

OUTSIDE = 1  # the exit code of a number outside its limit


@command("check")
def check(
    config: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CONFIG]",
            help="A YAML config, scored again.",
            autocompletion=complete_config,
        ),
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A saved result of score.")
    ] = None,
    current: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A second saved result, instead of scoring."),
    ] = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:LIMIT",
            help="How far a number may move, such as loss:5% or '*_accuracy:0.001'; repeatable.",
        ),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="What may differ although numbers are compared: strategy, losses, temperature,"
            " rows, classes, precision, schema; metrics: some may be missing. Repeatable.",
        ),
    ] = None,
    update_baseline: Annotated[
        bool, typer.Option("--update-baseline", help="Write the baseline; tell what changed.")
    ] = False,
    *,
    shared: Checking,
) -> None:
    """Hold every number against a saved result. Exit 1 if one is outside its limit."""
    out = Verdicts(shared)
    others = {"config": config, "current": current}
    inputs = {**others, "baseline": baseline}
    out.keep_apart((role, path) for role, path in inputs.items() if path is not None)
    with out.told():
        from distillcli.commands.check import check as run
        from distillcli.commands.check import check_allowed, update

        if baseline is None:
            raise UsageError("--baseline", "is missing", "give a saved result of score")
        names = allow or []
        check_allowed(names)
        strategy = _config(config, current, shared)
        limits = _limits(strategy, fail_on or [])
        new = [Written("--baseline", baseline)] if update_baseline else []
        keep_apart(new, [(role, path) for role, path in others.items() if path is not None])
        source = _source(config, strategy, current, "schema" in names, new, out)
        if update_baseline:
            found = update(source, baseline, limits, note=out.note)
        else:
            make = _command(config, baseline, current, shared)
            found = run(source, baseline, limits, note=out.note, allow=names, make=make)
    out.show(found)
    if found.failures:
        raise typer.Exit(OUTSIDE)


def _config(config: Path | None, current: Path | None, shared: Checking) -> "Config | None":
    from distillcli.commands.strategy import from_file

    if config is None and current is None:
        raise UsageError("distill check", "nothing to check", "give a config, or --current FILE")
    for name, value in (("rows", shared.rows), ("limit", shared.limit)):
        if current is not None and value is not None:
            raise UsageError(shared.called(name), "has no meaning with --current", "leave it out")
    if config is None:
        if shared.assignments:
            raise UsageError("--set", "there is no config to set it in", "give the config")
        return None
    return from_file(config, shared.settings())


def _limits(strategy: "Config | None", texts: list[str]) -> "Check":
    from distillcli.config import Check, demanding, fail_on
    from distillcli.metrics import METRICS

    terms = [] if strategy is None else [term.name for term in strategy.terms()]
    demanded = fail_on(texts, metrics=tuple(METRICS), terms=terms)
    return demanding(Check() if strategy is None else strategy.check, demanded)


def _source(
    config: Path | None,
    strategy: "Config | None",
    current: Path | None,
    any_schema: bool,
    baseline: Sequence[Written],
    out: Verdicts,
) -> "Current":
    from distillcli.commands.check import saved_before, scored_now

    if current is not None:
        return saved_before(current, any_schema=any_schema)
    assert isinstance(out.shared, Checking)
    assert strategy is not None
    return scored_now(
        strategy,
        name=str(config),
        progress=out.progress,
        note=out.note,
        selection=out.shared.selection(),
        written=(*(file for _, file in out.files()), *baseline),
    )


def _command(config: Path | None, baseline: Path, current: Path | None, shared: Checking) -> str:
    """The command that makes the baseline which this command line would check."""
    words = ["distill", "check"]
    words += [str(config)] if config is not None else []
    words += ["--current", str(current)] if current is not None else []
    for text in shared.assignments or []:
        words += ["--set", text]
    for flag, value in (("--rows", shared.rows), ("--limit", shared.limit)):
        words += [flag, value] if value is not None else []
    return shlex.join([*words, "--baseline", str(baseline), "--update-baseline"])
