"""From a source to its reader: which format, which array of the file, does it fit its role."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from distillcli.errors import FormatError, MissingError
from distillcli.formats.files import InputFile
from distillcli.formats.needs import (
    LABELS,
    LOGITS,
    SCALES,
    Need,
    candidates,
    check_array,
)
from distillcli.formats.npy import MAGIC as NPY_MAGIC
from distillcli.formats.npy import NpyFile
from distillcli.formats.paths import Location, SourceLike, locate
from distillcli.formats.quantised import on_scale
from distillcli.formats.readers import ArrayInfo, ArrayReader, Container, Reader, StoredArray
from distillcli.formats.shards import Shards
from distillcli.formats.sidecar import Blocks, CheckedArray

T = TypeVar("T")


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
    openers = [partial(open_location, place, role, need, row_dims) for place in locations]
    return joined(openers, source, role)


def joined(openers: Sequence[Callable[[], Reader]], source: SourceLike, role: str) -> Reader:
    """The parts of a source as one reader."""
    if len(openers) == 1:
        return openers[0]()
    return Shards(openers, name=name_of(source), role=role)


def name_of(source: SourceLike) -> str:
    """A source as its user wrote it."""
    parts = [f"{p.pattern}::{p.dataset}" if p.dataset else str(p.pattern) for p in source.parts]
    return parts[0] if len(parts) == 1 else f"[{', '.join(parts[:3])}{', ...' * (len(parts) > 3)}]"


def open_location(location: Location, role: str, need: Need, row_dims: int) -> Reader:
    """The rows of one place, held against what the file says of itself; see `open_rows`."""

    def build(file: InputFile, container: Container) -> Reader:
        name, array = choose(file, container, location, need)
        check_array(where_of(file, name), array.shape, array.element, need)
        lead = len(array.shape) - row_dims
        declared = container.declaration()
        if declared is None or (name or "targets") not in declared.datasets:
            return ArrayReader(file, container, array, dataset=name, lead=lead)
        declared.require(file.where, name or "targets", array.element.name, array.shape)
        if "blocks" in declared.words:
            array = CheckedArray(array, Blocks.parse(declared.words["blocks"]), file.where)
        return ArrayReader(file, container, array, dataset=name, lead=lead, declared=declared)

    return opened(location, role, build)


def where_of(file: InputFile, name: str | None) -> str:
    """An array as messages name it."""
    return f"{file.where}::{name}" if name else file.where


def opened(location: Location, role: str, build: Callable[[InputFile, Container], T]) -> T:
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
    with candidates_listed(container, location, stored):
        array = container.array(name, location.dtype)
    scales = _scales(file, container, location)
    return name, on_scale(array, location, scales, need, where_of(file, name))


def _scales(file: InputFile, container: Container, location: Location) -> StoredArray | None:
    """The numbers that the scale of quantised integers names; None where it is a number itself."""
    if not isinstance(location.scale, str):
        return None
    if not container.named:
        problem = f"has no dataset {location.scale} for a scale"
        raise MissingError(file.where, problem, "write a number: {path: ..., scale: 0.05}")
    named = replace(location, dataset=location.scale)
    with candidates_listed(container, named, SCALES):
        return container.array(location.scale, None)


@contextmanager
def candidates_listed(container: Container, location: Location, need: Need) -> Iterator[None]:
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
