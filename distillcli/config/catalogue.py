"""The losses and metrics that a config may name, and those that it has chosen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from distillcli.config.tree import Key


class ParameterSpec(Protocol):
    """A parameter of a loss."""

    @property
    def name(self) -> str:
        """Its key in a config."""

    @property
    def default(self) -> Any:
        """Its value where the config gives none, None where it must; a temperature is 4."""

    @property
    def low(self) -> float | None:
        """The smallest value that is allowed, if there is one."""

    @property
    def high(self) -> float | None:
        """The largest value that is allowed, if there is one."""

    @property
    def kind(self) -> type:
        """float, int or bool."""


class LossSpec(Protocol):
    """What a config must know of a loss."""

    @property
    def name(self) -> str:
        """Its name in a config."""

    @property
    def parameters(self) -> Sequence[ParameterSpec]:
        """All that a config may set."""

    @property
    def inputs(self) -> Sequence[str]:
        """The arrays that it takes: some of teacher, student and labels."""

    @property
    def family(self) -> str:
        """What it compares; those of `sequences` keep the positions of a row together."""

    @property
    def least_batch(self) -> int | None:
        """Of how many rows a batch must be whose rows it relates; None where it does not."""


@dataclass(frozen=True)
class Catalogue:
    """The names that a config may use; the caller hands it in."""

    logit_losses: Mapping[str, LossSpec]
    feature_losses: Mapping[str, LossSpec]
    label_losses: Mapping[str, LossSpec]
    metrics: Sequence[str]


@dataclass(frozen=True)
class LossChoice:
    """A loss and the value of each of its parameters."""

    name: str
    parameters: Mapping[str, Any]


LayerPair = tuple[int, int]  # student layer, teacher layer


@dataclass(frozen=True)
class LossTerm:
    """A term of the loss.

    Args:
        name: what it is called in reports.
        weight: its weight in the loss, outer weights multiplied in.
        on: what it compares.
        path: where it is written.
        layer_mapping: the pairs of layers that it compares; None for those of the strategy.
    """

    name: str
    loss: LossChoice
    weight: float
    on: Literal["logits", "hidden"]
    path: tuple[Key, ...] = field(default=(), compare=False)
    layer_mapping: tuple[LayerPair, ...] | None = None

    def written(self) -> dict[str, Any]:
        """The entry of `losses`."""
        called = {"as": self.name} if self.name != self.loss.name else {}
        own: dict[str, Any] = {"on": self.on, "weight": self.weight}
        if self.layer_mapping is not None:
            own["layer_mapping"] = [list(pair) for pair in self.layer_mapping]
        return {"name": self.loss.name, **called, **own, **self.loss.parameters}
