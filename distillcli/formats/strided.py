"""An array that lies in a file as plain values at a fixed distance, read without mapping it."""

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, Protocol

import numpy as np

from distillcli.formats.elements import Array, Element
from distillcli.formats.readers import Grain, boxes

COLUMN_BUFFER = 8 << 20
GAP = 4096  # bytes: reading over a gap this small costs less than another read


class ByteSource(Protocol):
    """Bytes that can be read by offset."""

    @property
    def streamed(self) -> bool:
        """Whether its bytes come one after the other only."""

    def read_into(self, buffer: Any, offset: int) -> None:
        """Fill the buffer with the bytes from `offset` on."""

    def expect(self, begin: int, end: int) -> None:
        """Have the system fetch bytes that will be read soon, where it does not hold them."""


@dataclass(frozen=True)
class StridedArray:
    """Values of one element type, in C or in Fortran order, from `offset` on."""

    source: ByteSource
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    element: Element
    swapped: bool  # stored in the other byte order

    def layer(self, index: int) -> "StridedArray":
        """The part at one index of the first axis."""
        offset = self.offset + index * self.strides[0]
        rest = self.shape[1:], self.strides[1:]
        return StridedArray(self.source, offset, *rest, self.element, self.swapped)

    def read(self, start: int, stop: int, out: Array, lead: int) -> None:
        """Rows [start, stop) of the array with its first `lead` axes flattened, into `out`."""
        if self._in_row_order:
            row_bytes = prod(self.shape[lead:]) * self.element.itemsize
            self.source.read_into(out.reshape(-1).view(np.uint8), self.offset + start * row_bytes)
        else:
            self._gather(start, stop, out, lead)
        if self.swapped:
            out.byteswap(inplace=True)

    def grain(self, lead: int) -> Grain | None:
        """One row: they lie one after the other; None in Fortran order, and in a stream."""
        return None if self.source.streamed or not self._in_row_order else Grain()

    def expect(self, start: int, stop: int, lead: int) -> None:
        """Have the system fetch rows that will be read soon, where they lie together."""
        if self._in_row_order:
            row_bytes = prod(self.shape[lead:]) * self.element.itemsize
            self.source.expect(self.offset + start * row_bytes, self.offset + stop * row_bytes)

    @cached_property
    def _in_row_order(self) -> bool:
        return self.strides == contiguous_strides(self.shape, self.element.itemsize)

    def _gather(self, start: int, stop: int, out: Array, lead: int) -> None:
        width, step = prod(self.shape[lead:]), (*self.strides[lead:], 0)[0]
        rows = out.reshape(stop - start, width)
        for box, span in boxes(self.shape[:lead], start, stop):
            target = rows[span].reshape(*(s.stop - s.start for s in box), width)
            offsets = (s.start * d for s, d in zip(box, self.strides, strict=False))
            self._read_box(self.offset + sum(offsets), self.strides[:lead], step, target)

    def _read_box(self, offset: int, strides: tuple[int, ...], step: int, target: Array) -> None:
        """Read one box column by column, over small gaps in one go."""
        run = (target.shape[0] - 1) * strides[0] + self.element.itemsize
        if len(strides) == 2 and target.shape[1] > 1 and strides[1] - run > GAP:
            for index in range(target.shape[1]):
                self._read_columns(offset + index * strides[1], strides[:1], step, target[:, index])
        else:
            self._read_columns(offset, strides, step, target)

    def _read_columns(
        self, offset: int, strides: tuple[int, ...], step: int, target: Array
    ) -> None:
        *lens, width = target.shape
        size = self.element.itemsize
        span = sum((n - 1) * d for n, d in zip(lens, strides, strict=True)) + size
        block = max(1, min(width, COLUMN_BUFFER // span))
        buffer = np.empty((block, span), np.uint8)
        for first in range(0, width, block):
            part = buffer[: min(block, width - first)]
            self._fill(part, offset + first * step, step)
            shape, distance = (len(part), *lens), (span, *strides)
            values = np.ndarray(shape, self.element.dtype, part, strides=distance)
            target[..., first : first + len(part)] = np.moveaxis(values, 0, -1)

    def _fill(self, part: Array, offset: int, step: int) -> None:
        if part.shape[1] == step:
            self.source.read_into(part, offset)
            return
        for index, line in enumerate(part):
            self.source.read_into(line, offset + index * step)


def contiguous_strides(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """The strides of a C-ordered array."""
    return tuple(itemsize * prod(shape[axis + 1 :]) for axis in range(len(shape)))


def fortran_strides(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """The strides of a Fortran-ordered array."""
    return tuple(itemsize * prod(shape[:axis]) for axis in range(len(shape)))
