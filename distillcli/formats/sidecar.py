"""What stands beside an NPY file that has no room for words: FILE.npy.json."""

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from distillcli.errors import FormatError
from distillcli.formats.declared import DAMAGED, FAMILY, declaration
from distillcli.formats.elements import Array, Element
from distillcli.formats.files import InputFile, sample_crc
from distillcli.formats.inflating import crc32
from distillcli.formats.readers import Grain, StoredArray

SUFFIX = ".json"
LIMIT = 256 << 20
BLOCK_BYTES = 1 << 20


def sidecar_of(path: str) -> str:
    """The name of the file beside an NPY file."""
    return path + SUFFIX


def words_beside(file: InputFile) -> dict[str, str]:
    """The words that describe an NPY file; none where nothing of ours stands beside it.

    While an old file is being replaced its sidecar describes both, the old and the new one.

    Raises:
        FormatError: what stands beside it describes another file.
    """
    data = _bytes(sidecar_of(file.path))
    if b"distillcli" not in data:
        return {}
    name = os.path.basename(sidecar_of(file.path))
    try:
        entries = json.loads(data)[FAMILY]
        known = {entry["file"]: dict(entry) for entry in entries}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(f"{name} beside {file.where}", "cannot be understood", DAMAGED) from error
    words: dict[str, str] | None = known.get(mark_of(file.size, sample_crc(file)))
    if words is None:
        raise FormatError(file.where, f"is not the file that {name} describes", DAMAGED)
    if declaration(words, file.where) is None:
        raise FormatError(f"{name} beside {file.where}", "does not say what it is", DAMAGED)
    return words


def mark_of(size: int, crc: int) -> str:
    """What tells one file from another at a glance."""
    return f"{size} bytes, crc32 of samples {crc:08x}"


def _bytes(path: str) -> bytes:
    """What stands in a file; nothing where there is none."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return b""
        with open(path, "rb") as file:
            return file.read(LIMIT)
    except OSError:
        return b""


@dataclass(frozen=True)
class Blocks:
    """CRC-32 of every `rows` rows of an array."""

    rows: int
    crc32: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Blocks":
        """From the word in which they are written."""
        found: Mapping[str, Any] = json.loads(text)
        return cls(int(found["rows"]), tuple(str(one) for one in found["crc32"]))

    def written(self) -> str:
        """As the word that `parse` reads."""
        return json.dumps({"rows": self.rows, "crc32": list(self.crc32)})


@dataclass
class CheckedArray:
    """Rows in blocks that are held against their checksums as they are read."""

    array: StoredArray
    blocks: Blocks
    where: str

    def __post_init__(self) -> None:
        self._held: tuple[int, Array] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape as stored."""
        return self.array.shape

    @property
    def element(self) -> Element:
        """Its element type."""
        return self.array.element

    def layer(self, index: int) -> StoredArray:
        """The part at one index of the first axis, unchecked."""
        return self.array.layer(index)

    def read(self, start: int, stop: int, out: Array, lead: int) -> None:
        """Rows [start, stop) of an array with one leading axis, into `out`."""
        step = self.blocks.rows
        for index in range(start // step, -(-stop // step)):
            first, last = index * step, min((index + 1) * step, self.shape[0])
            begin, end = max(start, first), min(stop, last)
            if (begin, end) == (first, last):
                self.array.read(first, last, out[first - start : last - start], lead)
                self._check(index, out[first - start : last - start])
            else:
                rows = self._block(index, first, last, lead)
                out[begin - start : end - start] = rows[begin - first : end - first]

    def grain(self, lead: int) -> Grain | None:
        """The rows of a block: one that is read in part is read whole."""
        return Grain(self.blocks.rows) if self.array.grain(lead) else None

    def expect(self, start: int, stop: int, lead: int) -> None:
        """Have the system fetch rows that will be read soon."""
        self.array.expect(start, stop, lead)

    def _block(self, index: int, first: int, last: int, lead: int) -> Array:
        held = self._held
        if held is None or held[0] != index:
            rows = np.empty((last - first, *self.shape[1:]), self.element.dtype)
            self.array.read(first, last, rows, lead)
            self._check(index, rows)
            self._held = held = (index, rows)
        return held[1]

    def _check(self, index: int, rows: Array) -> None:
        if index >= len(self.blocks.crc32) or self.blocks.crc32[index] != written_crc(crc_of(rows)):
            first = index * self.blocks.rows
            problem = f"rows {first:,} to {first + len(rows):,} do not match their checksum"
            raise FormatError(self.where, problem, DAMAGED)


def crc_of(rows: Array, before: int = 0) -> int:
    """CRC-32 of the bytes of some rows, in C order, and of those before."""
    return crc32(np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data, before)


def written_crc(crc: int) -> str:
    """As it stands beside a file."""
    return f"{crc:08x}"
