"""The CUDA kernels on a processor: compiled as C++17 with a block of threads as fibres."""

import atexit
import ctypes
import hashlib
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distillcli.kernels.cuda.variant import MOST_TEMPERATURES, SOURCE, SOURCES, Variant, columns

HERE = Path(__file__).parent / "cuda"
COMPILER = shutil.which("g++") or shutil.which("clang++")
NO_COMPILER = None if COMPILER else "there is no C++ compiler (g++ or clang++) to build the rows"
needs_compiler = pytest.mark.skipif(NO_COMPILER is not None, reason=str(NO_COMPILER))
# GCC 12 takes two roundings to float and back, side by side, for none when it vectorises them.
FLAGS = (
    *("-O2", "-fPIC", "-shared", "-fno-strict-aliasing", "-fno-tree-vectorize"),
    *("-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"),
)
ORDER = f'#include "emulated.hpp"\n#include "{SOURCE}"\n#include "entries.hpp"\n'

Array = np.ndarray[Any, Any]


@cache
def _folder() -> Path:
    folder = tempfile.mkdtemp(prefix="distill-emulated-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


@cache
def built(options: tuple[str, ...]) -> ctypes.CDLL:
    """The kernels compiled with these options, at the first call."""
    assert COMPILER is not None
    name = hashlib.sha256(repr(options).encode()).hexdigest()[:16]
    library = _folder() / f"{name}.so"
    includes = (f"-I{HERE}", f"-I{SOURCES}")
    command = [COMPILER, *options, *FLAGS, *includes, "-x", "c++", "-", "-o", str(library)]
    made = subprocess.run(command, input=ORDER, text=True, capture_output=True, check=False)
    assert made.returncode == 0, made.stderr
    return ctypes.CDLL(str(library))


def launch(library: ctypes.CDLL, name: str, grid: int, arguments: tuple[Any, ...]) -> None:
    """Run a kernel: arrays by their place in memory, numbers as they are."""
    getattr(library, f"launch_{name}")(ctypes.c_uint(grid), *map(_argument, arguments))


def _argument(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        assert value.flags.c_contiguous
        return ctypes.c_void_p(value.ctypes.data)
    if isinstance(value, float):
        return ctypes.c_double(value)
    return ctypes.c_void_p(None) if value is None else ctypes.c_longlong(int(value))


def _columns(variant: Variant, rows: int) -> tuple[tuple[str, ...], Array]:
    """Room for what a kernel writes, filled with what it cannot mean."""
    names = columns(variant.temperatures)
    return names, np.full((len(names), rows), np.nan)


def run_alone(variant: Variant, scores: Array, *, grid: int = 3) -> dict[str, Array]:
    """The columns of one side, as the teacher's."""
    names, out = _columns(variant, len(scores))
    launch(built(variant.options), "alone", grid, (scores, *scores.shape, out))
    return dict(zip(names, out, strict=True))


def run_pair(
    variant: Variant,
    teacher: Array,
    student: Array,
    *temperatures: float,
    against: Array | None = None,
    grid: int = 3,
) -> dict[str, Array]:
    """The columns of both sides; those of the first temperature also without its number."""
    names, out = _columns(variant, len(teacher))
    given = (*temperatures, *[1.0] * (MOST_TEMPERATURES - len(temperatures)))
    arguments = (teacher, student, *teacher.shape, *given, against, out)
    launch(built(variant.options), "pair", grid, arguments)
    return {
        name: values
        for column, values in zip(names, out, strict=True)
        for name in (column, column.removesuffix("_0"))
    }
