"""`distill inspect` on the command line."""

import sys
from typing import Annotated

import typer

from distillcli.cli.completion import complete_source
from distillcli.cli.options import Shared, command
from distillcli.errors import UsageError

FORMATS = ("table", "json")


@command("inspect")
def inspect(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            help="Files, globs, or PATH::DATASET.",
            autocompletion=complete_source,
        ),
    ],
    format: Annotated[
        str,
        typer.Option(
            "--format", metavar="|".join(FORMATS), envvar="DISTILL_FORMAT",
            help="What stdout carries.",
        ),
    ] = "table",
    *,
    shared: Shared,
) -> None:  # fmt: skip
    """What is in stored files: names, shapes, types, layout, range, and what it looks like."""
    from distillcli import report
    from distillcli.commands.inspect import inspect as run

    if format not in FORMATS:
        origin = shared.context.get_parameter_source("format")
        where = "--format" if origin is None or origin.name == "COMMANDLINE" else "DISTILL_FORMAT"
        raise UsageError(where, f"no format {format!r}", f"one of {', '.join(FORMATS)}")
    found = run(paths)
    color = False if shared.no_color else None
    report.write_inspection(found, sys.stdout, format=format, color=color)
    sys.stdout.flush()
    for error in found.errors:
        report.print_error(error, sys.stderr, color=color)
    if found.errors:
        raise typer.Exit(2)
