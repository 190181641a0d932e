"""What one stored array comes to: its headers, a few of its rows, and what they look like."""

import os
from dataclasses import replace
from typing import Any

import numpy as np

from distillcli.errors import DataError
from distillcli.formats.elements import BFLOAT16, BOOL, widen
from distillcli.formats.listing import RAW, Found
from distillcli.formats.sampling import Sample, sample
from distillcli.formats.storage import Storage
from distillcli.inspecting.inspection import ArrayFound, Refusal, SampleFound
from distillcli.inspecting.looks import (
    KINDS,
    Figures,
    figures,
    like_bfloat16,
    like_float8,
    look_of_integers,
    look_of_scores,
    says_scores,
)

MANY_LAYERS = 200  # a longer first axis is hardly one of layers
WIDEST_LAYER = 20_000  # and a longer last one hardly that of hidden states
AS_BFLOAT16 = "looks like bfloat16: {{path: {source}, dtype: bfloat16}}"
AS_FLOAT8 = "looks like float8: {{path: {source}, dtype: float8_e4m3fn}}, or float8_e5m2"
AS_QUANTISED = "or quantised scores: {{path: {source}, scale: ..., zero_point: 0}}"


def source_of(path: str, name: str | None) -> str:
    """How a config or a flag names an array of a file."""
    path = path.replace("::", ":[:]")  # the first `::` would end the path
    return path if name is None else f"{path}::{name}"


def array_found(path: str, found: Found, limit: int) -> ArrayFound:
    """Look into an array; `limit` is in bytes of its rows."""
    taken, refusal = None, found.refusal
    if found.array is not None and found.storage is not None:
        try:
            taken = sample(found.array, found.storage, limit)
        except DataError as error:
            refusal = error
    told = ArrayFound(
        name=found.name,
        source=source_of(path, found.name),
        **_stored(found.storage),
        refusal=None if refusal is None else Refusal.of(refusal),
    )
    return told if taken is None else _judged(told, taken, path)


def _stored(storage: Storage | None) -> dict[str, Any]:
    if storage is not None:
        return vars(storage)
    unknown = ("shape", "type", "layout", "fortran", "big_endian", "chunk", "logical", "stored")
    return {**dict.fromkeys(unknown), "filters": (), "attributes": {}}


def _judged(told: ArrayFound, taken: Sample, path: str) -> ArrayFound:
    """The array with its figures and its looks."""
    name = f"{os.path.basename(path)}/{told.name or ''}"
    if not taken.element.floating:
        return _judged_integers(told, taken, name)
    values = widen(taken.values, taken.element, np.float64)
    found = figures(values)
    told = replace(told, sample=_sampled(taken, found))
    if told.rank < 2 or found.low is None:
        return told
    if found.low == found.high and len(values) > 1:
        told = replace(told, remark=f"every value looked at is {found.low:g}")
    if told.type in RAW:
        wide = RAW[told.type] is BFLOAT16
        fits = like_bfloat16(taken.values) if wide else like_float8(taken.values)
        remark = (AS_BFLOAT16 if wide else AS_FLOAT8).format(source=told.source)
        told = replace(told, remark=remark if fits else None)
        if not fits or not wide:  # which of two types of 8 bits is not told by the bits
            return replace(told, sample=None)
    return _looked_at(told, look_of_scores(values, name, _kind(told)), name)


def _judged_integers(told: ArrayFound, taken: Sample, name: str) -> ArrayFound:
    """Class numbers, masks, or scores whose bits do not say what they are."""
    found = figures(taken.values)
    told = replace(told, sample=_sampled(taken, found))
    if taken.element is BOOL:
        return replace(told, looks="mask")
    looks = look_of_integers(found, name)
    if told.rank > 1 and looks in ("labels", "integers"):
        if taken.element.name == "uint16" and like_bfloat16(taken.values):
            remark = AS_BFLOAT16.format(source=told.source)
            return replace(told, looks="bfloat16", remark=remark)
        if taken.element.name == "uint8" and like_float8(taken.values):
            remark = AS_FLOAT8.format(source=told.source)
            return replace(told, looks="float8", remark=remark)
        if taken.element.itemsize <= 2 and (told.rank > 2 or looks == "integers"):
            remark = AS_QUANTISED.format(source=told.source)
            return replace(told, looks="integers", remark=remark)
    return replace(told, looks=looks)


def _kind(told: ArrayFound) -> str | None:
    """What an attribute says of the numbers, if it says anything known."""
    kind = told.attributes.get("kind")
    return kind if isinstance(kind, str) and kind in KINDS else None


def _looked_at(told: ArrayFound, looks: str | None, name: str) -> ArrayFound:
    """The array with its looks, and layers where it has an axis of them."""
    assert told.shape is not None
    first = told.shape[0]
    if told.rank == 4 or (told.rank == 3 and looks == "hidden_states"):
        return replace(told, looks="hidden_states", layers=first)
    remark = told.remark
    unsaid = looks == "logits" and _kind(told) is None and not says_scores(name)
    if unsaid and told.rank == 3 and 1 < first <= MANY_LAYERS and told.shape[-1] <= WIDEST_LAYER:
        remark = remark or f"or hidden states of {first} layers"
    return replace(told, looks=looks, remark=remark)


def _sampled(taken: Sample, found: Figures) -> SampleFound:
    return SampleFound(rows=len(taken.values), of=taken.rows, **vars(found))
