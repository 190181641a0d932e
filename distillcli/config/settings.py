"""Settings that are laid over a config (flags, variables), and where every key comes from."""

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path as FilePath
from typing import Any

from distillcli.config.text import dotted, escaped, shown
from distillcli.config.tree import Key, Mark, Path, parse
from distillcli.errors import ConfigError, ConfigErrors, UsageError

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*")
_LONGEST = 80
_MOST_PROBLEMS = 100

# By the name of a section: its forms of which one is given, each with its keys.
Forms = Mapping[str, Sequence[Sequence[str]]]


@dataclass(frozen=True)
class Setting:
    """One value laid over the config.

    Args:
        where: what messages call it: `--set response.alpha=0.5`, `--threads`, `DISTILL_DEVICE`.
        key: the dotted key; a number addresses an item of a list.
        value: plain data; None takes the key out.
    """

    where: str
    key: str
    value: Any

    @property
    def path(self) -> Path:
        """The key in parts."""
        return tuple(int(part) if part.isdecimal() else part for part in self.key.split("."))


def parse_set(text: str, *, where: str = "--set") -> Setting:
    """`a.b=1` as a setting; the value is YAML.

    Raises: UsageError: not of the form key=value, or the value is not YAML.
    """
    name = f"{where} {_short(text)}"
    key, sign, value = text.partition("=")
    example = "write key=value, for example response.alpha=0.5"
    if not sign:
        raise UsageError(name, "has no =", example)
    if not _KEY.fullmatch(key.strip()):
        raise UsageError(name, f"{shown(key)} is not a key", example)
    return Setting(name, key.strip(), parse_value(value, where=name))


def parse_value(text: str, *, where: str) -> Any:
    """The value of a flag or a variable, read as YAML.

    Raises: UsageError: it is not plain YAML.
    """
    try:
        tree = parse(text, "")
    except ConfigError as error:
        problem = error.problem.removeprefix("not valid YAML: ")
        raise UsageError(where, f"the value is not plain YAML: {problem}", error.hint) from None
    for path in tree.twice:
        raise UsageError(where, f"{dotted(path)} is given twice")
    return tree.data


@dataclass
class Origins:
    """Where each key comes from: a place in the file, or a setting that was laid over it.

    Args:
        label: the file, or what the data are called in messages.
        base: the folder that relative paths of the file start from.
        marks: line and column of each key of the file; empty where there is no text.
        settings: the settings, weakest first.
    """

    label: str
    base: FilePath
    marks: Mapping[Path, Mark] = field(default_factory=dict)
    settings: Sequence[Setting] = ()

    def setting(self, path: Path) -> Setting | None:
        """The setting that the value at this path comes from, if one was laid over it."""
        over = [one for one in self.settings if path[: len(one.path)] == one.path]
        return over[-1] if over else None

    def where(self, path: Path) -> str:
        """`file:line:column: key` or the setting's name."""
        if one := self.setting(path) or self._below(path):
            return one.where if one.path == path else f"{one.where}: {dotted(path)}"
        place = f"{self.label}:{':'.join(map(str, self._mark(path)))}" if self.marks else self.label
        return f"{place}: {dotted(path)}" if path else place

    def base_of(self, path: Path) -> FilePath:
        """The folder that a relative path at this key starts from."""
        return FilePath.cwd() if self.setting(path) else self.base

    def order(self, path: Path) -> tuple[int, ...]:
        """Sorts the places of the file by line, then the settings as given."""
        one = self.setting(path) or self._below(path)
        return (1, self.settings.index(one)) if one else (0, *self._mark(path))

    def _below(self, path: Path) -> Setting | None:
        """The setting that made a key which the file does not have, by setting one below it."""
        if not path or path in self.marks:
            return None
        return next((one for one in self.settings if one.path[: len(path)] == path), None)

    def _mark(self, path: Path) -> Mark:
        while path and path not in self.marks:
            path = path[:-1]
        return self.marks.get(path, (1, 1))


class Problems:
    """Collects the mistakes of one config, so that all of them are told at once."""

    def __init__(self, origins: Origins) -> None:
        self.origins = origins
        self._found: dict[Path, ConfigError] = {}

    def add(self, path: Path, problem: str, hint: str | None = None) -> None:
        """Note a mistake at a key; a second one at the same key adds nothing."""
        if path not in self._found:
            self._found[path] = ConfigError(self.origins.where(path), problem, hint)

    def touch(self, path: Path) -> bool:
        """Whether a mistake is known at this key or below it."""
        return any(known[: len(path)] == path for known in self._found)

    def check(self) -> None:
        """Raise what was found, if anything was, in the order of the lines."""
        if self._found:
            found = sorted(self._found.items(), key=lambda item: self.origins.order(item[0]))
            errors = [error for _, error in found[:_MOST_PROBLEMS]]
            if more := len(found) - len(errors):
                errors.append(ConfigError(self.origins.label, f"and {more} more mistakes"))
            raise ConfigErrors(errors)


def overlay(data: Mapping[str, Any], problems: Problems, forms: Forms) -> dict[str, Any]:
    """The data with the settings laid over them; the data given stay as they are.

    A setting of one form takes the place of the others.
    """
    result: dict[str, Any] = copy.deepcopy(dict(data))
    for setting in problems.origins.settings:
        if setting.value is not None:
            _make_room(result, setting.path, forms)
        _lay(result, setting, problems)
    return result


def _make_room(data: dict[str, Any], path: Path, forms: Forms) -> None:
    """Take out what this key cannot stand beside."""
    name, key = str(path[0]), path[-1]
    section, known = data.get(name), forms.get(name, ())
    if len(path) == 2 and isinstance(section, dict) and any(key in form for form in known):
        for other in chain.from_iterable(form for form in known if key not in form):
            section.pop(other, None)


def _lay(data: dict[str, Any], setting: Setting, problems: Problems) -> None:
    node: Any = data
    path = setting.path
    for depth, key in enumerate(path):
        if not _takes(node, key):
            name = dotted(path[:depth])
            what = f"{name} is {_described(node)}"
            problems.add(path, f"cannot be set: {what}", f"set {name} as a whole")
            return
        if depth == len(path) - 1:
            node[key] = copy.deepcopy(setting.value)
        elif isinstance(node, dict) and node.get(str(key)) is None:
            node[key] = {}
        node = node[key]


def _takes(node: Any, key: Key) -> bool:
    if _listed(node):
        return isinstance(key, int) and key < len(node)
    return isinstance(node, dict) and isinstance(key, str)


def _described(node: Any) -> str:
    return f"a list of {len(node)}" if _listed(node) and node else shown(node)


def _listed(node: Any) -> bool:
    return isinstance(node, list)


def _short(text: str) -> str:
    text = escaped(text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
