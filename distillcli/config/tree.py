"""YAML text -> plain data, and where each key of it stands.

A config is small, so everything in YAML that can surprise (tags, anchors, merge keys, directives,
duplicate keys, several documents) is refused, and scalars follow the YAML 1.2 core schema: `1e-4`
is a number, `no` is a text. The text is read as a stream of events and never composed before it has
been checked, so that a hostile file costs nothing.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from distillcli.config.text import shown
from distillcli.errors import ConfigError

MAX_BYTES = 16 * 1024
MAX_DEPTH = 16

Key = str | int
Path = tuple[Key, ...]
Mark = tuple[int, int]  # line and column, from 1

_NULLS = {"", "~", "null", "Null", "NULL"}
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"([-+]?)\.(inf|Inf|INF)|(\.nan|\.NaN|\.NAN)")
_MAX_DIGITS = 400


@dataclass
class Tree:
    """Plain data (dict, list, str, bool, int, float, None) and the place of each key and item.

    `twice`: keys that are given twice, with the line of the first; the last one is in the data.
    """

    data: Any = None
    marks: dict[Path, Mark] = field(default_factory=dict)
    twice: dict[Path, int] = field(default_factory=dict)


def parse(text: str, label: str) -> Tree:
    """Read one YAML document; `label` names the text in errors.

    Raises: ConfigError: with `label:line:column`, for anything that is not plain, safe YAML.
    """
    _refuse_unsafe_text(text, label)
    tree = Tree()
    tree.data = _Reader(_events(text, label), label, tree).document()
    return tree


def scalar(text: str) -> Any:
    """The value of an unquoted scalar in the YAML 1.2 core schema."""
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if len(text) > _MAX_DIGITS:
        return text
    if _INT.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if match := _SPECIAL.fullmatch(text):
        return float(f"{match[1] or ''}inf" if match[2] else "nan")
    return text


def _refuse_unsafe_text(text: str, label: str) -> None:
    if len(text) > MAX_BYTES:
        raise ConfigError(label, f"is larger than {MAX_BYTES // 1024} KiB", "is it a config?")
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("%"):
            raise ConfigError(f"{label}:{number}:1", "YAML directives (%...) are not allowed")
        if line.strip() and not line.lstrip().startswith("#"):
            return


def _events(text: str, label: str) -> Iterator[Any]:
    """The parser's events; whatever it stumbles over becomes one clear line."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        yield from YAML(typ="safe", pure=True).parse(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{label}:{mark.line + 1}:{mark.column + 1}" if mark else label
        raise ConfigError(place, f"not valid YAML: {_reason(error)}", _way_out(error)) from None
    except YAMLError as error:
        position, character = getattr(error, "position", None), getattr(error, "character", None)
        reason = f"character U+{character:04X}" if isinstance(character, int) else "some character"
        place = _character_place(text, label, position)
        raise ConfigError(place, f"not valid YAML: {reason} may not stand in it") from None
    except (ValueError, OverflowError, AssertionError, AttributeError, IndexError, TypeError):
        raise ConfigError(label, "not valid YAML") from None


def _reason(error: Any) -> str:
    problem = shown(str(error.problem or error.context), quote=False)
    if error.context and error.problem and error.context_mark:
        return f"{problem}, {error.context} that starts on line {error.context_mark.line + 1}"
    return problem


def _way_out(error: Any) -> str | None:
    problem = str(error.problem)
    if r"'\t'" in problem:
        return "indent with spaces, not with tabs"
    if "mapping values are not allowed" in problem:
        return "quote a value that holds a colon followed by a space, and check the indentation"
    if "cannot start any token" in problem:
        return "put quotes around the value"
    if "expected ',' or" in problem or "<stream end>" in problem:
        return "close what was opened with [ or {"
    if "unexpected end of stream" in problem:
        return "close the quotes"
    if "could not find expected ':'" in problem or "expected <block end>" in problem:
        return "check the indentation, and that each key is followed by a colon and a space"
    return None


def _character_place(text: str, label: str, position: object) -> str:
    if not isinstance(position, int):
        return label
    before = text[:position]
    return f"{label}:{before.count(chr(10)) + 1}:{position - before.rfind(chr(10))}"


class _Reader:
    """Turns events into data; the depth of the recursion is bounded by MAX_DEPTH."""

    def __init__(self, events: Iterator[Any], label: str, tree: Tree) -> None:
        self._events = events
        self._label = label
        self._tree = tree

    def document(self) -> Any:
        """The data of the only document (None when there is none)."""
        next(self._events)  # the start of the stream
        if type(next(self._events)).__name__ == "StreamEndEvent":
            return None
        first = next(self._events)
        self._tree.marks[()] = _mark(first)
        data = self._node(first, ())
        next(self._events)  # the end of the document
        after = next(self._events)
        if type(after).__name__ != "StreamEndEvent":
            raise self._error(after, "a second document starts here", "one config per file")
        return data

    def _node(self, event: Any, path: Path) -> Any:
        name = type(event).__name__
        if len(path) > MAX_DEPTH:
            raise self._error(event, f"nested deeper than {MAX_DEPTH} levels")
        self._refuse_unsafe(event, name)
        if name == "MappingStartEvent":
            return self._mapping(path)
        if name == "SequenceStartEvent":
            return self._sequence(path)
        return scalar(event.value) if event.style is None else self._text(event)

    def _mapping(self, path: Path) -> dict[str, Any]:
        data: dict[str, Any] = {}
        while type(event := next(self._events)).__name__ != "MappingEndEvent":
            key = self._key(event)
            place = (*path, key)
            if key in data:
                self._tree.twice.setdefault(place, self._tree.marks[place][0])
            self._tree.marks[place] = _mark(event)
            data[key] = self._node(next(self._events), place)
        return data

    def _sequence(self, path: Path) -> list[Any]:
        data: list[Any] = []
        while type(event := next(self._events)).__name__ != "SequenceEndEvent":
            place = (*path, len(data))
            self._tree.marks[place] = _mark(event)
            data.append(self._node(event, place))
        return data

    def _key(self, event: Any) -> str:
        name = type(event).__name__
        self._refuse_unsafe(event, name)
        if name != "ScalarEvent":
            raise self._error(event, "a list or a mapping cannot be a key", "put quotes around it")
        if event.value == "<<" and event.style is None:
            raise self._error(event, "merge keys (<<) are not allowed", "write the keys out")
        return self._text(event)

    def _text(self, event: Any) -> str:
        if any("\ud800" <= character <= "\udfff" for character in event.value):
            raise self._error(event, "holds half of a surrogate pair, which is not a character")
        return str(event.value)

    def _refuse_unsafe(self, event: Any, name: str) -> None:
        if name == "AliasEvent" or event.anchor is not None:
            sign = "*" if name == "AliasEvent" else "&"
            what = f"{sign}{event.anchor}"
            hint = "write the value out, or put quotes around a text that starts with * or &"
            raise self._error(
                event, f"anchors and aliases ({shown(what, quote=False)}) are not allowed", hint
            )
        if event.tag is not None:
            hint = "put quotes around a text that starts with !"
            raise self._error(
                event, f"tags ({shown(str(event.tag), quote=False)}) are not allowed", hint
            )

    def _error(self, event: Any, problem: str, hint: str | None = None) -> ConfigError:
        line, column = _mark(event)
        return ConfigError(f"{self._label}:{line}:{column}", problem, hint)


def _mark(event: Any) -> Mark:
    return event.start_mark.line + 1, event.start_mark.column + 1
