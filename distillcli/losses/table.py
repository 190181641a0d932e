"""What the rest of the program knows about a loss: read off its function, in one place.

The decorator takes name and parameters from the function's signature, so that adding a loss touches
its family's file alone.
"""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

from distillcli.backend import Array

Family = Literal["labels", "logits", "features"]
Law = Literal[
    "zero_when_equal",
    "nonnegative",
    "symmetric",
    "shift_invariant",  # adding a number to all scores of a row changes nothing
    "scale_invariant",  # nor does multiplying a row by a positive number
    "permutable",  # nor does taking the classes or dimensions in another order
]
Ask = Literal["forward", "reverse", "squares", "cosine"]
Function = TypeVar("Function", bound=Callable[..., Array])


@dataclass(frozen=True)
class Range:
    """The numbers that a parameter may take, both ends included and always finite."""

    low: float
    high: float


Temperature = Annotated[float, Range(1e-4, 1e4)]
Weight = Annotated[float, Range(0.0, math.inf)]
Share = Annotated[float, Range(0.0, 1.0)]


@dataclass(frozen=True)
class Parameter:
    """A parameter that a config may set; `low` and `high` are None for a switch."""

    name: str
    kind: type
    default: float | bool
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Loss:
    """A loss: a function of keyword arguments that gives float64 [rows].

    Attributes:
        family: what it compares: logits with labels, logits with logits, features with features.
        formula: the formula as plain text.
        reference: where it comes from.
        laws: what holds for every input; the tests hold it to them.
        allows_masked: whether a class may have the score -inf.
        same_kind: whether both inputs must be of one kind, as it acts on them as they are stored.
        asks: the statistics of a pair of rows that it rests on, which a kernel may have left:
            KL(teacher || student), KL(student || teacher), mean squared difference, cosine.
    """

    name: str
    function: Callable[..., Array]
    family: Family
    parameters: tuple[Parameter, ...]
    formula: str
    reference: str
    laws: frozenset[Law]
    allows_masked: bool
    same_kind: bool
    asks: frozenset[Ask] = frozenset()


def loss(
    table: dict[str, Loss],
    *,
    family: Family,
    formula: str,
    reference: str,
    laws: tuple[Law, ...] = (),
    allows_masked: bool = False,
    same_kind: bool = False,
    asks: tuple[Ask, ...] = (),
) -> Callable[[Function], Function]:
    """Enter the decorated function into a table of losses under its own name."""

    def enter(function: Function) -> Function:
        name = function.__name__
        table[name] = Loss(
            name=name,
            function=function,
            family=family,
            parameters=_parameters(function),
            formula=formula,
            reference=reference,
            laws=frozenset(laws),
            allows_masked=allows_masked,
            same_kind=same_kind,
            asks=frozenset(asks),
        )
        return function

    return enter


def _parameters(function: Callable[..., Any]) -> tuple[Parameter, ...]:
    hints = get_type_hints(function, include_extras=True)
    signature = inspect.signature(function)
    return tuple(
        _parameter(name, hints[name], parameter.default)
        for name, parameter in signature.parameters.items()
        if parameter.default is not inspect.Parameter.empty
    )


def _parameter(name: str, hint: Any, default: float | bool) -> Parameter:
    if hint is bool:
        return Parameter(name, bool, default, low=None, high=None)
    (span,) = (mark for mark in hint.__metadata__ if isinstance(mark, Range))
    return Parameter(name, hint.__origin__, default, low=span.low, high=span.high)
