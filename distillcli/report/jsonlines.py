"""A run as lines of JSON: one per batch as it goes, and one at the end that sums it up."""

import json
from collections.abc import Mapping
from typing import Any, TextIO

from distillcli.errors import DistillError
from distillcli.result import BatchResult, Result


class JsonLines:
    """Writes lines that are objects with one key: `batch`, and at the end `summary` or `error`.

    `summary` is the result without its batches. Lines are handed on as they are written.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def batch(self, batch: BatchResult) -> None:
        """The line of a batch."""
        self._write("batch", batch.as_dict())

    def summary(self, result: Result) -> None:
        """The last line of a run that has come to its end."""
        parts = result.as_dict()
        self._write("summary", {key: part for key, part in parts.items() if key != "batches"})

    def error(self, error: DistillError, exit_code: int) -> None:
        """The last line of a run that has failed."""
        parts = {"where": error.where, "problem": error.problem, "hint": error.hint}
        known = {key: part for key, part in parts.items() if part}
        self._write("error", {"message": str(error), **known, "exit_code": exit_code})

    def _write(self, kind: str, data: Mapping[str, Any]) -> None:
        self._stream.write(json.dumps({kind: data}, allow_nan=False) + "\n")
        self._stream.flush()


def write_jsonl(
    result: Result, stream: TextIO, *, color: bool | None, width: int | None, all_batches: bool
) -> None:
    """Write the lines of a result that is complete, with the batches as it has them."""
    lines = JsonLines(stream)
    for batch in result.batches:
        lines.batch(batch)
    lines.summary(result)
