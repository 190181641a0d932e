"""What the rest of the program knows about a loss: read off its function, in one place.

The decorator takes name and parameters from the function's signature, so that adding a loss touches
its family's file alone.
"""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

from distillcli.backend import Array
from distillcli.numerics.scores import as_logits

Family = Literal["labels", "logits", "features", "relations", "sequences"]
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
Epsilon = Annotated[float, Range(0.0, 1.0)]
Threshold = Annotated[float, Range(1e-6, 1e6)]
Ranks = Annotated[int, Range(2, 100)]
Count = Annotated[int, Range(1, 1024)]
Order = Annotated[int, Range(1, 16)]


@dataclass(frozen=True)
class Parameter:
    """A parameter that a config may set.

    Attributes:
        default: its value where none is given; None where one must be.
        low, high: both None for a switch.
    """

    name: str
    kind: type
    default: float | bool | None
    low: float | None
    high: float | None


# A switch of every loss on class scores, whatever else it has.
STANDARDIZE = Parameter("standardize", bool, default=False, low=None, high=None)


@dataclass(frozen=True)
class Loss:
    """A loss: a function of keyword arguments that gives float64 [rows].

    Attributes:
        inputs: its arguments that are arrays: some of teacher, student, labels.
        family: what it compares: logits with labels or logits, features of rows, how the rows of a
            batch lie to each other, or sequences whose positions stay together.
        formula: the formula as plain text.
        reference: where it comes from.
        laws: what holds for every input.
        allows_masked: whether a class may be masked with -inf in both inputs.
        allows_tail: whether classes may be summed up to one on both sides before it is taken.
        same_kind: whether both inputs must be of one kind, as it acts on them as they are stored.
        asks: the statistics of a pair of rows that it rests on, which a kernel may have left:
            KL(teacher || student), KL(student || teacher), mean squared difference, cosine.
        any_width: whether the rows of teacher and student may be of different lengths.
        least_batch: of how many rows a batch must be whose rows it relates to each other: on fewer
            what it says of them is the same whatever the sides are. None where each row stands
            alone.
        of_maps: whether the numbers of a position, as in a map of attention, are one for each
            position: one that does not count then takes its column with it.
    """

    name: str
    function: Callable[..., Array]
    inputs: tuple[str, ...]
    family: Family
    parameters: tuple[Parameter, ...]
    formula: str
    reference: str
    laws: frozenset[Law]
    allows_masked: bool
    allows_tail: bool
    same_kind: bool
    any_width: bool
    asks: frozenset[Ask]
    least_batch: int | None
    of_maps: bool

    @property
    def temperature_squared(self) -> bool:
        """Whether its factor T^2 is there unless a config says otherwise."""
        return any(one.name == "temperature_squared" and one.default for one in self.parameters)


def loss(
    table: dict[str, Loss],
    *,
    family: Family,
    formula: str,
    reference: str,
    laws: tuple[Law, ...] = (),
    allows_masked: bool = False,
    allows_tail: bool = False,
    same_kind: bool = False,
    asks: tuple[Ask, ...] = (),
    any_width: bool = False,
    least_batch: int | None = None,
    of_maps: bool = False,
) -> Callable[[Function], Function]:
    """Enter the decorated function into a table of losses under its own name."""

    def enter(function: Function) -> Function:
        name = function.__name__
        scores = family == "logits"
        table[name] = Loss(
            name=name,
            function=_standardizing(function) if scores else function,
            inputs=_inputs(function),
            family=family,
            parameters=(*_parameters(function), *((STANDARDIZE,) if scores else ())),
            formula=formula,
            reference=reference,
            laws=frozenset(laws),
            allows_masked=allows_masked,
            allows_tail=allows_tail,
            same_kind=same_kind,
            asks=frozenset(asks),
            any_width=any_width,
            least_batch=least_batch,
            of_maps=of_maps,
        )
        return function

    return enter


def _standardizing(function: Callable[..., Array]) -> Callable[..., Array]:
    """The function with the switch `standardize`.

    Reference: Sun, Ren, Li, Wang, Cao (2024), arXiv:2403.01683.
    """

    @wraps(function)
    def call(*, teacher: Array, student: Array, standardize: bool = False, **rest: Any) -> Array:
        if standardize:
            teacher, student = as_logits(teacher).standardized, as_logits(student).standardized
        return function(teacher=teacher, student=student, **rest)

    return call


ARRAYS = ("teacher", "student", "labels")


def _inputs(function: Callable[..., Any]) -> tuple[str, ...]:
    """The arguments that are arrays."""
    return tuple(name for name in ARRAYS if name in inspect.signature(function).parameters)


def _parameters(function: Callable[..., Any]) -> tuple[Parameter, ...]:
    hints = get_type_hints(function, include_extras=True)
    signature = inspect.signature(function)
    return tuple(
        _parameter(name, hints[name], parameter.default)
        for name, parameter in signature.parameters.items()
        if name not in ARRAYS
    )


def _parameter(name: str, hint: Any, default: Any) -> Parameter:
    default = None if default is inspect.Parameter.empty else default
    if hint is bool:
        return Parameter(name, bool, default, low=None, high=None)
    (span,) = (mark for mark in hint.__metadata__ if isinstance(mark, Range))
    return Parameter(name, hint.__origin__, default, low=span.low, high=span.high)
