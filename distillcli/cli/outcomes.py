"""How a command ends: what was raised becomes one clear line on stderr and an exit code."""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

import typer

from distillcli.errors import DistillError

BUG = 4
INTERRUPTED = 130
TERMINATED = 143


class Terminated(BaseException):
    """SIGTERM arrived."""


def guarded(work: Callable[[], None], *, debug: bool) -> None:
    """Run a command; whatever it raises ends in `typer.Exit` with the right code."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        work()
        sys.stdout.flush()
    except typer.Exit:
        raise
    except BrokenPipeError:
        _leave_closed_pipe()
    except DistillError as error:
        _fail(error, error.exit_code)
    except KeyboardInterrupt:
        _fail(DistillError("", "interrupted"), INTERRUPTED)
    except Terminated:
        _fail(DistillError("", "terminated"), TERMINATED)
    except MemoryError:
        _fail(DistillError("", "not enough memory for the arrays of this run"), 2)
    except Exception as error:
        if debug:
            traceback.print_exc()
        hint = None if debug else "run again with --debug and report what it shows"
        _fail(DistillError("a bug in distill", f"{type(error).__name__}: {error}", hint), BUG)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


def _leave_closed_pipe() -> NoReturn:
    """Nobody reads on, as with `| head`: no failure, and nothing more to say at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise typer.Exit(0)


def _fail(error: DistillError, code: int) -> NoReturn:
    from distillcli.report import print_error

    print_error(error, sys.stderr)
    raise typer.Exit(code)
