"""Losses of layers that are sequences: those that keep positions together, and those of each one.

Rows are positions or whole sequences, see `positions.py`. Where they are positions, a loss on a
whole sequence has a value for each of them, whose mean is that of the sequence; positions that do
not count are left out of it, as if it had been saved without them.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from distillcli.backend import Array, namespace
from distillcli.batches.inputs import Input, Mask
from distillcli.batches.tiles import Tile
from distillcli.config import Config, LossTerm
from distillcli.errors import ConfigError, MismatchError, UsageError
from distillcli.losses import Loss
from distillcli.numerics.arrays import row_sum
from distillcli.strategy.batchwise import Related, loss_of, related_rows, rows_that_count
from distillcli.strategy.counting import kept_positions
from distillcli.strategy.inputs import Inputs
from distillcli.strategy.positions import keeps_together, positions_kept, rows_are_whole
from distillcli.strategy.selection import Selection


def layer_rows(
    loss: Loss,
    sides: Mapping[str, Array],
    parameters: Mapping[str, Any],
    related: Related,
    tile: Tile,
) -> Array:
    """The values of a loss between layers for a tile, float64 [rows].

    Args:
        sides: both, [rows, dim], or [sequences, positions, dim] where a row is a whole sequence or
            the loss keeps its positions together.
    """
    if loss.family == "sequences":
        return _of_sequences(loss, sides, parameters, related, tile)
    some = sides["student"]
    if len(some.shape) == 3:
        xp = namespace(some)
        flat = {side: xp.reshape(x, (-1, x.shape[2])) for side, x in sides.items()}
        values = xp.reshape(loss.function(**flat, **parameters), some.shape[:2])
        return _means(values, kept_positions(tile), tile)
    return related(tile, sides, loss, parameters)


def _means(values: Array, keep: Mask | None, tile: Tile) -> Array:
    """Over the positions of each sequence that are kept."""
    if keep is None:
        return row_sum(values) / values.shape[1]
    xp = namespace(values)
    values = xp.where(tile.backend.to_device(keep), values, xp.zeros_like(values))
    return row_sum(values) / tile.backend.to_device(keep.sum(axis=1).clip(1).astype(np.float64))


def _of_sequences(
    loss: Loss,
    sides: Mapping[str, Array],
    parameters: Mapping[str, Any],
    related: Related,
    tile: Tile,
) -> Array:
    sequences, positions = sides["student"].shape[:2]
    whole = tile.stop - tile.start == sequences
    keep = kept_positions(tile)
    if not whole:
        keep = rows_that_count(tile, related.bad).reshape(sequences, positions)
    values = _by_position(loss, sides, parameters, keep, tile)
    if whole:
        return _means(values, keep, tile)
    return namespace(values).reshape(values, (sequences * positions,))


def _by_position(
    loss: Loss,
    sides: Mapping[str, Array],
    parameters: Mapping[str, Any],
    keep: Mask | None,
    tile: Tile,
) -> Array:
    """Of sequences as if they had been saved with the kept positions alone; 0 at the others."""
    if keep is None or keep.all():
        return loss.function(**sides, **parameters)
    xp = namespace(sides["student"])
    values = xp.zeros(keep.shape, dtype=xp.float64)
    for index in np.flatnonzero(keep.any(axis=1)).tolist():
        chosen = tile.backend.to_device(np.flatnonzero(keep[index]))
        parts = {side: _part(loss, x[index, :, :], chosen) for side, x in sides.items()}
        values[index, chosen] = loss.function(**parts, **parameters)[0, :]
    return values


def _part(loss: Loss, x: Array, chosen: Array) -> Array:
    """Some positions of a sequence, [1, positions, dim]; of a map their columns too."""
    some = x[chosen, :]
    if loss.of_maps:
        some = some[:, chosen]
    return some[None, :, :]


def check_sequences(config: Config, inputs: Inputs) -> None:
    """See that the layers of each pair have the same positions, and fit the losses on sequences.

    Raises:
        MismatchError: they do not. No projection helps, as the positions would not be those of one
            another.
    """
    assert config.progressive is not None
    for term in config.terms() if rows_are_whole(inputs) or keeps_together(config) else ():
        for student, teacher in config.layer_pairs(term) if term.on == "hidden" else ():
            _check_shapes(inputs, term, student, teacher)
            _check_map(inputs, term, student)
            _check_heads(config, inputs, term, student, teacher)


def layers_compared(config: Config, inputs: Inputs, term: LossTerm) -> list[Input]:
    """The layers that a term compares, if it does."""
    if term.on != "hidden":
        return []
    sides = zip(*config.layer_pairs(term), strict=True)
    roles = zip(("student_hidden", "teacher_hidden"), sides, strict=True)
    return [inputs[f"{role}[{index}]"] for role, side in roles for index in side]


def told_of_positions(loss: Loss, layers: Iterable[Input]) -> str:
    """What a loss makes of the positions of layers, where they are not all one row each."""
    whole = rows_are_whole(layers)
    if loss.family != "sequences":
        return "averaged over the positions of a sequence" if whole else ""
    return "" if whole else "within sequences, which weigh as many positions as count"


def _check_shapes(inputs: Inputs, term: LossTerm, student: int, teacher: int) -> None:
    roles = f"student_hidden[{student}]", f"teacher_hidden[{teacher}]"
    reader, beside = (inputs[role].reader for role in roles)
    own, other = reader.shape[1:], beside.shape[1:]
    name, kept = term.loss.name, loss_of(term).family == "sequences"
    axes, hint = ("positions", "both must come from the same sequences, padded alike")
    for one in (reader, beside) if kept else ():
        if len(one.shape) == 2:
            problem = f"has no positions, and {name} compares sequences"
            raise MismatchError(one.where, problem, "save it as [rows, positions, width]")
    if own[:-1] == other[:-1] and kept and not loss_of(term).any_width and own != other:
        axes, hint = ("positions and width", "no projection goes with maps; save maps of one size")
    elif own[:-1] == other[:-1]:
        return
    shown = " x ".join(map(str, own)), " x ".join(map(str, other))
    problem = f"is {shown[0]} a sequence, teacher layer {teacher} {shown[1]}"
    raise MismatchError(reader.where, f"{problem}; {name} needs the same {axes}", hint)


def _check_map(inputs: Inputs, term: LossTerm, student: int) -> None:
    """See that a map has a column for each position; the teacher's layer has the same shape."""
    reader = inputs[f"student_hidden[{student}]"].reader
    rows, columns = reader.shape[-2:]
    if loss_of(term).of_maps and rows != columns:
        raise MismatchError(
            reader.where,
            f"is {rows} x {columns} a sequence, and {term.loss.name} compares maps, "
            "[rows, positions, positions]",
            "name layers that are maps; an entry of losses may have a layer_mapping of its own",
        )


def _check_heads(
    config: Config, inputs: Inputs, term: LossTerm, student: int, teacher: int
) -> None:
    heads = term.loss.parameters.get("heads")
    for role in (f"student_hidden[{student}]", f"teacher_hidden[{teacher}]"):
        width = inputs[role].reader.shape[-1]
        if heads is not None and width % heads:
            problem = f"{role} is {width} wide, which {heads:g} heads do not divide"
            hint = "take a number that divides the widths of all layers"
            raise MismatchError(config.where(*term.path, "heads"), problem, hint)


def check_cut(config: Config, inputs: Inputs, selection: Selection) -> None:
    """Refuse what would cut sequences whose positions a loss keeps together, or relate them.

    Raises:
        UsageError: the selected rows end inside of one. ConfigError: batches that are computed at
            once do, or a loss relates rows that are whole sequences.
    """
    _check_relations(config, inputs)
    positions = positions_kept(config, inputs)
    first, stop = selection.bounds(inputs.rows)
    name = next((t.loss.name for t in config.terms() if loss_of(t).family == "sequences"), "")
    ends = selection.where_limit if selection.limit == stop - first else selection.where
    for row, where in ((first, selection.where), (stop, ends)):
        if row % positions:
            low = row - row % positions
            problem = f"row {row} is inside a sequence of {positions} positions, which {name} needs"
            raise UsageError(where, f"{problem} whole", f"cut at {low} or {low + positions}")
    size = related_rows(config)
    if size is not None and size % positions:
        problem = f"cuts sequences of {positions} positions, which {name} needs whole"
        hint = f"take a multiple of {positions}, like {max(positions, size - size % positions)}"
        raise ConfigError(config.where("batch_size"), problem, hint)


def _check_relations(config: Config, inputs: Inputs) -> None:
    for term in config.terms():
        if loss_of(term).least_batch is not None and rows_are_whole(
            layers_compared(config, inputs, term)
        ):
            problem = f"{term.loss.name} relates rows, and a row is a whole sequence of positions"
            hint = "save one vector for each sequence, or what is beside the layers by position"
            raise ConfigError(config.where(*term.path), problem, hint)
