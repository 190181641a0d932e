"""A blend as the arrays that a file stores."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from distillcli.errors import DataError
from distillcli.numerics.scores import Logits
from distillcli.targets.spec import Spec

Array = npt.NDArray[Any]
Host = Callable[[Any], Array]


@dataclass(frozen=True)
class Encoded:
    """The rows of a tile as stored.

    Args:
        arrays: by name of the dataset.
        lost: how many probabilities above 0 are stored as 0.
        entries: how many scores are stored.
    """

    arrays: dict[str, Array]
    lost: int
    entries: int

    @property
    def scores(self) -> Array:
        """Those that stand for the classes, [rows, classes or the largest of them]."""
        return self.arrays["targets" if "targets" in self.arrays else "values"]


def encode(
    blend: Logits,
    spec: Spec,
    temperature: float,
    host: Host,
    start: int,
    masked: npt.NDArray[np.bool_] | None = None,
) -> Encoded:
    """The rows of a blend in the form that is asked for.

    Args:
        blend: [rows, classes]; its softmax at the temperature is the blended distribution.
        spec: kind, type, and how many classes are kept.
        temperature: T.
        host: brings an array to NumPy.
        start: the number of the first row, for messages.
        masked: rows that are not to count, of which nothing is said; None where all count.

    Raises:
        DataError: a value is too large for the type.
    """
    if spec.top_k is not None:
        return _top(blend, spec, temperature, host, start, masked)
    values = host(_values(blend, spec.kind, temperature))
    stored = _cast(values, spec, start, masked)
    lost = 0
    if spec.kind == "probabilities" and (nothing := stored == 0).any():
        lost = int(np.count_nonzero(host(blend.scores)[nothing] > -np.inf))
    return Encoded({"targets": stored}, lost, stored.size)


def _values(blend: Logits, kind: str, temperature: float) -> Any:
    if kind == "logits":
        return blend.scores
    if kind == "log_probabilities":
        return blend.log_softmax(temperature)
    return blend.softened(temperature).probabilities


def _cast(values: Array, spec: Spec, start: int, masked: npt.NDArray[np.bool_] | None) -> Array:
    """The values in the stored type; those of rows that are no scores stay what they are."""
    with np.errstate(over="ignore", invalid="ignore"):
        stored = values.astype(spec.dtype, copy=False)
    if stored is values or not np.isinf(stored).any():
        return stored
    beyond = np.isinf(stored) & np.isfinite(values)
    if masked is not None:
        beyond[masked] = False
    if beyond.any():
        row, column = np.argwhere(beyond)[0]
        problem = f"row {start + row}: {values[row, column]:g} is beyond the range of {spec.dtype}"
        raise DataError("blend", problem, "store it as --dtype float32")
    return stored


def _top(
    blend: Logits,
    spec: Spec,
    temperature: float,
    host: Host,
    start: int,
    masked: npt.NDArray[np.bool_] | None,
) -> Encoded:
    """The largest scores of each row, and the logarithm of all that they are a part of.

    log_z is taken of the values as they are stored, so that a row's distribution sums to 1 in
    whatever type that is: log(sum over the kept classes of e(stored) + sum over the others of e),
    e(v) = exp(v / T) of logits, exp(v) of log-probabilities, v of probabilities.
    """
    assert spec.top_k is not None
    scores = host(blend.scores)
    indices = largest(scores, spec.top_k)
    values = host(_values(blend, spec.kind, temperature))
    stored = _cast(np.take_along_axis(values, indices, axis=1), spec, start, masked)
    soft = blend.softened(temperature)
    rest = host(soft.exps).astype(np.float64)
    np.put_along_axis(rest, indices, 0.0, axis=1)
    # In units in which the whole row sums to exp(log_total), with the maximum as the origin.
    tail = rest.sum(axis=1)
    lifted = _lifted(stored.astype(np.float64), spec.kind, temperature)
    if spec.kind == "logits":
        origin = host(blend.max).astype(np.float64) / temperature
    else:
        origin = -host(soft.log_total)
    kept = np.exp(lifted - origin[:, None]).sum(axis=1)
    with np.errstate(divide="ignore"):
        log_z = origin + np.log(kept + tail)
    lost = 0
    if spec.kind == "probabilities":
        chosen = np.take_along_axis(scores, indices, axis=1)
        lost = int(np.count_nonzero((stored == 0) & (chosen > -np.inf)))
    arrays = {"indices": indices.astype(np.int32), "values": stored, "log_z": log_z}
    return Encoded(arrays, lost, stored.size)


def _lifted(values: Array, kind: str, temperature: float) -> Array:
    """Stored values on the scale of logarithms."""
    if kind == "logits":
        return values / temperature
    if kind == "log_probabilities":
        return values
    with np.errstate(divide="ignore"):
        return np.log(values)


def largest(scores: Array, count: int) -> Array:
    """The classes with the highest scores, best first; the lowest class first among equals.

    Args:
        scores: [rows, classes]. count: at most as many as there are classes.

    Returns: int64 [rows, count].
    """
    classes = scores.shape[1]
    if count * 4 >= classes:
        return np.argsort(-scores, axis=1, kind="stable")[:, :count]
    chosen = np.argpartition(scores, classes - count, axis=1)[:, classes - count :]
    chosen.sort(axis=1)
    values = np.take_along_axis(scores, chosen, axis=1)
    least = values.min(axis=1)[:, None]
    # Where not all of those equal to the last one got in, which of them did is chance.
    tied = np.count_nonzero(scores == least, axis=1) > np.count_nonzero(values == least, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    chosen = np.take_along_axis(chosen, order, axis=1)
    for row in np.flatnonzero(tied):
        chosen[row] = np.argsort(-scores[row], kind="stable")[:count]
    return chosen
