"""Arrays of a file that belong together: the layers of a model, the parts of a top-k dump."""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from distillcli.commands.judging import source_of
from distillcli.formats.paths import natural_key
from distillcli.inspecting.inspection import ArrayFound, LayersFound
from distillcli.inspecting.looks import hints_at_layers

# The parts of a top-k dump by name, and what they look like.
_PARTS = {"values": "top_k_values", "indices": "top_k_indices", "log_z": "log_z"}


def with_layers(
    path: str, arrays: Sequence[ArrayFound], marks: str
) -> tuple[list[ArrayFound], tuple[LayersFound, ...]]:
    """The arrays with those marked that are layers, and the groups that hold them.

    Args:
        marks: what parts the name of a group from what follows: "/", or "./".
    """
    groups = list(_layer_groups(path, arrays, marks))
    members = {name for _, names in groups for name in names}
    marked = [_as_layer(each) if each.name in members else each for each in arrays]
    return marked, tuple(group for group, _ in groups)


def _as_layer(array: ArrayFound) -> ArrayFound:
    """One layer of several, [rows, dim] or [rows, positions, dim]."""
    return replace(array, looks="hidden_states", layers=None, remark=None)


def with_top_k(arrays: Sequence[ArrayFound]) -> list[ArrayFound]:
    """The arrays with those marked that together are a top-k dump; log_z is of use there."""
    marked = {}
    for group in _by_parent(arrays, "/").values():
        parts = {(each.name or "").rpartition("/")[2]: each for each in group}
        if _are_top_k(parts):
            for part in parts.keys() & _PARTS.keys():
                marked[parts[part].name] = _PARTS[part]
    return [
        replace(each, looks=marked[each.name], refusal=None, remark=None)
        if each.name in marked and _is_read(each)
        else each
        for each in arrays
    ]


def _are_top_k(parts: Mapping[str, ArrayFound]) -> bool:
    """Integers and floating-point numbers of one shape, [rows, k]."""
    values, indices = parts.get("values"), parts.get("indices")
    if values is None or indices is None or values.sample is None or indices.sample is None:
        return False
    integers = values.sample.distinct is None and indices.sample.distinct is not None
    return integers and values.rank >= 2 and values.shape == indices.shape


def _is_read(array: ArrayFound) -> bool:
    """Whether its values can be read at all."""
    return array.sample is not None


def _by_parent(arrays: Sequence[ArrayFound], marks: str) -> Mapping[str, list[ArrayFound]]:
    below: dict[str, list[ArrayFound]] = defaultdict(list)
    for array in arrays:
        below[_parent(array.name or "", marks)].append(array)
    return below


def _parent(name: str, marks: str) -> str:
    return name[: max(0, *(name.rfind(mark) for mark in marks), 0)]


def _layer_groups(
    path: str, arrays: Sequence[ArrayFound], marks: str
) -> Iterator[tuple[LayersFound, set[str]]]:
    """The groups that hold one dataset of hidden states per layer, and the names in each."""
    below = _by_parent(arrays, marks)
    inner = {_parent(group, marks) for group in below if group}
    for group, layers in below.items():
        if group not in inner and _are_layers(os.path.basename(path), group, layers):
            layers = sorted(layers, key=lambda layer: natural_key(layer.name or ""))
            widths = tuple(layer.shape[-1] for layer in layers if layer.shape)
            source = source_of(path, group or "/")
            yield LayersFound(source, len(layers), widths), {layer.name or "" for layer in layers}


def _are_layers(file: str, group: str, layers: Sequence[ArrayFound]) -> bool:
    first = layers[0]
    return all(
        layer.refusal is None
        and layer.sample is not None
        and layer.sample.distinct is None  # floating-point numbers
        and layer.rank in (2, 3)
        and layer.shape is not None
        and first.shape is not None
        and layer.shape[:-1] == first.shape[:-1]
        and hints_at_layers(f"{file}/{layer.name}")
        for layer in layers
    )
