"""What an array must be for its role, and what to say when it is not."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from distillcli.errors import DataError, FormatError
from distillcli.formats.elements import BOOL, DECLARATIONS, Element
from distillcli.formats.paths import natural_key
from distillcli.formats.readers import ArrayInfo

CANDIDATES = 10


@dataclass(frozen=True)
class Need:
    """What an array must be to be of use.

    Args:
        noun: what integers are for.
        booleans: whether they may stand for integers.
    """

    ranks: tuple[int, ...]
    floating: bool
    words: str
    noun: str = "labels"
    booleans: bool = False

    def fits(self, info: ArrayInfo) -> bool:
        """Whether an array could be meant."""
        floating = "float" in info.element
        kind = floating == self.floating and (self.booleans or info.element != BOOL.name)
        return info.readable and len(info.shape) in self.ranks and kind


LOGITS = Need((2, 3), True, "[rows, width] or [rows, positions, width]")
LABELS = Need((1, 2), False, "integers [rows] or [rows, positions]")
GROUPS = Need((1, 2), False, "integers [rows] or [rows, positions]", "groups")
MASK = Need((1, 2), False, "integers [rows] or [rows, positions]", "masks", booleans=True)
CLASS_MAP = Need((1,), False, "integers, one for each class of the student", "class maps")
TOKENS = Need((1, 2), False, "integers [rows] or [rows, positions]", "tokens")
SCALES = Need((0, 1, 2, 3), True, "a number for each row or class")
TOP_INDICES = Need((2, 3), False, "integers [rows, k]", "indices")
TOP_LOG_Z = Need((1, 2), True, "one number a row")
LAYERS = Need((2, 3, 4), True, "[rows, dim] or [layers, rows, dim]")
SEQUENCES = Need((2, 3), True, "[rows, positions, width] or [rows, width]")
SEQUENCE_LAYERS = Need((3, 4), True, "[rows, positions, dim] or [layers, rows, positions, dim]")


def candidates(infos: Sequence[ArrayInfo], need: Need, wanted: str) -> str:
    """A hint that lists what is there: what fits first, then the names that come nearest."""
    known = [info for info in infos if info.readable] or list(infos)
    if not known:
        return "the file holds no datasets"
    shown = [f"{i.name} {_size(i)}" for i in ranked(known, need, wanted)[:CANDIDATES]]
    more = f", and {len(known) - CANDIDATES} more" if len(known) > CANDIDATES else ""
    return f"it holds {', '.join(shown)}{more}"


def ranked(infos: Sequence[ArrayInfo], need: Need, wanted: str) -> list[ArrayInfo]:
    """Arrays in the order in which they might be meant."""

    def order(info: ArrayInfo) -> tuple[bool, float, list[tuple[int, int, str]]]:
        likeness = difflib.SequenceMatcher(None, info.name, wanted).ratio()
        return not need.fits(info), -likeness, natural_key(info.name)

    return sorted(infos, key=order)


def _size(info: ArrayInfo) -> str:
    return f"{info.element} {list(info.shape)}" if info.readable else f"({info.element})"


def check_array(where: str, shape: tuple[int, ...], element: Element, need: Need) -> None:
    """Refuse an array of the wrong kind, rank or size, with the way out.

    Raises:
        FormatError: what is wrong.
    """
    if element is BOOL and not need.booleans:
        raise FormatError(where, "holds booleans", "save integers (.astype(np.int8))")
    if element.floating != need.floating:
        raise _wrong_kind(where, element, need)
    if len(shape) not in need.ranks:
        raise _wrong_rank(where, shape, need)
    if 0 in shape:
        what = "is empty: there are no rows" if shape[0] == 0 else "has rows of no elements"
        raise FormatError(where, f"{what} (shape {list(shape)})")


def _wrong_kind(where: str, element: Element, need: Need) -> DataError:
    if need is MASK:
        hint = "a mask is 1 where a row counts and 0 elsewhere: save it with .astype(np.int8)"
        return FormatError(where, f"holds {element}, a mask must be integers or booleans", hint)
    if not need.floating:
        numbers = "class numbers" if need is LABELS else "numbers"
        hint = f"{need.noun} are {numbers}: save them with .astype(np.int64)"
        return FormatError(where, f"holds {element}, {need.noun} must be integers", hint)
    hint = DECLARATIONS.get(element.name, "save it with .astype(np.float32)")
    return FormatError(where, f"holds {element}, where floating-point numbers are needed", hint)


def _wrong_rank(where: str, shape: tuple[int, ...], need: Need) -> DataError:
    if need.floating and len(shape) == 1:
        problem = f"is one-dimensional ({shape[0]:,} elements), {need.words} is needed"
        return FormatError(where, problem, "if it is a single row, save it with .reshape(1, -1)")
    problem = f"has {len(shape)} dimensions (shape {list(shape)}), {need.words} is needed"
    hint = "labels are class numbers, one per row, not one-hot rows" if need is LABELS else None
    if need is SEQUENCES and len(shape) == 4:
        hint = "save the mean of several heads (.mean(axis=1)), or a layer for each head"
    return FormatError(where, problem, hint)
