"""A saved result, the JSON of `score`, read back with every field looked at."""

import json
import os
import stat
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from distillcli.errors import FormatError, MissingError
from distillcli.result import (
    SCHEMA,
    BatchResult,
    GroupResult,
    LayerResult,
    Number,
    Result,
    TeacherResult,
    WorstRow,
    json_text,
)

MAX_BYTES = 64 << 20  # 4096 batches, the most there are, take about 3 MB
MAX_NAMES = 10_000

T = TypeVar("T")

_HINT = "save it with: distill score CONFIG --format json > FILE"
_WORDS = {dict: "an object", list: "a list", str: "a text", int: "a whole number"}


def read_result(path: Path, *, role: str, any_schema: bool = False) -> Result:
    """Read a saved result.

    Args:
        path: a file of at most 64 MiB.
        role: what messages call it: `baseline`.
        any_schema: whether another schema is read as far as it goes.

    Raises:
        MissingError: there is no such file. FormatError: it is no saved result.
    """
    where = f"{role} {path}"
    return parse_result(_bytes(path, where), where=where, any_schema=any_schema)


def parse_result(text: bytes, *, where: str, any_schema: bool = False) -> Result:
    """A saved result from its JSON text; `where` names it in messages."""
    fields = _Fields(_json(text, where), where)
    schema = fields.text("schema")
    if schema != SCHEMA and not any_schema:
        problem = f"has schema {schema[:60]!r}, and this distill reads {SCHEMA!r}"
        raise FormatError(where, problem, "save it again, or give --allow schema")
    return Result(
        schema=schema,
        command=fields.text("command"),
        strategy=fields.text("strategy"),
        rows=fields.count("rows"),
        rows_skipped=fields.count("rows_skipped"),
        rows_masked=fields.count("rows_masked") if "rows_masked" in fields.data else 0,
        loss=fields.number("loss"),
        terms=fields.numbers("terms"),
        weights={name: fields.finite(value, name) for name, value in fields.pairs("weights")},
        metrics=fields.numbers("metrics"),
        layers=fields.items("layers", _layer),
        teachers=fields.items("teachers", _teacher),
        groups=fields.items("groups", _group),
        worst=fields.items("worst", _worst),
        batches=fields.items("batches", _batch) or (),
        nonfinite={name: fields.whole(value, name) for name, value in fields.pairs("nonfinite")},
        facts=fields.mapping("facts"),
    )


def _bytes(path: Path, where: str) -> bytes:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise FormatError(where, "is not a regular file")
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise MissingError(where, "no such file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise FormatError(where, f"cannot be read: {reason}") from None
    if len(data) > MAX_BYTES:
        raise FormatError(where, f"is larger than {MAX_BYTES >> 20} MiB", _HINT)
    return data


def _json(data: bytes, where: str) -> Any:
    if not data.strip():
        raise FormatError(where, "is empty", _HINT)
    try:
        return json.loads(
            data.decode("utf-8-sig"), parse_constant=_refuse, object_pairs_hook=_unique
        )
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}: {error.msg}"
        raise FormatError(where, f"is not JSON: {place}", _HINT) from None
    except UnicodeDecodeError:
        raise FormatError(where, "is not UTF-8 text", _HINT) from None
    except RecursionError:
        raise FormatError(where, "is nested too deeply", _HINT) from None
    except ValueError as error:
        raise FormatError(where, f"is not JSON: {error}", _HINT) from None


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON; a result writes null")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {twice[:60]!r} is given twice")
    return data


@dataclass(frozen=True)
class _Fields:
    """The fields of one object of the JSON, each asked for by its type."""

    data: Any
    where: str

    def __post_init__(self) -> None:
        if not isinstance(self.data, dict):
            raise FormatError(self.where, "is not a saved result: no JSON object", _HINT)

    def text(self, key: str) -> str:
        return self._typed(key, str)

    def maybe_text(self, key: str) -> str | None:
        return self.text(key) if self.data.get(key) is not None else None

    def count(self, key: str) -> int:
        return self.whole(self._value(key), key)

    def number(self, key: str) -> Number:
        value = self._value(key)
        return None if value is None else self.finite(value, key)

    def maybe(self, key: str) -> Number:
        return self.number(key) if key in self.data else None

    def integer(self, key: str) -> int:
        value = self._value(key)
        if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 2**64:
            self._fail(f"{key} is {_kind(value)}, not a whole number")
        return value

    def maybe_integer(self, key: str) -> int | None:
        return self.integer(key) if self.data.get(key) is not None else None

    def mapping(self, key: str) -> dict[str, Any]:
        found: dict[str, Any] = self._typed(key, dict)
        if len(found) > MAX_NAMES:
            self._fail(f"{key} has more than {MAX_NAMES:,} entries")
        return found

    def numbers(self, key: str) -> dict[str, Number]:
        return {
            name: None if value is None else self.finite(value, f"{key}.{name}")
            for name, value in self.mapping(key).items()
        }

    def pairs(self, key: str) -> Iterable[tuple[str, Any]]:
        return self.mapping(key).items()

    def items(self, key: str, make: "Callable[[_Fields], T]") -> tuple[T, ...] | None:
        if self.data.get(key) is None:
            return None
        listed: list[Any] = self._typed(key, list)
        return tuple(
            make(_Fields(one, f"{self.where}: {key}[{index}]")) for index, one in enumerate(listed)
        )

    def finite(self, value: Any, name: str) -> float:
        """The number, as it stands; a whole number too large for a float is none."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._fail(f"{name} is {_kind(value)}, not a number")
        if not abs(value) <= sys.float_info.max:
            self._fail(f"{name} is not a finite number")
        return float(value)

    def whole(self, value: Any, name: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
            self._fail(f"{name} is {_kind(value)}, not a count")
        return value

    def _typed(self, key: str, kind: type[T]) -> T:
        value = self._value(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            self._fail(f"{key} is {_kind(value)}, not {_WORDS[kind]}")
        return value

    def _value(self, key: str) -> Any:
        if key not in self.data:
            self._fail(f"has no {key}")
        return self.data[key]

    def _fail(self, problem: str) -> NoReturn:
        raise FormatError(self.where, f"is not a saved result: {problem}", _HINT)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return _WORDS.get(type(value), "a number")


def _batch(fields: _Fields) -> BatchResult:
    return BatchResult(
        index=fields.count("index"),
        start=fields.count("start"),
        stop=fields.count("stop"),
        loss=fields.number("loss"),
        terms=fields.numbers("terms"),
        metrics=fields.numbers("metrics"),
        rows=fields.count("rows") if "rows" in fields.data else None,
    )


def _layer(fields: _Fields) -> LayerResult:
    return LayerResult(
        student=fields.count("student"),
        teacher=fields.count("teacher"),
        weight=fields.finite(fields.number("weight"), "weight"),
        loss=fields.number("loss"),
        term=fields.maybe_text("term"),
        cka=fields.maybe("cka"),
        cka_unbiased=fields.maybe("cka_unbiased"),
    )


def _teacher(fields: _Fields) -> TeacherResult:
    return TeacherResult(
        source=fields.text("source"),
        weight=fields.finite(fields.number("weight"), "weight"),
        accuracy=fields.maybe("accuracy"),
        nll=fields.maybe("nll"),
    )


def _group(fields: _Fields) -> GroupResult:
    return GroupResult(
        group=fields.integer("group"),
        rows=fields.count("rows"),
        loss=fields.number("loss"),
        metrics=fields.numbers("metrics"),
    )


def _worst(fields: _Fields) -> WorstRow:
    return WorstRow(
        row=fields.count("row"),
        loss=fields.number("loss"),
        label=fields.maybe_integer("label"),
        student_class=fields.maybe_integer("student_class"),
        student_probability=fields.maybe("student_probability"),
        teacher_class=fields.maybe_integer("teacher_class"),
        teacher_probability=fields.maybe("teacher_probability"),
    )


def result_json(result: Result) -> str:
    """A result as it is saved: reading it gives the same doubles. ASCII only.

    Raises:
        ValueError: a number is not finite, which is a mistake of ours: results hold None instead.
    """
    return json_text(result.as_dict())


def saved_facts(result: Result, *path: str) -> Any:
    """A fact of a saved result by its keys; None where it has none. Facts can be anything."""
    found: Any = result.facts
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found
