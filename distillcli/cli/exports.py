"""`--export FORMAT=PATH`: the result in files too, each whole or not there."""

import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO

from distillcli import report
from distillcli.errors import UsageError
from distillcli.report import JsonLines
from distillcli.result import BatchResult, Result
from distillcli.writing.outputs import replacing
from distillcli.writing.written import Written

STREAMED = "jsonl"  # written batch by batch


@dataclass(frozen=True)
class Export:
    """A file to write and the format it is written in."""

    format: str
    file: Written


def parsed(texts: Sequence[str], flag: str) -> tuple[Export, ...]:
    """`FORMAT=PATH` each.

    Raises:
        UsageError: not of that form, or no such format.
    """
    return tuple(_parsed(text, flag) for text in texts)


def _parsed(text: str, flag: str) -> Export:
    name, sign, path = text.partition("=")
    known = ", ".join(report.EXPORTS)
    if not sign or not path:
        raise UsageError(flag, f"{text!r} is not FORMAT=PATH", f"FORMAT is one of {known}")
    if name not in report.EXPORTS:
        raise UsageError(flag, f"no format {name!r}", f"one of {known}")
    return Export(name, Written(f"{flag} {name}", Path(path)))


def write(exports: Sequence[Export], result: Result, *, all_batches: bool) -> None:
    """Write the files that are made of the whole result.

    Raises:
        DataError: the disk is full, there is no permission, and the like.
    """
    for export in exports:
        if export.format != STREAMED:
            with _opened(export) as text:
                report.EXPORTS[export.format](
                    result, text, color=False, width=None, all_batches=all_batches
                )


@contextmanager
def _opened(export: Export) -> Iterator[TextIO]:
    with replacing(export.file.path, role=export.file.flag) as file, _as_text(file) as text:
        yield text


@contextmanager
def _as_text(file: BinaryIO) -> Iterator[TextIO]:
    text = io.TextIOWrapper(file, "utf-8", newline="\n", write_through=True)
    yield text
    text.detach()


class Lines:
    """Lines of JSON that go to several places; one of them may be standard output.

    Args:
        patient: whether the run goes on for the sake of others when nobody reads stdout any more.
    """

    def __init__(self, files: Sequence[JsonLines], stdout: JsonLines | None, patient: bool) -> None:
        self._files, self._stdout, self._patient = files, stdout, patient
        self._gone: BrokenPipeError | None = None

    def __bool__(self) -> bool:
        return bool(self._files) or self._stdout is not None

    def batch(self, batch: BatchResult) -> None:
        """Write the line of a batch."""
        for lines in self._files:
            lines.batch(batch)
        if self._stdout is not None and self._gone is None:
            try:
                self._stdout.batch(batch)
            except BrokenPipeError as error:
                if not self._patient:
                    raise
                self._gone = error

    def file_summaries(self, result: Result) -> None:
        """Write the last lines of the files."""
        for lines in self._files:
            lines.summary(result)

    def summary(self, result: Result) -> None:
        """Write the last line of stdout.

        Raises:
            BrokenPipeError: nobody reads it any more.
        """
        if self._gone is not None:
            raise self._gone
        if self._stdout is not None:
            self._stdout.summary(result)


@contextmanager
def lines_to(exports: Sequence[Export], stdout: TextIO | None, *, patient: bool) -> Iterator[Lines]:
    """Lines of JSON to every export that takes them, and to stdout if it is given.

    The files take their names when the block ends without an error.
    """
    with ExitStack() as stack:
        files = [
            JsonLines(stack.enter_context(_opened(export)))
            for export in exports
            if export.format == STREAMED
        ]
        yield Lines(files, JsonLines(stdout) if stdout is not None else None, patient)
