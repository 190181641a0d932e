"""NPY files: one array after a short header, which is checked here before anything is read."""

import ast
import re
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from distillcli.errors import FormatError
from distillcli.formats.declared import Declaration, declaration
from distillcli.formats.elements import Element, element_of, type_name
from distillcli.formats.files import InputFile
from distillcli.formats.readers import ArrayInfo, StoredArray
from distillcli.formats.sidecar import words_beside
from distillcli.formats.storage import Attribute, Storage, shortened
from distillcli.formats.strided import (
    ByteSource,
    StridedArray,
    contiguous_strides,
    fortran_strides,
)

MAGIC = b"\x93NUMPY"
HEADER_LIMIT = 10_000  # the cap of NumPy itself: a plain array needs about a hundred bytes
DIMENSIONS = 32
ELEMENTS = 1 << 60

ReadAt = Callable[[int, int], bytes]  # (count, offset) -> at most count bytes


@dataclass(frozen=True)
class Header:
    """What an NPY header says, and where the values begin."""

    code: str  # kind and size as in NumPy: "f4"
    swapped: bool
    fortran: bool
    shape: tuple[int, ...]
    begin: int


def parse_header(read: ReadAt, where: str) -> Header:
    """Read and check the header of an NPY file.

    Raises:
        FormatError: it is no NPY header, too long, or says what no plain array says.
    """
    start = read(12, 0)
    if not start.startswith(MAGIC):
        raise FormatError(where, f"is not an NPY file: it begins with {start[:6]!r}")
    if len(start) < 10:
        raise FormatError(where, "is cut short within its header")
    version = start[6]
    if version not in (1, 2, 3):
        raise FormatError(where, f"is NPY of version {version}; versions 1 to 3 can be read")
    form, prefix = ("<H", 10) if version == 1 else ("<I", 12)
    if len(start) < prefix:
        raise FormatError(where, "is cut short within its header")
    (length,) = struct.unpack(form, start[8:prefix])
    if length > HEADER_LIMIT:
        problem = f"declares a header of {length:,} bytes; at most {HEADER_LIMIT:,} are accepted"
        raise FormatError(where, problem)
    text = read(length, prefix)
    if len(text) < length:
        raise FormatError(where, "is cut short within its header")
    return _interpret(_literal(text, where), prefix + length, where)


def _literal(text: bytes, where: str) -> dict[str, Any]:
    try:
        fields = ast.literal_eval(text.decode("utf-8").strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise FormatError(where, "has a damaged NPY header") from error
    if not isinstance(fields, dict) or set(fields) != {"descr", "fortran_order", "shape"}:
        raise FormatError(where, "has an NPY header without descr, fortran_order and shape")
    return fields


def _interpret(fields: dict[str, Any], begin: int, where: str) -> Header:
    shape, fortran = fields["shape"], fields["fortran_order"]
    if not isinstance(fortran, bool):
        raise FormatError(where, "has an NPY header whose fortran_order is not True or False")
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise FormatError(where, "has an NPY header whose shape is not a tuple of sizes")
    if len(shape) > DIMENSIONS:
        raise FormatError(where, f"has {len(shape)} dimensions; at most {DIMENSIONS} are accepted")
    if prod(shape) >= ELEMENTS:
        raise FormatError(where, "declares more elements than any file can hold")
    code, order = _type_code(fields["descr"], where)
    swapped = order == {"little": ">", "big": "<"}[sys.byteorder] and code[1:] != "1"
    return Header(code, swapped, fortran, shape, begin)


def _type_code(descr: Any, where: str) -> tuple[str, str]:
    if isinstance(descr, list | tuple):
        return "structured", "|"
    match = re.fullmatch(r"([<>|=]?)([a-zA-Z])([0-9]{0,9})(\[[a-zA-Z0-9]+\])?", str(descr))
    if not isinstance(descr, str) or match is None:
        raise FormatError(where, "has an NPY header with an unknown type of elements")
    return match[2] + match[3], match[1]


def stored_array(source: ByteSource, header: Header, element: Element) -> StridedArray:
    """The array behind a header, in a source that begins with the header."""
    order = fortran_strides if header.fortran else contiguous_strides
    strides = order(header.shape, element.itemsize)
    return StridedArray(source, header.begin, header.shape, strides, element, header.swapped)


def check_length(header: Header, itemsize: int, length: int, where: str) -> None:
    """Refuse NPY bytes that are not exactly as long as their header says."""
    count = prod(header.shape)
    expected = header.begin + count * itemsize
    if length == expected:
        return
    shape = "x".join(f"{n:,}" for n in header.shape) or "()"
    what = "is cut short" if length < expected else "is longer than it declares"
    problem = f"{what}: {shape} elements of {itemsize} bytes take {expected:,} bytes, "
    problem += f"there are {length:,}"
    raise FormatError(where, problem, "write the file again; its writer may have been stopped")


def storage_of(header: Header, length: int, stored: int) -> Storage:
    """How the array behind a header is stored, in `length` bytes of which `stored` are taken."""
    return Storage(
        shape=header.shape,
        type=type_name(header.code),
        layout="contiguous",
        logical=length,
        stored=stored,
        fortran=header.fortran and len(header.shape) > 1,
        big_endian=header.swapped == (sys.byteorder == "little") and header.code[1:] != "1",
    )


class NpyFile:
    """An open NPY file."""

    named = False

    def __init__(self, file: InputFile) -> None:
        self._file = file
        self._header = parse_header(file.read, file.where)

    def names(self, declared: str | None) -> list[ArrayInfo]:
        """The one array, which has no name."""
        return []

    def array(self, name: str | None, declared: str | None) -> StoredArray:
        """The one array.

        Raises:
            FormatError: a name was asked for, the type cannot be read, the length is wrong.
        """
        where = self._file.where
        if name is not None:
            hint = f"leave ::{name} out"
            raise FormatError(where, "is an NPY file, which has no datasets", hint)
        element = element_of(self._header.code, declared, where)
        check_length(self._header, element.itemsize, self._file.size, where)
        return stored_array(self._file, self._header, element)

    def storage(self, name: str | None) -> Storage:
        """How the one array lies in the file."""
        header = self._header
        return storage_of(header, self._file.size - header.begin, self._file.size - header.begin)

    def expect(self, names: Sequence[str | None], declared: str | None) -> None:
        """Nothing: the header is known."""

    def attributes(self) -> Mapping[str, Attribute]:
        """Those of the sidecar."""
        return {name: shortened(text) for name, text in self.words().items()}

    def words(self) -> Mapping[str, str]:
        """Those of the sidecar, where one of ours stands beside the file."""
        return words_beside(self._file)

    def declaration(self) -> Declaration | None:
        """What a soft-target file says of its scores.

        Raises:
            FormatError: it says what cannot be.
        """
        return declaration(self.words(), self._file.where)

    def members(self, name: str) -> list[str] | None:
        """None: there are no groups."""
        return None

    def close(self) -> None:
        """Nothing beside the file is held."""
