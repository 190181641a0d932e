"""`distill schema`: the JSON Schema of the config."""

from typing import Any

from distillcli.commands.strategy import CATALOGUE
from distillcli.config import json_schema


def schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12, of every config that distill takes."""
    return json_schema(CATALOGUE)
