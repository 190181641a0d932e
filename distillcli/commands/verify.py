"""`distill verify`: a soft-target file against its checksums and its own declarations."""

import json
from collections.abc import Mapping
from pathlib import Path

from distillcli.passes import Watch
from distillcli.targets import check


def verify(path: Path, *, progress: Watch) -> dict[str, str]:
    """What a file that holds what it says is, one line each.

    Raises:
        MissingError, FormatError, DataError: it is not there, no soft-target file, or damaged.
    """
    found = check(path, progress)
    known = found.declaration
    words = known.words
    held = "all classes" if known.top_k is None else f"the {known.top_k:,} largest of each row"
    datasets = ", ".join(
        f"{name} {one.dtype} {list(one.shape)}" for name, one in known.datasets.items()
    )
    without = f", of which {found.rows_without:,} hold NaN" if found.rows_without else ""
    return {
        "file": f"{path}, {found.size:,} bytes",
        "holds": f"{known.kind} at temperature {known.temperature:g}, {held}",
        "rows": f"{known.rows:,} of {known.classes:,} classes{without}",
        "datasets": datasets,
        "blend": f"{words.get('combine')}, weights {_weights(words)}",
        "written by": words.get("tool", ""),
        "checksums": "every dataset and every attribute matches",
    }


def _weights(words: Mapping[str, str]) -> str:
    weights = ", ".join(f"{weight:.6g}" for weight in json.loads(words.get("weights", "[]")))
    return f"{weights} ({words.get('weights_rule')})"
