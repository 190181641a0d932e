"""Log-probabilities as `llama-perplexity --kl-divergence-base FILE` of llama.cpp writes them.

The magic `_logits_`; the length of a context, the size of the vocabulary and the number of chunks,
int32 each; the token ids, int32 [chunks, context]. Then for each chunk the positions from half of
the context on, all but the last one: a float32 scale, a float32 lowest log-probability, and an
uint16 q for each token, of which log p = scale * q + lowest; the row is filled up to an even
number of them. All in the byte order of the machine that wrote it, little-endian nearly always.

A log-probability further than 16 below the highest one is stored as that: what is at q = 0 may have
any probability up to it.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from distillcli.errors import FormatError, MissingError
from distillcli.formats.declared import Dataset, Declaration
from distillcli.formats.elements import Array, Element, element_of
from distillcli.formats.files import InputFile
from distillcli.formats.readers import ArrayInfo, Grain, StoredArray
from distillcli.formats.storage import Attribute, Storage
from distillcli.formats.strided import StridedArray

MAGIC = b"_logits_"
HEAD = 20  # bytes before the token ids
ROW_HEAD = 8  # scale and lowest log-probability
LARGEST = 1 << 24  # tokens of a context, and of a vocabulary
SCORES, LABELS, TOKENS, CONTEXT = "log_probabilities", "labels", "tokens", "context_tokens"
PIECE = 1 << 20  # bytes of rows that are unpacked at once

_FLOAT32 = element_of("f4", None, "")
_INT32 = element_of("i4", None, "")


@dataclass(frozen=True)
class _Layout:
    """What the head of the file says, and what follows from it."""

    context: int
    vocabulary: int
    chunks: int

    @property
    def first(self) -> int:
        """The first position of a chunk whose log-probabilities are stored."""
        return self.context // 2

    @property
    def positions(self) -> int:
        """Positions of a chunk that are stored: each with a token after it."""
        return self.context - 1 - self.first

    @property
    def rows_begin(self) -> int:
        """Where the rows begin, in bytes."""
        return HEAD + 4 * self.chunks * self.context

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return ROW_HEAD + 4 * ((self.vocabulary + 1) // 2)

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self.rows_begin + self.chunks * self.positions * self.row_bytes

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the log-probabilities."""
        return self.chunks, self.positions, self.vocabulary


class KldFile:
    """An open file of base logits."""

    named = True

    def __init__(self, file: InputFile) -> None:
        self._file = file
        self._layout = layout = _layout(file)
        strides = 4 * layout.context, 4
        begin = HEAD + 4 * layout.first
        inner = layout.chunks, layout.positions

        def tokens(offset: int, shape: tuple[int, int]) -> StoredArray:
            return StridedArray(file, offset, shape, strides, _INT32, False)

        self._arrays: dict[str, StoredArray] = {
            SCORES: _Rows(file, layout.rows_begin, layout.row_bytes, layout.shape, file.where),
            LABELS: tokens(begin + 4, inner),
            TOKENS: tokens(begin, inner),
            CONTEXT: tokens(HEAD, (layout.chunks, layout.context)),
        }

    def names(self, declared: str | None) -> list[ArrayInfo]:
        """The log-probabilities, the next tokens, those that led to them, and all of them."""
        return [
            ArrayInfo(name, array.shape, array.element.name, readable=True)
            for name, array in self._arrays.items()
        ]

    def array(self, name: str | None, declared: str | None) -> StoredArray:
        """One of them.

        Raises:
            MissingError: there is none of this name. FormatError: another type is declared.
        """
        array = self._arrays.get(name or "")
        if array is None:
            raise MissingError(self._file.where, f"holds no array {name!r}")
        if declared not in (None, array.element.name):
            problem = f"holds {array.element}, while the source declares dtype {declared}"
            raise FormatError(f"{self._file.where}::{name}", problem, "leave the dtype out")
        return array

    def storage(self, name: str | None) -> Storage:
        """How one of them lies in the file."""
        array = self._arrays[name or ""]
        logical = int(np.prod(array.shape)) * array.element.itemsize
        stored = self._file.size - self._layout.rows_begin if name == SCORES else logical
        kind = "uint16 scaled" if name == SCORES else array.element.name
        told = {"floor": "16 below the highest"} if name == SCORES else {}
        return Storage(array.shape, kind, "contiguous", logical, stored, attributes=told)

    def expect(self, names: Sequence[str | None], declared: str | None) -> None:
        """Nothing: all that there is is known."""

    def attributes(self) -> Mapping[str, Attribute]:
        """What the head of the file says."""
        layout = self._layout
        return {
            "context": layout.context,
            "vocabulary": layout.vocabulary,
            "chunks": layout.chunks,
            "kind": SCORES,
        }

    def words(self) -> Mapping[str, str]:
        """None: it says what it is by its format."""
        return {}

    def declaration(self) -> Declaration:
        """What the format says of the scores."""
        shape = self._layout.shape
        scores = Dataset(_FLOAT32.name, shape, sha256="")
        return Declaration(
            kind=SCORES,
            temperature=1.0,
            classes=shape[-1],
            rows=shape[0] * shape[1],
            top_k=None,
            datasets={SCORES: scores},
            words={},
            floored=True,
        )

    def members(self, name: str) -> list[str] | None:
        """None: there are no groups."""
        return None

    def close(self) -> None:
        """Nothing beside the file is held."""


def _layout(file: InputFile) -> _Layout:
    head = file.read(HEAD, 0)
    if not head.startswith(MAGIC):
        problem = f"is not a base-logits file of llama.cpp: it begins with {head[:8]!r}"
        raise FormatError(file.where, problem)
    if len(head) < HEAD:
        raise FormatError(file.where, "is cut short within its head", _STOPPED)
    layout = _Layout(*struct.unpack("<iii", head[8:]))
    sane = 3 <= layout.context <= LARGEST and 2 <= layout.vocabulary <= LARGEST
    if not sane or layout.chunks < 1:
        problem = f"declares a context of {layout.context:,}, a vocabulary of "
        problem += f"{layout.vocabulary:,} and {layout.chunks:,} chunks"
        raise FormatError(file.where, problem, "it is damaged, or of another byte order")
    if layout.size != file.size:
        what = "is cut short" if file.size < layout.size else "is longer than it declares"
        problem = f"{what}: {layout.chunks:,} chunks of {layout.positions:,} positions take "
        raise FormatError(
            file.where, f"{problem}{layout.size:,} bytes, there are {file.size:,}", _STOPPED
        )
    return layout


_STOPPED = "write the file again; its writer may have been stopped, or the disk full"


@dataclass(frozen=True)
class _Rows:
    """The log-probabilities, [chunks, positions, vocabulary] or a part along the first axis."""

    file: InputFile
    offset: int
    row_bytes: int
    shape: tuple[int, ...]
    where: str

    @property
    def element(self) -> Element:
        """float32, in which llama.cpp reads them too."""
        return _FLOAT32

    def layer(self, index: int) -> "_Rows":
        """The part at one index of the first axis."""
        size = int(np.prod(self.shape[1:-1])) * self.row_bytes
        offset, shape = self.offset + index * size, self.shape[1:]
        return _Rows(self.file, offset, self.row_bytes, shape, self.where)

    def read(self, start: int, stop: int, out: Array, lead: int) -> None:
        """Rows [start, stop), a megabyte at a time."""
        step = max(1, PIECE // self.row_bytes)
        packed = np.empty((min(step, stop - start), self.row_bytes), np.uint8)
        flat = out.reshape(-1, self.shape[-1])
        for first in range(start, stop, step):
            rows = packed[: min(step, stop - first)]
            self.file.read_into(rows, self.offset + first * self.row_bytes)
            self._unpack(rows, flat[first - start : first - start + len(rows)], first)

    def _unpack(self, rows: Array, out: Array, first: int) -> None:
        scale, lowest = np.ascontiguousarray(rows[:, :ROW_HEAD]).view("<f4").T[:, :, None]
        bad = ~(np.isfinite(scale) & np.isfinite(lowest) & (scale >= 0))[:, 0]
        if bad.any():
            problem = f"row {first + int(bad.argmax()):,} has no scale that is a finite number"
            raise FormatError(f"{self.where}::{SCORES}", problem, "the file is damaged")
        bits = rows[:, ROW_HEAD:].view("<u2")[:, : out.shape[1]]
        np.multiply(bits, scale, out=out, dtype=np.float32, casting="unsafe")
        np.add(out, lowest, out=out)

    def grain(self, lead: int) -> Grain:
        """One row: they lie one after the other."""
        return Grain()

    def expect(self, start: int, stop: int, lead: int) -> None:
        """Have the system fetch rows that will be read soon."""
        begin, end = (self.offset + row * self.row_bytes for row in (start, stop))
        self.file.expect(begin, end)
