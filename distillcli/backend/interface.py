"""What the rest of the package knows of the place where the work is done."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from distillcli.backend.arrays import Array


class Launch(Protocol):
    """Runs a compiled kernel."""

    def __call__(
        self, source: str, options: tuple[str, ...], name: str, blocks: int, arguments: Any
    ) -> None:
        """Compile `source` once for these options, and run its kernel `name` on so many blocks.

        The source is whole: what was compiled before is found again by its text.
        """


@dataclass(frozen=True)
class Device:
    """What a GPU offers beside arrays.

    Args:
        streams: how many batches are under way at once, each fed by a thread of its own.
        batch_bytes: how much is copied and computed at once: it fills the chip and fits.
        buffer: host memory, of a shape and a type, that the device copies from by itself.
        at_once: several arrays [rows] to the host in one transfer, after which all is done.
        launch: see `Launch`.
        stored: names of the element types that kernels read as they are stored.
        clear: gives memory back after it has run out.
    """

    streams: int
    batch_bytes: int
    buffer: Callable[[tuple[int, ...], Any], Array]
    at_once: Callable[[Sequence[Array]], Array]
    launch: Launch
    stored: frozenset[str]
    clear: Callable[[], None]


@dataclass(frozen=True)
class Backend:
    """Where the work is done, and the way there and back."""

    device: str  # "cpu" or "cuda:N"
    kernel: str  # "numpy" or "cuda"
    to_device: Callable[[Array], Array]
    to_host: Callable[[Array], Array]
    active: Callable[[], AbstractContextManager[Any]] = nullcontext  # entered by computing threads
    note: str | None = None  # why `auto` did not take a GPU
    gpu: Device | None = None
    tell: Callable[[str], None] = lambda note: None  # what a user should know, later on
