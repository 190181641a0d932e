"""A finished piece of work as bytes that tell when they are damaged."""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from distillcli.formats.inflating import crc32

MAGIC = b"distill-piece-1\n"
_HEAD = struct.Struct("<QI")  # length of the header, CRC-32 of everything behind this

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Piece:
    """The rows `start` to `stop` of every dataset, and the figures of all rows up to `stop`.

    Args:
        arrays: the rows, by name of the dataset; one array after the other.
        state: what the figures need to go on from here.
        counts: lost and stored entries so far.
    """

    start: int
    stop: int
    arrays: Mapping[str, Sequence[Array]]
    state: Mapping[str, Array] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)


def pack(piece: Piece) -> list[bytes | memoryview]:
    """The bytes of a piece, in parts."""
    groups = {"arrays": piece.arrays, "state": {name: [a] for name, a in piece.state.items()}}
    header: dict[str, Any] = {"start": piece.start, "stop": piece.stop, "counts": piece.counts}
    body: list[memoryview] = []
    for group, arrays in groups.items():
        header[group] = [_described(name, parts) for name, parts in arrays.items()]
        body += [_bytes(part) for parts in arrays.values() for part in parts]
    text = json.dumps(header).encode("ascii")
    crc = crc32(text)
    for part in body:
        crc = crc32(part, crc)
    return [MAGIC, _HEAD.pack(len(text), crc), text, *body]


def _described(name: str, parts: Sequence[Array]) -> list[Any]:
    """Name, type and shape of what several arrays make together."""
    first, *others = parts
    shape = list(first.shape)
    if others:
        shape[0] = sum(len(part) for part in parts)
    return [name, first.dtype.str, shape]


def _bytes(array: Array) -> memoryview:
    data: memoryview = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    return data


def unpack(data: bytes) -> Piece | None:
    """The piece in these bytes; None where they are not whole."""
    begin = len(MAGIC) + _HEAD.size
    if not data.startswith(MAGIC) or len(data) < begin:
        return None
    length, crc = _HEAD.unpack_from(data, len(MAGIC))
    if crc32(memoryview(data)[begin:]) != crc:
        return None
    header = json.loads(data[begin : begin + length])
    at = begin + length
    groups: dict[str, dict[str, Array]] = {}
    for group in ("arrays", "state"):
        groups[group] = {}
        for name, code, shape in header[group]:
            kind, count = np.dtype(code), int(np.prod(shape, dtype=np.int64))
            values = np.frombuffer(data, kind, count, at).reshape(shape)
            groups[group][name] = values
            at += values.nbytes
    rows = {name: [values] for name, values in groups["arrays"].items()}
    return Piece(header["start"], header["stop"], rows, groups["state"], header["counts"])
