"""The CUDA kernels on a processor: compiled as C++17 with a block of threads as fibres."""

import ctypes
import hashlib
import shutil
import subprocess
import tempfile
from functools import cache, lru_cache
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


@lru_cache(maxsize=1)
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="distill-emulated-")


@cache
def emulated(variant: Variant) -> ctypes.CDLL:
    """The kernels of a variant, built at the first call."""
    assert COMPILER is not None
    name = hashlib.sha256(repr(variant.options).encode()).hexdigest()[:16]
    library = Path(_folder().name) / f"{name}.so"
    includes = (f"-I{HERE}", f"-I{SOURCES}")
    command = [COMPILER, *variant.options, *FLAGS, *includes, "-x", "c++", "-", "-o", str(library)]
    built = subprocess.run(command, input=ORDER, text=True, capture_output=True, check=False)
    assert built.returncode == 0, built.stderr
    return ctypes.CDLL(str(library))


def pointer(array: Array | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if array is None else array.ctypes.data)


def run_alone(variant: Variant, scores: Array, *, grid: int = 3) -> dict[str, Array]:
    """The columns of one side, as the teacher's."""
    rows, classes = scores.shape
    out = np.full((len(COLUMNS), rows), np.nan)
    emulated(variant).launch_alone(
        ctypes.c_uint(grid),
        pointer(scores),
        ctypes.c_longlong(rows),
        ctypes.c_longlong(classes),
        pointer(out),
    )
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
    rows, classes = teacher.shape
    out = np.full((len(COLUMNS), rows), np.nan)
    emulated(variant).launch_pair(
        ctypes.c_uint(grid),
        pointer(teacher),
        pointer(student),
        ctypes.c_longlong(rows),
        ctypes.c_longlong(classes),
        ctypes.c_double(temperature),
        pointer(against),
        pointer(out),
    )
    return dict(zip(COLUMNS, out, strict=True))
