"""`distill verify` on the command line."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from distillcli.cli.options import TABLE_OR_JSON, Shared, TableOrJson, command
from distillcli.result import json_text


@command("verify")
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What distill ensemble wrote.")],
    format: TableOrJson = "table",
    no_progress: Annotated[
        bool, typer.Option("--no-progress", help="No progress on stderr.")
    ] = False,
    *,
    shared: Shared,
) -> None:
    """Check a soft-target file. It is held against its checksums and its own declarations."""
    from distillcli import report
    from distillcli.commands.verify import verify as run

    format = shared.one_of(TABLE_OR_JSON, format)
    color = False if shared.no_color else None

    def progress(label: str, rows: int, size: int) -> report.Progress:
        shown = not (no_progress or shared.quiet)
        return report.Progress(rows, size, shown, sys.stderr, label=label, color=color)

    found = run(file, progress=progress)
    if format == "json":
        sys.stdout.write(json_text(found.data))
    else:
        report.print_facts(found.lines, sys.stdout, color=color)
