"""Matrices [student width, teacher width] that bring a student's layer to the teacher's width."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from distillcli.config import Config, FromFile, LeastSquares, XavierUniform
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


def unequal_pairs(config: Config, inputs: Inputs) -> list[int]:
    """The pairs of the mapping whose widths differ, which a projection is for.

    None where all losses between layers take widths that differ.

    Raises:
        ConfigError: there is such a pair and no projection.
        MismatchError: a loss on whole sequences, which none is for, cannot use a pair.
    """
    assert config.progressive is not None
    check_sequences(config, inputs)
    pairs = config.progressive.layer_mapping
    needing = [term for term in config.terms() if term.on == "hidden"]
    if all(loss_of(term).any_width for term in needing):
        return []
    unequal = [n for n, pair in enumerate(pairs) if len(set(widths(inputs, pair))) == 2]
    if unequal and config.progressive.projection is None:
        student, teacher = pairs[unequal[0]]
        narrow, wide = widths(inputs, pairs[unequal[0]])
        raise ConfigError(
            config.where("progressive", "layer_mapping", unequal[0]),
            f"student layer {student} is {narrow} wide and teacher layer {teacher} is {wide}",
            "add a projection, such as {init: xavier_uniform, seed: 0}",
        )
    return unequal


def widths(inputs: Inputs, pair: tuple[int, int]) -> tuple[int, int]:
    """The widths of a pair of layers, the student's first."""
    student, teacher = pair
    roles = f"student_hidden[{student}]", f"teacher_hidden[{teacher}]"
    narrow, wide = (inputs[role].reader.shape[-1] for role in roles)
    return narrow, wide


def drawn(config: Config, inputs: Inputs, pairs: Iterable[int]) -> dict[int, Matrix]:
    """The matrices that need no look at the data, by pair; least squares has none here."""
    assert config.progressive is not None
    found: dict[int, Matrix] = {}
    for pair in pairs:
        mapped = config.progressive.layer_mapping[pair]
        shape = widths(inputs, mapped)
        match config.progressive.projection:
            case XavierUniform(seed):
                found[pair] = xavier_uniform(rows=shape[0], columns=shape[1], seed=seed)
            case FromFile() as saved:
                found[pair] = _read(saved, shape, mapped)
            case LeastSquares() | None:
                pass
    return found


def check_saved(config: Config, inputs: Inputs, pairs: Iterable[int]) -> None:
    """Look at the header of a saved matrix, if there is one for these pairs.

    Raises:
        MissingError, FormatError: it is not there or no matrix. MismatchError: its shape differs.
    """
    assert config.progressive is not None
    if isinstance(config.progressive.projection, FromFile):
        for mapped in (config.progressive.layer_mapping[pair] for pair in pairs):
            with _saved(config.progressive.projection, widths(inputs, mapped), mapped):
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
