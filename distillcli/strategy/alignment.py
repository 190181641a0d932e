"""Whether two dumps are of the same tokens, held row by row."""

import numpy as np

from distillcli.batches.inputs import Input, Mask
from distillcli.batches.tiles import Raw, Tile
from distillcli.errors import DataError
from distillcli.strategy.counting import padding

TEACHER, STUDENT = "teacher_tokens", "student_tokens"


def check_tokens(tile: Tile) -> None:
    """Hold the tokens of all rows against each other, but where the mask is 0.

    Other rows that do not count, a prompt or the end of a sequence, have tokens like any.

    Raises:
        DataError: the first that differ.
    """
    teacher, student = (tile.stored(role).astype(np.int64) for role in (TEACHER, STUDENT))
    differ = teacher != student
    if (padded := padding(tile)) is not None:
        differ &= ~padded
    if not differ.any():
        return
    row = int(np.argmax(differ))
    item = tile.inputs[STUDENT]
    raise DataError(
        item.reader.where,
        f"{_place(item, tile.start + row)}: token {student[row]}, the teacher has {teacher[row]}",
        _advice(teacher, student, padded),
    )


def _place(item: Input, row: int) -> str:
    if item.reader.lead < 2:
        return f"row {row}"
    sequence, position = divmod(row, item.reader.shape[1])
    return f"row {row} (sequence {sequence}, position {position})"


def _advice(teacher: Raw, student: Raw, padded: Mask | None) -> str:
    """Whether one of them only begins a row later than the other."""
    held = np.ones(len(teacher), bool) if padded is None else ~padded
    for late, early, words in ((teacher, student, "student"), (student, teacher, "teacher")):
        both = held[1:] & held[:-1]
        if both.sum() > 1 and (late[1:] == early[:-1])[both].mean() > 0.9:
            return f"the {words}'s dump is a row behind: save both from the same position on"
    return "both dumps must be of the same tokens, in the same order"
