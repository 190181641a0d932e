"""Matrices [student width, teacher width] that bring a student's layer to the teacher's width."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from distillcli.config import (
    Config,
    FromFile,
    LayerPair,
    LeastSquares,
    LossTerm,
    XavierUniform,
)
from distillcli.errors import ConfigError, MismatchError
from distillcli.formats import Reader, open_rows, widen
from distillcli.strategy.batchwise import loss_of
from distillcli.strategy.inputs import Inputs
from distillcli.strategy.sequences import check_sequences

Matrix = npt.NDArray[np.float64]


def xavier_uniform(*, rows: int, columns: int, seed: int) -> Matrix:
    """A random matrix, uniform within +-sqrt(6 / (rows + columns)), float64.

    Reference: Glorot and Bengio (2010), "Understanding the difficulty of training deep
    feedforward neural networks", equation 16.
    """
    bound = math.sqrt(6 / (rows + columns))
    return np.random.RandomState(seed).uniform(-bound, bound, (rows, columns))


def least_squares(*, gram: Matrix, cross: Matrix, ridge: float) -> Matrix:
    """The W that minimises |X W - Y|^2 + ridge |W|^2, without bias.

    Args:
        gram: X^T X, [student width, student width].
        cross: X^T Y, [student width, teacher width].
    """
    penalised = gram + ridge * np.eye(len(gram))
    try:
        found = np.linalg.solve(penalised, cross)
    except np.linalg.LinAlgError:  # units that are always zero, and no ridge: the smallest W
        found = np.linalg.lstsq(penalised, cross, rcond=None)[0]
    return found.astype(np.float64, copy=False)


def unequal_pairs(config: Config, inputs: Inputs) -> list[LayerPair]:
    """The pairs of layers whose widths differ, which a projection is for.

    None of losses that take widths that differ.

    Raises:
        ConfigError: there is such a pair and no projection.
        MismatchError: a loss on whole sequences, which none is for, cannot use a pair.
    """
    assert config.progressive is not None
    check_sequences(config, inputs)
    found: dict[LayerPair, None] = {}
    for term in config.terms():
        if term.on == "hidden" and not loss_of(term).any_width:
            for index, pair in enumerate(config.layer_pairs(term)):
                narrow, wide = widths(inputs, pair)
                if narrow != wide:
                    found[pair] = None
                    _check_projection(config, term, index, narrow, wide)
    return list(found)


def _check_projection(config: Config, term: LossTerm, index: int, narrow: int, wide: int) -> None:
    assert config.progressive is not None
    if config.progressive.projection is None:
        student, teacher = config.layer_pairs(term)[index]
        raise ConfigError(
            config.where_pair(term, index),
            f"student layer {student} is {narrow} wide and teacher layer {teacher} is {wide}",
            "add a projection, such as {init: xavier_uniform, seed: 0}",
        )


def widths(inputs: Inputs, pair: LayerPair) -> tuple[int, int]:
    """The widths of a pair of layers, the student's first."""
    student, teacher = pair
    roles = f"student_hidden[{student}]", f"teacher_hidden[{teacher}]"
    narrow, wide = (inputs[role].reader.shape[-1] for role in roles)
    return narrow, wide


def drawn(config: Config, inputs: Inputs, pairs: Iterable[LayerPair]) -> dict[LayerPair, Matrix]:
    """The matrices that need no look at the data, by pair; least squares has none here."""
    assert config.progressive is not None
    found: dict[LayerPair, Matrix] = {}
    for pair in pairs:
        shape = widths(inputs, pair)
        match config.progressive.projection:
            case XavierUniform(seed):
                found[pair] = xavier_uniform(rows=shape[0], columns=shape[1], seed=seed)
            case FromFile() as saved:
                found[pair] = _read(saved, shape, pair)
            case LeastSquares() | None:
                pass
    return found


def check_saved(config: Config, inputs: Inputs, pairs: Iterable[LayerPair]) -> None:
    """Look at the header of a saved matrix, if there is one for these pairs.

    Raises:
        MissingError, FormatError: it is not there or no matrix. MismatchError: its shape differs.
    """
    assert config.progressive is not None
    if isinstance(config.progressive.projection, FromFile):
        for pair in pairs:
            with _saved(config.progressive.projection, widths(inputs, pair), pair):
                pass


@contextmanager
def _saved(projection: FromFile, shape: tuple[int, int], pair: tuple[int, int]) -> Iterator[Reader]:
    """The file of a saved matrix, opened, with the shape that a pair of layers needs."""
    with open_rows(projection.source, role="projection", row_dims=1) as reader:
        if reader.shape != shape:
            raise MismatchError(
                reader.where,
                f"shape {list(reader.shape)}, while student layer {pair[0]} and teacher layer "
                f"{pair[1]} need {list(shape)}",
                "a projection is [student width, teacher width]",
            )
        yield reader


def _read(projection: FromFile, shape: tuple[int, int], pair: tuple[int, int]) -> Matrix:
    with _saved(projection, shape, pair) as reader:
        matrix = widen(reader.read(0, reader.rows, reader.empty(reader.rows)), reader.element, "f8")
        if not np.isfinite(matrix).all():
            raise MismatchError(reader.where, "holds NaN or infinity", "save a finite matrix")
        return matrix
