"""The command line: one file per command, the options they share, and how each of them ends.

The commands are registered in `program`. Nothing that takes time is imported here: an interrupt is
taken care of before anything else.
"""

OBJECTS = 500_000  # made and not yet freed: then it is worth looking for circles of garbage


def process() -> None:
    """The entry point of `distill`: the process is there for one command."""
    import gc
    import os
    import sys

    if sys.stderr is None:  # a file that is opened must not get its number
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - until the end
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            os.set_blocking(stream.fileno(), True)  # what a pipe cannot take at once would be lost
    # Of what is made while modules are loaded nothing is garbage: to look through it every 700
    # objects is a tenth of a short command.
    gc.set_threshold(OBJECTS)
    try:
        main()
    except SystemExit as ended:
        from distillcli.cli import outcomes

        outcomes.leave(ended.code)
        raise


def main() -> None:
    """Do what the command line says, and raise SystemExit."""
    # `signal` itself takes 10 ms to load, in which an interrupt would be a stack trace.
    import _signal  # type: ignore[import-not-found]  # no stubs
    import os

    def end(number: int, frame: object) -> None:
        word, code = (b"interrupted", 130) if number == _signal.SIGINT else (b"terminated", 143)
        os.write(2, b"distill: error: " + word + b"\n")
        os._exit(code)

    for number in (_signal.SIGINT, _signal.SIGTERM):
        if _signal.getsignal(number) is not _signal.SIG_IGN:
            _signal.signal(number, end)

    try:
        from distillcli.cli import program, signals

        with signals.caught():
            program.run()
    except MemoryError:
        os.write(2, b"distill: error: not enough memory to begin\n")
        os._exit(2)
