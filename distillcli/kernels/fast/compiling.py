"""How the loops are compiled: once for a processor, kept on disk, run without the interpreter."""

from collections.abc import Callable
from typing import Any

from numba import njit

# Sums may be reordered, so that they run in vector registers; a product with a sum is one
# operation. Infinities and NaNs keep their meaning, and a division by zero gives one of them.
# Nothing is allocated: without the runtime for that, a part of an array costs no counting of
# references, which took a third of the time of rows of 1,000 classes.
HOW: Any = {
    "nogil": True,
    "fastmath": {"reassoc", "contract"},
    "error_model": "numpy",
    "_nrt": False,
}


def compiled(loop: Callable[..., Any]) -> Any:
    """The loop as machine code, which lets other Python threads run while it does.

    Where nothing can be kept on disk, as in a folder that cannot be written, it is compiled anew.
    """
    try:
        return njit(**HOW, cache=True)(loop)
    except RuntimeError:  # no place for a cache
        return njit(**HOW)(loop)
