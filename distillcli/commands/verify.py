"""`distill verify`: a soft-target file against its checksums and its own declarations."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distillcli.strategy.passes import Watch
from distillcli.targets import check

SCHEMA = "distillcli.verify/1"


@dataclass(frozen=True)
class Verified:
    """A soft-target file that holds what it says: as data, and as lines for people."""

    data: dict[str, Any]
    lines: dict[str, str]


def verify(path: Path, *, progress: Watch) -> Verified:
    """What a file is that holds what it says.

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
    weights = json.loads(words.get("weights", "[]"))
    data = {
        "schema": SCHEMA,
        "file": str(path),
        "bytes": found.size,
        "kind": known.kind,
        "temperature": known.temperature,
        "top_k": known.top_k,
        "rows": known.rows,
        "rows_without": found.rows_without,
        "classes": known.classes,
        "datasets": {
            name: {"dtype": str(one.dtype), "shape": list(one.shape)}
            for name, one in known.datasets.items()
        },
        "combine": words.get("combine"),
        "weights": weights,
        "weights_rule": words.get("weights_rule"),
        "tool": words.get("tool"),
    }
    lines = {
        "file": f"{path}, {found.size:,} bytes",
        "holds": f"{known.kind} at temperature {known.temperature:g}, {held}",
        "rows": f"{known.rows:,} of {known.classes:,} classes{without}",
        "datasets": datasets,
        "blend": f"{words.get('combine')}, weights {_weights(weights, words.get('weights_rule'))}",
        "written by": words.get("tool", ""),
        "checksums": "every dataset and every attribute matches",
    }
    return Verified(data, lines)


def _weights(weights: list[float], rule: str | None) -> str:
    return f"{', '.join(f'{weight:.6g}' for weight in weights)} ({rule})"
