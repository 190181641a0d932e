"""Where a command's words go: the result to stdout, progress and notes to stderr."""

import sys
from dataclasses import dataclass

from distillcli import report
from distillcli.cli.options import Computing
from distillcli.errors import UsageError
from distillcli.result import Result


@dataclass(frozen=True)
class Output:
    """How a result, progress and notes are shown, as the options ask for.

    Raises:
        UsageError: there is no such format; told before any work is done.
    """

    shared: Computing
    format: str
    all_batches: bool = False

    def __post_init__(self) -> None:
        if self.format not in report.FORMATS:
            known = ", ".join(report.FORMATS)
            raise UsageError(
                self.shared.called("format"), f"no format {self.format!r}", f"one of {known}"
            )

    def progress(self, label: str, rows: int, size: int) -> report.Progress:
        """A progress display for a pass over so many rows and bytes."""
        return report.Progress(
            rows,
            size,
            self.shared.shows_progress,
            sys.stderr,
            label=label,
            color=self.color,
        )

    def note(self, text: str) -> None:
        """Tell the user something that is no part of the result."""
        if not self.shared.quiet:
            report.print_note(text, sys.stderr, color=self.color)

    def show(self, result: Result) -> None:
        """Write the result to stdout."""
        report.render(
            result,
            format=self.format,
            stream=sys.stdout,
            color=self.color,
            all_batches=self.all_batches,
        )

    @property
    def color(self) -> bool | None:
        """False where the user wants none; else the stream decides."""
        return False if self.shared.no_color else None
