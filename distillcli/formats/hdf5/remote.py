"""An open HDF5 file, asked of in the library's own process; plain values are read without it."""

import atexit
import itertools
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distillcli.errors import DistillError, FormatError
from distillcli.formats.chunks import ChunkedArray
from distillcli.formats.declared import Declaration, declaration
from distillcli.formats.elements import Array, Element
from distillcli.formats.files import InputFile
from distillcli.formats.hdf5.described import Chunked, Contiguous, Described
from distillcli.formats.hdf5.file import OpenFile
from distillcli.formats.hdf5.process import Process, Service, allowance
from distillcli.formats.readers import ArrayInfo, Grain, StoredArray
from distillcli.formats.storage import Attribute, Storage
from distillcli.formats.strided import StridedArray, contiguous_strides

UNPACK_PER_SECOND = 4 << 20  # bytes: what a slow machine unpacks, many times over


def _service() -> Service:
    """What the process does: methods of files, each known by its number."""
    files: dict[int, OpenFile] = {}

    def serve(method: str, arguments: tuple[Any, ...]) -> Any:
        where, number, *rest = arguments
        if method == "open":
            files[number] = OpenFile(where, *rest)
            return None
        if method == "close":
            return files.pop(number).close()
        return getattr(files[number], method)(*rest)

    return serve


class _Current:
    """The process for all files that are open at a time; another one after a crash.

    It stays for the next file, and ends with this one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: Process | None = None

    def take(self) -> Process:
        with self._lock:
            if self._process is None or not self._process.runs:
                self._process = Process(_service)
            return self._process

    def forget(self) -> None:
        """A fork of this process has none of its own yet."""
        self.__init__()  # type: ignore[misc]

    def close(self) -> None:
        if self._process is not None:
            self._process.close()


_current = _Current()
os.register_at_fork(after_in_child=_current.forget)
atexit.register(_current.close)
_numbers = itertools.count()


class Hdf5File:
    """An open HDF5 file."""

    named = True

    def __init__(self, file: InputFile) -> None:
        self._file = file
        self._number = next(_numbers)
        self._limits = allowance(file.size)
        self._known: dict[tuple[str | None, ...], Any] = {}  # what was asked for ahead
        self._process: Process | None = None
        self._open()

    def _open(self) -> None:
        self._process = _current.take()
        self._ask("open", self._file.path, self._file.size, self._file.read(8, 0))

    def _ask(self, method: str, *arguments: Any) -> Any:
        assert self._process is not None
        where = self._file.where
        return self._process.ask(where, self._limits, method, where, self._number, *arguments)

    def close(self) -> None:
        """Give the library's handle back; a second time does nothing."""
        process, self._process = self._process, None
        if process is not None and process.runs:
            where = self._file.where
            process.ask(where, self._limits, "close", where, self._number)

    def names(self, declared: str | None) -> list[ArrayInfo]:
        """The datasets that hard links lead to, each once."""
        found: list[ArrayInfo] = self._ask("names", declared)
        return found

    def array(self, name: str | None, declared: str | None) -> StoredArray:
        """One dataset, checked.

        Raises:
            MissingError: there is none of this name. FormatError: it cannot be read, or not safely.
        """
        name = (name or "").strip("/")
        where = f"{self._file.where}::{name}"
        found: Described = self._header("array", name, declared)
        shape, element, swapped = found.shape, found.element, found.swapped
        match found:
            case Contiguous():
                strides = contiguous_strides(shape, element.itemsize)
                return StridedArray(self._file, found.offset, shape, strides, element, swapped)
            case Chunked():
                return ChunkedArray(self._file, shape, found.table, element, swapped, where)
        return _Unpacked(self, name, found, shape, element)

    def read_into(
        self, out: Array, described: Described, name: str, prefix: tuple[int, ...], *rows: int
    ) -> None:
        """Rows of a dataset that only the library unpacks; `rows` are start, stop and lead axes."""
        assert self._process is not None
        seconds, memory = self._limits
        unpacked = out.nbytes + 4 * getattr(described, "chunk_bytes", 0)
        limits = seconds + unpacked / UNPACK_PER_SECOND, memory + 2 * out.nbytes + unpacked
        where = f"{self._file.where}::{name}"
        self._process.ask_into(out, where, limits, "read", where, self._number, name, prefix, *rows)
        if described.swapped:
            out.byteswap(inplace=True)

    def storage(self, name: str | None) -> Storage:
        """How one dataset is stored, readable or not.

        Raises:
            MissingError: there is none of this name. FormatError: its header is damaged.
        """
        found: Storage = self._header("storage", name or "")
        return found

    def expect(self, names: Sequence[str | None], declared: str | None) -> None:
        """Ask for the headers of several datasets at once.

        Raises:
            FormatError: the file cannot be opened again after one of them brought the library down.
        """
        known = [name or "" for name in names]
        if self._process is None or not self._process.runs:
            return  # one of them has brought it down by itself
        try:
            answers = self._ask("headers", known, declared)
        except FormatError:  # each is then asked for by itself, to tell which of them it is
            if not self._process.runs:
                self._open()
            return
        for name, (storage, described) in zip(known, answers, strict=True):
            self._known["storage", name] = storage
            self._known["array", name, declared] = described

    def _header(self, method: str, *arguments: str | None) -> Any:
        found = self._known.pop((method, *arguments), None)
        if isinstance(found, DistillError):
            raise found
        return self._ask(method, *arguments) if found is None else found

    def attributes(self) -> Mapping[str, Attribute]:
        """Those of the root group."""
        found: dict[str, Attribute] = self._ask("attributes")
        return found

    def words(self) -> Mapping[str, str]:
        """The texts of a fixed length that are attached to the root group."""
        found: dict[str, str] = self._ask("words")
        return found

    def declaration(self) -> Declaration | None:
        """What a soft-target file says of its scores.

        Raises:
            FormatError: it says what cannot be.
        """
        return declaration(self.words(), self._file.where)

    def members(self, name: str) -> list[str] | None:
        """The full names of what a group holds, in natural order; None for a dataset.

        Raises:
            MissingError: there is nothing of this name.
        """
        found: list[str] | None = self._ask("members", name.strip("/"))
        return found


@dataclass(frozen=True)
class _Unpacked:
    """A dataset, or one part of it along its first axis (`prefix`), that the library unpacks."""

    file: Hdf5File
    name: str
    described: Described
    shape: tuple[int, ...]
    element: Element
    prefix: tuple[int, ...] = ()

    def layer(self, index: int) -> "_Unpacked":
        """The part at one index of the first axis."""
        prefix = (*self.prefix, index)
        return _Unpacked(self.file, self.name, self.described, self.shape[1:], self.element, prefix)

    def read(self, start: int, stop: int, out: Array, lead: int) -> None:
        """Rows [start, stop) of the array with its first `lead` axes flattened, into `out`."""
        self.file.read_into(out, self.described, self.name, self.prefix, start, stop, lead)

    def grain(self, lead: int) -> Grain | None:
        """None: the library unpacks one part at a time."""
        return None

    def expect(self, start: int, stop: int, lead: int) -> None:
        """Nothing: where the rows lie is known to the library alone."""
