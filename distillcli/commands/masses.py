"""How much of the probability is in what a dump stores, where it does not store every class."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from distillcli.errors import DataError
from distillcli.formats.elements import widen
from distillcli.formats.listing import Found
from distillcli.formats.readers import StoredArray
from distillcli.inspecting.inspection import ArrayFound
from distillcli.inspecting.looks import KINDS, LOG_TOLERANCE
from distillcli.numerics.scores import Kind
from distillcli.strategy.topk import log_probabilities

Values = NDArray[np.float64]

FLOOR = 15.99  # log-probabilities so far below the highest are at the floor of the file


def with_mass(
    arrays: Sequence[ArrayFound], found: Sequence[Found], said: Mapping[str, Any], limit: int
) -> list[ArrayFound]:
    """The arrays with the mass of those that hold a part of their rows' classes.

    Args:
        found: the same arrays, open.
        said: the attributes of their file.
        limit: bytes of rows that are read of one of them.
    """
    stored = {each.name: each.array for each in found}
    beside = {each.name: stored[each.name] for each in arrays if each.looks == "log_z"}
    return [_weighed(array, stored[array.name], beside, said, limit) for array in arrays]


def _weighed(
    array: ArrayFound,
    values: StoredArray | None,
    beside: Mapping[str | None, StoredArray | None],
    said: Mapping[str, Any],
    limit: int,
) -> ArrayFound:
    if values is None or not values.shape or 0 in values.shape:
        return array
    try:
        with np.errstate(all="ignore"):  # the file may hold anything
            if array.looks == "top_k_values":
                group = (array.name or "").rpartition("/")[0]
                log_z = beside.get(f"{group}/log_z" if group else "log_z")
                return _of_top_k(array, values, log_z, {**said, **array.attributes}, limit)
            if array.attributes.get("floor"):
                return _above_floor(array, values, limit)
    except DataError:  # it has been told already
        return array
    return array


def _of_top_k(
    array: ArrayFound,
    values: StoredArray,
    log_z: StoredArray | None,
    said: Mapping[str, Any],
    limit: int,
) -> ArrayFound:
    taken = _rows(values, limit)
    if log_z is not None and prod(log_z.shape) == prod(values.shape[:-1]):
        sums = _rows(log_z, limit, len(taken)).reshape(-1)
        taken = log_probabilities(taken, sums, _kind(said), _temperature(said))
    elif (taken > LOG_TOLERANCE).any():
        return replace(array, remark=f"{_most(array)}; what the others hold is not told: no log_z")
    mass = np.exp(taken).sum(axis=1)
    if not np.isfinite(mass).all():
        return replace(array, remark=f"{_most(array)}; log_z does not fit them")
    least = f"at least {_share(mass.min())}"
    told = f"{_most(array)} hold {_share(mass.mean())} of the probability, {least}"
    return replace(array, mass=float(mass.mean()), remark=told)


def _above_floor(array: ArrayFound, values: StoredArray, limit: int) -> ArrayFound:
    taken = _rows(values, limit)
    span = taken.max(axis=1, keepdims=True) - taken
    mass = float(np.where(span < FLOOR, np.exp(taken), 0.0).sum(axis=1).mean())
    return replace(array, mass=min(1.0, mass) if np.isfinite(mass) else None)


def _kind(said: Mapping[str, Any]) -> Kind:
    return cast(Kind, said["kind"]) if said.get("kind") in KINDS else "logits"


def _temperature(said: Mapping[str, Any]) -> float:
    try:
        return float(said.get("temperature", 1.0))
    except (TypeError, ValueError):
        return 1.0


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
