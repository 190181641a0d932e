"""What the tests of files that are refused have in common."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from format_files import source

from distillcli.errors import DataError
from distillcli.formats import open_rows

FLOATS = np.arange(12, dtype=np.float32).reshape(4, 3)
READABLE = (
    "types that can be read: float16, bfloat16, float32, float64, float8, and integers for labels"
)

Case = tuple[str, Callable[[Path], object], str]


def refusal(folder: Path, text: str, *, row_dims: int = 1, dtype: str | None = None) -> DataError:
    """The error of opening a source, which must be an input's, on one line."""
    with pytest.raises(DataError) as caught:
        open_rows(source(folder, text, dtype=dtype), role="logits", row_dims=row_dims)
    assert "\n" not in str(caught.value)
    return caught.value


def holding(data: bytes) -> Callable[[Path], object]:
    """What makes a file of these bytes."""
    return lambda path: path.write_bytes(data)
