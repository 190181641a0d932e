"""The filters of a packed chunk undone, to no more than the size that it declares."""

import sys

import numpy as np

from distillcli.formats import inflating
from distillcli.formats.elements import Array

LITTLE = sys.byteorder == "little"


def unpack(
    packed: Array, filters: tuple[str, ...], skipped: int, size: int, itemsize: int
) -> Array:
    """Undo the filters of one chunk, last one first.

    Raises:
        ValueError: it is damaged, or does not unpack to `size` bytes.
    """
    data = packed
    for index, name in reversed(list(enumerate(filters))):
        if not skipped >> index & 1:
            data = _UNDO[name](data, size, itemsize)
    if len(data) != size:
        raise ValueError(f"unpacks to {len(data):,} bytes, {size:,} are declared")
    return data


def _inflate(data: Array, size: int, itemsize: int) -> Array:
    limit = size + 4  # a checksum may stand behind the values
    stream = inflating.stream()
    try:
        values = stream.decompress(data.data, limit + 1)
    except inflating.Damaged as error:
        raise ValueError(f"is damaged: {error}") from error
    if len(values) > limit:
        raise ValueError(f"unpacks to more than the {size:,} bytes that are declared")
    if not stream.eof:
        raise ValueError("is damaged: its packed bytes end early")
    return np.frombuffer(values, np.uint8)


def _unshuffle(data: Array, size: int, itemsize: int) -> Array:
    """Bring together the bytes of each value: first all first bytes are stored, then all second.

    Neighbours are joined to words of twice the width until there is one word a value: several
    times as fast as one transposition.
    """
    if len(data) % itemsize:
        raise ValueError(f"unpacks to {len(data):,} bytes, {size:,} are declared")
    planes = data.reshape(itemsize, -1)
    while len(planes) > 1:
        low, high = (planes[::2], planes[1::2]) if LITTLE else (planes[1::2], planes[::2])
        bits = 8 * planes.itemsize
        planes = high.astype(f"u{2 * planes.itemsize}")
        planes <<= bits
        planes |= low
    return planes.reshape(-1).view(np.uint8)


def _check_sum(data: Array, size: int, itemsize: int) -> Array:
    """Take off and compare the Fletcher-32 checksum."""
    if len(data) < 4:
        raise ValueError("is damaged: its checksum is missing")
    stored = int(data[-4:].view("<u4")[0])
    if any((a - b) % 65535 for a, b in zip(fletcher32(data[:-4]), _halves(stored), strict=True)):
        raise ValueError("is damaged: its checksum is wrong")
    return data[:-4]


def _halves(stored: int) -> tuple[int, int]:
    return stored & 0xFFFF, stored >> 16


def fletcher32(data: Array) -> tuple[int, int]:
    """Both sums of the checksum modulo 65535, over big-endian 16-bit words."""
    words = np.frombuffer(data.tobytes() + b"\0" * (len(data) % 2), ">u2")
    first = second = 0
    for begin in range(0, len(words), 1 << 16):
        block = words[begin : begin + (1 << 16)].astype(np.uint64)
        total = int(block.sum())
        weights = np.arange(len(block), 0, -1, dtype=np.uint64)
        second += len(block) * first + int((block * weights).sum())
        first = (first + total) % 65535
        second %= 65535
    return first, second


_UNDO = {"gzip": _inflate, "shuffle": _unshuffle, "fletcher32": _check_sum}
