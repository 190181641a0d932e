"""How far each number of a result may move before a check fails."""

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

REL, ABS = 1e-4, 1e-6


@dataclass(frozen=True)
class Tolerance:
    """How far a number may move: by the larger of `abs` and `rel` times the baseline's size."""

    rel: float = 0.0
    abs: float = 0.0

    def allowed(self, baseline: float) -> float:
        """The largest difference that is still within it."""
        return max(self.abs, self.rel * abs(baseline))


@dataclass(frozen=True)
class Check:
    """When a check fails.

    Attributes:
        mode: `drift`, any move beyond tolerance fails; `regression`, only one for the worse.
        default: of every number that no entry names.
        tolerances: (name or pattern, tolerance). A name beats a pattern, a later entry an earlier.
        demanded: the same, from the command line; they beat `tolerances`.
        significant: the loss fails only where its difference is also beyond noise.
    """

    mode: Literal["drift", "regression"] = "drift"
    default: Tolerance = field(default_factory=lambda: Tolerance(REL, ABS))
    tolerances: tuple[tuple[str, Tolerance], ...] = ()
    demanded: tuple[tuple[str, Tolerance], ...] = ()
    significant: bool = False

    def tolerance(self, name: str) -> Tolerance:
        """The tolerance of one number."""
        for entries in (self.demanded, self.tolerances):
            found = [one for pattern, one in entries if pattern == name]
            found = found or [one for pattern, one in entries if fnmatchcase(name, pattern)]
            if found:
                return found[-1]
        return self.default
