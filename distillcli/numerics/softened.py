"""Class scores at a temperature, made when somebody needs them."""

from collections.abc import Callable
from functools import cached_property

from distillcli.backend import Array, namespace
from distillcli.numerics.arrays import row_sum, scale_rows


class Made:
    """An array that is made when somebody first needs it, and then kept."""

    def __init__(self, make: Callable[[], Array]) -> None:
        self._make = make

    @cached_property
    def array(self) -> Array:
        return self._make()

    @property
    def is_there(self) -> bool:
        """Whether it has been needed yet."""
        return "array" in vars(self)


class Softened:
    """Rows of class scores divided by a temperature, as numerators and sums of their softmax.

    It refers to arrays alone: what is remembered of a tile must not refer back to it, for a circle
    is freed late.

    Args:
        scores: [rows, classes], made when first needed.
        highest: the maximum of each row.

    Attributes:
        total: sum of exps over the classes, float64 [rows]; computed unless it is given.
    """

    def __init__(
        self, scores: "Made", highest: Array, temperature: float, total: Array | None = None
    ) -> None:
        self._scores = scores
        self._highest = highest
        self._temperature = temperature
        self.total = row_sum(self.exps) if total is None else total

    @cached_property
    def log_total(self) -> Array:
        """The logarithm of the total."""
        return namespace(self.total).log(self.total)

    @cached_property
    def exps(self) -> Array:
        """exp((score - the row's maximum) / temperature), [rows, classes]."""
        scaled = self._scores.array - self._highest[:, None]
        if self._temperature != 1.0:
            scaled = scaled * (1.0 / self._temperature)
        return namespace(scaled).exp(scaled)

    @property
    def probabilities(self) -> Array:
        """The softmax, [rows, classes], in the type of the scores."""
        return scale_rows(self.exps, 1.0 / self.total)
