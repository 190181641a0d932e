"""A stand-in for CuPy on machines without a GPU: arrays of NumPy that play those of a device.

What it holds: that code asks for nothing CuPy lacks (`cupy_surface` has its names), that host and
device arrays are never mixed, how often is waited, what happens when memory runs out or the device
fails. Kernels run on the processor, as `emulation` builds them. Of a real device it says nothing.
"""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import cupy_surface
import emulation
import numpy as np

from distillcli.kernels.cuda import variant as variants

HOST = np.ndarray


class OutOfMemoryError(MemoryError):
    __module__ = "cupy.cuda.memory"


class CUDARuntimeError(RuntimeError):
    __module__ = "cupy_backends.cuda.api.runtime"

    def __init__(self, status: int) -> None:
        super().__init__(f"cudaError {status}: an error of the device")
        self.status = status


class CUDADriverError(CUDARuntimeError):
    __module__ = "cupy_backends.cuda.api.driver"


class CUBLASError(CUDARuntimeError):
    __module__ = "cupy_backends.cuda.libs.cublas"


class State:
    """What a test sets, and what it may ask for afterwards."""

    def __init__(self) -> None:
        self.largest = 2**62  # bytes of one array
        self.accelerators: dict[str, list[str]] = {}
        self.kept = 0  # bytes of one array for which there is room only once the pool is cleared
        self.launches_left = 2**62
        self.free = 8 * 2**30
        self.devices = 1
        self.pinning: Exception | None = None  # what asking for pinned memory raises
        self.log: list[str] = []
        self.places: list[tuple[str, int]] = []  # what was done on which device
        self.compiled: list[tuple[str, ...]] = []

    def happened(self, what: str) -> None:
        self.log.append(what)

    def allocate(self, size: int) -> None:
        if size > self.largest or size > (self.kept or size):
            self.happened("full")
            raise OutOfMemoryError(f"Out of memory allocating {size} bytes")


state = State()


class _Pointer:
    """Where an array lies on the device, as `array.data`."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def _bytes(self) -> Any:
        return self.array.view(HOST).reshape(-1).view(np.uint8)

    def copy_from_host_async(self, address: int, size: int, stream: "Stream") -> None:
        assert isinstance(stream, Stream)
        state.happened("copy to device")
        self._bytes()[:size] = np.ctypeslib.as_array(_bytes_at(address, size))

    def copy_to_host_async(self, address: int, size: int, stream: "Stream") -> None:
        assert isinstance(stream, Stream)
        state.happened("copy to host")
        np.ctypeslib.as_array(_bytes_at(address, size))[:] = self._bytes()[:size]


def _bytes_at(address: int, size: int) -> Any:
    import ctypes

    return (ctypes.c_uint8 * size).from_address(address)


class ndarray(np.ndarray):  # noqa: N801
    """An array that refuses to meet one of the host."""

    __module__ = "cupy"

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and name not in cupy_surface.recorded()["cupy.ndarray"]:
            raise AttributeError(f"arrays of CuPy have no {name}")
        if name == "__array_namespace__":
            raise AttributeError("nor this, yet")
        return super().__getattribute__(name)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        out = kwargs.pop("out", None)
        for one in (*inputs, *(out or ())):
            if type(one) is HOST and one.ndim:
                raise TypeError(f"{ufunc.__name__}: a host array meets one of the device")
        plain = [one.view(HOST) if isinstance(one, ndarray) else one for one in inputs]
        if out is not None:
            kwargs["out"] = tuple(one.view(HOST) for one in out)
        return _device(getattr(ufunc, method)(*plain, **kwargs))

    def __setitem__(self, key: Any, value: Any) -> None:
        if type(value) is HOST and value.ndim:
            raise TypeError("a host array meets one of the device")
        super().__setitem__(key, value)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        return super().__array__(*args, **kwargs)

    def get(self) -> Any:
        state.happened("wait")
        return np.array(self.view(HOST))

    @property
    def data(self) -> Any:
        return _Pointer(self)


def _device(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_device(one) for one in value)
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        state.allocate(array.nbytes)
        return array.view(ndarray)
    return value


def _wrapped(function: Callable[..., Any], parameters: list[str]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        if cupy_surface.ANY not in parameters:
            unknown = set(kwargs) - set(parameters)
            assert not unknown, f"{function.__name__} of CuPy has no {unknown}"
            assert len(args) <= len(parameters), f"{function.__name__} of CuPy takes {parameters}"
        for one in args:
            if type(one) is HOST and one.ndim:
                raise TypeError(f"{function.__name__}: an array of the host")
        return _device(function(*args, **kwargs))

    return call


class Stream:
    null: "Stream"

    def __init__(self, non_blocking: bool = False) -> None:
        self.ptr = id(self) if non_blocking else 0

    def __enter__(self) -> "Stream":
        _own.streams.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _own.streams.pop()

    def synchronize(self) -> None:
        state.happened("wait")


class _Own(threading.local):
    def __init__(self) -> None:
        self.streams = [Stream()]
        self.devices = [0]  # those entered; the last one is the current one


_own = _Own()


class Device:
    def __init__(self, index: int = 0) -> None:
        state.happened("device")
        self.index = index

    def __enter__(self) -> "Device":
        _own.devices.append(self.index)
        return self

    def __exit__(self, *_: object) -> None:
        _own.devices.pop()


class RawModule:
    """Compiles the kernels for the processor; the options say which."""

    def __init__(self, *, code: str, options: tuple[str, ...], backend: str) -> None:
        assert code == variants.source_text()
        assert '#include "' not in code
        assert backend == "nvrtc"
        state.compiled.append(options)
        self.options = options

    def get_function(self, name: str) -> Callable[..., None]:
        library = emulation.built(self.options)

        def run(grid: tuple[int], block: tuple[int], arguments: tuple[Any, ...]) -> None:
            assert block == (variants.BLOCK,)
            state.launches_left -= 1
            if state.launches_left < 0:
                raise CUDARuntimeError(719)
            state.happened(f"launch {name}")
            with _one_at_a_time:
                plain = (one.view(HOST) if isinstance(one, ndarray) else one for one in arguments)
                emulation.launch(library, name, grid[0], tuple(plain))

        return run


_one_at_a_time = threading.Lock()


def _pinned(size: int) -> Any:
    state.happened("pinned")
    if state.pinning is not None:
        raise state.pinning
    state.places.append(("pinned", _own.devices[-1]))
    return bytearray(size)


def _clear() -> None:
    state.happened("clear")
    state.kept = 0
    state.places.append(("clear", _own.devices[-1]))


def _count() -> int:
    state.happened("driver")
    return state.devices


def module() -> ModuleType:
    """What `import cupy` finds."""
    cupy = ModuleType("cupy")
    cupy.__version__ = "14.2.0"  # type: ignore[attr-defined]
    cupy.__spec__ = SimpleNamespace(name="cupy")  # type: ignore[assignment]
    cupy.ndarray = ndarray  # type: ignore[attr-defined]
    cupy.asarray = lambda value, **kwargs: _device(np.array(value, **kwargs))  # type: ignore[attr-defined]
    cupy.asnumpy = lambda array: array.get() if isinstance(array, ndarray) else np.asarray(array)  # type: ignore[attr-defined]
    cupy.RawModule = RawModule  # type: ignore[attr-defined]
    cupy.get_default_memory_pool = lambda: SimpleNamespace(  # type: ignore[attr-defined]
        free_all_blocks=_clear
    )
    cupy._core = SimpleNamespace(  # type: ignore[attr-defined]
        set_reduction_accelerators=lambda names: state.accelerators.update(reduction=names),
        set_routine_accelerators=lambda names: state.accelerators.update(routine=names),
    )
    cupy.cuda = SimpleNamespace(  # type: ignore[attr-defined]
        Device=Device,
        Stream=Stream,
        get_current_stream=lambda: _own.streams[-1],
        alloc_pinned_memory=_pinned,
        memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
        runtime=SimpleNamespace(
            getDeviceCount=_count,
            driverGetVersion=lambda: 13000,
            getDeviceProperties=lambda index: {"name": b"a device that is none"},
            memGetInfo=lambda: (state.free, state.free),
            CUDARuntimeError=CUDARuntimeError,
        ),
    )

    def missing(name: str) -> Any:
        known = cupy_surface.recorded()["cupy"]
        if name not in known:
            raise AttributeError(f"CuPy has no {name}")
        found = getattr(np, name)
        is_plain = isinstance(found, type) or not callable(found)
        return found if is_plain else _wrapped(found, known[name])

    cupy.__getattr__ = missing  # type: ignore[method-assign]
    return cupy


@contextmanager
def installed() -> Iterator[State]:
    """`import cupy` finds the stand-in, and the driver is there."""
    global state
    import importlib.util

    from distillcli.backend import probe

    before = sys.modules.get("cupy")
    state = State()
    sys.modules["cupy"] = module()
    load, find = probe.driver_library, importlib.util.find_spec
    probe.driver_library = lambda: object()
    try:
        yield state
    finally:
        probe.driver_library = load
        importlib.util.find_spec = find
        if before is None:
            del sys.modules["cupy"]
        else:
            sys.modules["cupy"] = before
