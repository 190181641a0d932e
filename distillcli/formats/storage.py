"""How an array lies in its file, whether or not it can be read."""

from collections.abc import Mapping
from dataclasses import dataclass, field

Attribute = str | int | float | bool
TEXT = 200  # characters kept of a text


def shortened(text: str) -> str:
    """The beginning of a text that is too long to show."""
    return text if len(text) <= TEXT else text[:TEXT] + "..."


@dataclass(frozen=True)
class Storage:
    """What the headers say of an array.

    Args:
        shape: as stored.
        type: of the elements: "float32", "bfloat16", "raw 2-byte (V2)", "strings".
        layout: "contiguous", "chunked", "compact" (within the header), "stream" (packed as a whole,
            so that only its beginning is cheap to read), "virtual" or "external".
        logical: bytes of the values. stored: bytes that they take in the file.
        fortran: the first axis runs fastest.
        big_endian: of the bytes of an element, the highest comes first.
        chunk: the shape of one chunk.
        filters: what the values pass through when they are packed, in order.
        attributes: short texts and numbers attached to the array.
    """

    shape: tuple[int, ...]
    type: str
    layout: str
    logical: int
    stored: int
    fortran: bool = False
    big_endian: bool = False
    chunk: tuple[int, ...] | None = None
    filters: tuple[str, ...] = ()
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
