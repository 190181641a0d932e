"""The command line: one file per command, the options they share, and how each of them ends.

The commands are registered in `program`. Nothing is imported here: an interrupt is taken care of
before anything else.
"""


def main() -> None:
    """The entry point of `distill`."""
    from distillcli.cli import signals

    signals.catch()

    from distillcli.cli import program

    program.run()
