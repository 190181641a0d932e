"""The array libraries that numeric code is tested on, each as a way in and a way out."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import array_api_strict
import numpy as np
import pytest

from distillcli.backend import probe_gpu

NO_GPU = probe_gpu().missing


@dataclass(frozen=True)
class Library:
    """`array` makes an array of a dtype by name; `host` brings one back to NumPy."""

    array: Callable[[Any, str], Any]
    host: Callable[[Any], Any]


def _numpy(values: Any, dtype: str) -> Any:
    return np.array(values, dtype=dtype)


def _read_only(values: Any, dtype: str) -> Any:
    array = np.array(values, dtype=dtype)
    array.flags.writeable = False
    return array


def _strict(values: Any, dtype: str) -> Any:
    return array_api_strict.asarray(np.array(values, dtype=dtype))


def _cupy(values: Any, dtype: str) -> Any:
    return importlib.import_module("cupy").asarray(np.array(values, dtype=dtype))


LIBRARIES = [
    pytest.param(Library(_numpy, np.asarray), id="numpy"),
    pytest.param(Library(_read_only, np.asarray), id="read-only"),
    pytest.param(Library(_strict, np.asarray), id="strict"),
    pytest.param(
        Library(_cupy, lambda array: array.get()),
        id="cupy",
        marks=[pytest.mark.gpu, pytest.mark.skipif(NO_GPU is not None, reason=str(NO_GPU))],
    ),
]
