"""Comparisons of two results as people and programs read them: one file per format."""

from collections.abc import Mapping
from typing import Protocol, TextIO

from distillcli.checking.comparison import Comparison
from distillcli.errors import DistillError, UsageError
from distillcli.report.verdicts import github, junit, plain
from distillcli.report.verdicts.markdown import write_markdown
from distillcli.report.verdicts.table import write_table

__all__ = ["FORMATS", "github", "render", "render_failure"]


class Renderer(Protocol):
    """Writes a comparison to a stream in one format."""

    def __call__(
        self, comparison: Comparison, stream: TextIO, *, color: bool | None, all_rows: bool,
        digits: int | None,
    ) -> None: ...  # fmt: skip


class FailureRenderer(Protocol):
    """Writes why there is no comparison, in one format."""

    def __call__(self, error: DistillError, stream: TextIO) -> None: ...


FORMATS: Mapping[str, Renderer] = {
    "table": write_table,
    "json": plain.write_json,
    "md": write_markdown,
    "junit": junit.write_junit,
    "github": github.write_github,
}
_FAILURES: Mapping[str, FailureRenderer] = {
    "json": plain.write_failure,
    "junit": junit.write_failure,
    "github": github.write_failure,
}


def check_format(name: str, *, where: str = "--format") -> None:
    """Refuse a format that is not there, before any work is done.

    Raises:
        UsageError: there is no such format.
    """
    if name not in FORMATS:
        raise UsageError(where, f"no format {name!r}", f"one of {', '.join(FORMATS)}")


def render(
    comparison: Comparison,
    *,
    format: str,
    stream: TextIO,
    color: bool | None = None,
    all_rows: bool = True,
    digits: int | None = None,
) -> None:
    """Write a comparison.

    Args:
        comparison: what a command has found.
        format: a name in FORMATS.
        stream: where to.
        color: True or False; None for colour on a terminal that has it, unless NO_COLOR is set.
        all_rows: also the numbers that are the same on both sides.
        digits: significant digits of every number; None for 6, and 3 of differences.
    """
    check_format(format)
    FORMATS[format](comparison, stream, color=color, all_rows=all_rows, digits=digits)


def render_failure(error: DistillError, *, format: str, stream: TextIO) -> None:
    """Write why there is no comparison, in the formats that machines read; else nothing."""
    if format in _FAILURES:
        _FAILURES[format](error, stream)
