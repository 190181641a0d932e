"""How a command ends: what was raised becomes one clear line on stderr and an exit code."""

import atexit
import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

import typer

from distillcli.cli import signals
from distillcli.cli.signals import Terminated
from distillcli.errors import DistillError

BUG = 4
INTERRUPTED = 130
TERMINATED = 143
WAY_OUT = "try --threads 1, or fewer inputs at once; distill validate tells what a run needs"


def guarded(work: Callable[[], None], *, debug: bool) -> None:
    """Run a command; whatever it raises ends in `typer.Exit` with the right code."""
    try:
        if sys.stdout is None:
            raise OSError(errno.EBADF, "it is closed")
        with signals.raised():
            work()
            sys.stdout.flush()
    except typer.Exit:
        raise
    except BrokenPipeError:
        _leave_stdout()
        raise typer.Exit(0) from None
    except (Exception, KeyboardInterrupt, Terminated) as error:
        if isinstance(error, OSError):
            _leave_stdout()
        told, code = outcome(error, debug=debug)
        if code == BUG and debug:
            traceback.print_exc()
        _fail(told, code)


def leave(code: object) -> None:
    """End the process at once, with what was said and done for the end of it: the interpreter
    takes up to half a second to free one by one what is gone anyway.

    It returns where somebody must see to the end: who traces or profiles the process, or the
    interpreter, if an output takes nothing any more.
    """
    if not isinstance(code, int) or _is_followed():
        return
    atexit._run_exitfuncs()
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):
        return
    os._exit(code)


def _is_followed() -> bool:
    """Whether somebody traces or profiles the process."""
    monitoring = getattr(sys, "monitoring", None)  # from Python 3.12 on, with room for six tools
    tools = [] if monitoring is None else [monitoring.get_tool(number) for number in range(6)]
    return any(one is not None for one in (sys.gettrace(), sys.getprofile(), *tools))


def outcome(error: BaseException, *, debug: bool = False) -> tuple[DistillError, int]:
    """What to tell about an error, and the exit code.

    Notes that were added to it on the way, such as how to resume, end the line.
    """
    notes = "; ".join(getattr(error, "__notes__", ())) or None
    match error:
        case DistillError() if notes is not None:
            hint = f"{error.hint}; {notes}" if error.hint else notes
            return DistillError(error.where, error.problem, hint), error.exit_code
        case DistillError():
            return error, error.exit_code
        case KeyboardInterrupt():
            return DistillError("", "interrupted", notes), INTERRUPTED
        case Terminated():
            return DistillError("", "terminated", notes), TERMINATED
        case MemoryError():
            hint = f"{WAY_OUT}; {notes}" if notes else WAY_OUT
            return DistillError("", "not enough memory for the arrays of this run", hint), 2
        case RuntimeError() if "can't start new thread" in str(error):
            return DistillError("", "the system lets no thread start", WAY_OUT), 2
        case OSError():
            return _refused(error), 2
    again = None if debug else "run again with --debug and report what it shows"
    return DistillError("a bug in distill", f"{type(error).__name__}: {error}", again), BUG


def _refused(error: OSError) -> DistillError:
    """What the system refuses; files are told of where they are used, so most often stdout."""
    where = str(error.filename) if error.filename else "standard output"
    return DistillError(where, f"cannot be used: {error.strerror or error}")


def _leave_stdout() -> None:
    """What is left in its buffer goes nowhere, so that the interpreter's exit is not a failure."""
    with contextlib.suppress(OSError, AttributeError):  # there may be none
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(error: DistillError, code: int) -> NoReturn:
    from distillcli.report import print_error

    print_error(error, sys.stderr)
    raise typer.Exit(code)
