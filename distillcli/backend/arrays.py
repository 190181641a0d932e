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


def namespace(array: Array) -> Namespace:
    """The module whose functions work on this array."""
    if hasattr(array, "__array_namespace__"):
        return array.__array_namespace__()
    return sys.modules[type(array).__module__.partition(".")[0]]
