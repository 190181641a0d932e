"""The kinds of values that keys take: annotations for the models, each with its own message."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from distillcli.config.text import plain, shown, suggestion


def refusal(problem: str, hint: str | None = None) -> PydanticCustomError:
    """The error of one value; braces in the texts stay as they are."""
    return PydanticCustomError("refused", "{problem}", {"problem": problem, "hint": hint})


class _Field:
    """An annotation that checks a value and describes itself to JSON Schema."""

    def check(self, value: Any) -> Any:
        """The value, converted if need be; raises `refusal` where it will not do."""
        return self._check(value)

    def _check(self, value: Any) -> Any:
        raise NotImplementedError

    def _schema(self) -> JsonSchemaValue:
        raise NotImplementedError

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.check)

    def __get_pydantic_json_schema__(
        self, _: CoreSchema, __: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return self._schema()


@dataclass(frozen=True)
class Number(_Field):
    """A finite number between two bounds; a whole number will do, a text or a boolean will not."""

    low: float = 0.0
    high: float = math.inf

    def _check(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise refusal(f"must be {self}, not {shown(value)}", number_hint(value))
        if not self.low <= value <= self.high or not math.isfinite(_as_float(value)):
            raise refusal(f"must be {self}, not {shown(value)}")
        return float(value)

    def __str__(self) -> str:
        if math.isinf(self.low):
            return "a finite number"
        if math.isinf(self.high):
            return f"a finite number of at least {plain(self.low)}"
        return f"a number from {plain(self.low)} to {plain(self.high)}"

    def _schema(self) -> JsonSchemaValue:
        bounds = {"minimum": self.low, "maximum": self.high}
        return {"type": "number"} | {k: v for k, v in bounds.items() if math.isfinite(v)}


@dataclass(frozen=True)
class NumberOrName(_Field):
    """A number between two bounds, or the name of what holds it."""

    low: float
    high: float
    what: str

    def _check(self, value: Any) -> float | str:
        if not isinstance(value, str):
            found: float = Number(self.low, self.high).check(value)
            return found
        if (hint := number_hint(value)) is not None:
            raise refusal(f"must be {Number(self.low, self.high)}, not {shown(value)}", hint)
        name: str = Text(self.what).check(value)
        return name

    def _schema(self) -> JsonSchemaValue:
        number = {"type": "number", "minimum": self.low, "maximum": self.high}
        return {"anyOf": [number, {"type": "string", "minLength": 1}]}


@dataclass(frozen=True)
class Whole(_Field):
    """A whole number between two bounds; `word` may stand in its place."""

    low: int
    high: int
    word: str | None = None

    def _check(self, value: Any) -> int | str:
        if self.word is not None and value == self.word:
            return self.word
        if isinstance(value, bool) or not isinstance(value, int):
            raise refusal(f"must be {self}, not {shown(value)}", number_hint(value))
        if value < self.low:
            raise refusal(f"must be {self}, not {shown(value)}")
        if value > self.high:
            raise refusal(f"must be at most {self.high}, not {shown(value)}")
        return value

    def __str__(self) -> str:
        number = "a whole number"
        number += f" of at least {self.low}" if self.low > -(2**31) else ""
        return f"{self.word} or {number}" if self.word else number

    def _schema(self) -> JsonSchemaValue:
        number = {"type": "integer", "minimum": self.low, "maximum": self.high}
        return {"anyOf": [{"const": self.word}, number]} if self.word else number


@dataclass(frozen=True)
class Choice(_Field):
    """One of some words; `other` says what else the key takes beside a word."""

    names: Sequence[str]
    other: str | None = None

    def _check(self, value: Any) -> str:
        if isinstance(value, str) and value in self.names:
            return value
        hint = suggestion(value, self.names) if isinstance(value, str) else None
        hint = hint if hint and hint.startswith("did") else None
        raise refusal(f"must be {self}, not {shown(value)}", hint)

    def __str__(self) -> str:
        options = [*self.names, self.other] if self.other else list(self.names)
        return options[0] if len(options) == 1 else f"{', '.join(options[:-1])} or {options[-1]}"

    def _schema(self) -> JsonSchemaValue:
        return {"enum": list(self.names)}


@dataclass(frozen=True)
class Flag(_Field):
    """true or false."""

    def _check(self, value: Any) -> bool:
        if isinstance(value, bool):
            return value
        raise refusal(f"must be true or false, not {shown(value)}")

    def _schema(self) -> JsonSchemaValue:
        return {"type": "boolean"}


@dataclass(frozen=True)
class Device(_Field):
    """auto, cpu, cuda or cuda:N."""

    def _check(self, value: Any) -> str:
        if isinstance(value, str) and re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", value):
            return value
        hint = "did you mean cuda?" if isinstance(value, str) and "gpu" in value.lower() else None
        raise refusal(f"must be auto, cpu, cuda or cuda:N, not {shown(value)}", hint)

    def _schema(self) -> JsonSchemaValue:
        return {"type": "string", "pattern": "^(auto|cpu|cuda(:[0-9]{1,3})?)$"}


@dataclass(frozen=True)
class Text(_Field):
    """A text that is not empty; `what` says of what kind it is."""

    what: str

    def _check(self, value: Any) -> str:
        if not isinstance(value, str):
            raise refusal(f"must be {self.what}, not {shown(value)}")
        if not value.strip():
            raise refusal(f"must be {self.what}, not an empty text")
        if "\0" in value:
            raise refusal("holds a null character")
        return value

    def _schema(self) -> JsonSchemaValue:
        return {"type": "string", "minLength": 1}


@dataclass(frozen=True)
class Pair(_Field):
    """[student layer, teacher layer], both counted from 0."""

    def _check(self, value: Any) -> tuple[int, int]:
        what = "must be a pair [student layer, teacher layer]"
        if not isinstance(value, list | tuple) or len(value) != 2:
            count = f"a list of {len(value)}" if isinstance(value, list | tuple) else shown(value)
            raise refusal(f"{what}, not {count}", "write pairs like [[0, 1], [1, 3]]")
        for index in value:
            if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < 2**31:
                raise refusal(f"{what}: {shown(index)} is not a layer, which are counted from 0")
        return value[0], value[1]

    def _schema(self) -> JsonSchemaValue:
        index = {"type": "integer", "minimum": 0}
        return {"type": "array", "items": index, "minItems": 2, "maxItems": 2}


def number_hint(value: Any) -> str | None:
    """What to write in place of a text that was meant as a number."""
    if not isinstance(value, str):
        return None
    text = value.strip()
    if re.fullmatch(r"[-+]?[0-9]+,[0-9]+", text):
        return f"write {text.replace(',', '.')}, with a point"
    try:
        number = float(text)
    except ValueError:
        return None
    if not math.isfinite(number):
        return None
    return f"write {text} without quotes"


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf
