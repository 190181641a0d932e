"""Results, messages and progress as people and programs read them; knows the terminal alone."""

from collections.abc import Mapping
from typing import Protocol, TextIO

from distillcli.errors import UsageError
from distillcli.report.csvreport import write_csv
from distillcli.report.inspect import write_inspection
from distillcli.report.jsonlines import JsonLines, write_jsonl
from distillcli.report.jsonreport import write_json
from distillcli.report.markdown import write_markdown
from distillcli.report.messages import print_error, print_facts, print_note, print_warning
from distillcli.report.progress import Progress
from distillcli.report.table import write_table
from distillcli.report.text import escape
from distillcli.result import Result

__all__ = [
    "EXPORTS",
    "FORMATS",
    "JsonLines",
    "Progress",
    "Renderer",
    "escape",
    "print_error",
    "print_facts",
    "print_note",
    "print_warning",
    "render",
    "write_inspection",
]


class Renderer(Protocol):
    """Writes a result to a stream in one format."""

    def __call__(
        self, result: Result, stream: TextIO, *, color: bool | None, width: int | None,
        all_batches: bool,
    ) -> None: ...  # fmt: skip


# What stdout can carry, and what files can be written as.
FORMATS: Mapping[str, Renderer] = {
    "table": write_table,
    "json": write_json,
    "jsonl": write_jsonl,
    "csv": write_csv,
    "md": write_markdown,
}
EXPORTS: Mapping[str, Renderer] = {
    **{name: FORMATS[name] for name in ("json", "jsonl", "csv", "md")},
    "txt": write_table,
}


def render(
    result: Result,
    *,
    format: str,
    stream: TextIO,
    color: bool | None = None,
    width: int | None = None,
    all_batches: bool = False,
) -> None:
    """Write a result.

    Args:
        result: what a command has found.
        format: a name in FORMATS.
        stream: where to; characters that its encoding lacks become escapes.
        color: True or False; None for colour on a terminal that has it, unless NO_COLOR is set.
        width: columns; None for those of the terminal, or without one as many as it takes.
        all_batches: one line for every batch, however many there are.

    Raises:
        UsageError: there is no such format.
        OSError: the stream cannot be written, a closed pipe (BrokenPipeError) included.
    """
    if format not in FORMATS:
        raise UsageError("--format", f"no format {format!r}", f"one of {', '.join(FORMATS)}")
    FORMATS[format](result, stream, color=color, width=width, all_batches=all_batches)
