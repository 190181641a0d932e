"""Comparisons as JSON, ASCII only, every number in full."""

from typing import TextIO

from distillcli.checking.comparison import SCHEMA, Comparison
from distillcli.errors import DistillError
from distillcli.result import json_text


def write_json(
    comparison: Comparison,
    stream: TextIO,
    *,
    color: bool | None,
    all_rows: bool,
    digits: int | None,
) -> None:
    """Write one JSON object with every number; the other options play no part."""
    stream.write(json_text(comparison.as_dict()))


def write_failure(error: DistillError, stream: TextIO) -> None:
    """Write an object with the verdict `error` and the reason."""
    data = {"schema": SCHEMA, "verdict": "error", "error": str(error)}
    stream.write(json_text(data))
