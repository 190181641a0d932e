"""What the libraries that lead to a device raise, on a stand-in for CuPy: how it is told."""

from collections.abc import Iterator

import fake_cupy
import numpy as np
import pytest

from distillcli.backend import cuda
from distillcli.errors import BackendError, DeviceMemoryError


@pytest.fixture
def gpu() -> Iterator[fake_cupy.State]:
    """There are two devices."""
    with fake_cupy.installed() as state:
        state.devices = 2
        yield state


class LibraryNotFound(Exception):
    __module__ = "cuda.pathfinder"


@pytest.mark.parametrize(
    "error",
    [
        fake_cupy.OutOfMemoryError("none left"),
        fake_cupy.CUDARuntimeError(2),
        fake_cupy.CUDADriverError(2),
        fake_cupy.CUBLASError(1),
        fake_cupy.CUBLASError(3),
    ],
    ids=repr,
)
def test_no_memory(gpu: fake_cupy.State, error: Exception) -> None:
    """Whichever library is the first that finds none."""
    problem = "device cuda:1: not enough memory"
    with pytest.raises(DeviceMemoryError, match=problem), cuda.Cuda(1).active():
        raise error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (fake_cupy.CUDARuntimeError(1), "failed: CUDARuntimeError: cudaError 1"),
        (fake_cupy.CUBLASError(13), "failed: CUBLASError"),
        (RuntimeError("no cuBLAS\nfound"), "failed: RuntimeError: no cuBLAS;"),
        (RuntimeError(), "failed: RuntimeError;"),
        (OSError(28, "No space left on device"), "No space left"),
        (ImportError("libcublas.so.12"), "failed: ImportError: libcublas.so.12;"),
        (LibraryNotFound("libnvrtc"), "failed: LibraryNotFound: libnvrtc;"),
    ],
)
def test_other_failures(gpu: fake_cupy.State, error: Exception, told: str) -> None:
    """They are the device's, whatever they are called, and one line each."""
    with pytest.raises(BackendError) as caught, cuda.Cuda(0).active():
        raise error
    assert not isinstance(caught.value, DeviceMemoryError)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [KeyError("student"), MemoryError(), NotImplementedError("x")])
def test_failures_of_our_own(gpu: fake_cupy.State, error: Exception) -> None:
    """They are not put down to the device."""
    with pytest.raises(type(error)), cuda.Cuda(0).active():
        raise error


def test_pinned_memory_is_asked_of_the_device(gpu: fake_cupy.State) -> None:
    """And given back there: CuPy does both where it happens to be."""
    device = cuda.Cuda(1)
    device.buffer((3,), np.float32)
    device.clear()
    assert gpu.places == [("pinned", 1), ("clear", 1)]


def test_no_pinned_memory(gpu: fake_cupy.State) -> None:
    """Plain memory does as well, which is said once; what else goes wrong there is no secret."""
    notes: list[str] = []
    device = cuda.Cuda(0, notes.append)
    gpu.pinning = fake_cupy.CUDARuntimeError(2)
    for _ in range(2):
        assert device.buffer((2, 3), np.float32).shape == (2, 3)
    assert [note.partition(";")[0] for note in notes] == [
        "cuda:0: the system gives no more pinned memory"
    ]
    gpu.pinning = fake_cupy.CUDARuntimeError(719)
    with pytest.raises(BackendError, match="failed: CUDARuntimeError"):
        device.buffer((2, 3), np.float32)


@pytest.mark.parametrize("default", [0, 1, 2])
def test_what_is_copied_outside_of_a_computing_thread(
    gpu: fake_cupy.State, monkeypatch: pytest.MonkeyPatch, default: int
) -> None:
    """It is there when the copy returns, whichever the default stream is; within, none waits."""
    device = cuda.Cuda(0)
    monkeypatch.setattr(fake_cupy._own.streams[0], "ptr", default)
    device.to_device(np.ones(3))
    assert gpu.log.count("wait") == 1
    with device.active():
        device.to_device(np.ones(3))
    assert gpu.log.count("wait") == 1
    device.to_device(np.ones(3))
    assert gpu.log.count("wait") == 2
