"""A soft-target file held against its checksums and against what it says of itself."""

import hashlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from distillcli.config import IGNORE_INDEX
from distillcli.errors import FormatError
from distillcli.formats.declared import DAMAGED, Declaration, declaration
from distillcli.formats.files import InputFile
from distillcli.formats.opening import format_of
from distillcli.formats.readers import ArrayReader, Container

STEP_BYTES = 16 << 20

Array = npt.NDArray[Any]
Advance = Callable[[int, int], None]
# (what is being done, rows, bytes to read) -> what is told how far it is
Watch = Callable[[str, int, int], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Verified:
    """A file that is what it says it is."""

    declaration: Declaration
    size: int
    rows_without: int  # rows that hold NaN: their inputs could not be used


def check(path: Path, watch: Watch) -> Verified:
    """Read a whole file, and hold it against its checksums and its own declarations.

    Args:
        watch: opens a progress display.

    Raises:
        MissingError, FormatError, DataError: it is not there, no soft-target file, or damaged.
    """
    with ExitStack() as stack:
        file = InputFile(str(path), str(path), "")
        stack.callback(file.close)
        container = format_of(file).open(file)
        stack.callback(container.close)
        known = declaration(container.words(), file.where)
        if known is None:
            hint = "distill ensemble writes such files"
            raise FormatError(file.where, "does not say that it is a soft-target file", hint)
        readers = _readers(file, container, known)
        size = known.rows * sum(reader.row_bytes for reader in readers.values())
        with watch(f"verify {path.name}", known.rows, size) as progress:
            bare = _check_rows(file.where, known, readers, progress.advance)
        file.check_unchanged()
        _check_skipped(file.where, known, bare)
        return Verified(known, file.size, bare)


def words_of(path: Path) -> Mapping[str, str]:
    """What a file says of itself.

    Raises:
        MissingError, FormatError, DataError: it cannot be read.
    """
    with ExitStack() as stack:
        file = InputFile(str(path), str(path), "")
        stack.callback(file.close)
        container = format_of(file).open(file)
        stack.callback(container.close)
        return container.words()


def _readers(file: InputFile, container: Container, known: Declaration) -> dict[str, ArrayReader]:
    """The datasets, which must be those that are declared."""
    held = {info.name for info in container.names(None)} if container.named else {"targets"}
    for name in sorted(held ^ set(known.datasets)):
        what = "lacks" if name in known.datasets else "holds undeclared"
        raise FormatError(file.where, f"{what} dataset {name!r}", DAMAGED)
    found = {}
    for name in known.datasets:
        array = container.array(name if container.named else None, None)
        known.require(file.where, name, array.element.name, array.shape)
        found[name] = ArrayReader(file, container, array, dataset=name, lead=1)
    return found


def _check_rows(
    where: str, known: Declaration, readers: Mapping[str, ArrayReader], advance: Advance
) -> int:
    sums = {name: hashlib.sha256() for name in readers}
    row_bytes = sum(reader.row_bytes for reader in readers.values())
    step = max(1, STEP_BYTES // row_bytes)
    bare = 0
    for start in range(0, known.rows, step):
        stop = min(start + step, known.rows)
        rows = {n: r.read(start, stop, r.empty(stop - start)) for n, r in readers.items()}
        for name, values in rows.items():
            sums[name].update(values.reshape(-1).view(np.uint8).data)
        advance(stop - start, (stop - start) * row_bytes)
        bare += _check_sense(where, known, rows, start)
    for name, one in sums.items():
        if one.hexdigest() != known.datasets[name].sha256:
            raise FormatError(f"{where}::{name}", "does not match its checksum", DAMAGED)
    return bare


def _check_skipped(where: str, known: Declaration, bare: int) -> None:
    if bare != int(known.words.get("rows_skipped", "0")):
        problem = f"{bare:,} rows hold NaN, {known.words.get('rows_skipped')} are declared"
        raise FormatError(where, problem, DAMAGED)


def _check_sense(where: str, known: Declaration, rows: Mapping[str, Array], start: int) -> int:
    """Whether the rows can be what the file says they are; how many of them are NaN."""
    scores = rows[known.scores].astype(np.float64)
    without: Array = np.asarray(np.isnan(scores).all(axis=1))

    def require(good: Any, what: str) -> None:
        if not np.all(good):
            row = start + int(np.argmin(good))
            raise FormatError(where, f"row {row:,}: {what}", DAMAGED)

    require(~np.isnan(scores).any(axis=1) | without, "holds NaN")
    require(~(scores == np.inf).any(axis=1), "holds infinity")
    if "labels" in rows:
        labels = rows["labels"]
        inside = (labels >= 0) & (labels < known.classes)
        if "rows_masked" in known.words:
            inside |= labels == IGNORE_INDEX
        require(inside, f"its label is outside 0 to {known.classes - 1}")
    good = np.where(without[:, None], 0.0, scores)
    loose = 1e-3 if rows[known.scores].dtype == np.float16 else 1e-5
    if known.kind == "probabilities":
        require((good >= 0).all(axis=1) & (good <= 1 + loose).all(axis=1), "is no probability")
    if known.top_k is not None:
        _check_top(known, rows, good, without, loose, require)
    elif known.kind != "logits":
        sums = good.sum(axis=1) if known.kind == "probabilities" else np.exp(good).sum(axis=1)
        # Every stored number may be off by a rounding, however many classes there are.
        slack = loose * max(8.0, known.classes**0.5)
        require(without | (np.abs(sums - 1) <= slack), "its probabilities do not sum to 1")
    return int(np.count_nonzero(without))


def _check_top(
    known: Declaration,
    rows: Mapping[str, Array],
    values: Array,
    without: Array,
    loose: float,
    require: Callable[[Array, str], None],
) -> None:
    indices = rows["indices"]
    inside = (indices >= 0) & (indices < known.classes)
    require(without | inside.all(axis=1), f"an index is outside 0 to {known.classes - 1}")
    ordered = np.sort(indices, axis=1)
    require(without | (np.diff(ordered, axis=1) > 0).all(axis=1), "an index stands twice")
    with np.errstate(invalid="ignore", divide="ignore"):
        require(without | ~(np.diff(values, axis=1) > 0).any(axis=1), "its values do not descend")
        lifted = values / known.temperature if known.kind == "logits" else values
        lifted = np.log(values) if known.kind == "probabilities" else lifted
        mass = np.exp(lifted - rows["log_z"][:, None]).sum(axis=1)
    require(without | (mass <= 1 + 1e-9), "its values hold more than all of the mass")
