"""Inputs of a run held against each other: as many rows, the same sequences, the same classes."""

from collections.abc import Iterator, Sequence

from distillcli.batches.inputs import Input
from distillcli.config import Largest
from distillcli.errors import MismatchError

SAME_SPLIT = "both must come from the same split, in the same order"


def misfits(items: Sequence[Input], *, any_width: bool) -> Iterator[MismatchError]:
    """What is not as long as the first of them, or of other classes."""
    for item in items[1:]:
        first = items[0]
        if item.reader.rows != first.reader.rows:
            problem = f"{_rows(item)}, {first.role} has {_rows(first)}"
            yield MismatchError(item.reader.where, problem, _same_rows(item, first))
        elif _positions(item) and _positions(first) and _lead(item) != _lead(first):
            yield MismatchError(
                item.reader.where,
                f"{_shown(_lead(item))} rows and positions, {first.role} {_shown(_lead(first))}",
                _same_sequences(item, first),
            )
    scores = [item for item in items if item.classes is not None]
    for item in scores[1:]:
        if item.classes != scores[0].classes and not any_width:
            yield MismatchError(
                item.reader.where,
                f"{item.classes:,} classes, {scores[0].role} has {scores[0].classes:,}",
                _same_classes(item, scores[0]),
            )


def _same_rows(item: Input, first: Input) -> str:
    """The way out where an input has other rows than the first one."""
    if first.floored and item.role == "student" and item.reader.rows > first.reader.rows:
        return (
            f"{first.reader.where} has the second half of each context, without its last position: "
            "save logits[:, context // 2 : -1] of the student"
        )
    if _positions(item) and not _positions(first) and item.reader.shape[0] == first.reader.rows:
        return (
            f"a row of {first.role} is a whole sequence: save it by position, or leave out what "
            "is (positions, shift_labels, tokens, groups)"
        )
    return SAME_SPLIT


def _same_sequences(item: Input, first: Input) -> str:
    """The same where rows and positions are others, and as many in all."""
    if _lead(item) == _lead(first)[::-1]:
        return "both must have the rows first; transpose one of them (.swapaxes(0, 1))"
    return "both must be of the same sequences, of as many positions each"


def _same_classes(item: Input, first: Input) -> str:
    """The same where the classes are others."""
    few, many = sorted((item, first), key=lambda one: one.width)
    if few.floored:
        return f"take the first {few.width:,} of the {many.role}, if it is padded: " + (
            f"logits[..., :{few.width}]"
        )
    if few.top_of is None and (few.reader.dataset or "").endswith(Largest.values):
        return (
            f"if the {few.role} has the largest classes of each row alone, say how many there are: "
            f"{{path: ..., classes: {many.classes}}}"
        )
    return (
        "both must score the same classes; vocabulary: common compares those that both have, if "
        "their numbers mean the same"
    )


def _lead(item: Input) -> tuple[int, ...]:
    """Rows, or rows and positions."""
    return item.reader.shape[: item.reader.lead]


def _positions(item: Input) -> bool:
    return len(_lead(item)) > 1


def _shown(shape: Sequence[int]) -> str:
    return " x ".join(f"{size:,}" for size in shape)


def _rows(item: Input) -> str:
    positions = f" ({_shown(_lead(item))})" if _positions(item) else ""
    return f"{item.reader.rows:,} rows{positions}"
