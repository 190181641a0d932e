"""Where a report is written: how wide, in which characters, with or without colour."""

import io
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console, RenderableType

from distillcli.report.text import TIE

# Wider than any line: off a terminal nothing is wrapped.
_ENDLESS = 1_000_000
# Narrower than this there is no room for a label and a number: the terminal breaks lines itself.
_NARROWEST = 40


def is_terminal(stream: TextIO) -> bool:
    """Whether somebody reads along on a terminal that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")


def wants_color(stream: TextIO, color: bool | None) -> bool:
    """The caller's choice, else colour on a terminal unless NO_COLOR is set and not empty."""
    if color is not None:
        return color
    return is_terminal(stream) and not os.environ.get("NO_COLOR")


def terminal_width(stream: TextIO) -> int:
    """Columns of the terminal behind the stream; COLUMNS comes first, 80 where nobody knows."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns)
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


@dataclass(frozen=True)
class Page:
    """One sheet to print on.

    Args:
        width: columns, or None for as many as it takes.
        color: whether escape codes for colour and weight are written.
        encoding: of the stream; characters that it lacks are replaced by escapes.
        terminal: whether somebody looks at it on a terminal.
    """

    width: int | None
    color: bool
    encoding: str
    terminal: bool = False

    @classmethod
    def of(cls, stream: TextIO, *, color: bool | None = None, width: int | None = None) -> "Page":
        """The page for a stream: a terminal has a width, a file or pipe has none."""
        if width is None and stream.isatty():
            width = terminal_width(stream)
        encoding = getattr(stream, "encoding", None) or "utf-8"
        if width is not None:
            width = max(width, _NARROWEST)
        return cls(width, wants_color(stream, color), encoding, is_terminal(stream))

    @property
    def unicode(self) -> bool:
        """Whether lines, dots and signs beyond ASCII can be written."""
        return self.can_write("─×±…·")  # noqa: RUF001 - the sign that is asked about

    def can_write(self, characters: str) -> bool:
        """Whether the encoding has all of these characters."""
        try:
            characters.encode(self.encoding)
        except (UnicodeEncodeError, LookupError):
            return False
        return True

    @property
    def dots(self) -> str:
        """What stands for more."""
        return "\u2026" if self.unicode else "..."

    @property
    def times(self) -> str:
        """The multiplication sign."""
        return "\u00d7" if self.unicode else "x"

    @property
    def plus_minus(self) -> str:
        """The sign before an error."""
        return "\u00b1" if self.unicode else "+-"

    def text(self, parts: Iterable[RenderableType]) -> str:
        """The parts below each other as text that the encoding can hold, without blank ends."""
        file = io.StringIO()
        console = Console(
            file=file,
            width=self.width or _ENDLESS,
            height=100,
            force_terminal=self.color,
            color_system="standard" if self.color else None,
            legacy_windows=False,
            force_jupyter=False,
            markup=False,
            emoji=False,
            highlight=False,
        )
        for part in parts:
            console.print(part)
        lines = "".join(f"{line.rstrip(' ')}\n" for line in file.getvalue().splitlines())
        return encodable(lines, self.encoding)


def encodable(text: str, encoding: str) -> str:
    """The text with escapes in place of the characters that the encoding lacks."""
    text = text.replace(TIE, " ")
    try:
        return text.encode(encoding, "backslashreplace").decode(encoding)
    except LookupError:
        return text.encode("ascii", "backslashreplace").decode("ascii")
