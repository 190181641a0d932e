"""What the HDF5 library raises, turned into errors of one line."""

from collections.abc import Iterator
from contextlib import contextmanager

from distillcli.errors import DistillError, FormatError

_LIBRARY_ERRORS = (OSError, KeyError, RuntimeError, ValueError, TypeError, OverflowError)


@contextmanager
def library(where: str) -> Iterator[None]:
    """Turn what the library raises into one line."""
    try:
        yield
    except DistillError:
        raise
    except _LIBRARY_ERRORS as error:
        text = " ".join(str(error).split())
        reason = text[text.find("(") + 1 : -1] if text.endswith(")") else text
        problem = f"the HDF5 library cannot read it: {reason[:200]}"
        raise FormatError(where, problem, "the file may be damaged or cut short") from error
