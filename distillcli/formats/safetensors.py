"""safetensors files: named arrays after a JSON header, which is checked here before all else.

The layout is that of https://huggingface.co/docs/safetensors: eight bytes with the length of the
header, the header, and the values, little-endian, in C order and without gaps.
"""

import json
import struct
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any

from distillcli.errors import FormatError, MissingError
from distillcli.formats.elements import element_of, listed, type_name
from distillcli.formats.files import InputFile
from distillcli.formats.npy import DIMENSIONS, ELEMENTS
from distillcli.formats.paths import natural_key
from distillcli.formats.readers import ArrayInfo, StoredArray
from distillcli.formats.storage import Attribute, Storage, shortened
from distillcli.formats.strided import StridedArray, contiguous_strides

HEADER_LIMIT = 4 << 20  # about 40,000 arrays; JSON takes up to 25 times its bytes in memory
ARRAYS = 10_000
METADATA = "__metadata__"
REWRITE = "write the file again; its writer may have been stopped"

# Type codes as in NumPy, and bits of an element; of other types nothing is known but the name.
_CODES = {
    "BOOL": "b1",
    "U8": "u1",
    "I8": "i1",
    "U16": "u2",
    "I16": "i2",
    "U32": "u4",
    "I32": "i4",
    "U64": "u8",
    "I64": "i8",
    "F16": "f2",
    "F32": "f4",
    "F64": "f8",
    "C64": "c8",
    "BF16": "bf2",
    "F8_E4M3": "e4m3",
    "F8_E5M2": "e5m2",
}
_BYTES = {"bf2": 2, "e4m3": 1, "e5m2": 1}


@dataclass(frozen=True)
class _Entry:
    """One array: its type code, its shape, and where its bytes begin and end in the file."""

    code: str
    shape: tuple[int, ...]
    begin: int
    end: int


class SafetensorsFile:
    """An open safetensors file."""

    named = True

    def __init__(self, file: InputFile) -> None:
        self._file = file
        fields, begin = _header(file)
        metadata = fields.pop(METADATA, {})
        if not isinstance(metadata, dict):
            raise _damaged(file.where, f"{METADATA} is not a table of texts")
        self._metadata = metadata
        self._entries = {name: _entry(name, fields[name], begin, file.where) for name in fields}
        _check_places(self._entries, begin, file)

    def names(self, declared: str | None) -> list[ArrayInfo]:
        """The arrays in it, with those that cannot be read."""
        return [
            ArrayInfo(name, entry.shape, *listed(entry.code, declared))
            for name, entry in self._entries.items()
        ]

    def array(self, name: str | None, declared: str | None) -> StoredArray:
        """One array.

        Raises:
            MissingError: there is none of this name. FormatError: its type cannot be read.
        """
        entry = self._entries.get(name or "")
        if entry is None:
            raise MissingError(self._file.where, f"holds no array {name!r}")
        element = element_of(entry.code, declared, f"{self._file.where}::{name}")
        strides = contiguous_strides(entry.shape, element.itemsize)
        swapped = sys.byteorder == "big" and element.itemsize > 1
        return StridedArray(self._file, entry.begin, entry.shape, strides, element, swapped)

    def storage(self, name: str | None) -> Storage:
        """How one array lies in the file."""
        entry = self._entries[name or ""]
        size = entry.end - entry.begin
        return Storage(entry.shape, type_name(entry.code), "contiguous", size, size)

    def expect(self, names: Sequence[str | None], declared: str | None) -> None:
        """Nothing: all headers are known."""

    def attributes(self) -> Mapping[str, Attribute]:
        """The texts in the header."""
        return {
            name: shortened(text) for name, text in self._metadata.items() if isinstance(text, str)
        }

    def words(self) -> Mapping[str, str]:
        """None: soft targets are not written in this format."""
        return {}

    def declaration(self) -> None:
        """None: soft targets are not written in this format."""

    def members(self, name: str) -> list[str] | None:
        """The arrays whose names go on after `name` and a dot or a slash, in natural order."""
        if name in self._entries:
            return None
        starts = (f"{name}.", f"{name}/") if name else ("",)
        found = [entry for entry in self._entries if entry.startswith(starts)]
        return sorted(found, key=natural_key) or None

    def close(self) -> None:
        """Nothing beside the file is held."""


def _damaged(where: str, problem: str) -> FormatError:
    return FormatError(where, f"has a damaged safetensors header: {problem}")


def _header(file: InputFile) -> tuple[dict[str, Any], int]:
    """The fields of the header, and where the values begin."""
    if file.size < 9 or file.read(1, 8) != b"{":
        start = file.read(9, 0)
        raise FormatError(file.where, f"is not a safetensors file: it begins with {start!r}")
    (length,) = struct.unpack("<Q", file.read(8, 0))
    if length > HEADER_LIMIT:
        problem = f"declares a header of {length:,} bytes; at most {HEADER_LIMIT:,} are accepted"
        raise FormatError(file.where, problem)
    if length > file.size - 8:
        raise FormatError(file.where, "is cut short within its header", REWRITE)
    fields = _parsed(file.read(length, 8), file.where)
    if len(fields) > ARRAYS:
        problem = f"holds {len(fields):,} arrays; at most {ARRAYS:,} are read"
        raise FormatError(file.where, problem)
    return fields, 8 + length


def _parsed(data: bytes, where: str) -> dict[str, Any]:
    try:
        fields = json.loads(
            data.decode("utf-8"), object_pairs_hook=_once_each, parse_constant=_no_number
        )
        "".join(fields).encode("utf-8")  # half a character is no name
    except RecursionError:
        raise _damaged(where, "it is nested too deeply") from None
    except (ValueError, TypeError) as error:
        raise _damaged(where, " ".join(str(error)[:200].split())) from error
    return dict(fields)


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The pairs of a JSON object, no name twice: readers differ in which of the two they take."""
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        doubled = next(name for name, count in counts.items() if count > 1)
        raise ValueError(f"it names {doubled[:80]!r} twice")
    return found


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no size")


def _entry(name: str, fields: Any, begin: int, where: str) -> _Entry:
    where = f"{where}::{name}"
    if not isinstance(fields, dict) or set(fields) != {"dtype", "shape", "data_offsets"}:
        raise _damaged(where, "an array has a dtype, a shape and data_offsets")
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str):
        raise _damaged(where, "its dtype is not a text")
    if not _sizes(shape) or len(shape) > DIMENSIONS or prod(shape) >= ELEMENTS:
        raise _damaged(where, f"its shape is not a list of at most {DIMENSIONS} sizes")
    if not _sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _damaged(where, "its data_offsets are not where it begins and ends")
    code = _CODES.get(dtype, dtype)
    entry = _Entry(code, tuple(shape), begin + offsets[0], begin + offsets[1])
    _check_size(entry, dtype, where)
    return entry


def _sizes(values: Any) -> bool:
    """Whether it is a list of whole numbers that some file could hold so many bytes of."""
    return isinstance(values, list) and all(type(n) is int and 0 <= n < ELEMENTS for n in values)


def _check_size(entry: _Entry, dtype: str, where: str) -> None:
    if dtype not in _CODES:
        return
    size = prod(entry.shape) * (_BYTES.get(entry.code) or int(entry.code[1:]))
    if size != entry.end - entry.begin:
        shape = "x".join(f"{n:,}" for n in entry.shape) or "()"
        problem = f"{shape} elements of {dtype} take {size:,} bytes, "
        raise _damaged(where, f"{problem}its data_offsets span {entry.end - entry.begin:,}")


def _check_places(entries: Mapping[str, _Entry], begin: int, file: InputFile) -> None:
    """Refuse arrays that overlap, bytes that belong to none, and a file of another length."""
    placed = sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end))
    first = ("", _Entry("", (), begin, begin))
    for (_, before), (name, entry) in pairwise([first, *placed]):
        if entry.begin != before.end:
            what = "overlap" if entry.begin < before.end else "leave a gap"
            raise _damaged(f"{file.where}::{name}", f"its bytes {what} with those before it")
    end = placed[-1][1].end if placed else begin
    if end != file.size:
        what = "is cut short" if end > file.size else "is longer than it declares"
        problem = f"{what}: its arrays end at byte {end:,}, it has {file.size:,}"
        raise FormatError(file.where, problem, REWRITE)
