"""Runs of `score` in tests: from plain data, and from the command line in this process."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from typer.testing import CliRunner

from distillcli.cli.program import app
from distillcli.commands.score import score
from distillcli.commands.strategy import CATALOGUE
from distillcli.config import from_data
from distillcli.result import Result

ROOT = Path(__file__).parent.parent


class _Silent:
    def advance(self, rows: int, read: int = 0) -> None:
        pass


@contextmanager
def silent(label: str, rows: int, size: int) -> Iterator[_Silent]:
    """A progress display that shows nothing."""
    yield _Silent()


def scored(folder: Path, config: Mapping[str, Any], notes: list[str] | None = None) -> Result:
    """The result of a config whose relative paths start from `folder`; on the CPU."""
    data = {"device": "cpu", **config}
    checked = from_data(data, base=folder, catalogue=CATALOGUE, where="test")
    return score(checked, progress=silent, note=(notes if notes is not None else []).append)


def saved(folder: Path, dtype: str = "float64", **arrays: Any) -> dict[str, str]:
    """Each array as NAME.npy, labels as integers; the names of the files by those of the arrays."""
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", np.asarray(values, "int64" if name == "labels" else dtype))
    return {name: f"{name}.npy" for name in arrays}


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> dict[str, Any]:
        """Standard output as JSON."""
        found: dict[str, Any] = json.loads(self.out)
        return found

    @property
    def errors(self) -> list[str]:
        """The lines of errors, without what they all begin with."""
        start = "distill: error: "
        return [line.removeprefix(start) for line in self.err.splitlines() if start in line]

    @property
    def notes(self) -> list[str]:
        """The lines of notes, without what they all begin with."""
        start = "distill: note: "
        return [line.removeprefix(start) for line in self.err.splitlines() if start in line]


def distill(*arguments: str | Path, variables: Mapping[str, str] | None = None) -> Ended:
    """Run a command in this process, with no settings but these."""
    done = CliRunner().invoke(app, [str(one) for one in arguments], env=variables)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Ended(done.exit_code, done.stdout, done.stderr)


def written(path: Path, config: Mapping[str, Any]) -> Path:
    """The config as a YAML file. JSON is YAML."""
    path.write_text(json.dumps(config, indent=1), encoding="utf-8")
    return path
