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

from distillcli.kernels.cuda.variant import COLUMNS, SOURCE, SOURCES, Variant

HERE = Path(__file__).parent / "cuda"
COMPILER = shutil.which("g++") or shutil.which("clang++")
NO_COMPILER = None if COMPILER else "there is no C++ compiler (g++ or clang++) to build the rows"
needs_compiler = pytest.mark.skipif(NO_COMPILER is not None, reason=str(NO_COMPILER))
FLAGS = (
    *("-O2", "-fPIC", "-shared", "-fno-strict-aliasing"),
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


def run_alone(variant: Variant, scores: Array, *, grid: int = 3) -> dict[str, Array]:
    """The columns of one side, as the teacher's."""
    out = np.full((len(COLUMNS), len(scores)), np.nan)
    launch(built(variant.options), "alone", grid, (scores, *scores.shape, out))
    return dict(zip(COLUMNS, out, strict=True))


def run_pair(
    variant: Variant,
    teacher: Array,
    student: Array,
    temperature: float = 1.0,
    *,
    against: Array | None = None,
    grid: int = 3,
) -> dict[str, Array]:
    """The columns of both sides."""
    out = np.full((len(COLUMNS), len(teacher)), np.nan)
    arguments = (teacher, student, *teacher.shape, temperature, against, out)
    launch(built(variant.options), "pair", grid, arguments)
    return dict(zip(COLUMNS, out, strict=True))
