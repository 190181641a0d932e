"""`distill inspect`: what is in stored files, from their headers and a few rows."""

import os
from collections.abc import Sequence
from pathlib import Path

from distillcli.commands.advice import advice, shards_of
from distillcli.commands.grouping import with_layers, with_top_k
from distillcli.commands.judging import array_found
from distillcli.commands.masses import with_mass
from distillcli.config import Part, Source
from distillcli.errors import DataError, MissingError
from distillcli.formats.listing import Listing, listed_file
from distillcli.formats.paths import Location, locate
from distillcli.inspecting.inspection import FileFound, Inspection, LayersFound, Refusal

SAMPLE = 4 << 20  # bytes looked at of one array
SAMPLES = 256 << 20  # of all arrays together
LEAST = 1 << 14  # of one array, however many there are


def inspect(paths: Sequence[str]) -> Inspection:
    """Look at files, each a path, a glob, or `path::dataset` with a dataset or a group.

    What cannot be opened is among the errors; the rest is told all the same. An array that cannot
    be used is told with the reason. Headers are read, and a few MB of rows at most of each array.
    """
    places = [_located(_part(text)) for text in paths]
    budget = SAMPLES // max(1, sum(map(len, places)))
    opened = [[_file(place, budget) for place in located] for located in places]
    files = [found for group in opened for found, _ in group]
    shards = [
        each
        for text, group in zip(paths, opened, strict=True)
        if len(group) > 1
        for each in shards_of(_part(text).pattern, [found for found, _ in group])
    ]
    errors = [error for group in opened for _, error in group if error is not None]
    return Inspection(tuple(files), tuple(shards), advice(files, shards), tuple(errors))


def _part(text: str) -> Part:
    """A file whose own name holds `::` is meant where it is there."""
    pattern, _, dataset = (text, "", "") if os.path.lexists(text) else text.partition("::")
    base = Path.cwd()
    path = Path(os.path.join(base, os.path.expanduser(pattern)))
    return Part(pattern, path, base, dataset or None)


def _located(part: Part) -> Sequence[Location | MissingError]:
    """The files of one argument, or what is wrong with it."""
    try:
        return locate(Source((part,)), "")
    except MissingError as error:
        return [error]


def _file(location: Location | MissingError, budget: int) -> tuple[FileFound, DataError | None]:
    if isinstance(location, MissingError):
        return FileFound(location.where, error=Refusal.of(location)), location
    try:
        with listed_file(location) as listing:
            return _listed(location, listing, budget), None
    except DataError as error:
        return FileFound(location.given, error=Refusal.of(error)), error


def _listed(location: Location, listing: Listing, budget: int) -> FileFound:
    limit = max(LEAST, min(SAMPLE, budget // max(1, listing.count)))
    found = list(listing.found)
    arrays = [array_found(location.given, each, limit) for each in found]
    layers: tuple[LayersFound, ...] = ()
    if listing.marks:
        arrays, layers = with_layers(location.given, arrays, listing.marks)
    arrays = with_mass(with_top_k(arrays), found, listing.attributes, limit)
    return FileFound(
        path=location.given,
        format=listing.format,
        size=listing.size,
        attributes=listing.attributes,
        arrays=tuple(arrays),
        layers=layers,
    )
