"""What a soft-target file is to hold, and in which form."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distillcli.errors import DataError, UsageError
from distillcli.formats.declared import KINDS
from distillcli.formats.hdf5.writing import COMPRESSIONS, Planned
from distillcli.formats.sidecar import sidecar_of

DTYPES = ("float16", "float32", "float64")
HDF5 = (".h5", ".hdf5", ".hdf", ".he5")
NPY = (".npy",)


@dataclass(frozen=True)
class Spec:
    """The options of an output.

    Args:
        path: the file to write; its suffix says in which format.
        kind: logits, probabilities or log_probabilities.
        dtype: of the scores.
        top_k: how many classes of each row are kept; None for all.
        compression: none, gzip or lzf.
        copy_labels: whether the labels go into the file.

    Raises:
        UsageError: an option makes no sense, or not with the others.
    """

    path: Path
    kind: str = "logits"
    dtype: str = "float32"
    top_k: int | None = None
    compression: str = "none"
    copy_labels: bool = False

    def __post_init__(self) -> None:
        if self.path.suffix.lower() not in (*HDF5, *NPY):
            hint = "end it in .h5 for HDF5 or in .npy"
            raise UsageError("--output", f"{str(self.path)!r} has no suffix of a format", hint)
        _one_of("--kind", self.kind, KINDS)
        _one_of("--dtype", self.dtype, DTYPES)
        _one_of("--compression", self.compression, COMPRESSIONS)
        if self.top_k is not None and self.top_k < 1:
            raise UsageError("--top-k", f"is {self.top_k}", "keep at least one class of each row")
        if not self.is_hdf5:
            self._check_npy()

    def _check_npy(self) -> None:
        hint = "an NPY file holds one array: write an .h5 file"
        if self.top_k is not None:
            raise UsageError("--top-k", "needs three arrays", hint)
        if self.copy_labels:
            raise UsageError("--copy-labels", "needs a second array", hint)
        if self.compression != "none":
            raise UsageError("--compression", "is for HDF5 files", "write an .h5 file")

    @property
    def is_hdf5(self) -> bool:
        """Whether the output is HDF5; else it is NPY."""
        return self.path.suffix.lower() in HDF5

    def written(self) -> dict[str, str | int | bool | None]:
        """What of it shows in the file, JSON-ready."""
        return {
            "format": "hdf5" if self.is_hdf5 else "npy",
            "kind": self.kind,
            "dtype": self.dtype,
            "top_k": self.top_k,
            "compression": self.compression,
            "labels": self.copy_labels,
        }

    def datasets(self, rows: int, classes: int) -> dict[str, Planned]:
        """The arrays of the file by name.

        Raises:
            UsageError: there are fewer classes than are to be kept.
        """
        scores = np.dtype(self.dtype)
        if self.top_k is None:
            plan = {"targets": Planned(scores, (rows, classes))}
        elif self.top_k > classes:
            raise UsageError("--top-k", f"is {self.top_k:,}, and there are {classes:,} classes")
        else:
            plan = {
                "indices": Planned(np.dtype(np.int32), (rows, self.top_k)),
                "values": Planned(scores, (rows, self.top_k)),
                "log_z": Planned(np.dtype(np.float64), (rows,)),
            }
        if self.copy_labels:
            plan["labels"] = Planned(np.dtype(np.int64), (rows,))
        return plan

    def refuse_inputs(self, inputs: Sequence[str]) -> None:
        """See to it that no input is overwritten.

        Raises:
            DataError: one is the output.
        """
        outputs = (str(self.path), sidecar_of(str(self.path)))
        for path in inputs:
            if any(_same(path, output) for output in outputs):
                hint = "inputs are never overwritten: write another file"
                raise DataError(f"--output {self.path}", "is one of the inputs", hint)


def _one_of(flag: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise UsageError(
            flag, f"no {flag.removeprefix('--')} {value!r}", f"one of {', '.join(known)}"
        )


def _same(first: str, second: str) -> bool:
    try:
        return os.path.samefile(first, second)
    except OSError:
        return os.path.realpath(first) == os.path.realpath(second)
