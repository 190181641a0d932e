"""What losses on whole sequences ask of the shapes of a pair of layers, before any row is read."""

from distillcli.config import Config, LossTerm
from distillcli.errors import MismatchError
from distillcli.strategy.batchwise import loss_of
from distillcli.strategy.inputs import Inputs


def check_sequences(config: Config, inputs: Inputs) -> None:
    """See that the layers of each pair fit the losses that keep their positions together.

    Raises:
        MismatchError: they do not. No projection helps, as the positions would not be those of one
            another.
    """
    assert config.progressive is not None
    for term in config.terms():
        if loss_of(term).family == "sequences":
            for student, teacher in config.progressive.layer_mapping:
                _check_shapes(inputs, term, student, teacher)
                _check_heads(config, inputs, term, student, teacher)


def _check_shapes(inputs: Inputs, term: LossTerm, student: int, teacher: int) -> None:
    reader = inputs[f"student_hidden[{student}]"].reader
    own, other = reader.row_shape, inputs[f"teacher_hidden[{teacher}]"].reader.row_shape
    name = term.loss.name
    axes, hint = ("positions", "both must come from the same sequences, padded alike")
    if own[0] == other[0] and not loss_of(term).any_width and own != other:
        axes, hint = ("positions and width", "no projection goes with maps; save maps of one size")
    elif own[0] == other[0]:
        return
    shown = " x ".join(map(str, own)), " x ".join(map(str, other))
    problem = f"is {shown[0]} a row, teacher layer {teacher} {shown[1]}"
    raise MismatchError(reader.where, f"{problem}; {name} needs the same {axes}", hint)


def _check_heads(
    config: Config, inputs: Inputs, term: LossTerm, student: int, teacher: int
) -> None:
    heads = term.loss.parameters.get("heads")
    for role in (f"student_hidden[{student}]", f"teacher_hidden[{teacher}]"):
        width = inputs[role].reader.row_shape[-1]
        if heads is not None and width % heads:
            problem = f"{role} is {width} wide, which {heads:g} heads do not divide"
            hint = "take a number that divides the widths of all layers"
            raise MismatchError(config.where(*term.path, "heads"), problem, hint)
