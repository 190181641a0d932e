"""How far the work is: a bar on a terminal, now and then a line in a log."""

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from distillcli.report import text
from distillcli.report.page import encodable, is_terminal, terminal_width, wants_color

Clock = Callable[[], float]

_LINE_EVERY = 30.0
_BAR_AFTER = 0.5  # shorter work shows no bar at all
_BAR_EVERY = 0.1
_BAR_WIDTH = 16


class Progress:
    """Tells how much is done; a context manager that leaves nothing on a terminal.

    On a terminal a bar with rows, rate and time left appears after half a second and is gone at
    the end. Elsewhere there is one line at the start and one every 30 seconds. It is drawn by
    `advance` alone, from the thread that calls it: one thread.

    Args:
        total_rows: rows to do.
        total_bytes: bytes to read; 0 where nobody knows.
        enabled: False shows nothing at all.
        stream: stderr unless given.
        label: what is being done.
        color: as everywhere in this package; None decides by the stream.
        clock: seconds from any start.
    """

    def __init__(
        self,
        total_rows: int,
        total_bytes: int = 0,
        enabled: bool = True,
        stream: TextIO | None = None,
        *,
        label: str = "score",
        color: bool | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self._total_rows, self._total_bytes = total_rows, total_bytes
        self._enabled = enabled
        self._stream = sys.stderr if stream is None else stream
        self._label = text.escape(label)
        self._color = color
        self._clock = clock
        self._rows = self._bytes = 0
        self._start = self._shown = clock()
        self._bar: Bar | None = None

    def __enter__(self) -> Self:
        self._start = self._shown = self._clock()
        if self._enabled and not is_terminal(self._stream):
            size = f", {text.size(self._total_bytes)}" if self._total_bytes else ""
            self._line(f"{text.count(self._total_rows, 'row')}{size}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def advance(self, rows: int, read: int = 0) -> None:
        """Count `rows` more rows and `read` more bytes as done."""
        self._rows += rows
        self._bytes += read
        if not self._enabled:
            return
        now = self._clock()
        if is_terminal(self._stream):
            self._draw(now)
        elif now - self._shown >= _LINE_EVERY:
            self._shown = now
            done = f"{self._rows:,} of {text.count(self._total_rows, 'row')}"
            self._line(", ".join((done, *self._pace(now))))

    def _pace(self, now: float) -> list[str]:
        """Rate and time left, as far as they are known."""
        elapsed = now - self._start
        pace = text.speed(self._rows, self._bytes, elapsed)
        if not pace:
            return []
        if not self._rows:
            return [pace]
        left = elapsed * max(self._total_rows - self._rows, 0) / self._rows
        return [*pace.split(", "), f"{text.clock(left)} left"]

    def _line(self, message: str) -> None:
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        with suppress(OSError):  # a full stderr costs no result
            self._stream.write(encodable(f"distill: {self._label}: {message}\n", encoding))
            self._stream.flush()

    def _draw(self, now: float) -> None:
        if self._bar is None:
            if now - self._start < _BAR_AFTER or self._rows >= self._total_rows:
                return
            self._bar = self._new_bar()
            self._bar.start()
        elif now - self._shown < _BAR_EVERY:
            return
        self._shown = now
        self._bar.update(self._bar.task_ids[0], completed=self._rows, pace=self._fitting(now))
        self._bar.refresh()

    def _fitting(self, now: float) -> str:
        """Rate and time left, or as much of the end of that as stands beside the bar."""
        room = terminal_width(self._stream) - len(self._label) - _BAR_WIDTH - len("  100 %  ")
        parts = self._pace(now)
        while parts and len(", ".join(parts)) > room:
            parts.pop(0)
        return ", ".join(parts).replace(text.TIE, " ")

    def _new_bar(self) -> Bar:
        color = wants_color(self._stream, self._color)
        console = Console(
            file=self._stream,
            width=terminal_width(self._stream),
            height=24,
            force_terminal=True,
            color_system="standard" if color else None,
            legacy_windows=False,
            force_jupyter=False,
            markup=False,
            emoji=False,
            highlight=False,
        )
        bar = Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(_BAR_WIDTH, "dim", "cyan", "cyan"),
            TextColumn("{task.percentage:>3.0f} %", markup=False),
            TextColumn("{task.fields[pace]}", markup=False),
            console=console,
            transient=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=self._stream is sys.stderr,
        )
        bar.add_task(self._label, total=self._total_rows, pace="")
        return bar
