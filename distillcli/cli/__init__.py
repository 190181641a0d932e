"""The command line: one file per command, the options they share, and how each of them ends."""

import os

from distillcli.backend import one_blas_thread
from distillcli.cli import (
    check,
    diff,
    doctor,
    ensemble,
    init,
    inspect,
    schema,
    score,
    validate,
    verify,
)
from distillcli.cli.app import app
from distillcli.cli.completion import mend_words

__all__ = [
    "app",
    "check",
    "diff",
    "doctor",
    "ensemble",
    "init",
    "inspect",
    "main",
    "schema",
    "score",
    "validate",
    "verify",
]


def main() -> None:
    """The entry point of `distill`."""
    mend_words(os.environ)
    one_blas_thread()
    app(prog_name="distill")
