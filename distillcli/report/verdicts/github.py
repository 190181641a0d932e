"""Comparisons for GitHub Actions: annotations on stdout, a summary in the file it asks for."""

from pathlib import Path
from typing import TextIO

from distillcli.checking.comparison import Comparison, Row
from distillcli.errors import DistillError
from distillcli.report.text import escape
from distillcli.report.verdicts import words
from distillcli.report.verdicts.markdown import failure, markdown
from distillcli.writing.outputs import told

MOST = 10  # as many annotations of a kind are kept for a step
SUMMARY_BYTES = (1 << 20) - 1  # a step's summary that is larger is thrown away as a whole

_CUT = "\n... cut here: the summary of a step must stay below 1 MiB\n"
_LEVELS = {"fail": "error", "near": "warning", "better": "notice", "insignificant": "notice"}


def write_github(
    comparison: Comparison,
    stream: TextIO,
    *,
    color: bool | None,
    all_rows: bool,
    digits: int | None,
) -> None:
    """Write at most ten annotations, worst first, and the verdict in plain words."""
    rows = [row for row in comparison.rows if row.verdict in _LEVELS]
    for row in rows[: MOST - 1] if len(rows) > MOST else rows:
        title = f"distill {comparison.command}: {row.name}"
        stream.write(command(_LEVELS[row.verdict], title, f"{row.name} {words.sentence(row)}"))
    if len(rows) > MOST:
        stream.write(_rest(comparison, rows[MOST - 1 :]))
    stream.write(f"{words.headline(comparison)}\n")


def write_failure(error: DistillError, stream: TextIO) -> None:
    """Write the reason as one annotation."""
    stream.write(command("error", "distill check", str(error)))


def _rest(comparison: Comparison, rows: list[Row]) -> str:
    names = ", ".join(row.name for row in rows)
    text = f"{len(rows)} more: {names if len(names) <= 500 else f'{names[:500]}...'}"
    return command(_LEVELS[rows[0].verdict], f"distill {comparison.command}", text)


def command(level: str, title: str, text: str) -> str:
    """One workflow command; nothing in its texts can end it or start another."""
    title = _data(title).replace(":", "%3A").replace(",", "%2C")
    return f"::{level} title={title}::{_data(text)}\n"


def _data(text: str) -> str:
    return escape(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def append_summary(found: Comparison | DistillError, path: Path) -> None:
    """Append Markdown to a step's summary, cut so that the file stays below 1 MiB.

    Raises:
        DataError: the file cannot be written.
    """
    text = failure(found) if isinstance(found, DistillError) else markdown(found)
    with told(path, "GITHUB_STEP_SUMMARY"), open(path, "ab") as file:
        file.write(_cut(text, SUMMARY_BYTES - file.tell()))


def _cut(text: str, room: int) -> bytes:
    """As many whole lines as there is room for, and a word about the rest if it fits."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= room:
        return data
    end = _CUT.encode()
    kept = data[: max(0, room - len(end))]
    kept = kept[: kept.rfind(b"\n") + 1]
    return kept + end if len(kept) + len(end) <= room else b""
