"""From the sources of hidden states to one reader per layer."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial

from distillcli.errors import FormatError, MissingError
from distillcli.formats.files import InputFile
from distillcli.formats.needs import (
    LAYERS,
    LOGITS,
    SEQUENCE_LAYERS,
    SEQUENCES,
    check_array,
    ranked,
)
from distillcli.formats.opening import (
    candidates_listed,
    choose,
    joined,
    name_of,
    open_location,
    open_rows,
    opened,
    where_of,
)
from distillcli.formats.paths import LayersLike, Location, SourceLike, locate
from distillcli.formats.readers import ArrayReader, Container, Reader

# What a layer must be, and an array of them, by whether it must tell sequences apart.
_NEEDS = {False: LOGITS, True: SEQUENCES}
_LAYER_NEEDS = {False: LAYERS, True: SEQUENCE_LAYERS}


def open_layers(layers: LayersLike, *, role: str, sequences: bool = False) -> list[Reader]:
    """Open hidden states: one reader per layer, each [rows, dim] or [rows, positions, dim].

    Args:
        layers: one source per layer; or a single one: an HDF5 group with one dataset per layer
            (natural order of names), an array with a leading axis of layers, or one layer.
        role: as in "student hidden states".
        sequences: whether each layer must be [rows, positions, dim].

    Raises:
        MissingError, FormatError, MismatchError, DataError: one line that names the file.
    """
    readers: list[Reader] = []
    try:
        if layers.single:
            for opener in _layers_of(layers.sources[0], role, sequences):
                readers.append(opener())
        else:
            for index, source in enumerate(layers.sources):
                one = f"{role}, layer {index},"
                readers.append(open_rows(source, role=one, row_dims=1, need=_NEEDS[sequences]))
    except BaseException:
        for reader in readers:
            reader.close()
        raise
    return readers


def _layers_of(source: SourceLike, role: str, sequences: bool) -> list[Callable[[], Reader]]:
    """How to open each layer of a single source."""
    locations = locate(source, role)
    with _one_source_per_layer(locations[0], source, role, sequences):
        look = partial(_look_for_layers, locations[0], sequences)
        members, shape = opened(locations[0], role, look)
    if members is not None:
        return [
            partial(_open_member, source, locations, member, role, sequences) for member in members
        ]
    if len(shape) == (3 if sequences else 2):
        need = _NEEDS[sequences]
        return [partial(open_rows, source, role=role, row_dims=1, need=need)]
    if len(locations) > 1:
        problem = f"is in {len(locations)} files, each with an axis of layers"
        hint = "list one source per layer instead; the shards of a layer are a glob or a list"
        raise FormatError(f"{role} in {name_of(source)}", problem, hint)
    return [partial(_open_layer, locations[0], role, sequences, index) for index in range(shape[0])]


@contextmanager
def _one_source_per_layer(
    location: Location, source: SourceLike, role: str, sequences: bool
) -> Iterator[None]:
    """Where a file has several arrays that might be layers, say how they are named."""
    try:
        yield
    except MissingError as error:
        one = location.dataset is None and len(source.parts) == 1
        names = _layer_names(location, role, sequences) if one else []
        if len(names) < 2:
            raise
        listed = ", ".join(f"{name_of(source)}::{name}" for name in names[:2])
        hint = f"{error.hint}; list one source per layer: [{listed}{', ...' * (len(names) > 2)}]"
        raise MissingError(error.where, error.problem, hint) from None


def _layer_names(location: Location, role: str, sequences: bool) -> list[str]:
    """What might be layers, in natural order where their names are alike."""
    need = _LAYER_NEEDS[sequences]

    def names(file: InputFile, container: Container) -> list[str]:
        with closing(file), closing(container):
            fitting = [info for info in container.names(location.dtype) if need.fits(info)]
            return [info.name for info in ranked(fitting, need, role)]

    return opened(location, role, names)


def _look_for_layers(
    location: Location, sequences: bool, file: InputFile, container: Container
) -> tuple[list[str] | None, tuple[int, ...]]:
    """The members of the group that is meant, or the shape of the array that is."""
    with closing(file), closing(container):
        members = _members(location, container)
        if members == []:
            raise FormatError(where_of(file, location.dataset), "is an empty group")
        if members is not None:
            return members, ()
        name, array = choose(file, container, location, _LAYER_NEEDS[sequences])
        check_array(where_of(file, name), array.shape, array.element, _LAYER_NEEDS[sequences])
        return None, array.shape


def _members(location: Location, container: Container) -> list[str] | None:
    """What the named group holds; None where a dataset is meant."""
    if location.dataset is None:
        return None
    with candidates_listed(container, location, LAYERS):
        return container.members(location.dataset)


def _open_member(
    source: SourceLike, locations: Sequence[Location], member: str, role: str, sequences: bool
) -> Reader:
    """One layer of a group, over all shards."""
    places = [replace(location, dataset=member) for location in locations]
    return joined(
        [partial(open_location, place, role, _NEEDS[sequences], 1) for place in places],
        source,
        role,
    )


def _open_layer(location: Location, role: str, sequences: bool, index: int) -> Reader:
    """One layer of an array with a leading axis of layers."""

    def build(file: InputFile, container: Container) -> Reader:
        name, array = choose(file, container, location, _LAYER_NEEDS[sequences])
        layer = array.layer(index)
        lead = len(layer.shape) - 1
        return ArrayReader(file, container, layer, dataset=name, lead=lead, suffix=f"[{index}]")

    return opened(location, role, build)
