"""Which array library computes: NumPy, or CuPy on a GPU. The only file that names CuPy.

Numeric code is written once over the Python array API standard and asks `namespace(x)` for the
functions that belong to an array.
"""

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from distillcli.errors import BackendError

# An array, or the module of functions for it, of any library that follows the array API standard.
Array = Any
Namespace = Any

EXTRA_HINT = (
    "install CuPy for your CUDA version: pip install 'cupy-cuda12x[ctk]' (or 'cupy-cuda13x[ctk]')"
)


def one_blas_thread() -> None:
    """Keep matrix products on one thread each: their bits then depend on nothing but their input.

    Our own threads run several products at once instead. It has an effect only before NumPy is
    imported for the first time, and changes this process alone.
    """
    if "numpy" not in sys.modules:
        for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
            os.environ[name] = "1"


def namespace(array: Array) -> Namespace:
    """The module whose functions work on this array."""
    if hasattr(array, "__array_namespace__"):
        return array.__array_namespace__()
    return sys.modules[type(array).__module__.partition(".")[0]]


@dataclass(frozen=True)
class Backend:
    """Where the work is done, and the way there and back."""

    device: str  # "cpu" or "cuda:N"
    kernel: str  # "numpy" or "cupy"
    to_device: Callable[[Array], Array]
    to_host: Callable[[Array], Array]
    active: Callable[[], AbstractContextManager[Any]] = nullcontext  # entered by computing threads
    note: str | None = None  # why `auto` did not take a GPU


@dataclass(frozen=True)
class Probe:
    """What a look at the GPU found: `missing` names the first thing that is not there."""

    checks: tuple[tuple[str, str], ...]  # (what was looked at, what was found)
    missing: str | None = None
    hint: str | None = None


def probe_gpu(index: int = 0) -> Probe:
    """Look for CuPy, a driver, a device and a working kernel, in this order."""
    checks: list[tuple[str, str]] = []

    def stop(check: str, found: str, missing: str, hint: str) -> Probe:
        return Probe((*checks, (check, found)), missing, hint)

    if importlib.util.find_spec("cupy") is None:
        return stop("CuPy", "not installed", "CuPy is not installed", EXTRA_HINT)
    try:
        cupy = importlib.import_module("cupy")
    except Exception as error:  # CuPy raises many kinds of error when a CUDA library is missing
        return stop("CuPy", f"does not load: {error}", "CuPy does not load", EXTRA_HINT)
    checks.append(("CuPy", cupy.__version__))
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:
        hint = "install the NVIDIA driver of this machine's GPU"
        return stop("driver", f"no answer: {error}", "no CUDA driver answers", hint)
    checks.append(("driver", str(cupy.cuda.runtime.driverGetVersion())))
    if index >= count:
        hint = "look at nvidia-smi and CUDA_VISIBLE_DEVICES"
        return stop("device", f"{count} found", f"there is no device cuda:{index}", hint)
    name = cupy.cuda.runtime.getDeviceProperties(index)["name"].decode()
    checks.append(("device", name))
    try:
        with cupy.cuda.Device(index):
            works = float((cupy.ones(1) + 1).get()[0]) == 2.0
    except Exception as error:
        hint = "see the output of distill doctor --debug"
        return stop("kernel", f"failed: {error}", "a one-element kernel does not run", hint)
    if not works:
        hint = "the device computes wrongly; look at nvidia-smi"
        return stop("kernel", "1 + 1 is not 2", "a one-element kernel gives a wrong result", hint)
    return Probe((*checks, ("kernel", "runs")))


def choose(device: str) -> Backend:
    """The backend for `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        BackendError: a GPU was asked for by name and does not work.
    """
    if device == "cpu":
        return _numpy_backend(note=None)
    index = int(device.partition(":")[2] or 0)
    probe = probe_gpu(index)
    if probe.missing is None:
        return _cupy_backend(index)
    if device == "auto":
        return _numpy_backend(note=f"no GPU is used: {probe.missing}; computing with NumPy")
    raise BackendError(f"device {device}", probe.missing, probe.hint)


def _numpy_backend(note: str | None) -> Backend:
    def same(array: Array) -> Array:
        return array

    return Backend("cpu", "numpy", to_device=same, to_host=same, note=note)


def _cupy_backend(index: int) -> Backend:
    cupy = importlib.import_module("cupy")
    device = cupy.cuda.Device(index)

    def to_device(array: Array) -> Array:
        with device:
            return cupy.asarray(array)

    return Backend(
        f"cuda:{index}",
        "cupy",
        to_device=to_device,
        to_host=cupy.asnumpy,
        active=lambda: cupy.cuda.Device(index),
    )
