"""`distill diff` on the command line."""

from pathlib import Path
from typing import Annotated

import typer

from distillcli.cli.options import command
from distillcli.cli.verdicts import Showing, Verdicts


@command("diff")
def diff(
    a: Annotated[Path, typer.Argument(metavar="A.json", help="A saved result of score.")],
    b: Annotated[Path, typer.Argument(metavar="B.json", help="Another one.")],
    all_rows: Annotated[
        bool, typer.Option("--all", help="Also the numbers that are the same in both.")
    ] = False,
    precision: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=17, help="Significant digits of every number."),
    ] = None,
    *,
    shared: Showing,
) -> None:
    """Two saved results side by side; nothing is demanded of them."""
    out = Verdicts(shared, all_rows=all_rows, digits=precision)
    with out.told():
        from distillcli.commands.diff import diff as run

        found = run(a, b)
    out.show(found)
