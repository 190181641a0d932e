"""The command line: one file per command, the options they share, and how each of them ends."""

from distillcli.backend import one_blas_thread
from distillcli.cli import check, diff, doctor, init, inspect, schema, score
from distillcli.cli.app import app

__all__ = ["app", "check", "diff", "doctor", "init", "inspect", "main", "schema", "score"]


def main() -> None:
    """The entry point of `distill`."""
    one_blas_thread()
    app(prog_name="distill")
