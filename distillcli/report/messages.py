"""What goes to stderr: errors, warnings and notes, each on one line of its own, never wrapped."""

import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import TextIO

from rich.text import Text

from distillcli.errors import ConfigErrors, DataErrors, DistillError
from distillcli.report.page import Page
from distillcli.report.text import escape


def print_error(
    error: DistillError, stream: TextIO | None = None, *, color: bool | None = None
) -> None:
    """Write `distill: error: where: problem; hint`, one line for each of several."""
    errors = error.errors if isinstance(error, ConfigErrors | DataErrors) else (error,)
    for each in errors:
        _print("error", "bold red", str(each), stream, color)


def print_warning(text: str, stream: TextIO | None = None, *, color: bool | None = None) -> None:
    """Write `distill: warning: text`."""
    _print("warning", "bold yellow", text, stream, color)


def print_note(text: str, stream: TextIO | None = None, *, color: bool | None = None) -> None:
    """Write `distill: note: text`."""
    _print("note", "bold", text, stream, color)


def print_facts(
    facts: Mapping[str, str], stream: TextIO | None = None, *, color: bool | None = None
) -> None:
    """Write `name  value` lines with the values below each other, each on one line."""
    stream = sys.stdout if stream is None else stream
    page = Page(None, Page.of(stream, color=color).color, Page.of(stream).encoding)
    width = max(map(len, facts))
    lines = [
        Text.assemble((escape(name).ljust(width), "dim"), f"  {escape(value)}")
        for name, value in facts.items()
    ]
    stream.write(page.text(lines))
    stream.flush()


def _print(kind: str, style: str, text: str, stream: TextIO | None, color: bool | None) -> None:
    stream = sys.stderr if stream is None else stream
    line = Text.assemble("distill: ", (f"{kind}:", style), f" {escape(text)}")
    # A page without width: a terminal breaks long lines itself, and they copy as one line.
    page = Page(None, Page.of(stream, color=color).color, Page.of(stream).encoding)
    with suppress(OSError):  # a full or closed stderr costs no result, and changes no exit code
        stream.write(page.text([line]))
        stream.flush()
