"""The command line: one file per command, the options they share, and how each of them ends."""

from distillcli.cli import doctor, init, schema, score
from distillcli.cli.app import app

__all__ = ["app", "doctor", "init", "main", "schema", "score"]


def main() -> None:
    """The entry point of `distill`."""
    app(prog_name="distill")
