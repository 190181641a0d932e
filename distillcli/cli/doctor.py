"""`distill doctor` on the command line."""

import sys

from distillcli.cli.options import Shared, command


@command("doctor")
def doctor(*, shared: Shared) -> None:
    """Versions, devices, what `--device auto` chooses and why."""
    from distillcli import report
    from distillcli.commands.doctor import doctor as run

    report.print_facts(run(), sys.stdout, color=False if shared.no_color else None)
