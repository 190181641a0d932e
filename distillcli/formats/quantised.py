"""Integers that stand for numbers on a scale, as the source declares it."""

from dataclasses import dataclass

import numpy as np

from distillcli.errors import FormatError
from distillcli.formats.elements import Array, Element, element_of, widen
from distillcli.formats.needs import Need
from distillcli.formats.paths import Location
from distillcli.formats.readers import Grain, StoredArray

FLOAT32 = element_of("f4", None, "")


@dataclass
class QuantisedArray:
    """A stored array of integers whose element type knows their scale."""

    array: StoredArray
    element: Element

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape as stored."""
        return self.array.shape

    def layer(self, index: int) -> StoredArray:
        """The part at one index of the first axis."""
        return QuantisedArray(self.array.layer(index), self.element)

    def read(self, start: int, stop: int, out: Array, lead: int) -> None:
        """Rows of it, as they are stored."""
        self.array.read(start, stop, out, lead)

    def grain(self, lead: int) -> Grain | None:
        """How many rows are packed together."""
        return self.array.grain(lead)

    def expect(self, start: int, stop: int, lead: int) -> None:
        """Have the system fetch rows that will be read soon."""
        self.array.expect(start, stop, lead)


@dataclass
class ScaledArray:
    """Integers with a scale for each row, or for each class, which are handed out as float32.

    Args:
        scales: one number for each row; None where that is not so.
        across: float32, one number for each element of a row, or one for all.
    """

    array: StoredArray
    zero_point: int
    scales: StoredArray | None
    across: Array | None = None

    @property
    def element(self) -> Element:
        """What they are handed out as."""
        return FLOAT32

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape as stored."""
        return self.array.shape

    def layer(self, index: int) -> StoredArray:
        """The part at one index of the first axis."""
        scales = None if self.scales is None else self.scales.layer(index)
        return ScaledArray(self.array.layer(index), self.zero_point, scales, self.across)

    def read(self, start: int, stop: int, out: Array, lead: int) -> None:
        """Rows of it: (stored - zero_point) * scale."""
        raw = np.empty(out.shape, self.array.element.dtype)
        self.array.read(start, stop, raw, lead)
        np.subtract(raw, np.float32(self.zero_point), out=out, dtype=np.float32, casting="unsafe")
        if self.across is not None:
            np.multiply(out, self.across, out=out)
        if self.scales is not None:
            factors = self._of_rows(self.scales, start, stop, lead)
            np.multiply(out, factors.reshape(*out.shape[:-1], 1), out=out)

    def _of_rows(self, scales: StoredArray, start: int, stop: int, lead: int) -> Array:
        factors = np.empty((stop - start, *scales.shape[lead:]), scales.element.dtype)
        scales.read(start, stop, factors, lead)
        return widen(factors, scales.element, np.float32)

    def grain(self, lead: int) -> Grain | None:
        """How many rows are packed together."""
        if self.scales is not None and self.scales.grain(lead) != Grain():
            return None
        return self.array.grain(lead)

    def expect(self, start: int, stop: int, lead: int) -> None:
        """Have the system fetch rows that will be read soon."""
        self.array.expect(start, stop, lead)


def on_scale(
    array: StoredArray, location: Location, scales: StoredArray | None, need: Need, where: str
) -> StoredArray:
    """The array as its source declares it.

    Args:
        scales: where the scale of the location names them, the numbers.

    Raises:
        FormatError: it has a scale and is no array of integers, or is to hold class numbers; or
            there are not as many scales as rows, or classes.
    """
    if location.scale is None:
        return array
    if not need.floating:
        problem = f"has a scale, and {need.noun} are the stored integers themselves"
        raise FormatError(where, problem, "leave scale and zero_point out")
    if array.element.floating:
        problem = f"holds {array.element}, and a scale is for integers"
        raise FormatError(where, problem, "leave scale and zero_point out")
    if scales is not None:
        return _scaled(array, location, scales, where)
    assert not isinstance(location.scale, str)
    return QuantisedArray(array, array.element.quantised(location.scale, location.zero_point))


def _scaled(array: StoredArray, location: Location, scales: StoredArray, where: str) -> StoredArray:
    """One scale for all, one for each row, or one for each class."""
    rows, width = array.shape[:-1], array.shape[-1:]
    by_row, by_class = scales.shape in (rows, (*rows, 1)), scales.shape in (width, (1, *width))
    single = scales.shape in ((), (1,))
    if not scales.element.floating or not (by_row or by_class or single):
        problem = f"is {list(array.shape)}, and its scale {location.scale} is {scales.element} "
        hint = f"floating-point numbers {[*rows, 1]} or {[1, *width]} are needed"
        raise FormatError(where, f"{problem}{list(scales.shape)}", hint)
    if by_row and by_class:
        problem = f"has as many rows as classes, and {location.scale} is one number for each"
        raise FormatError(where, problem, f"save it as {[*rows, 1]} or as {[1, *width]}")
    if by_row and not single:
        return ScaledArray(array, location.zero_point, scales)
    raw = np.empty(scales.shape, scales.element.dtype)
    scales.read(0, raw.size, raw.reshape(-1), len(scales.shape))
    across = widen(raw.reshape(-1), scales.element, np.float32)
    return ScaledArray(array, location.zero_point, None, across)
