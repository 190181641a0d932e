"""Which array library computes: NumPy, or CuPy on a GPU. The only room that names CuPy.

Numeric code is written once over the Python array API standard and asks `namespace(x)` for the
functions that belong to an array.
"""

from distillcli.backend.arrays import (
    Array,
    Namespace,
    keep_freed_memory,
    namespace,
    one_blas_thread,
)
from distillcli.backend.choice import choose
from distillcli.backend.interface import Backend, Device
from distillcli.backend.probe import Probe, probe_gpu

__all__ = [
    "Array",
    "Backend",
    "Device",
    "Namespace",
    "Probe",
    "choose",
    "keep_freed_memory",
    "namespace",
    "one_blas_thread",
    "probe_gpu",
]
