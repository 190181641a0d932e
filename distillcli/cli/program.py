"""All commands, registered, and the program that they make."""

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
    "run",
    "schema",
    "score",
    "validate",
    "verify",
]


def run() -> None:
    """Do what the command line says."""
    mend_words(os.environ)
    one_blas_thread()
    app(prog_name="distill")
