"""`distill schema` on the command line."""

import sys

from distillcli.cli.options import Shared, command
from distillcli.result import json_text


@command("schema")
def schema(*, shared: Shared) -> None:
    """Print the JSON Schema of the config. Editors complete and check with it."""
    from distillcli.commands.schema import schema as run

    sys.stdout.write(json_text(run()))
