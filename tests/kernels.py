"""The kernels of a CPU that a test can be run with."""

import pytest

from distillcli.kernels import why_not_fast

NO_FAST = why_not_fast()
KERNELS = [
    "numpy",
    pytest.param("fast", marks=pytest.mark.skipif(NO_FAST is not None, reason=str(NO_FAST))),
]
THERE = ["numpy"] if NO_FAST else ["numpy", "fast"]  # for loops within a test
