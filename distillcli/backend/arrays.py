"""Arrays of any library, and the one setting that must be made before NumPy is loaded."""

import os
import sys
from typing import Any

# An array, or the module of functions for it, of any library that follows the array API standard.
Array = Any
Namespace = Any


def one_blas_thread() -> None:
    """Keep matrix products on one thread each: their bits then depend on nothing but their input.

    Our own threads run several products at once instead. It has an effect only before NumPy is
    imported for the first time, and changes this process alone.
    """
    if "numpy" not in sys.modules:
        for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
            os.environ[name] = "1"


def keep_freed_memory() -> None:
    """Let the C library keep what arrays have freed, up to 62 MB, for those that come next.

    glibc gives what lies free at the end of its memory back to the system as soon as it is twice
    the largest block that was freed yet, and asks for it again, when the system fills each page
    with zeros: that can cost more than the work on the arrays. A block of 31 MiB, all but the
    largest that counts, ends this for good. Without glibc nothing happens.
    """
    import numpy as np

    np.empty(31 * 2**20, np.uint8)  # freed at once, none of it touched


def namespace(array: Array) -> Namespace:
    """The module whose functions work on this array."""
    kind = type(array)
    if kind not in _namespaces:
        _namespaces[kind] = _namespace(array)
    return _namespaces[kind]


# By type: plain functions ask several times for each thing they compute.
_namespaces: dict[type, Namespace] = {}


def _namespace(array: Array) -> Namespace:
    if hasattr(array, "__array_namespace__"):
        return array.__array_namespace__()
    return sys.modules[type(array).__module__.partition(".")[0]]
