"""From a source to its reader: which format, which array of the file, does it fit its role."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from distillcli.errors import FormatError, MissingError
from distillcli.formats.files import InputFile
from distillcli.formats.needs import (
    LABELS,
    LAYERS,
    LOGITS,
    SCALES,
    SEQUENCE_LAYERS,
    SEQUENCES,
    Need,
    candidates,
    check_array,
    ranked,
)
from distillcli.formats.npy import MAGIC as NPY_MAGIC
from distillcli.formats.npy import NpyFile
from distillcli.formats.paths import LayersLike, Location, SourceLike, locate
from distillcli.formats.quantised import on_scale
from distillcli.formats.readers import ArrayInfo, ArrayReader, Container, Reader, StoredArray
from distillcli.formats.shards import Shards
from distillcli.formats.sidecar import Blocks, CheckedArray

T = TypeVar("T")

# What a layer must be, and an array of them, by how many axes a row has.
_NEEDS = {1: LOGITS, 2: SEQUENCES}
_LAYER_NEEDS = {1: LAYERS, 2: SEQUENCE_LAYERS}


@dataclass(frozen=True)
class Format:
    """A file format: how to know it, by suffix or by the bytes `at` its place, and to open it.

    `marks` part the name of a group of arrays from what follows.
    """

    name: str
    suffixes: tuple[str, ...]
    magic: bytes
    open: Callable[[InputFile], Container]
    at: int = 0
    marks: str = ""

    def begins(self, start: bytes) -> bool:
        """Whether a file that begins with these bytes looks like one."""
        return start.startswith(self.magic, self.at)


def _open_npz(file: InputFile) -> Container:
    from distillcli.formats.npz import NpzFile

    return NpzFile(file)


def _open_safetensors(file: InputFile) -> Container:
    from distillcli.formats.safetensors import SafetensorsFile

    return SafetensorsFile(file)


def _open_kld(file: InputFile) -> Container:
    from distillcli.formats.kld import KldFile

    return KldFile(file)


def _open_hdf5(file: InputFile) -> Container:
    from distillcli.formats.hdf5 import Hdf5File

    return Hdf5File(file)


FORMATS = (
    Format("npy", (".npy",), NPY_MAGIC, NpyFile),
    Format("npz", (".npz",), b"PK\x03\x04", _open_npz),
    Format("safetensors", (".safetensors",), b'{"', _open_safetensors, at=8, marks="./"),
    Format("hdf5", (".h5", ".hdf5", ".hdf", ".he5"), b"\x89HDF\r\n\x1a\n", _open_hdf5, marks="/"),
    Format("llama.cpp", (".kld",), b"_logits_", _open_kld),
)


def format_of(file: InputFile) -> Format:
    """The format of a file: by its suffix, else by its first bytes.

    Raises:
        FormatError: neither tells.
    """
    suffix = os.path.splitext(file.path)[1].lower()
    start = file.read(16, 0)
    for known in FORMATS:
        if suffix in known.suffixes:
            return known
    for known in FORMATS:
        if known.begins(start):
            return known
    names = ", ".join(f"{known.name} ({' '.join(known.suffixes)})" for known in FORMATS)
    raise FormatError(file.where, "is of an unknown format", f"formats that can be read: {names}")


def open_rows(source: SourceLike, *, role: str, row_dims: int, need: Need | None = None) -> Reader:
    """Open a source as rows.

    Args:
        source: its parts are joined along the first axis.
        role: what it is for, as in "student logits"; it begins the messages.
        row_dims: 1 for logits or one hidden layer, [rows, width] or [rows, positions, width];
            0 for labels, integers, [rows] or [rows, positions].
        need: what it must be, where that is neither logits nor labels.

    Raises:
        MissingError, FormatError, MismatchError, DataError: one line that names the file.
    """
    need = need or (LOGITS if row_dims else LABELS)
    locations = locate(source, role)
    openers = [partial(_open_location, place, role, need, row_dims) for place in locations]
    return _join(openers, source, role)


def _join(openers: Sequence[Callable[[], Reader]], source: SourceLike, role: str) -> Reader:
    if len(openers) == 1:
        return openers[0]()
    return Shards(openers, name=name_of(source), role=role)


def name_of(source: SourceLike) -> str:
    """A source as its user wrote it."""
    parts = [f"{p.pattern}::{p.dataset}" if p.dataset else str(p.pattern) for p in source.parts]
    return parts[0] if len(parts) == 1 else f"[{', '.join(parts[:3])}{', ...' * (len(parts) > 3)}]"


def open_layers(layers: LayersLike, *, role: str, row_dims: int = 1) -> list[Reader]:
    """Open hidden states: one reader per layer, each [rows, dim] or [rows, positions, dim].

    Args:
        layers: one source per layer; or a single one: an HDF5 group with one dataset per layer
            (natural order of names), an array with a leading axis of layers, or one layer.
        role: as in "student hidden states".
        row_dims: 2 where the positions of a row stay together: each layer is then [rows, positions,
            dim], of so many rows.

    Raises:
        MissingError, FormatError, MismatchError, DataError: one line that names the file.
    """
    opened: list[Reader] = []
    try:
        if layers.single:
            for opener in _layers_of(layers.sources[0], role, row_dims):
                opened.append(opener())
        else:
            for index, source in enumerate(layers.sources):
                one = f"{role}, layer {index},"
                opened.append(open_rows(source, role=one, row_dims=row_dims, need=_NEEDS[row_dims]))
    except BaseException:
        for reader in opened:
            reader.close()
        raise
    return opened


def _layers_of(source: SourceLike, role: str, row_dims: int) -> list[Callable[[], Reader]]:
    """How to open each layer of a single source."""
    locations = locate(source, role)
    with _one_source_per_layer(locations[0], source, role, row_dims):
        look = partial(_look_for_layers, locations[0], row_dims)
        members, shape = _opened(locations[0], role, look)
    if members is not None:
        return [
            partial(_open_member, source, locations, member, role, row_dims) for member in members
        ]
    if len(shape) == 1 + row_dims:
        need = _NEEDS[row_dims]
        return [partial(open_rows, source, role=role, row_dims=row_dims, need=need)]
    if len(locations) > 1:
        problem = f"is in {len(locations)} files, each with an axis of layers"
        hint = "list one source per layer instead; the shards of a layer are a glob or a list"
        raise FormatError(f"{role} in {name_of(source)}", problem, hint)
    return [partial(_open_layer, locations[0], role, row_dims, index) for index in range(shape[0])]


@contextmanager
def _one_source_per_layer(
    location: Location, source: SourceLike, role: str, row_dims: int
) -> Iterator[None]:
    """Where a file has several arrays that might be layers, say how they are named."""
    try:
        yield
    except MissingError as error:
        one = location.dataset is None and len(source.parts) == 1
        names = _layer_names(location, role, row_dims) if one else []
        if len(names) < 2:
            raise
        listed = ", ".join(f"{name_of(source)}::{name}" for name in names[:2])
        hint = f"{error.hint}; list one source per layer: [{listed}{', ...' * (len(names) > 2)}]"
        raise MissingError(error.where, error.problem, hint) from None


def _layer_names(location: Location, role: str, row_dims: int) -> list[str]:
    """What might be layers, in natural order where their names are alike."""
    need = _LAYER_NEEDS[row_dims]

    def names(file: InputFile, container: Container) -> list[str]:
        with closing(file), closing(container):
            fitting = [info for info in container.names(location.dtype) if need.fits(info)]
            return [info.name for info in ranked(fitting, need, role)]

    return _opened(location, role, names)


def _look_for_layers(
    location: Location, row_dims: int, file: InputFile, container: Container
) -> tuple[list[str] | None, tuple[int, ...]]:
    """The members of the group that is meant, or the shape of the array that is."""
    with closing(file), closing(container):
        members = _members(location, container)
        if members == []:
            raise FormatError(_where(file, location.dataset), "is an empty group")
        if members is not None:
            return members, ()
        name, array = choose(file, container, location, _LAYER_NEEDS[row_dims])
        check_array(_where(file, name), array.shape, array.element, _LAYER_NEEDS[row_dims])
        return None, array.shape


def _members(location: Location, container: Container) -> list[str] | None:
    """What the named group holds; None where a dataset is meant."""
    if location.dataset is None:
        return None
    with _candidates_listed(container, location, LAYERS):
        return container.members(location.dataset)


def _open_member(
    source: SourceLike, locations: Sequence[Location], member: str, role: str, row_dims: int
) -> Reader:
    """One layer of a group, over all shards."""
    places = [replace(location, dataset=member) for location in locations]
    return _join(
        [partial(_open_location, place, role, _NEEDS[row_dims], row_dims) for place in places],
        source,
        role,
    )


def _open_layer(location: Location, role: str, row_dims: int, index: int) -> Reader:
    """One layer of an array with a leading axis of layers."""

    def build(file: InputFile, container: Container) -> Reader:
        name, array = choose(file, container, location, _LAYER_NEEDS[row_dims])
        layer = array.layer(index)
        lead = len(layer.shape) - row_dims
        return ArrayReader(file, container, layer, dataset=name, lead=lead, suffix=f"[{index}]")

    return _opened(location, role, build)


def _open_location(location: Location, role: str, need: Need, row_dims: int) -> Reader:
    def build(file: InputFile, container: Container) -> Reader:
        name, array = choose(file, container, location, need)
        check_array(_where(file, name), array.shape, array.element, need)
        lead = len(array.shape) - row_dims
        declared = container.declaration()
        if declared is None or (name or "targets") not in declared.datasets:
            return ArrayReader(file, container, array, dataset=name, lead=lead)
        declared.require(file.where, name or "targets", array.element.name, array.shape)
        if "blocks" in declared.words:
            array = CheckedArray(array, Blocks.parse(declared.words["blocks"]), file.where)
        return ArrayReader(file, container, array, dataset=name, lead=lead, declared=declared)

    return _opened(location, role, build)


def _where(file: InputFile, name: str | None) -> str:
    return f"{file.where}::{name}" if name else file.where


def _opened(location: Location, role: str, build: Callable[[InputFile, Container], T]) -> T:
    """Open file and container for `build`, and close them again when it fails."""
    file = InputFile(location.path, location.given, role)
    container: Container | None = None
    try:
        container = format_of(file).open(file)
        return build(file, container)
    except BaseException:
        if container is not None:
            container.close()
        file.close()
        raise


def choose(
    file: InputFile, container: Container, location: Location, need: Need
) -> tuple[str | None, StoredArray]:
    """The array that a source means, and its name: the named one, or the only one that fits.

    Raises:
        MissingError: there is none, or more than one; the candidates are listed.
    """
    name = location.dataset
    stored = need if location.scale is None else replace(need, floating=False)
    if name is None and container.named:
        name = _only(file, container.names(location.dtype), stored)
    with _candidates_listed(container, location, stored):
        array = container.array(name, location.dtype)
    scales = _scales(file, container, location)
    return name, on_scale(array, location, scales, need, _where(file, name))


def _scales(file: InputFile, container: Container, location: Location) -> StoredArray | None:
    """The numbers that the scale of quantised integers names; None where it is a number itself."""
    if not isinstance(location.scale, str):
        return None
    if not container.named:
        problem = f"has no dataset {location.scale} for a scale"
        raise MissingError(file.where, problem, "write a number: {path: ..., scale: 0.05}")
    named = replace(location, dataset=location.scale)
    with _candidates_listed(container, named, SCALES):
        return container.array(location.scale, None)


@contextmanager
def _candidates_listed(container: Container, location: Location, need: Need) -> Iterator[None]:
    """Where something is missing, say what is there."""
    try:
        yield
    except MissingError as error:
        hint = candidates(container.names(location.dtype), need, location.dataset or "")
        raise MissingError(error.where, error.problem, hint) from None


def _only(file: InputFile, infos: Sequence[ArrayInfo], need: Need) -> str:
    fitting = [info for info in infos if need.fits(info)]
    if len(fitting) == 1:
        return fitting[0].name
    what = "no" if not fitting else "more than one"
    problem = f"holds {what} dataset of {need.words}"
    raise MissingError(file.where, problem, candidates(infos, need, file.role))
