"""What a kernel is asked about some rows, and the table where it leaves what it found.

A table is float64 [columns, rows]: the columns of the first side, of the second, of the pair, and
then those of each temperature. Each part counts from its own start.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from distillcli.kernels.wanted import Direction, Wanted
from distillcli.numerics.arrays import all_within
from distillcli.numerics.scores import Logits

Array = npt.NDArray[Any]

# What is asked, as bits. Of one side: the top class, the sum of exponentials at temperature 1, the
# entropy, whether all is finite, the negative log-likelihood of the label.
TOP, ONE, ENTROPY, FINITE, NLL = 1, 2, 4, 8, 16
# Of a pair: the mean squared difference, one minus the cosine, how many classes of the second side
# are above the top class of the first, the sum of the lesser probabilities.
SQUARES, COSINE, ABOVE, OVERLAP = 1, 2, 4, 8
# Of a pair at a temperature.
FORWARD, REVERSE = 1, 2

# The columns of one side; MASKED is 0 where no class is masked.
MAX_AT, TOP_AT, ONE_AT, ENTROPY_AT, MASKED_AT, NLL_AT = range(6)
SIDE = 6
PAIR = 2 * SIDE
# Those of a pair.
SQUARES_AT, COSINE_AT, ABOVE_AT, OVERLAP_AT = range(4)
TEMPERED = PAIR + 4
# Those of a temperature: the sums of exponentials of both sides, and the divergences.
TOTAL_AT, OTHER_TOTAL_AT, FORWARD_AT, REVERSE_AT = range(4)
EACH = 4


ALWAYS = 1 << 16  # whatever is asked
_OF_SIDE = (
    (MAX_AT, ALWAYS), (TOP_AT, TOP), (ONE_AT, ONE), (ENTROPY_AT, ENTROPY),
    (MASKED_AT, FINITE), (NLL_AT, NLL),
)  # fmt: skip
_OF_PAIR = (SQUARES_AT, SQUARES), (COSINE_AT, COSINE), (ABOVE_AT, ABOVE), (OVERLAP_AT, OVERLAP)
_OF_TEMPERATURE = (
    (TOTAL_AT, ALWAYS), (OTHER_TOTAL_AT, ALWAYS), (FORWARD_AT, FORWARD), (REVERSE_AT, REVERSE),
)  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """What is asked about one side, or about two.

    Args:
        of_sides: bits for each of them.
        of_pair: bits.
        divergences: (temperature, bits), the first temperature first.
        tops: [rows], the classes that those of the second side are counted against; None for the
            top classes of the first.
        labels: [rows], classes; None where no label is asked about.
    """

    of_sides: tuple[int, ...]
    of_pair: int = 0
    divergences: tuple[tuple[float, int], ...] = ()
    tops: Array | None = None
    labels: Array | None = None

    @classmethod
    def of(cls, sides: tuple[Logits, ...], wanted: Wanted) -> "Asked":
        labels = wanted.labels if any(one in wanted.nlls for one in sides) else None
        if labels is not None and not all_within(labels, sides[0].shape[1]):
            labels = None  # a loop would read whatever lies there
        paired, labelled = len(sides) == 2, labels is not None
        of_sides = tuple(_of_side(one, wanted, paired=paired, labelled=labelled) for one in sides)
        if len(sides) == 1:
            return cls(of_sides, labels=labels)
        above = wanted.above
        return cls(
            of_sides,
            _of_pair(sides, wanted),
            tuple((at, _bits(each)) for at, each in wanted.divergences.items()),
            None if above in (None, sides[0]) else above.top,
            labels,
        )

    @property
    def columns(self) -> int:
        """How many the table has."""
        return TEMPERED + EACH * len(self.divergences)

    @cached_property
    def temperatures(self) -> Array:
        """float64 [divergences]."""
        return np.array([temperature for temperature, _ in self.divergences], np.float64)

    @cached_property
    def directions(self) -> Array:
        """Bits, int64 [divergences]."""
        return np.array([directions for _, directions in self.divergences], np.int64)

    @cached_property
    def filled(self) -> Array:
        """The columns that are to be filled in; nobody looks at the others."""
        of_sides = ((SIDE * at, bits, _OF_SIDE) for at, bits in enumerate(self.of_sides))
        of_temperatures = (
            (TEMPERED + EACH * at, bits, _OF_TEMPERATURE)
            for at, (_, bits) in enumerate(self.divergences)
        )
        parts = (*of_sides, (PAIR, self.of_pair, _OF_PAIR), *of_temperatures)
        asked = (
            start + at for start, bits, known in parts for at, bit in known if (bits | ALWAYS) & bit
        )
        return np.array(list(asked), np.int64)

    def part(self, start: int, stop: int) -> "Asked":
        """The same about some of the rows."""
        tops = None if self.tops is None else self.tops[start:stop]
        labels = None if self.labels is None else self.labels[start:stop]
        return replace(self, tops=tops, labels=labels)


def tempered(found: Array, index: int) -> Array:
    """The columns of one temperature."""
    start = TEMPERED + EACH * index
    return found[start : start + EACH]


def _bits(directions: Collection[Direction]) -> int:
    return FORWARD * ("forward" in directions) | REVERSE * ("reverse" in directions)


def _of_side(scores: Logits, wanted: Wanted, *, paired: bool, labelled: bool) -> int:
    return (
        TOP * (scores in wanted.tops or (paired and wanted.above is scores))
        | ONE * (scores in wanted.ones)
        | ENTROPY * (scores in wanted.entropies)
        | FINITE * (paired and (wanted.squares or wanted.cosine))
        | NLL * (labelled and scores in wanted.nlls)
    )


def _of_pair(sides: tuple[Logits, ...], wanted: Wanted) -> int:
    """Distances are those of the numbers as they are stored, which must be logits for that."""
    raw = all(one.kind == "logits" for one in sides)
    return (
        SQUARES * (wanted.squares and raw)
        | COSINE * (wanted.cosine and raw)
        | ABOVE * (wanted.above is not None)
        | OVERLAP * wanted.overlap
    )
