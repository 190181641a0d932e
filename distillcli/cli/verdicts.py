"""How `check` and `diff` show what they found: stdout, files, and the summary of a CI step."""

import io
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from distillcli.cli.options import Computing, Shared
from distillcli.errors import DistillError, UsageError
from distillcli.writing.outputs import replacing
from distillcli.writing.written import Written, check_writable, keep_apart

if TYPE_CHECKING:
    from distillcli.checking.comparison import Comparison
    from distillcli.report import Progress

_FORMAT = typer.Option(
    "--format",
    metavar="table|json|md|junit|github",
    envvar="DISTILL_FORMAT",
    help="What stdout carries; github also fills GITHUB_STEP_SUMMARY.",
)
_EXPORT = typer.Option(
    "--export",
    metavar="FORMAT=PATH",
    help="Write the verdict to a file too, as txt, json, md or junit; repeatable."
    "  [env var: DISTILL_EXPORT, one a line]",
)
# The formats of files, by the name that `--export` has for them.
EXPORTS = {"txt": "table", "json": "json", "md": "md", "junit": "junit"}


@dataclass(frozen=True)
class Checking(Computing):
    """Options of `check`."""

    format: Annotated[str, _FORMAT] = "table"
    export: Annotated[list[str] | None, _EXPORT] = None


@dataclass(frozen=True)
class Showing(Shared):
    """Options of `diff`."""

    format: Annotated[str, _FORMAT] = "table"


@dataclass(frozen=True)
class Verdicts:
    """Where a comparison goes, or why there is none.

    Raises:
        UsageError: no such format, or a file that cannot be written; told before any work is done.
    """

    shared: Checking | Showing
    all_rows: bool = True
    digits: int | None = None

    def __post_init__(self) -> None:
        from distillcli.report.verdicts import check_format

        check_format(self.shared.format, where=self.shared.called("format"))
        check_writable([file for _, file in self.files()])

    def files(self) -> list[tuple[str, Written]]:
        """Format and file of each export."""
        shared = self.shared
        return [_export(text) for text in shared.exports()] if isinstance(shared, Checking) else []

    def keep_apart(self, inputs: Iterable[tuple[str, Path]]) -> None:
        """Refuse to write what is read; `inputs` are roles and paths.

        Raises:
            UsageError: a file to be written is an input.
        """
        keep_apart([file for _, file in self.files()], inputs)

    @contextmanager
    def told(self) -> Iterator[None]:
        """Write why there is no comparison to where machines read, and go on with the error."""
        try:
            yield
        except DistillError as error:
            self._failed(error)
            raise

    def show(self, comparison: "Comparison") -> None:
        """Write the comparison."""
        self._render(comparison, self.shared.format, sys.stdout)
        for format, file in self.files():
            with _text_file(file) as stream:
                self._render(comparison, format, stream)
        self._summarise(comparison)

    def progress(self, label: str, rows: int, size: int) -> "Progress":
        """A progress display for a pass over so many rows and bytes."""
        from distillcli.report import Progress

        shows = isinstance(self.shared, Checking) and self.shared.shows_progress
        return Progress(rows, size, shows, sys.stderr, label=label, color=self._color)

    def note(self, text: str) -> None:
        """Tell the user something that is no part of the verdict."""
        from distillcli.report import print_note

        if not self.shared.quiet:
            print_note(text, sys.stderr, color=self._color)

    def _failed(self, error: DistillError) -> None:
        from distillcli.report.verdicts import render_failure

        render_failure(error, format=self.shared.format, stream=sys.stdout)
        for format, file in self.files():
            if isinstance(error, UsageError) or not _takes_failure(file.path):
                continue
            with _text_file(file) as stream:
                render_failure(error, format=format, stream=stream)
        self._summarise(error)

    def _render(self, comparison: "Comparison", format: str, stream: TextIO) -> None:
        from distillcli.report.verdicts import render

        render(
            comparison,
            format=format,
            stream=stream,
            color=self._color,
            all_rows=self.all_rows,
            digits=self.digits,
        )

    def _summarise(self, found: "Comparison | DistillError") -> None:
        from distillcli.report.verdicts.github import append_summary

        path = os.environ.get("GITHUB_STEP_SUMMARY")
        if self.shared.format == "github" and path:
            append_summary(found, Path(path))

    @property
    def _color(self) -> bool | None:
        """False where the user wants none; else the stream decides."""
        return False if self.shared.no_color else None


def _export(text: str) -> tuple[str, Written]:
    name, sign, path = text.partition("=")
    if name not in EXPORTS or not path:
        known = ", ".join(EXPORTS)
        problem = f"no format {name!r}" if sign else "has no ="
        raise UsageError(f"--export {text}", problem, f"write FORMAT=PATH, FORMAT one of {known}")
    return EXPORTS[name], Written(f"--export {name}", Path(path))


def _takes_failure(path: Path) -> bool:
    """Whether there is no file yet, or an earlier report.

    A run that fails early has not seen its inputs, so it cannot know that this is none of them.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(5)
        return start in (b"", b"<?xml") or start.startswith(b"{")
    except FileNotFoundError:
        return True
    except OSError:
        return False


@contextmanager
def _text_file(file: Written) -> Iterator[TextIO]:
    """A UTF-8 text file that is written whole or not at all."""
    with replacing(file.path, role=file.flag) as raw:
        stream = io.TextIOWrapper(raw, encoding="utf-8", newline="\n")
        yield stream
        stream.detach()
