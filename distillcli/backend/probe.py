"""What a look at the GPU finds: what is needed for one, in order, and the first that is missing."""

import ctypes
import importlib
import importlib.util
import platform
from dataclasses import dataclass
from typing import Any

EXTRA_HINT = (
    "install CuPy for your CUDA version: pip install 'cupy-cuda12x[ctk]' (or 'cupy-cuda13x[ctk]')"
)
OLDEST = 14  # of CuPy, which is what the extras ask for
DRIVERS = {"Linux": "libcuda.so.1", "Windows": "nvcuda.dll"}


@dataclass(frozen=True)
class Probe:
    """What a look at the GPU found: `missing` names the first thing that is not there."""

    checks: tuple[tuple[str, str], ...]  # (what was looked at, what was found)
    missing: str | None = None
    hint: str | None = None


def driver_library() -> Any:
    """The driver's library, which is loaded but not asked anything; None where there is none."""
    try:
        return ctypes.CDLL(DRIVERS.get(platform.system(), ""))
    except (OSError, TypeError):
        return None


def probe_gpu(index: int = 0) -> Probe:
    """Look for CuPy, a driver, a device and a working kernel and product, in this order.

    CuPy is loaded only where there is a driver for it.
    """
    checks: list[tuple[str, str]] = []

    def stop(check: str, found: str, missing: str, hint: str) -> Probe:
        return Probe((*checks, (check, found)), missing, hint)

    if importlib.util.find_spec("cupy") is None:
        return stop("CuPy", "not installed", "CuPy is not installed", EXTRA_HINT)
    no_driver = "install the NVIDIA driver of this machine's GPU"
    if driver_library() is None:
        checks.append(("CuPy", "installed"))
        return stop("driver", "none is installed", "there is no CUDA driver", no_driver)
    try:
        cupy = importlib.import_module("cupy")
    except Exception as error:  # CuPy raises many kinds of error when a CUDA library is missing
        return stop("CuPy", f"does not load: {error}", "CuPy does not load", EXTRA_HINT)
    if int(cupy.__version__.partition(".")[0]) < OLDEST:
        hint = f"version {OLDEST} is needed: pip install -U 'cupy-cuda12x[ctk]' (or cupy-cuda13x)"
        return stop("CuPy", cupy.__version__, f"CuPy {cupy.__version__} is too old", hint)
    checks.append(("CuPy", cupy.__version__))
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:
        return stop("driver", f"no answer: {error}", "no CUDA driver answers", no_driver)
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
    try:
        with cupy.cuda.Device(index):
            ones = cupy.ones((2, 2), cupy.float32)
            (ones @ ones).get()
    except Exception as error:  # cuBLAS is a library of its own, loaded at the first product
        found = f"runs, a matrix product does not: {error}"
        return stop("kernel", found, "a matrix product does not run", EXTRA_HINT)
    return Probe((*checks, ("kernel", "runs")))
