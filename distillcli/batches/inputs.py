"""An array of the run and the part that it plays."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from distillcli.formats import Reader
from distillcli.numerics.scores import Kind

if TYPE_CHECKING:
    from distillcli.batches.tiles import Tile

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Input:
    """One array of the run and the part it plays, such as `teacher` or `student_hidden[1]`.

    Args:
        top_of: how many classes there are, of which the array holds the largest of each row.
        floored: whether the classes at the lowest value of a row have at most that.
        is_part: whether it only completes another one, as the indices of such classes do.
        compared: of class scores: the numbers of the classes that are compared; None for all. Of
            labels: the place of each class among those, -1 for one that is not.
        counts: tells which rows of a tile count, bool [rows], on the host; None where it leaves
            none out.
    """

    role: str
    reader: Reader
    kind: Kind = "logits"
    temperature: float = 1.0
    top_of: int | None = None
    floored: bool = False
    is_part: bool = False
    compared: npt.NDArray[np.int64] | None = None
    counts: Callable[["Tile"], Mask] | None = None

    @property
    def is_label(self) -> bool:
        return not self.reader.row_shape and not self.is_part

    @property
    def is_hidden(self) -> bool:
        return "_hidden[" in self.role

    @property
    def is_scores(self) -> bool:
        """Whether it holds the scores of all classes."""
        whole = self.top_of is None and not self.is_part
        return whole and not self.is_hidden and not self.is_label

    @property
    def lacks_classes(self) -> bool:
        """Whether it does not tell the score of every class."""
        return self.top_of is not None or self.floored

    @property
    def classes(self) -> int | None:
        """How many classes it is compared by, if it is."""
        if self.is_scores:
            return self.width if self.compared is None else len(self.compared)
        return self.top_of

    @property
    def width(self) -> int:
        """Numbers per row."""
        return self.reader.width
