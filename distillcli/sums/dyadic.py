"""Statistics of blocks of rows, added along a binary tree whose shape depends on their positions
alone: so a total has the same bits however the rows arrived."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar


class Mergeable(Protocol):
    """Anything with an associative `merge`."""

    def merge(self, other: Any) -> Any: ...


class Several(Mergeable, Protocol):
    """The statistics of several blocks at once, which merge two by two."""

    def at(self, index: Any) -> Any:
        """Those of one block, or of some by a slice."""


T = TypeVar("T", bound=Mergeable)


@dataclass(frozen=True)
class Apart(Generic[T]):
    """Several whose numbers do not fit into one array."""

    each: Sequence[T]

    def at(self, index: Any) -> Any:
        found = self.each[index]
        return Apart(found) if isinstance(index, slice) else found

    def merge(self, other: "Apart[T]") -> "Apart[T]":
        return Apart([one.merge(two) for one, two in zip(self.each, other.each, strict=True)])


@dataclass(frozen=True)
class Dyadic(Generic[T]):
    """Statistics of consecutive blocks, merged along the binary tree of block numbers.

    A node (level, index) stands for the blocks index * 2**level to (index + 1) * 2**level. Two
    siblings become their parent as soon as both are there, so log2(blocks) nodes are kept, and
    merging is associative to the last bit.
    """

    nodes: tuple[tuple[int, int, T], ...] = ()

    @classmethod
    def of(cls, block: int, statistics: T) -> Self:
        return cls(((0, block, statistics),))

    @classmethod
    def of_each(cls, first: int, count: int, blocks: Several) -> Self:
        """The blocks from number `first` on; siblings are merged level by level, all at once."""
        before: list[tuple[int, int, T]] = []
        behind: list[tuple[int, int, T]] = []
        level, index = 0, first
        while count:
            if index % 2:
                before.append((level, index, blocks.at(0)))
                blocks, index, count = blocks.at(slice(1, None)), index + 1, count - 1
            if count % 2:
                count -= 1
                behind.append((level, index + count, blocks.at(count)))
            blocks = blocks.at(slice(0, count, 2)).merge(blocks.at(slice(1, count, 2)))
            level, index, count = level + 1, index // 2, count // 2
        return cls((*before, *reversed(behind)))

    def merge(self, other: Self) -> Self:
        """The blocks of both; those of `other` come after those of `self`."""
        nodes = list(self.nodes)
        for node in other.nodes:
            nodes.append(node)
            while len(nodes) > 1 and _siblings(nodes[-2], nodes[-1]):
                level, index, right = nodes.pop()
                left = nodes.pop()[2]
                nodes.append((level + 1, index // 2, left.merge(right)))
        return type(self)(tuple(nodes))

    def value(self) -> T | None:
        """All blocks merged; None when there are none."""
        total: T | None = None
        for _, _, statistics in self.nodes:
            total = statistics if total is None else total.merge(statistics)
        return total


def _siblings(left: tuple[int, int, Any], right: tuple[int, int, Any]) -> bool:
    return left[0] == right[0] and left[1] % 2 == 0 and right[1] == left[1] + 1
