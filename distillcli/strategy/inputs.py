"""The sources that a config names, opened and held against each other by their headers."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import cast

from distillcli.batches.inputs import Input
from distillcli.config import Config, Largest, Layers, Source
from distillcli.errors import (
    ConfigError,
    DataError,
    DataErrors,
    DistillError,
    MismatchError,
    MissingError,
)
from distillcli.formats import GROUPS, MASK, TOKENS, Reader, open_layers, open_rows
from distillcli.formats.declared import Declaration
from distillcli.formats.needs import TOP_INDICES, TOP_LOG_Z
from distillcli.numerics.scores import Kind
from distillcli.strategy.alignment import STUDENT, TEACHER
from distillcli.strategy.counting import GROUPED, MASKED, only_counted
from distillcli.strategy.misfits import misfits
from distillcli.strategy.positions import in_rows, keeps_together
from distillcli.strategy.topk import INDICES, LOG_Z, part_role
from distillcli.strategy.vocabulary import any_width, compared


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
        DataErrors: several of these.
    """
    with ExitStack() as stack:
        items: list[Input] = []
        problems: list[DistillError] = []
        for opening in _openings(config):
            try:
                for item in opening:
                    items.append(item)
                    stack.callback(item.reader.close)
            except (DataError, ConfigError) as error:
                problems.append(error)
        if not problems:
            items = only_counted(config, in_rows(config, items))
            items = compared(config, items)
        problems += misfits(items, any_width=any_width(config))
        if problems:
            raise problems[0] if len(problems) == 1 else DataErrors(problems)
        classes = next((item.classes for item in items if item.classes is not None), None)
        yield Inputs({item.role: item for item in items}, items[0].reader.rows, classes)


def _openings(config: Config) -> Iterator[Iterator[Input]]:
    """The inputs of each source, opened when they are asked for."""
    for role, source in _logits(config):
        yield _scores(role, source, several=config.ensemble is not None)
    if config.labels is not None:
        yield _integers("labels", config.labels)
    if config.progressive is not None:
        for side, layers in (
            ("student", config.student_hidden),
            ("teacher", config.teacher_hidden),
        ):
            assert layers is not None  # the config has seen to it
            yield _hidden(config, f"{side}_hidden", layers, _wanted(config, side == "teacher"))
    for side, tokens in ((TEACHER, config.teacher_tokens), (STUDENT, config.student_tokens)):
        if tokens is not None:
            yield _integers(side, tokens)
    if config.counting.mask is not None:
        yield _integers(MASKED, config.counting.mask)
    if isinstance(config.groups, Source):
        yield _integers(GROUPED, config.groups)


def _scores(role: str, source: Source, *, several: bool) -> Iterator[Input]:
    """Scores of all classes; or those of the largest, with what belongs to them.

    Args:
        several: whether there are several teachers.
    """
    named = source.largest
    values = source if named is None else _array(source, named.values)
    reader = open_rows(values, role=role, row_dims=1)
    known = reader.declared
    kind, temperature = source.kind, source.temperature
    if known is not None:
        kind, temperature = known.kind, known.temperature
        if known.top_k is not None and named is None:
            named = Largest(known.classes)
    top_of = named.classes if named is not None else None
    floored = known is not None and known.floored
    if named is not None:
        with _closed_if_refused(reader):
            _check_largest(reader, named.classes, several=several)
    yield Input(role, reader, cast(Kind, kind), temperature, top_of=top_of, floored=floored)
    if known is not None:
        _check_declared(source, reader, known)
    if floored and role != "teacher":
        problem = "holds log-probabilities down to a floor only, and a teacher alone may have one"
        raise MismatchError(reader.where, problem, "save the logits of this model themselves")
    if named is not None:
        yield from _parts_of_top_k(role, source, named, reader)


def _check_declared(source: Source, reader: Reader, known: Declaration) -> None:
    """Hold what the config says of a soft-target file against what the file says of itself."""
    said = (source.kind, source.temperature)
    if said not in (("logits", 1.0), (known.kind, known.temperature)):
        problem = f"holds {known.kind} at temperature {known.temperature:g}"
        hint = f"the config says {said[0]} at {said[1]:g}: leave kind and temperature out"
        raise MismatchError(reader.where, problem, hint)


@contextmanager
def _closed_if_refused(reader: Reader) -> Iterator[None]:
    try:
        yield
    except BaseException:
        reader.close()
        raise


def _check_largest(reader: Reader, classes: int, *, several: bool) -> None:
    if several:
        problem = "holds the largest classes of each row only, and an ensemble needs all"
        hint = "write the file without --top-k; several teachers are blended from whole rows"
        raise MismatchError(reader.where, problem, hint)
    if reader.width > classes:
        problem = f"holds {reader.width:,} classes of each row, and there are {classes:,}"
        raise MismatchError(reader.where, problem, "classes is the size of the vocabulary")


def _array(source: Source, name: str) -> Source:
    """One of the arrays that a source consists of."""
    return replace(source, parts=tuple(replace(part, dataset=name) for part in source.parts))


def _parts_of_top_k(role: str, source: Source, named: Largest, reader: Reader) -> Iterator[Input]:
    """The classes that the values belong to, and what all classes of a row sum to, if it is told.

    What is said of the type of the values does not hold of them.
    """
    parts = tuple(replace(part, dtype=None, scale=None, zero_point=0) for part in source.parts)
    source = replace(source, parts=parts)
    where = part_role(role, INDICES)
    one = _array(source, named.indices)
    indices = open_rows(one, role=where, row_dims=1, need=TOP_INDICES)
    yield Input(where, indices, is_part=True)
    if indices.shape != reader.shape:
        problem = f"shape is {list(indices.shape)}, that of the values {list(reader.shape)}"
        raise MismatchError(indices.where, problem, "each value has the number of its class")
    where = part_role(role, LOG_Z)
    one = _array(source, named.log_z or LOG_Z)
    try:
        yield Input(where, open_rows(one, role=where, row_dims=0, need=TOP_LOG_Z), is_part=True)
    except MissingError:
        if named.log_z is not None:
            raise


def _integers(role: str, source: Source) -> Iterator[Input]:
    need = {GROUPED: GROUPS, MASKED: MASK, TEACHER: TOKENS, STUDENT: TOKENS}.get(role)
    yield Input(role, open_rows(source, role=role, row_dims=0, need=need))


def _logits(config: Config) -> Iterator[tuple[str, Source]]:
    if config.teacher is not None:
        yield "teacher", config.teacher
    for index, source in enumerate(config.teachers):
        yield f"teachers[{index}]", source
    if config.student is not None:
        yield "student", config.student


def _wanted(config: Config, teacher: bool) -> dict[int, str]:
    """The layers of a side that a pair names, and where the first one does."""
    assert config.progressive is not None
    found: dict[int, str] = {}
    for index, pair in enumerate(config.progressive.layer_mapping):
        found.setdefault(pair[teacher], config.where("progressive", "layer_mapping", index))
    for term in config.terms():
        for index, pair in enumerate(term.layer_mapping or ()):
            found.setdefault(pair[teacher], config.where_pair(term, index))
    return found


def _hidden(
    config: Config, role: str, layers: Layers, wanted: Mapping[int, str]
) -> Iterator[Input]:
    """The layers that the mapping names; the others are closed again."""
    readers = open_layers(layers, role=role, sequences=keeps_together(config))
    for index, reader in enumerate(readers):
        if index in wanted:
            yield Input(f"{role}[{index}]", reader)
        else:
            reader.close()
    for index, where in wanted.items():
        if index >= len(readers):
            raise ConfigError(
                where,
                f"there is no layer {index} in {role}",
                f"it has {len(readers)} layers, counted from 0",
            )
