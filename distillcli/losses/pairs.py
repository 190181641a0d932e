"""What all losses on class scores share: their tables, and their inputs held against each other."""

from distillcli.backend import Array
from distillcli.errors import MismatchError
from distillcli.losses.table import Loss
from distillcli.numerics.arrays import check_same_shape
from distillcli.numerics.scores import Logits, as_logits

LABEL_LOSSES: dict[str, Loss] = {}
LOGIT_LOSSES: dict[str, Loss] = {}

Scores = Logits | Array
ANY_KINDS = "kl and other losses on probabilities compare any two kinds"


def factor(temperature: float, temperature_squared: bool) -> float:
    """T^2, or 1 where it is left out."""
    return temperature * temperature if temperature_squared else 1.0


def pair(teacher: Scores, student: Scores, *, same_kind: bool = False) -> tuple[Logits, Logits]:
    """Both as Logits of one shape.

    Raises:
        MismatchError: the shapes differ, or the kinds and `same_kind` is set.
    """
    teacher, student = as_logits(teacher), as_logits(student)
    check_same_shape(teacher=teacher, student=student)
    if same_kind and teacher.kind != student.kind:
        where = f"teacher {teacher.kind}, student {student.kind}"
        raise MismatchError(where, "this loss needs outputs of one kind", ANY_KINDS)
    return teacher, student


def check_labels(student: Logits, labels: Array) -> None:
    """Raise MismatchError unless there is one label for each row."""
    if tuple(labels.shape) != student.shape[:1]:
        shown = f"student {list(student.shape)}, labels {list(labels.shape)}"
        raise MismatchError(shown, "one label for each row is needed")
