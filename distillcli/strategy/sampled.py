"""Whether two dumps begin at the same row, as far as a few of their rows tell.

Top classes agree more often in the same row than in neighbouring ones. Where they agree much more
often a row further on or back, one of the dumps is shifted, or its labels are.
"""

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from distillcli.batches.inputs import Input
from distillcli.batches.tiles import Raw, Tile
from distillcli.errors import DataError
from distillcli.fold import side_by_side
from distillcli.kernels import Wanted, fill
from distillcli.strategy.alignment import STUDENT
from distillcli.strategy.counting import MASKED
from distillcli.strategy.inputs import Inputs
from distillcli.strategy.passes import Passes
from distillcli.strategy.tails import known_of
from distillcli.strategy.vocabulary import uneven

SHIFTS = (-1, 0, 1)
MOST, LEAST = 256, 32  # rows of a window; as few as it takes where rows are wide
VALUES = 2**22  # read of a window, about
MARGIN = 0.2  # a shift must agree so much more often, and more than chance explains
ANYWHERE = 2**20  # rows cut at multiples of this can be read without those before, or cannot
PAIRS = 16  # fewer rows tell nothing

Classes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Agreement:
    """How often two columns of classes agree at each shift of the second one, over some pairs."""

    pairs: int
    share: Mapping[int, float]

    @property
    def better(self) -> int | None:
        """The shift that fits much better than none."""
        far = self._lead > _margin(self.pairs)
        return self._best if far and self.pairs >= PAIRS else None

    @property
    def is_clear(self) -> bool:
        """Whether as many pairs again would hardly make a shift fit better."""
        doubt = _margin(self.pairs) / 2  # the first half lies so far from the whole, at most
        return self.pairs >= PAIRS and self._lead + doubt < _margin(2 * self.pairs)

    @property
    def _best(self) -> int:
        return max(SHIFTS, key=lambda shift: self.share[shift])

    @property
    def _lead(self) -> float:
        """How much more often the best of them agrees than none."""
        return self.share[self._best] - self.share[0]


def _margin(pairs: int) -> float:
    """What is more than chance, over so many pairs."""
    return max(MARGIN, 3.0 * math.sqrt(0.5 / max(pairs, 1)))


@dataclass(frozen=True)
class Alignment:
    """What is known of how the rows of two dumps go together.

    Args:
        tokens: whether they are compared token by token; masked: but where a mask is 0.
        sides: teacher and student. labels: the student, or else the teacher, and the labels.
        shifted: whether the labels are read a row further on.
    """

    where: str = ""
    tokens: bool = False
    masked: bool = False
    sides: Agreement | None = None
    labels: Agreement | None = None
    shifted: bool = False
    labels_where: str = field(default="labels")

    def warnings(self) -> Iterator[str]:
        """What looks shifted."""
        if self.sides is not None and self.sides.better is not None:
            yield (
                f"{self.where}: its top classes agree with the teacher's in "
                f"{_compared(self.sides)}: the dumps look shifted by one row; "
                "teacher_tokens and student_tokens have them compared token by token"
            )
        if self.labels is not None and self.labels.better is not None:
            advice = "they look shifted by one row"
            if self.labels.better == 1 and not self.shifted:
                advice = "if they are the tokens themselves, set shift_labels: true"
            elif self.labels.better == -1 and self.shifted:
                advice = "they look shifted already: leave shift_labels out"
            yield f"{self.labels_where}: are the top class in {_compared(self.labels)}: {advice}"

    def remarks(self) -> Iterator[str]:
        """What was found in order."""
        if self.tokens:
            but = " but those whose mask is 0" if self.masked else ""
            yield f"teacher and student have the same token in every row{but}"

    def facts(self) -> dict[str, Any]:
        """The same in a result; nothing where nothing was looked at."""
        found: dict[str, Any] = {"tokens": "the same"} if self.tokens else {}
        for name, one in (("top1", self.sides), ("labels", self.labels)):
            if one is not None:
                shares = {f"{shift:+d}" if shift else "0": one.share[shift] for shift in SHIFTS}
                found[name] = {"pairs": one.pairs, "agreement": shares}
        return {"alignment": found} if found else {}


def _compared(one: Agreement) -> str:
    assert one.better is not None
    way = "one row further on" if one.better > 0 else "one row before"
    return (
        f"{one.share[0]:.0%} of {one.pairs} sampled rows, and in {one.share[one.better]:.0%} {way}"
    )


def alignment(passes: Passes) -> Alignment:
    """Look at some rows of teacher, student and labels; at none where tokens are compared."""
    passes = passes.on_host()
    inputs = passes.inputs
    known = Alignment(tokens=STUDENT in inputs, masked=MASKED in inputs)
    teacher = next((item.role for item in inputs if item.role in ("teacher", "teachers[0]")), None)
    if "student" not in inputs or teacher is None:
        return known
    known = replace(
        known,
        where=inputs["student"].reader.where,
        shifted=passes.config.counting.shift_labels,
        labels_where=inputs["labels"].reader.where if "labels" in inputs else "labels",
    )
    tokens_tell = known.tokens or uneven(inputs)
    placed = "labels" in inputs and inputs["labels"].compared is None
    for share in (2, 1):  # half of the rows, and all where these leave a doubt
        try:
            windows = _windows(passes, share, teacher)
        except DataError:  # the pass tells it, of the first row that it is true of
            return known
        sides = labels = None
        if not tokens_tell:
            sides = _agreement(windows, lambda one: one.teacher, lambda one: one.student)
        if placed:
            labels = _agreement(windows, lambda one: one.student, lambda one: one.labels)
        if all(one is None or one.is_clear for one in (sides, labels)):
            break
    return replace(known, sides=sides, labels=labels)


def _windows(passes: Passes, share: int, teacher: str) -> list["_Window"]:
    """Some rows here and there; to unpack them is worth threads."""
    look, tiles = partial(_Window.of, passes, teacher), _tiles(passes, share)
    if all(item.reader.splits(1, loosely=True) for item in _scores(passes.inputs)):
        return [look(tile) for tile in tiles]
    return side_by_side(look, list(tiles), passes.machine)


def _scores(inputs: Inputs) -> list[Input]:
    return [item for item in inputs if item.classes is not None]


def _tiles(passes: Passes, share: int) -> Iterator[Tile]:
    """The first rows that are taken, and some from the middle of them; or a share of these."""
    inputs, machine = passes.inputs, passes.machine
    scores, read = _scores(inputs), _Buffers(inputs).read
    rows = max(LEAST, min(MOST, VALUES // sum(item.width for item in scores)))
    anywhere = all(item.reader.splits(ANYWHERE, loosely=True) for item in scores)
    several = anywhere and passes.rows_taken >= 2 * rows
    piece = passes.grid([item.role for item in scores], by_kernel=True).at_once
    at_once = piece if all(item.reader.splits(piece) for item in scores) else rows
    middle = (passes.first + passes.stop) // 2
    for start in (passes.first, middle - middle % LEAST)[: 1 + several]:
        stop = start + max(1, min(rows, passes.stop - start) // share)
        yield Tile(start, stop, inputs.items, read, machine.precision, machine.backend, at_once)


class _Buffers(threading.local):
    """What a thread reads rows into, again and again: fresh memory is slow at first."""

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs
        self._of: dict[str, Raw] = {}

    def read(self, role: str, start: int, stop: int) -> Raw:
        """Rows of an input; they stand until others of it are read."""
        reader = self._inputs[role].reader
        if role not in self._of or len(self._of[role]) < stop - start:
            self._of[role] = reader.empty(stop - start)
        return reader.read(start, stop, self._of[role][: stop - start])


@dataclass(frozen=True)
class _Window:
    """The top classes and labels of neighbouring rows, and which of them tell something."""

    teacher: Classes
    student: Classes
    labels: Classes
    counts: npt.NDArray[np.bool_]
    sequence: Classes

    @classmethod
    def of(cls, passes: Passes, teacher: str, tile: Tile) -> "_Window":
        inputs = passes.inputs
        counts = np.ones(tile.stop - tile.start, bool)
        if (masked := tile.masked()) is not None:
            counts &= ~masked
        roles = (teacher, "student")
        whole = [tile.logits(role) for role in roles if not inputs[role].lacks_classes]
        with np.errstate(all="ignore"):
            fill(Wanted(tops=whole, maxima=whole), tile.backend.kernel)
            tops = [_top(tile, role) for role in roles]
        for one in whole:
            counts &= ~one.bad
        labels = tile.stored("labels").astype(np.int64) if "labels" in inputs else tops[1]
        positions = next((item.reader.shape[1] for item in inputs if item.reader.lead == 2), None)
        rows = np.arange(tile.start, tile.stop)
        sequence = rows // positions if positions is not None else rows * 0
        return cls(tops[0], tops[1], labels, counts, sequence)


def _top(tile: Tile, role: str) -> Classes:
    """The class of the highest score of each row, of those that are known."""
    lacks = tile.inputs[role].lacks_classes
    side: Any = known_of(tile, role) if lacks else tile.logits(role)
    return np.asarray(side.top).astype(np.int64)


def _agreement(
    windows: list[_Window], one: Callable[[_Window], Classes], other: Callable[[_Window], Classes]
) -> Agreement:
    """Over the rows that have both neighbours, so that all shifts are of the same rows."""
    alike: dict[int, int] = dict.fromkeys(SHIFTS, 0)
    pairs = 0
    for window in windows:
        middle = slice(1, -1)
        use = window.counts[middle] & window.counts[:-2] & window.counts[2:]
        use &= window.sequence[:-2] == window.sequence[2:]
        pairs += int(np.count_nonzero(use))
        count = len(window.counts)
        for shift in SHIFTS:
            moved = other(window)[1 + shift : count - 1 + shift]
            alike[shift] += int(np.count_nonzero((one(window)[middle] == moved) & use))
    return Agreement(pairs, {shift: alike[shift] / max(pairs, 1) for shift in SHIFTS})
