"""Ctrl-C and SIGTERM: one line and the right exit code within a second, at any moment.

While a command works, a signal is an exception in the main thread, so that all that was begun is
undone. At other times there is nothing to undo, and the process ends at once. Where the main thread
does not come to it, because a library keeps it or a thread that it waits for, another one does it.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

PATIENCE = 0.7  # seconds that the main thread has

_ENDS = {signal.SIGINT: (130, "interrupted"), signal.SIGTERM: (143, "terminated")}


class Terminated(BaseException):
    """SIGTERM arrived."""


class _State:
    raising = False  # whether a signal is an exception
    seen = False  # the first one counts


@contextmanager
def caught() -> Iterator[None]:
    """Take care of both signals, except where whoever started us has them ignored.

    Behind the block, where the interpreter ends, they change nothing any more.
    """
    numbers = [number for number in _ENDS if signal.getsignal(number) is not signal.SIG_IGN]
    for number in numbers:
        signal.signal(number, _arrived)
    sys.unraisablehook = _unraisable
    _watch()
    try:
        yield
    finally:
        if not _State.seen:
            for number in numbers:
                signal.signal(number, signal.SIG_IGN)


def _watch() -> None:
    """Start the thread that ends the process when the main thread does not."""
    import threading

    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    with suppress(RuntimeError):  # the system lets no thread start: a run says so, if it needs one
        threading.Thread(target=_wait, args=(reading,), name="signals", daemon=True).start()


@contextmanager
def raised() -> Iterator[None]:
    """Within this block the first signal raises KeyboardInterrupt or Terminated."""
    _State.raising = True
    try:
        yield
    finally:
        _State.raising = False


def _arrived(number: int, frame: FrameType | None) -> None:
    if _State.seen:
        return
    _State.seen = True
    if not _State.raising:
        _end(signal.Signals(number))
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated


def _wait(reading: int) -> None:
    while (number := os.read(reading, 1)[0]) not in _ENDS:
        pass
    time.sleep(PATIENCE)
    _end(signal.Signals(number))


def _end(number: signal.Signals) -> NoReturn:
    """Leave nothing behind, say it, and be gone."""
    code, word = _ENDS[number]
    outputs = sys.modules.get("distillcli.writing.outputs")
    last = outputs.remove_temporary() if outputs is not None else ""
    word = f"{word}; {last}" if last else word
    with suppress(OSError):
        screen = "\r\x1b[K\x1b[?25h" if os.isatty(2) else ""  # a progress bar hides the cursor
        os.write(2, f"{screen}distill: error: {word}\n".encode())
    os._exit(code)


def _unraisable(unraisable: Any) -> None:
    """A signal that met a finaliser is not lost: the thread above sees to it. After a signal, what
    a finaliser complains of is an object that was half made when it came."""
    if not _State.seen:
        sys.__unraisablehook__(unraisable)
