"""`distill doctor` on the command line."""

import sys

from distillcli.cli.options import TABLE_OR_JSON, Shared, TableOrJson, command


@command("doctor")
def doctor(format: TableOrJson = "table", *, shared: Shared) -> None:
    """What distill runs on here, and what `--device auto` takes."""
    format = shared.one_of(TABLE_OR_JSON, format)
    from distillcli.commands.doctor import doctor as run
    from distillcli.report.checkup import write_checkup

    color = False if shared.no_color else None
    write_checkup(run().as_dict(), sys.stdout, format=format, color=color)
