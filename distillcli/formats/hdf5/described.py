"""How the values of a dataset can be had, as far as the library is needed to find it out."""

from dataclasses import dataclass

from distillcli.formats.chunks import ChunkTable
from distillcli.formats.elements import Element


@dataclass(frozen=True)
class Described:
    """A dataset: its shape, the type of its elements, and whether their bytes are swapped."""

    shape: tuple[int, ...]
    element: Element
    swapped: bool


@dataclass(frozen=True)
class Contiguous(Described):
    """The values lie in one piece from `offset` on."""

    offset: int


@dataclass(frozen=True)
class Chunked(Described):
    """The values lie in chunks that are unpacked without the library."""

    table: ChunkTable


@dataclass(frozen=True)
class Unpacked(Described):
    """Only the library can unpack the values; `chunk_bytes` at once."""

    chunk_bytes: int
