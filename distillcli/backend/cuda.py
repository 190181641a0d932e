"""CuPy: a GPU with its streams, the host memory it copies from, and kernels of our own."""

import importlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from distillcli.backend.arrays import Array
from distillcli.backend.interface import Backend, Device
from distillcli.errors import BackendError, DeviceMemoryError, DistillError

STREAMS = 2  # one batch is copied while another is computed
BATCH_BYTES = 128 * 2**20  # a few milliseconds on the bus: Python's part of the work is small then
# What a batch may take of the free memory. The plain functions hold several numbers of 8 bytes for
# each of 2, and each stream its own.
SHARE = 64
LEAST_BATCH = 2**20
BLOCK = 128
STORED = frozenset({"float16", "bfloat16", "float32", "float64"})
# By the name of an error of CuPy, the codes by which a library says that it found no memory: cuBLAS
# tells so (1: not initialized) also where there is none for what it works with.
FULL = {"CUDARuntimeError": {2}, "CUDADriverError": {2}, "CUBLASError": {1, 3}}
# What CuPy lets through where a library of CUDA is missing or its cache cannot be written; no file
# of the user's is read by a thread that computes on a GPU.
FOREIGN = (RuntimeError, OSError, ImportError)
OUR_OWN = (NotImplementedError, RecursionError)
TF32 = (
    "CUPY_TF32 is set: matrix products in float32 are rounded to the 10 bits of tf32 first; "
    "unset it for full float32"
)


class _Own(threading.local):
    stream: Any = None
    pinned: Any = None


class Cuda:
    """One GPU. Threads that compute on it enter `active`, which gives each a stream of its own.

    Args:
        tell: takes what a user should know.
    """

    def __init__(self, index: int, tell: Callable[[str], None] = lambda note: None) -> None:
        self.cupy = importlib.import_module("cupy")
        _leave_out_accelerators(self.cupy)
        self.device = self.cupy.cuda.Device(index)
        self.name = f"cuda:{index}"
        self._index = index
        self._tell = tell
        self._has_told = False
        self._own = _Own()
        self._lock = threading.Lock()
        self._kernels: dict[Any, Any] = {}

    @contextmanager
    def active(self) -> Iterator[None]:
        """Work on the device; what fails there is told as such.

        Raises:
            DeviceMemoryError: its memory is full. BackendError: anything else that CuPy raises.
        """
        with self.told(), self.cupy.cuda.Device(self._index):
            if self._own.stream is None:
                self._own.stream = self.cupy.cuda.Stream(non_blocking=True)
            with self._own.stream:
                yield

    @contextmanager
    def told(self) -> Iterator[None]:
        """Errors of CuPy as our own."""
        try:
            yield
        except DistillError:
            raise
        except Exception as error:
            if self._is_full(error):
                raise DeviceMemoryError(
                    f"device {self.name}", "not enough memory", "see nvidia-smi for who takes it"
                ) from error
            if self._is_its_own(error):
                said = next(iter(str(error).splitlines()), "")
                problem = f"failed: {type(error).__name__}" + (f": {said}" if said else "")
                hint = "nothing of this run is of use; look at nvidia-smi, or run on the CPU with "
                raise BackendError(f"device {self.name}", problem, f"{hint}--device cpu") from error
            raise

    def _is_full(self, error: Exception) -> bool:
        if isinstance(error, self.cupy.cuda.memory.OutOfMemoryError):
            return True
        return getattr(error, "status", None) in FULL.get(type(error).__name__, ())

    def _is_its_own(self, error: Exception) -> bool:
        """Whether it comes of the device and the libraries that lead there."""
        origin = type(error).__module__.partition(".")[0]
        return origin in ("cupy", "cupy_backends", "cuda") or (
            isinstance(error, FOREIGN) and not isinstance(error, OUR_OWN)
        )

    def to_device(self, array: Array) -> Array:
        """A copy on the device. From pinned memory the device fetches it by itself: until the
        stream is done, the array must stay as it is."""
        host = np.ascontiguousarray(array).reshape(np.shape(array))
        with self.told(), self.cupy.cuda.Device(self._index):
            stream = self.cupy.cuda.get_current_stream()
            found = self.cupy.empty(host.shape, host.dtype)
            if host.nbytes:
                found.data.copy_from_host_async(host.ctypes.data, host.nbytes, stream)
            own = self._own.stream
            if own is None or stream.ptr != own.ptr:  # other streams must find it there
                stream.synchronize()
            return found

    def to_host(self, array: Array) -> Array:
        """As NumPy's array, when all that leads to it is done."""
        with self.told():
            return self.cupy.asnumpy(array)

    def at_once(self, arrays: Sequence[Array]) -> Array:
        """Arrays [rows] as float64 [arrays, rows]: one copy, one wait."""
        cupy = self.cupy
        rows = arrays[0].shape[0]
        found = cupy.empty((len(arrays), rows), cupy.float64)
        for index, array in enumerate(arrays):
            found[index] = array
        host = self._pinned(found.nbytes)
        stream = cupy.cuda.get_current_stream()
        if found.nbytes:
            found.data.copy_to_host_async(host.ctypes.data, found.nbytes, stream)
        stream.synchronize()
        return host.view(np.float64)[: found.size].reshape(found.shape).copy()

    def _pinned(self, size: int) -> Array:
        """Bytes that this thread's results come back to."""
        if self._own.pinned is None or self._own.pinned.nbytes < size:
            self._own.pinned = self.buffer((-(-size // 8) * 8,), np.uint8)
        return self._own.pinned

    def buffer(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Pinned memory, or plain where the system gives no more of it: slower, and right too.

        Raises:
            BackendError: the device fails in another way.
        """
        count = int(np.prod(shape))
        if count == 0:
            return np.empty(shape, dtype)
        try:
            with self.told(), self.cupy.cuda.Device(self._index):
                memory = self.cupy.cuda.alloc_pinned_memory(count * np.dtype(dtype).itemsize)
        except DeviceMemoryError:
            self._tell_of_plain_memory()
            return np.empty(shape, dtype)
        return np.frombuffer(memory, dtype, count).reshape(shape)

    def _tell_of_plain_memory(self) -> None:
        with self._lock:
            before, self._has_told = self._has_told, True
        if not before:
            self._tell(
                f"{self.name}: the system gives no more pinned memory; copies to the device take "
                "longer, which changes no number"
            )

    def launch(
        self, source: str, options: tuple[str, ...], name: str, blocks: int, arguments: Any
    ) -> None:
        """Run a kernel on this thread's stream; see `interface.Launch`."""
        key = (source, options, name)
        with self._lock:
            if key not in self._kernels:
                self._kernels[key] = self._compiled(*key)
        given = tuple(np.int64(0) if one is None else one for one in arguments)
        self._kernels[key]((blocks,), (BLOCK,), given)

    def _compiled(self, source: str, options: tuple[str, ...], name: str) -> Any:
        module = self.cupy.RawModule(code=source, options=options, backend="nvrtc")
        return module.get_function(name)

    def clear(self) -> None:
        """Give back what was kept for later."""
        with self.told(), self.cupy.cuda.Device(self._index):
            self.cupy.get_default_memory_pool().free_all_blocks()

    def batch_bytes(self) -> int:
        """How much is copied and computed at once."""
        with self.told(), self.device:
            free = int(self.cupy.cuda.runtime.memGetInfo()[0])
        return max(LEAST_BATCH, min(BATCH_BYTES, free // SHARE))


def _leave_out_accelerators(cupy: Any) -> None:
    """Reductions by CuPy's own kernels, for the whole process.

    CUB adds up the rows of an array in an order of its own choice, which may be another one for
    another number of rows or another place in memory, and is taken for some arrays only; a row must
    come to the same bits whatever rows come with it.
    """
    for kind in ("reduction", "routine"):
        choose = getattr(cupy._core, f"set_{kind}_accelerators", None)
        if choose is not None:
            choose([])


def cupy_backend(index: int, tell: Callable[[str], None] = lambda note: None) -> Backend:
    """A GPU that a probe has found to work; `tell` takes what a user should know."""
    cuda = Cuda(index, tell)
    return Backend(
        cuda.name,
        "cuda",
        to_device=cuda.to_device,
        to_host=cuda.to_host,
        active=cuda.active,
        note=TF32 if os.environ.get("CUPY_TF32", "0") not in ("", "0") else None,
        gpu=Device(
            streams=STREAMS,
            batch_bytes=cuda.batch_bytes(),
            buffer=cuda.buffer,
            at_once=cuda.at_once,
            launch=cuda.launch,
            stored=STORED,
            clear=cuda.clear,
        ),
    )
