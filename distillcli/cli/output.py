"""Where a command's words go: the result to stdout and files, progress and notes to stderr."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import typer

from distillcli import report
from distillcli.cli import exports
from distillcli.cli.exports import STREAMED, Export, Lines
from distillcli.cli.options import Computing
from distillcli.cli.outcomes import outcome
from distillcli.report import JsonLines
from distillcli.result import Result
from distillcli.writing.written import Written, check_writable


@dataclass(frozen=True)
class Output:
    """How a result, progress and notes are shown, as the options ask for.

    Args:
        files: what the command writes besides exports.

    Raises:
        UsageError: there is no such format, or a file that cannot be written as things stand; told
            before any work is done.
    """

    shared: Computing
    format: str
    all_batches: bool = False
    files: Sequence[Written] = ()

    def __post_init__(self) -> None:
        self.shared.one_of(tuple(report.FORMATS), self.format)
        check_writable(self.written)

    @cached_property
    def exports(self) -> tuple[Export, ...]:
        """The files that the result is written to."""
        return exports.parsed(self.shared.exports(), self.shared.called("export"))

    @property
    def written(self) -> list[Written]:
        """All files that the command is going to write."""
        return [*self.files, *(export.file for export in self.exports)]

    @contextlib.contextmanager
    def lines(self) -> Iterator[Lines]:
        """What takes batches as they are found, to be written as lines of JSON."""
        stdout = sys.stdout if self.format == STREAMED else None
        with exports.lines_to(self.exports, stdout, patient=bool(self.written)) as lines:
            yield lines

    @contextlib.contextmanager
    def last_line(self) -> Iterator[None]:
        """See to it that lines of JSON on stdout end with one that tells a failure."""
        try:
            yield
        except (typer.Exit, BrokenPipeError):
            raise
        except BaseException as error:
            if self.format == STREAMED:
                with contextlib.suppress(OSError):
                    JsonLines(sys.stdout).error(*outcome(error))
            raise

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

    def show(self, result: Result, lines: Lines | None = None) -> None:
        """Write the result to its files and to stdout, where `lines` has the batches already."""
        exports.write(self.exports, result, all_batches=self.all_batches)
        if lines is not None and self.format == STREAMED:
            lines.summary(result)
            return
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
