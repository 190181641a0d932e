"""The compiled kernel, with numba: all that is asked of a row while it lies in the nearest cache.

Rows are read as they are stored: 16-bit numbers are widened in registers.
"""

import importlib
import importlib.util


def missing() -> str | None:
    """What keeps this kernel from running; None if nothing does. Loads the compiler's library."""
    if importlib.util.find_spec("numba") is None:
        return "numba is not installed"
    try:
        importlib.import_module("numba")
    except Exception as error:  # it refuses a NumPy that it does not know, for one
        return f"numba does not load: {error}"
    return None
