"""A finished piece of work as bytes that tell when they are damaged."""

import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

MAGIC = b"distill-piece-1\n"
_HEAD = struct.Struct("<QI")  # length of the header, CRC-32 of everything behind this

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Piece:
    """The rows `start` to `stop` of every dataset, and the figures of all rows up to `stop`.

    Args:
        arrays: the rows, by name of the dataset.
        state: what the figures need to go on from here.
        counts: lost and stored entries so far.
    """

    start: int
    stop: int
    arrays: Mapping[str, Array]
    state: Mapping[str, Array] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)


def pack(piece: Piece) -> list[bytes | memoryview]:
    """The bytes of a piece, in parts."""
    groups = {"arrays": piece.arrays, "state": piece.state}
    header: dict[str, Any] = {"start": piece.start, "stop": piece.stop, "counts": piece.counts}
    body: list[memoryview] = []
    for group, arrays in groups.items():
        header[group] = [[name, a.dtype.str, list(a.shape)] for name, a in arrays.items()]
        body += [np.ascontiguousarray(a).reshape(-1).view(np.uint8).data for a in arrays.values()]
    text = json.dumps(header).encode("ascii")
    crc = zlib.crc32(text)
    for part in body:
        crc = zlib.crc32(part, crc)
    return [MAGIC, _HEAD.pack(len(text), crc), text, *body]


def unpack(data: bytes) -> Piece | None:
    """The piece in these bytes; None where they are not whole."""
    begin = len(MAGIC) + _HEAD.size
    if not data.startswith(MAGIC) or len(data) < begin:
        return None
    length, crc = _HEAD.unpack_from(data, len(MAGIC))
    if zlib.crc32(memoryview(data)[begin:]) != crc:
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
    return Piece(header["start"], header["stop"], **groups, counts=header["counts"])
