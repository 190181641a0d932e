"""`distill schema` on the command line."""

import json
import sys

from distillcli.cli.options import Shared, command


@command("schema")
def schema(*, shared: Shared) -> None:
    """Print the JSON Schema of the config. Editors complete and check with it."""
    from distillcli.commands.schema import schema as run

    sys.stdout.write(json.dumps(run(), indent=2) + "\n")
