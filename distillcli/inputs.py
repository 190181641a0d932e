"""The sources that a config names, opened and held against each other by their headers."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import cast

from distillcli.batches import Input
from distillcli.config import Config, Layers, Source
from distillcli.errors import ConfigError, MismatchError
from distillcli.formats import GROUPS, open_layers, open_rows
from distillcli.numerics import Kind

GROUPED = "groups"  # the role of the source that tells the rows apart
SAME_SPLIT = "both must come from the same split, in the same order"


@dataclass(frozen=True)
class Inputs:
    """All arrays of a run, by role; they agree in rows, and the logits in classes.

    Args:
        rows: rows of every array.
        classes: classes of the logits; None when there are none.
    """

    items: dict[str, Input]
    rows: int
    classes: int | None

    def __getitem__(self, role: str) -> Input:
        return self.items[role]

    def __contains__(self, role: str) -> bool:
        return role in self.items

    def __iter__(self) -> Iterator[Input]:
        return iter(self.items.values())

    @property
    def teachers(self) -> list[str]:
        """The roles of an ensemble's teachers."""
        return [role for role in self.items if role.startswith("teachers[")]

    @property
    def bytes(self) -> int:
        """What one pass over all rows reads."""
        return self.rows * self.row_bytes

    @property
    def row_bytes(self) -> int:
        """What one row takes, over all inputs."""
        return sum(item.reader.row_bytes for item in self)

    def files(self) -> list[tuple[str, str]]:
        """Role and path of every file that is read."""
        return [(item.role, file.path) for item in self for file in item.reader.files()]

    def only(self, roles: Sequence[str]) -> list[Input]:
        """The inputs of some roles."""
        return [self.items[role] for role in roles]


@contextmanager
def opened(config: Config) -> Iterator[Inputs]:
    """Open what the strategy needs and check that it fits together.

    Raises:
        MissingError, FormatError: a source is not there or not what it should be.
        MismatchError: rows or classes differ.
        ConfigError: a layer that is not there.
    """
    with ExitStack() as stack:
        items: list[Input] = []

        def take(item: Input) -> None:
            items.append(item)
            stack.callback(item.reader.close)

        for role, source in _logits(config):
            reader = open_rows(source, role=role, row_dims=1)
            take(Input(role, reader, cast(Kind, source.kind), source.temperature))
        if config.labels is not None:
            take(Input("labels", open_rows(config.labels, role="labels", row_dims=0)))
        if isinstance(config.groups, Source):
            take(Input(GROUPED, open_rows(config.groups, role=GROUPED, row_dims=0, need=GROUPS)))
        if config.progressive is not None:
            pairs = config.progressive.layer_mapping
            for side, layers in (
                ("student", config.student_hidden),
                ("teacher", config.teacher_hidden),
            ):
                assert layers is not None  # the config has seen to it
                wanted = [pair[side == "teacher"] for pair in pairs]
                for item in _hidden(config, f"{side}_hidden", layers, wanted):
                    take(item)
        yield _fitting(items)


def _logits(config: Config) -> Iterator[tuple[str, Source]]:
    if config.teacher is not None:
        yield "teacher", config.teacher
    for index, source in enumerate(config.teachers):
        yield f"teachers[{index}]", source
    if config.student is not None:
        yield "student", config.student


def _hidden(config: Config, role: str, layers: Layers, wanted: Sequence[int]) -> Iterator[Input]:
    """The layers that the mapping names; the others are closed again."""
    readers = open_layers(layers, role=role)
    for index, reader in enumerate(readers):
        if index in wanted:
            yield Input(f"{role}[{index}]", reader)
        else:
            reader.close()
    for pair, index in enumerate(wanted):
        if index >= len(readers):
            raise ConfigError(
                config.where("progressive", "layer_mapping", pair),
                f"there is no layer {index} in {role}",
                f"it has {len(readers)} layers, counted from 0",
            )


def _fitting(items: Sequence[Input]) -> Inputs:
    first = items[0]
    for item in items[1:]:
        if item.reader.rows != first.reader.rows:
            raise MismatchError(
                item.reader.where,
                f"{item.reader.rows:,} rows, {first.role} has {first.reader.rows:,}",
                SAME_SPLIT,
            )
    logits = [item for item in items if item.is_scores]
    for item in logits[1:]:
        if item.width != logits[0].width:
            raise MismatchError(
                item.reader.where,
                f"{item.width:,} classes, {logits[0].role} has {logits[0].width:,}",
                "both must score the same classes",
            )
    classes = logits[0].width if logits else None
    return Inputs({item.role: item for item in items}, first.reader.rows, classes)
