"""Fused fast paths: what losses and metrics ask of class scores, from few passes over the cache.

A kernel computes nothing of its own: it fills in what `Logits` would compute when asked, faster and
within the same bounds, and what it leaves out the plain functions compute. So the functions in
`losses/` stay the definition and the oracle of every kernel.
"""

from functools import cache
from importlib import import_module

from distillcli.backend import Device, keep_freed_memory
from distillcli.errors import BackendError
from distillcli.kernels import cuda, filling
from distillcli.kernels.filling import Sweep
from distillcli.kernels.wanted import NARROW, Wanted

__all__ = ["Wanted", "fill", "kernel_for", "swept_bytes", "why_not_fast"]

# What is smaller is done before the compiler's library is loaded, which takes half a second.
WORTH_COMPILING = 64 * 2**20

_PLACES = {"numpy": "distillcli.kernels.rows", "fast": "distillcli.kernels.fast.sweeping"}

# Over how many bytes a sweep goes at once, of wide rows and of rows of few classes. Arrays of NumPy
# must lie in the nearest cache they can, with two rows of the longest usual vocabulary; where
# classes are few they are swept in many calls, each of which may wait for the interpreter's lock.
# A loop reads each row once.
_SWEPT = {"numpy": (6 * 2**20 // 5, 5 * 2**20 // 2), "fast": (2**21, 2**21)}


def fill(wanted: Wanted, kernel: str, gpu: Device | None = None) -> None:
    """Compute what is wanted with a kernel, and leave it with the scores.

    Args:
        wanted: what will be asked.
        kernel: a name as in `facts`; one that has no fast path leaves everything to the plain
            functions.
        gpu: the device where the scores are, if they are on one.
    """
    if gpu is not None:
        cuda.fill(wanted, gpu)
    elif kernel in _PLACES:
        filling.fill(wanted, _sweep(kernel))


def swept_bytes(kernel: str, classes: int | None) -> int | None:
    """How many bytes of the arithmetic's type a kernel sweeps over at once; None without one."""
    if kernel not in _SWEPT:
        return None
    wide, narrow = _SWEPT[kernel]
    return narrow if classes is not None and classes < NARROW else wide


def kernel_for(name: str, size: int) -> str:
    """The kernel that computes on a CPU.

    Args:
        name: auto, numpy or fast.
        size: bytes of all inputs, whatever part of them is read: parts have the bits of the whole.

    Raises:
        BackendError: `fast` is asked for and cannot be had.
    """
    if name == "numpy" or (name == "auto" and size < WORTH_COMPILING):
        return "numpy"
    missing = why_not_fast()
    if missing is None:
        return "fast"
    if name == "fast":
        raise BackendError("kernel fast", missing, "pip install 'distillcli[fast]'")
    return "numpy"


def why_not_fast() -> str | None:
    """Why the compiled kernel cannot be had; None if it can."""
    from distillcli.kernels import fast

    return fast.missing()


@cache
def _sweep(kernel: str) -> Sweep:
    """Loaded when first needed: a compiler takes its time."""
    keep_freed_memory()
    sweep: Sweep = import_module(_PLACES[kernel]).sweep
    return sweep
