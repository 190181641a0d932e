"""How much of the probability is in what a dump stores, where it does not store every class."""

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from distillcli.errors import DataError
from distillcli.formats.elements import widen
from distillcli.formats.listing import Found
from distillcli.formats.readers import StoredArray
from distillcli.inspecting.inspection import ArrayFound
from distillcli.inspecting.looks import LOG_TOLERANCE

Values = NDArray[np.float64]

FLOOR = 15.99  # log-probabilities so far below the highest are at the floor of the file


def with_mass(arrays: Sequence[ArrayFound], found: Sequence[Found], limit: int) -> list[ArrayFound]:
    """The arrays with the mass of those that hold a part of their rows' classes.

    Args:
        found: the same arrays, open. limit: bytes of rows that are read of one of them.
    """
    stored = {each.name: each.array for each in found}
    looks = {array.name: array.looks for array in arrays}
    return [_weighed(array, stored, looks, limit) for array in arrays]


def _weighed(
    array: ArrayFound,
    stored: dict[str | None, StoredArray | None],
    looks: dict[str | None, str | None],
    limit: int,
) -> ArrayFound:
    values = stored[array.name]
    if values is None or not values.shape or 0 in values.shape:
        return array
    try:
        if array.looks == "top_k_values":
            group = (array.name or "").rpartition("/")[0]
            name = f"{group}/log_z" if group else "log_z"
            log_z = stored.get(name) if looks.get(name) == "log_z" else None
            return _of_top_k(array, values, log_z, limit)
        if array.attributes.get("floor"):
            return _above_floor(array, values, limit)
    except DataError:  # it has been told already
        return array
    return array


def _of_top_k(
    array: ArrayFound, values: StoredArray, log_z: StoredArray | None, limit: int
) -> ArrayFound:
    taken = _rows(values, limit)
    kind, temperature = (array.attributes.get(key) for key in ("kind", "temperature"))
    log_p = taken / temperature if isinstance(temperature, float) and kind == "logits" else taken
    if log_z is not None and prod(log_z.shape) == prod(values.shape[:-1]):
        log_p = log_p - _rows(log_z, limit, len(taken)).reshape(-1, 1)
    elif (log_p > LOG_TOLERANCE).any():
        return replace(array, remark=f"{_most(array)}; what the others hold is not told: no log_z")
    mass = np.exp(log_p).sum(axis=1)
    least = f"at least {_share(mass.min())}"
    told = f"{_most(array)} hold {_share(mass.mean())} of the probability, {least}"
    return replace(array, mass=float(mass.mean()), remark=told)


def _above_floor(array: ArrayFound, values: StoredArray, limit: int) -> ArrayFound:
    taken = _rows(values, limit)
    span = taken.max(axis=1, keepdims=True) - taken
    mass = np.where(span < FLOOR, np.exp(taken), 0.0).sum(axis=1)
    return replace(array, mass=float(min(1.0, mass.mean())))


def _most(array: ArrayFound) -> str:
    return f"the {(array.shape or (0,))[-1]} largest classes"


def _share(value: float) -> str:
    return f"{value:.4f}"


def _rows(array: StoredArray, limit: int, count: int | None = None) -> Values:
    """The first rows, about `limit` bytes of them or so many: float64 [rows, width]."""
    lead = max(1, len(array.shape) - 1) if count is None else len(array.shape)
    width = prod(array.shape[lead:])
    if count is None:
        count = max(1, min(prod(array.shape[:lead]), limit // (width * array.element.itemsize)))
    raw = np.empty((count, *array.shape[lead:]), array.element.dtype)
    array.read(0, count, raw, lead)
    widened: Values = widen(raw, array.element, np.float64)
    return widened
