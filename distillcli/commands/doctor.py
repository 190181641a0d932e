"""`distill doctor`: what distill runs on here, and what `--device auto` chooses."""

import os
import platform
import re
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from distillcli import __version__
from distillcli.backend import choose, probe_gpu
from distillcli.formats import FORMATS, inflating
from distillcli.formats.hdf5.checks import filters_known, library_version
from distillcli.formats.hdf5.plugins import INSTALL, installed
from distillcli.kernels import WORTH_COMPILING, why_not_fast
from distillcli.strategy.passes import available_threads

SCHEMA = "distillcli.doctor/1"
LIBRARIES = ("numpy", "h5py", "pydantic", "rich", "ruamel.yaml", "typer")
CUPY = ("cupy", "cupy-cuda13x", "cupy-cuda12x")  # one library, a package for each CUDA
GPU_CHAIN = ("CuPy", "driver", "device", "kernel")  # each is of use only after the one before
NOT_LOOKED_AT = "not looked at"
# What tests hold without a GPU, on a processor or a stand-in, and what only a GPU can show.
NOT_RUN = (
    "the kernels: compiled for sm_80, sm_90 and PTX, and run on a processor; never on a GPU",
    "CuPy's own functions, for losses that no kernel knows and the blend of an ensemble, and its "
    "matrix products in float32",
    "same bits on a GPU for every batch size and stream",
    "copies from pinned memory on two streams, and one wait per batch",
    "batches halved when the memory of a GPU runs out; a GPU that fails in the middle of a run",
    "speed: the share of memory bandwidth and bus, and the ratios to PyTorch and Liger",
)


@dataclass(frozen=True)
class Checkup:
    """What there is.

    Attributes:
        versions: of distill and what it stands on.
        machine: platform, processors, memory, and the library of matrix products.
        readers: what each file format needs, and what of it can be read.
        gpu: the chain of checks, in order, each with what was found.
        gpu_missing: the first link that is not there, and `gpu_hint` how to get it.
        auto: what `--device auto` takes, and why.
        gpu_not_run: what of the GPU path has not run on a GPU yet.
    """

    versions: dict[str, str]
    machine: dict[str, str]
    readers: dict[str, str]
    gpu: dict[str, str]
    gpu_missing: str | None
    gpu_hint: str | None
    auto: dict[str, str]
    gpu_not_run: tuple[str, ...] = NOT_RUN

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON-ready data."""
        return {"schema": SCHEMA, "command": "doctor", **asdict(self)}


def doctor() -> Checkup:
    """Look at versions, machine, readers and devices; nothing is changed or computed."""
    probe = probe_gpu()
    found = dict(probe.checks)
    return Checkup(
        versions=_versions(),
        machine=_machine(),
        readers=_readers(),
        gpu={
            "NVIDIA driver": _nvidia_driver() or "none is loaded",
            **{check: found.get(check, NOT_LOOKED_AT) for check in GPU_CHAIN},
        },
        gpu_missing=probe.missing,
        gpu_hint=_way_to_the_gpu(probe.hint),
        auto=_auto(),
    )


def _versions() -> dict[str, str]:
    libraries = {name: version(name) for name in LIBRARIES}
    cupy = {name: found for name in CUPY if (found := _installed(name))}
    return {
        "distillcli": __version__,
        "python": platform.python_version(),
        **libraries,
        "HDF5": library_version(),
        **cupy,
    }


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _machine() -> dict[str, str]:
    threads = available_threads()
    total = os.cpu_count() or threads
    return {
        "platform": platform.platform(),
        "processors": str(total) if threads == total else f"{threads} of {total} may be used",
        "memory": _memory(),
        "BLAS": f"{_blas()}, one thread for each product",
        "compiled kernel": _compiled(),
        "inflating": _inflating(),
    }


def _memory() -> str:
    try:
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return "unknown"
    return f"{size / 1e9:.1f} GB"


def _blas() -> str:
    config: Any = np.show_config(mode="dicts")
    found = config.get("Build Dependencies", {}).get("blas", {})
    return f"{found.get('name', 'unknown')} {found.get('version', '')}".strip()


def _compiled() -> str:
    why = why_not_fast()
    if why is None:
        return f"with numba {version('numba')}, for inputs of {WORTH_COMPILING >> 20} MiB and more"
    return f"{why}; pip install 'distillcli[fast]' brings it, several times as fast as NumPy"


def _inflating() -> str:
    known = inflating.library()
    if known == inflating.FASTEST:
        return f"by {known}"
    return f"by {known}; pip install 'distillcli[fast]' brings {inflating.FASTEST}, twice as fast"


def _readers() -> dict[str, str]:
    readers = {known.name: " ".join(known.suffixes) for known in FORMATS}
    readable, of_extra, missing = filters_known()
    told = [f"filters {', '.join([*readable, *(of_extra if installed() else [])])}"]
    if not installed():
        told.append(f"with {INSTALL} also {', '.join(of_extra)}")
    if missing:
        told.append(f"not {', '.join(missing)}")
    filters = "; ".join(told)
    return {**readers, "hdf5": f"{readers['hdf5']}, {filters}"}


def _nvidia_driver() -> str | None:
    """The version of the driver that the Linux kernel has loaded."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text("utf-8", "replace")
    except OSError:
        return None
    found = re.search(r"\b[0-9]+\.[0-9.]+\b", text)
    return found.group() if found else "loaded"


def _way_to_the_gpu(hint: str | None) -> str | None:
    if hint is None or platform.system() != "Linux" or _nvidia_driver() is not None:
        return hint
    return f"{hint}; it also takes an NVIDIA GPU with its driver, and no driver is loaded here"


def _auto() -> dict[str, str]:
    backend = choose("auto")
    why = backend.note or "all checks of the GPU have passed"
    return {"device": backend.device, "kernel": backend.kernel, "why": why}
