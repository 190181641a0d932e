"""NPZ files: a zip of NPY members, stored or deflated, read without unpacking them to disk."""

import io
import struct
import threading
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from distillcli.errors import FormatError, MissingError
from distillcli.formats import inflating
from distillcli.formats.elements import element_of, listed
from distillcli.formats.files import InputFile
from distillcli.formats.npy import (
    Header,
    check_length,
    parse_header,
    storage_of,
    stored_array,
)
from distillcli.formats.readers import ArrayInfo, StoredArray
from distillcli.formats.storage import Attribute, Storage
from distillcli.formats.strided import ByteSource

DIRECTORY_LIMIT = 16 << 20  # bytes of the zip's directory
MEMBERS = 1000
BOMB_SIZE, BOMB_RATIO = 4 << 30, 1000
PIECE = 1 << 18
IN_MEMORY = 64 << 20  # a deflated array in Fortran order up to this size is held in memory

_ZIP_ERRORS = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
    EOFError,
    OSError,
    struct.error,
)


class NpzFile:
    """An open NPZ file."""

    named = True

    def __init__(self, file: InputFile) -> None:
        self._file = file
        self._members = _directory(file)

    def names(self, declared: str | None) -> list[ArrayInfo]:
        """The arrays in it, with those that cannot be read."""
        return [self._info(name, declared) for name in self._members]

    def _info(self, name: str, declared: str | None) -> ArrayInfo:
        try:
            _, header = self._open(name)
        except FormatError as error:
            return ArrayInfo(name, (), error.problem, readable=False)
        return ArrayInfo(name, header.shape, *listed(header.code, declared))

    def array(self, name: str | None, declared: str | None) -> StoredArray:
        """One array.

        Raises:
            MissingError: there is none of this name. FormatError: it cannot be read.
        """
        name = (name or "").removesuffix(".npy")
        where = f"{self._file.where}::{name}"
        if name not in self._members:
            raise MissingError(self._file.where, f"holds no array {name!r}")
        source, header = self._open(name)
        element = element_of(header.code, declared, where)
        length = self._members[name].file_size
        check_length(header, element.itemsize, length, where)
        if header.fortran and len(header.shape) > 1 and isinstance(source, InflatedMember):
            source = _in_memory(source, length, where)
        return stored_array(source, header, element)

    def _open(self, name: str) -> "tuple[ByteSource, Header]":
        where = f"{self._file.where}::{name}"
        member = _open_member(self._file, self._members[name], where)
        length = self._members[name].file_size

        def read(count: int, offset: int) -> bytes:
            buffer = bytearray(max(0, min(count, length - offset)))
            member.read_into(buffer, offset)
            return bytes(buffer)

        return member, parse_header(read, where)

    def storage(self, name: str | None) -> Storage:
        """How one array lies in the file.

        Raises:
            FormatError: its header cannot be read.
        """
        source, header = self._open(name or "")
        info = self._members[name or ""]
        held = storage_of(header, info.file_size - header.begin, info.compress_size)
        if isinstance(source, InflatedMember):
            return replace(held, layout="stream", filters=("deflate",))
        return replace(held, stored=held.logical)

    def expect(self, names: Sequence[str | None], declared: str | None) -> None:
        """Nothing: each header is read where it lies."""

    def attributes(self) -> Mapping[str, Attribute]:
        """None: there are no attributes."""
        return {}

    def words(self) -> Mapping[str, str]:
        """None: an archive does not say what it is."""
        return {}

    def declaration(self) -> None:
        """None: an archive does not say what it is."""

    def members(self, name: str) -> list[str] | None:
        """None: there are no groups."""
        return None

    def close(self) -> None:
        """Nothing beside the file is held."""


class StoredMember:
    """A member that lies in the zip as it is."""

    streamed = False

    def __init__(self, file: InputFile, begin: int) -> None:
        self._file, self._begin = file, begin

    def read_into(self, buffer: Any, offset: int) -> None:
        """Fill the buffer with the member's bytes from `offset` on."""
        self._file.read_into(buffer, self._begin + offset)

    def expect(self, begin: int, end: int) -> None:
        """Have the system fetch bytes that will be read soon."""
        self._file.expect(self._begin + begin, self._begin + end)


class InflatedMember:
    """A deflated member as a stream: cheap forwards, from the beginning again for a step back.

    At the end its length and its checksum are compared with the zip's directory.
    """

    streamed = True

    def __init__(self, file: InputFile, info: zipfile.ZipInfo, begin: int, where: str) -> None:
        self._file, self._info, self._begin, self._where = file, info, begin, where
        self._lock = threading.Lock()
        self._rewind()

    def expect(self, begin: int, end: int) -> None:
        """Nothing: it is read in order anyway."""

    def _rewind(self) -> None:
        self._inflate = inflating.stream(inflating.BARE)
        self._taken = self._position = self._crc = 0

    def read_into(self, buffer: Any, offset: int) -> None:
        """Fill the buffer with the member's bytes from `offset` on."""
        view = memoryview(buffer).cast("B")
        with self._lock:
            if offset < self._position:
                self._rewind()
            while self._position < offset:
                self._next(min(PIECE, offset - self._position))
            while len(view):
                piece = self._next(min(PIECE, len(view)))
                view[: len(piece)] = piece
                view = view[len(piece) :]

    def _next(self, most: int) -> bytes:
        """Between 1 and `most` bytes."""
        piece = b""
        while not piece:
            if self._inflate.eof:
                raise self._broken(f"ends after {self._position:,} bytes")
            piece = self._feed(most)
        self._position += len(piece)
        self._crc = inflating.crc32(piece, self._crc)
        if self._position == self._info.file_size:
            self._check_end()
        return piece

    def _feed(self, most: int) -> bytes:
        held = self._inflate.unconsumed_tail
        if not held:
            left = self._info.compress_size - self._taken
            held = self._file.read(min(PIECE, left), self._begin + self._taken)
            self._taken += len(held)
        try:
            piece: bytes = self._inflate.decompress(held, most)
        except inflating.Damaged as error:
            raise self._broken(f"is damaged after {self._position:,} bytes") from error
        if not piece and not held:
            raise self._broken(f"ends after {self._position:,} bytes")
        return piece

    def _check_end(self) -> None:
        while not self._inflate.eof:
            if self._feed(1):
                raise self._broken("unpacks to more than it declares")
            if self._taken == self._info.compress_size and not self._inflate.unconsumed_tail:
                break
        if not self._inflate.eof:
            raise self._broken("has no proper end")
        if self._crc != self._info.CRC:
            raise self._broken("has a wrong checksum")

    def _broken(self, problem: str) -> FormatError:
        declared = f"{self._info.file_size:,} bytes declared"
        return FormatError(self._where, f"the packed array {problem} ({declared})")


class _Bytes:
    """A small member, unpacked."""

    streamed = False

    def __init__(self, data: bytearray) -> None:
        self._data = memoryview(data)

    def expect(self, begin: int, end: int) -> None:
        """Nothing: it is there."""

    def read_into(self, buffer: Any, offset: int) -> None:
        view = memoryview(buffer).cast("B")
        view[:] = self._data[offset : offset + len(view)]


def _in_memory(member: InflatedMember, length: int, where: str) -> _Bytes:
    if length > IN_MEMORY:
        problem = "is packed in Fortran order, whose rows lie all over the packed data"
        raise FormatError(where, problem, "save np.ascontiguousarray(a), or save it unpacked")
    data = bytearray(length)
    member.read_into(data, 0)
    return _Bytes(data)


class _Window(io.RawIOBase):
    """The file as `zipfile` reads it, which is never allowed to ask for much at once."""

    def __init__(self, file: InputFile) -> None:
        super().__init__()
        self._file, self._at = file, 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {0: 0, 1: self._at, 2: self._file.size}[whence]
        if self._at < 0:
            raise OSError("before the beginning")
        return self._at

    def read(self, count: int | None = -1) -> bytes:
        left = max(0, self._file.size - self._at)
        count = left if count is None or count < 0 else min(count, left)
        if count > DIRECTORY_LIMIT:
            raise FormatError(self._file.where, f"has a zip directory of {count:,} bytes")
        data = self._file.read(count, self._at)
        self._at += count
        return data


def _directory(file: InputFile) -> dict[str, zipfile.ZipInfo]:
    """The NPY members by name without suffix."""
    try:
        with zipfile.ZipFile(_Window(file)) as archive:
            infos = archive.infolist()
    except _ZIP_ERRORS as error:
        problem = f"is not an NPZ file, or is cut short: {error}"
        raise FormatError(file.where, problem) from error
    infos = [info for info in infos if not info.filename.endswith("/")]
    if any(info.filename.endswith("/data.pkl") for info in infos):
        hint = 'save the array instead: np.save("logits.npy", tensor.float().numpy())'
        raise FormatError(file.where, "is a PyTorch file, a pickle, which is never loaded", hint)
    if len(infos) > MEMBERS:
        raise FormatError(file.where, f"holds {len(infos):,} members; at most {MEMBERS} are read")
    names = [info.filename.removesuffix(".npy") for info in infos]
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled is not None:
        raise FormatError(file.where, f"holds {doubled!r} twice")
    return dict(zip(names, infos, strict=True))


def _open_member(
    file: InputFile, info: zipfile.ZipInfo, where: str
) -> "StoredMember | InflatedMember":
    if info.flag_bits & 1:
        raise FormatError(where, "is encrypted")
    begin = _data_begin(file, info, where)
    if info.compress_type == zipfile.ZIP_STORED:
        if info.compress_size != info.file_size:
            raise FormatError(where, "is stored, but declares two sizes")
        return StoredMember(file, begin)
    if info.compress_type != zipfile.ZIP_DEFLATED:
        hint = "save it with np.savez or np.savez_compressed"
        raise FormatError(where, f"is packed by zip method {info.compress_type}", hint)
    if info.file_size > BOMB_SIZE and info.file_size > BOMB_RATIO * info.compress_size:
        packed = f"{info.compress_size:,} packed bytes declare {info.file_size:,}"
        raise FormatError(where, f"{packed}: more than any real data would")
    return InflatedMember(file, info, begin, where)


def _data_begin(file: InputFile, info: zipfile.ZipInfo, where: str) -> int:
    """Where a member's bytes begin: behind its local header, whose length it alone knows."""
    local = file.read(30, info.header_offset)
    if len(local) < 30 or not local.startswith(b"PK\x03\x04"):
        raise FormatError(where, "is not where the zip's directory says")
    name, extra = struct.unpack("<HH", local[26:30])
    begin = info.header_offset + 30 + int(name) + int(extra)
    if begin + info.compress_size > file.size:
        raise FormatError(where, "is cut short")
    return begin
