"""`distill inspect` on the command line."""

import sys
from typing import Annotated

import typer

from distillcli.cli.completion import complete_source
from distillcli.cli.options import TABLE_OR_JSON, Shared, TableOrJson, command


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
    format: TableOrJson = "table",
    *,
    shared: Shared,
) -> None:
    """What is in stored files. Names, shapes, types, layout, range, and what it looks like."""
    format = shared.one_of(TABLE_OR_JSON, format)
    from distillcli import report
    from distillcli.commands.inspect import inspect as run

    found = run(paths)
    color = False if shared.no_color else None
    report.write_inspection(found, sys.stdout, format=format, color=color)
    sys.stdout.flush()
    for error in found.errors:
        report.print_error(error, sys.stderr, color=color)
    if found.errors:
        raise typer.Exit(2)
