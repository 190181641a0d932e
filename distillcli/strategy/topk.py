"""A teacher of whom only the largest classes of each row are known, and the mass of the others.

The classes that are not stored are one more class, the tail bucket, on both sides. A divergence of
the bucketed distributions is never above that of the whole ones, and never negative.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from distillcli.backend import Array, namespace
from distillcli.batches import Input, Tile
from distillcli.errors import DataError
from distillcli.numerics import Kind, Logits, row_sum, widen

EPSILON = 2.0**-50
INDICES, LOG_Z = "indices", "log_z"  # datasets beside the values
NEEDED = (
    "acceptance_rate",
    "teacher_nll",
    "teacher_entropy",
    "teacher_ece",
    "teacher_perplexity",
    "perplexity_ratio",
    "perplexity_ratio_stderr",
    "label_probability_rms",
)  # what needs every class at T = 1


def part_role(role: str, part: str) -> str:
    """The role of an array that belongs to another: `teacher indices`."""
    return f"{role} {part}"


@dataclass(frozen=True)
class TopK:
    """Some rows of such a teacher, at the temperature at which it was stored.

    Args:
        indices: the classes, best first, int64 [rows, k].
        log_p: their log-probabilities at the temperature, float64 [rows, k].
        noise: a mass of the others up to this is but rounding, [rows].
        temperature: T.
    """

    indices: Array
    log_p: Array
    noise: Array
    temperature: float

    @property
    def top(self) -> Array:
        """The class with the highest score: int64 [rows]."""
        return self.indices[:, 0]

    @property
    def bad(self) -> Array:
        """Rows with a NaN or no mass at all: bool [rows]."""
        xp = namespace(self.log_p)
        return xp.any(xp.isnan(self.log_p), axis=-1) | ~xp.isfinite(self.log_p[:, 0])

    def bucketed(self) -> Logits:
        """The classes and the tail as k + 1 classes, on the scale of logits at T."""
        xp = namespace(self.log_p)
        rest = 1.0 - row_sum(xp.exp(self.log_p))
        rest = xp.where(rest > self.noise, rest, 0.0)
        return Logits(_beside(self.log_p, _log(rest)) * self.temperature)

    def bucketed_alike(self, other: Logits) -> Logits:
        """Whole rows [rows, classes] in the same k + 1 classes."""
        xp = namespace(other.scores)
        soft = other.softened(self.temperature)
        chosen = xp.take_along_axis(soft.exps, self.indices, axis=-1)
        # The others are summed, not taken from the whole, where a small rest would be rounded off.
        others = soft.exps + 0.0
        others[xp.arange(others.shape[0])[:, None], self.indices] = 0.0
        kept = _log(widen(chosen)) - soft.log_total[:, None]
        rest = _log(row_sum(others)) - soft.log_total
        return Logits(_beside(kept, rest) * self.temperature)


def _beside(columns: Array, last: Array) -> Array:
    """[rows, k] and [rows] as [rows, k + 1]."""
    xp = namespace(columns)
    join = xp.concat if hasattr(xp, "concat") else xp.concatenate  # CuPy before 14
    return join([columns, last[:, None]], axis=-1)


def _log(mass: Array) -> Array:
    """log of masses, -inf for none."""
    xp = namespace(mass)
    return xp.where(mass > 0, xp.log(xp.where(mass > 0, mass, 1.0)), -math.inf)


def log_probabilities(values: Array, log_z: Array, kind: Kind, temperature: float) -> Array:
    """Stored values as log-probabilities: float64 [rows, k].

    Args:
        values: float64 [rows, k].
        log_z: float64 [rows], log of the sum over all classes of exp(value / T) for logits, of
            exp(value) for log-probabilities, of the value for probabilities.
    """
    lifted = values
    if kind == "logits":
        lifted = values / temperature
    elif kind == "probabilities":
        lifted = namespace(values).where(values >= 0, _log(values), math.nan)
    return lifted - log_z[:, None]


def top_k(tile: Tile, role: str) -> TopK:
    """The rows of a tile.

    Raises:
        DataError: an index that is no class.
    """
    return tile.once(role, lambda: _made(tile, role, tile.inputs))


def _made(tile: Tile, role: str, inputs: Mapping[str, Input]) -> TopK:
    item = inputs[role]
    assert item.top_of is not None
    where = part_role(role, INDICES)
    indices = tile.stored(where)
    outside = (indices < 0) | (indices >= item.top_of)
    if outside.any():
        row = int(outside.any(axis=1).argmax())
        problem = f"row {tile.start + row}: an index is outside 0 to {item.top_of - 1}"
        raise DataError(inputs[where].reader.where, problem)
    log_z = tile.exactly(part_role(role, LOG_Z))
    log_p = log_probabilities(tile.exactly(role), log_z, item.kind, item.temperature)
    noise = EPSILON * (namespace(log_z).abs(log_z) + item.width)
    chosen = tile.backend.to_device(indices.astype("int64"))
    return TopK(chosen, log_p, noise, item.temperature)
