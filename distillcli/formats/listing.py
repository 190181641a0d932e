"""All arrays of a file with what keeps each from being read: headers alone, no values."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass

from distillcli.errors import DataError
from distillcli.formats.elements import BFLOAT16, BOOL, E4M3
from distillcli.formats.files import InputFile
from distillcli.formats.needs import LABELS, LAYERS, LOGITS, MASK, Need, check_array
from distillcli.formats.opening import choose, format_of
from distillcli.formats.paths import Location, natural_key
from distillcli.formats.readers import ArrayInfo, Container, StoredArray
from distillcli.formats.storage import Attribute, Storage

AT_ONCE = 64  # headers that are asked for together

# Types that say no more than their size, and what is often saved so.
RAW = {"raw 2-byte": BFLOAT16, "raw 1-byte": E4M3}


@dataclass(frozen=True)
class Found:
    """One array of a file.

    Args:
        name: its dataset; None where the file holds one array by its nature.
        storage: None where its header cannot be read.
        array: its values, those of a raw type as in RAW; None where they cannot be read. Valid
            while the listing is open.
        refusal: why it is of no use as a source, whatever the role; None where it is.
    """

    name: str | None
    storage: Storage | None
    array: StoredArray | None
    refusal: DataError | None


@dataclass(frozen=True)
class Listing:
    """An open file.

    Args:
        format: a name in FORMATS. size: bytes.
        marks: what parts the names of groups that a source can name; none where there are none.
        attributes: of the file as a whole.
        count: how many arrays there are.
        found: the arrays in natural order; each is looked at when its turn comes.
    """

    format: str
    size: int
    marks: str
    attributes: Mapping[str, Attribute]
    count: int
    found: Iterator[Found]


def named_arrays(path: str) -> list[ArrayInfo]:
    """The arrays in a file, none where they have no names.

    Raises:
        DataError: the file cannot be opened.
    """
    with (
        closing(InputFile(path, path, "")) as file,
        closing(format_of(file).open(file)) as container,
    ):
        return sorted(container.names(None), key=lambda info: natural_key(info.name))


@contextmanager
def listed_file(location: Location) -> Iterator[Listing]:
    """Look at a file, or at one dataset or group in it.

    Raises:
        DataError: the file cannot be opened, holds nothing of that name, or changed meanwhile.
    """
    with closing(InputFile(location.path, location.given, "")) as file:
        format = format_of(file)
        with closing(format.open(file)) as container:
            names = _names(file, container, location)
            yield Listing(
                format.name,
                file.size,
                format.marks,
                container.attributes(),
                len(names),
                _all_found(file, container, names, location.dtype),
            )
            file.check_unchanged()


def _names(file: InputFile, container: Container, location: Location) -> list[str | None]:
    """The named dataset, what the named group holds, or everything."""
    wanted = location.dataset
    if not container.named:
        if wanted is not None:
            container.array(wanted, location.dtype)  # says that there are no datasets
        return [None]
    names = sorted((info.name for info in container.names(location.dtype)), key=natural_key)
    if wanted is None or not wanted.strip("/"):
        return list(names)
    below = wanted.strip("/")
    chosen = [name for name in names if name == below or name.startswith(below + "/")]
    if not chosen:
        choose(file, container, location, LOGITS)  # says what is there instead
        return [below]
    return list(chosen)


def _all_found(
    file: InputFile, container: Container, names: Sequence[str | None], declared: str | None
) -> Iterator[Found]:
    for start in range(0, len(names), AT_ONCE):
        some = names[start : start + AT_ONCE]
        container.expect(some, declared)
        yield from (_found(file, container, name, declared) for name in some)


def _found(file: InputFile, container: Container, name: str | None, declared: str | None) -> Found:
    storage: Storage | None = None
    array: StoredArray | None = None
    try:
        storage = container.storage(name)
        array = container.array(name, declared)
        _check_use(file, name, array)
    except DataError as error:
        if storage is not None and storage.type in RAW:
            with suppress(DataError):  # what it would be if it were declared
                array = container.array(name, RAW[storage.type].name)
        return Found(name, storage, array, error)
    return Found(name, storage, array, None)


def _check_use(file: InputFile, name: str | None, array: StoredArray) -> None:
    """Refuse what is of no use in any role."""
    where = f"{file.where}::{name}" if name else file.where
    check_array(where, array.shape, array.element, _need(array))


def _need(array: StoredArray) -> Need:
    """What it could be meant for; integers of more than two axes can only be scores."""
    if array.element.floating or (array.element.itemsize <= 2 and len(array.shape) == 3):
        return LAYERS if len(array.shape) == 4 else LOGITS
    return MASK if array.element is BOOL else LABELS
