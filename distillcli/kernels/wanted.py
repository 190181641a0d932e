"""What is asked of a kernel about the class scores of a tile."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy.typing as npt

from distillcli.numerics.scores import Logits

Array = npt.NDArray[Any]
Direction = Literal["forward", "reverse"]
DIRECTIONS: tuple[Direction, ...] = ("forward", "reverse")

# With fewer classes than this a row is too short for a loop of its own: rows are computed side by
# side then, and one pass handles the same class of all of them.
NARROW = 64


@dataclass(frozen=True)
class Wanted:
    """What will be asked about the scores of a tile, and nothing else.

    Scores are among those of a field if they are the same object: nothing else makes two equal.

    Args:
        pair: (p, q), teacher and student, of whom something is asked together; None if nothing is.
        divergences: by temperature, which of KL(p || q), `forward`, and KL(q || p), `reverse`, are
            needed. What belongs to temperature 1 is had from the exponentials at the first of them
            where it can, so further ones change no bit of it.
        squares, cosine: whether the mean squared difference, and one minus the cosine, of the
            logits are.
        above: scores against whose top class those of q are counted; None if they are not.
        overlap: whether the sum of min(p, q) at temperature 1 is needed; both are then in `ones`.
        ones: scores whose sum of exponentials at temperature 1 is needed.
        entropies: those of them whose entropy is.
        tops: scores whose top class is.
        labels: a class of each row, [rows].
        nlls: scores whose negative log-likelihood of the label is needed; they are in `ones`.
        maxima: scores whose maximum is needed if nothing else is; every kernel leaves it.
    """

    pair: tuple[Logits, Logits] | None = None
    divergences: Mapping[float, Collection[Direction]] = field(default_factory=dict)
    squares: bool = False
    cosine: bool = False
    above: Logits | None = None
    overlap: bool = False
    ones: Sequence[Logits] = ()
    entropies: Sequence[Logits] = ()
    tops: Sequence[Logits] = ()
    labels: Array | None = None
    nlls: Sequence[Logits] = ()
    maxima: Sequence[Logits] = ()

    def by_temperature(self, most: int = 1) -> Iterator["Wanted"]:
        """The same in parts of so many temperatures; the first has what belongs to none."""
        rest, temperatures = self, list(self.divergences)
        for start in range(0, len(temperatures), most):
            some = temperatures[start : start + most]
            yield replace(rest, divergences={at: self.divergences[at] for at in some})
            rest = Wanted(self.pair)
        if not temperatures:
            yield self

    def alone(self) -> list[Logits]:
        """The scores that something is asked about and that are no part of the pair."""
        paired = self.pair or ()
        asked = (*self.ones, *self.tops, *self.nlls, *self.maxima)
        singles = {id(one): one for one in asked}
        return [one for one in singles.values() if one not in paired]
