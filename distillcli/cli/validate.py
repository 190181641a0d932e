"""`distill validate` on the command line."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from distillcli.cli.completion import complete_config
from distillcli.cli.options import TABLE_OR_JSON, Configuring, TableOrJson, command


@command("validate")
def validate(
    config: Annotated[
        Path,
        typer.Argument(metavar="CONFIG", help="A YAML config.", autocompletion=complete_config),
    ],
    config_only: Annotated[
        bool,
        typer.Option("--config-only", help="Look at the config alone, at no input."),
    ] = False,
    format: TableOrJson = "table",
    *,
    shared: Configuring,
) -> None:
    """Check a config and its inputs' headers. Prints what a run would do."""
    format = shared.one_of(TABLE_OR_JSON, format)
    from distillcli.commands.strategy import from_file
    from distillcli.planning.plan import of_config
    from distillcli.report.plan import write_plan

    selection = shared.selection()
    strategy = from_file(config, shared.settings())
    if config_only:
        plan = of_config(strategy)
    else:
        from distillcli.commands.validate import validate as run

        plan = run(strategy, selection=selection)
    color = False if shared.no_color else None
    write_plan(plan, sys.stdout, format=format, color=color)
