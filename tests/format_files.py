"""Files to read in tests: sources as a config would give them, and odd files of every format."""

import os
import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np
import safetensors.numpy


@dataclass(frozen=True)
class Part:
    """One path of a source."""

    pattern: str
    path: str
    base: str
    dataset: str | None = None
    dtype: str | None = None
    scale: float | str | None = None
    zero_point: int = 0


@dataclass(frozen=True)
class Source:
    """Parts joined along the first axis."""

    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Layers:
    """Hidden states."""

    sources: tuple[Source, ...]
    single: bool


def source(
    base: Path,
    *texts: str,
    dtype: str | None = None,
    scale: float | str | None = None,
    zero_point: int = 0,
) -> Source:
    """A source with paths relative to `base`, each `path` or `path::dataset`."""
    parts = []
    for text in texts:
        pattern, _, dataset = text.partition("::")
        path = os.path.join(base, pattern)
        parts.append(Part(pattern, path, str(base), dataset or None, dtype, scale, zero_point))
    return Source(tuple(parts))


def npy_bytes(array: np.ndarray, *, fortran: bool = False) -> bytes:
    """An NPY file; raw 2-byte elements keep their order of axes too."""
    buffer = BytesIO()
    np.save(buffer, np.asfortranarray(array) if fortran else np.ascontiguousarray(array))
    return buffer.getvalue()


def npy_header(text: str, *, version: int = 1, data: bytes = b"") -> bytes:
    """An NPY file with a header of one's own making."""
    header = text.encode()
    length = len(header).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + length + header + data


def write_npz(path: Path, members: dict[str, bytes], *, deflated: bool = False) -> None:
    """An NPZ file of NPY bytes by name."""
    method = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)


def safetensors_bytes(
    arrays: dict[str, np.ndarray], metadata: dict[str, str] | None = None, **types: str
) -> bytes:
    """A safetensors file as its own library writes it; `types` say what the bits of arrays are."""
    typed = {
        name: np.ascontiguousarray(array).view(getattr(ml_dtypes, types[name]))
        if name in types
        else np.ascontiguousarray(array)
        for name, array in arrays.items()
    }
    return safetensors.numpy.save(typed, metadata)


def safetensors_header(text: str, data: bytes = b"") -> bytes:
    """A safetensors file with a header of one's own making."""
    header = text.encode("utf-8", "surrogatepass")
    return len(header).to_bytes(8, "little") + header + data


def kld_bytes(logits: np.ndarray, tokens: np.ndarray) -> bytes:
    """A base-logits file of llama.cpp: logits [chunks, positions, vocabulary] of the positions from
    half of the context on but the last one, and tokens [chunks, context]."""
    chunks, positions, vocabulary = logits.shape
    assert positions == tokens.shape[1] - 1 - tokens.shape[1] // 2
    head = np.array([tokens.shape[1], vocabulary, chunks], "<i4").tobytes()
    rows = [kld_row(row) for row in logits.astype(np.float32).reshape(-1, vocabulary)]
    return b"_logits_" + head + tokens.astype("<i4").tobytes() + b"".join(rows)


def kld_row(logits: np.ndarray) -> bytes:
    """A row: what is more than 16 below the highest logit is stored as 16 below."""
    high = logits.max()
    low = max(logits.min(), high - np.float32(16))
    log_sum = np.log(np.exp((logits - high).astype(np.float64)).sum()).astype(np.float32)
    scale = np.float32((high - low) / np.float32(65535))
    steps = np.rint((np.maximum(logits, low) - low) / scale) if scale else np.zeros(len(logits))
    filled = np.zeros(len(logits) + len(logits) % 2, "<u2")
    filled[: len(logits)] = steps
    return np.array([scale, low - high - log_sum], "<f4").tobytes() + filled.tobytes()


def bfloat16_type(*, big_endian: bool = False) -> "h5py.h5t.TypeFloatID":
    """A true HDF5 floating-point type with the layout of bfloat16."""
    kind = (h5py.h5t.IEEE_F32BE if big_endian else h5py.h5t.IEEE_F32LE).copy()
    kind.set_fields(15, 7, 8, 0, 7)
    kind.set_precision(16)
    kind.set_offset(0)
    kind.set_size(2)
    kind.set_ebias(127)
    return kind


def create_raw(
    group: "h5py.Group", name: str, raw: np.ndarray, kind: "h5py.h5t.TypeID", **options: object
) -> None:
    """A dataset of any type, written without conversion."""
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    if chunks := options.get("chunks"):
        plist.set_chunk(chunks)
    if options.get("shuffle"):
        plist.set_shuffle()
    if options.get("compression") == "gzip":
        plist.set_deflate(4)
    if options.get("fletcher32"):
        plist.set_fletcher32()
    space = h5py.h5s.create_simple(raw.shape)
    dataset = h5py.h5d.create(group.id, name.encode(), kind, space, plist)
    dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ascontiguousarray(raw), kind)
