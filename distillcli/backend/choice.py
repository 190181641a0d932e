"""Which backend a run takes."""

from collections.abc import Callable
from dataclasses import replace

from distillcli.backend.arrays import Array
from distillcli.backend.interface import Backend
from distillcli.backend.probe import probe_gpu
from distillcli.errors import BackendError


def choose(device: str, tell: Callable[[str], None] = lambda note: None) -> Backend:
    """The backend for `auto`, `cpu`, `cuda` or `cuda:N`.

    To be called when all files are open: the process of HDF5 is forked from this one, which must
    not have touched a GPU before.

    Args:
        tell: takes what a user should know, now or when the work goes on in another way.

    Raises:
        BackendError: a GPU was asked for by name and does not work.
    """
    backend = _chosen(device, tell)
    if backend.note is not None:
        tell(backend.note)
    return replace(backend, tell=tell)


def _chosen(device: str, tell: Callable[[str], None]) -> Backend:
    if device == "cpu":
        return _numpy_backend(note=None)
    index = int(device.partition(":")[2] or 0)
    probe = probe_gpu(index)
    if probe.missing is None:
        from distillcli.backend.cuda import cupy_backend

        return cupy_backend(index, tell)
    if device == "auto":
        return _numpy_backend(note=f"no GPU is used: {probe.missing}; computing on the CPU")
    raise BackendError(f"device {device}", probe.missing, probe.hint)


def _numpy_backend(note: str | None) -> Backend:
    def same(array: Array) -> Array:
        return array

    return Backend("cpu", "numpy", to_device=same, to_host=same, note=note)
