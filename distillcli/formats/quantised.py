"""Integers that stand for numbers on a scale, as the source declares it."""

from dataclasses import dataclass

from distillcli.errors import FormatError
from distillcli.formats.elements import Array, Element
from distillcli.formats.needs import Need
from distillcli.formats.paths import Location
from distillcli.formats.readers import StoredArray


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

    def grain(self, lead: int) -> int | None:
        """How many rows are packed together."""
        return self.array.grain(lead)

    def expect(self, start: int, stop: int, lead: int) -> None:
        """Have the system fetch rows that will be read soon."""
        self.array.expect(start, stop, lead)


def on_scale(array: StoredArray, location: Location, need: Need, where: str) -> StoredArray:
    """The array as its source declares it.

    Raises:
        FormatError: it has a scale and is no array of integers, or is to hold class numbers.
    """
    if location.scale is None:
        return array
    if not need.floating:
        problem = f"has a scale, and {need.noun} are the stored integers themselves"
        raise FormatError(where, problem, "leave scale and zero_point out")
    if array.element.floating:
        problem = f"holds {array.element}, and a scale is for integers"
        raise FormatError(where, problem, "leave scale and zero_point out")
    return QuantisedArray(array, array.element.quantised(location.scale, location.zero_point))
