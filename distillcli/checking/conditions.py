"""What two results must have in common before their numbers are compared, and what may differ."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distillcli.checking.saved import saved_facts
from distillcli.result import Result

CONDITIONS = (
    *("schema", "strategy", "losses", "temperature", "batch"),
    *("rows", "classes", "precision"),
)

_LONGEST = 120
_BEFORE = 20  # what is shown of a long text before it differs
_SECTIONS = ("response", "progressive", "ensemble")
_MAY_DIFFER = ("conventions", "device", "kernel", "threads", "seconds")


@dataclass(frozen=True)
class Difference:
    """A fact that is not the same on both sides; both values are short texts."""

    condition: str
    name: str
    baseline: str
    now: str

    def __str__(self) -> str:
        return f"{self.name} {self.baseline}, now {self.now}"


def differing_conditions(baseline: Result, now: Result) -> tuple[Difference, ...]:
    """What keeps the numbers of two results from being compared."""
    before, after = _conditions(baseline), _conditions(now)
    return tuple(
        difference
        for condition in CONDITIONS
        for difference in _differences(condition, before[condition], after[condition])
    )


def other_differences(baseline: Result, now: Result) -> tuple[Difference, ...]:
    """What differs and may: inputs, device, versions, time."""
    before, after = _others(baseline), _others(now)
    return tuple(_differences("", before, after))


def _conditions(result: Result) -> dict[str, dict[str, Any]]:
    facts = result.facts
    return {
        "schema": {"schema": result.schema},
        "strategy": {"strategy": result.strategy},
        "losses": dict(_losses(result)),
        "temperature": {"temperature": facts.get("temperature")},
        "batch": {"rows of a batch that losses relate": facts.get("related_rows")},
        "rows": {
            "rows": result.rows,
            "rows masked": result.rows_masked,
            "row range": facts.get("row_range"),
        },
        "classes": {
            "classes": facts.get("classes"),
            "vocabulary": saved_facts(result, "vocabulary", "rule"),
            "tail": saved_facts(result, "tail", "rule"),
            **{f"{side}'s classes": _stored(result, side) for side in ("teacher", "student")},
        },
        "precision": {"precision": facts.get("precision")},
    }


def _stored(result: Result, side: str) -> str:
    """How much is known of each row of a side: another part of it gives another divergence."""
    largest = saved_facts(result, "tail", "stored", side)
    above = saved_facts(result, "floor", "role") == side
    return "those above a floor" if above else "all" if largest is None else f"top {largest}"


def _losses(result: Result) -> Iterator[tuple[str, Any]]:
    """The loss of each term, its weight, and the parameters in the config."""
    yield from _leaves("loss of ", result.facts.get("losses"))
    yield from _leaves("weight of ", result.weights)
    for section in _SECTIONS:
        yield from _leaves("", _parameters(saved_facts(result, "config", section), section))
    yield from _leaves("losses.", _by_name(saved_facts(result, "config", "losses")))


def _by_name(entries: Any) -> dict[str, Any]:
    """The entries of `losses` by what they are called, without weights, which the result has."""
    listed = entries if isinstance(entries, list | tuple) else ()
    found = [entry for entry in listed if isinstance(entry, Mapping)]
    return {
        str(entry.get("as", entry.get("name"))): {
            key: value for key, value in entry.items() if key not in ("as", "weight")
        }
        for entry in found
    }


def _parameters(written: Any, section: str) -> dict[str, Any]:
    """A section of the config without its temperature, which is a condition of its own."""
    if not isinstance(written, Mapping):
        return {}
    found = {key: value for key, value in written.items() if key != "temperature"}
    for key in ("soft_label_weight", "hard_label_weight", "alpha"):
        found.pop(key, None)  # the weights of the terms are compared as such
    if isinstance(loss := found.get("soft_loss"), Mapping):
        found["soft_loss"] = {key: value for key, value in loss.items() if key != "temperature"}
    if isinstance(matrix := found.get("projection"), Mapping) and "path" in matrix:
        found["projection"] = {"path": "a file"}
    return {section: found}


def _leaves(prefix: str, data: Any) -> Iterator[tuple[str, Any]]:
    """Dotted names and values of a nested mapping."""
    if not isinstance(data, Mapping):
        return
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from _leaves(f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}", value


def _others(result: Result) -> dict[str, Any]:
    found = dict(_inputs(result.facts.get("inputs")))
    found |= {name: result.facts.get(name) for name in _MAY_DIFFER}
    found |= dict(_leaves("version of ", result.facts.get("versions")))
    return found


def _inputs(inputs: Any) -> Iterator[tuple[str, Any]]:
    for item in inputs if isinstance(inputs, list | tuple) else ():
        if isinstance(item, Mapping):
            role = str(item.get("role"))
            for key in ("path", "dtype", "kind", "temperature"):
                yield f"{role} {key}", item.get(key)
            fingerprint = item.get("fingerprint")
            if isinstance(fingerprint, Mapping):
                yield f"{role} size", fingerprint.get("size")
                yield f"{role} crc32", fingerprint.get("crc32")


def _differences(
    condition: str, before: Mapping[str, Any], after: Mapping[str, Any]
) -> Iterator[Difference]:
    for name in dict.fromkeys((*before, *after)):
        one, other = (_plain(side.get(name)) for side in (before, after))
        if one != other:
            yield Difference(condition, _short(name), *_apart(_text(one), _text(other)))


def _plain(value: Any) -> Any:
    """Without the difference of lists and tuples."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _text(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2:
        return ":".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _apart(one: str, other: str) -> tuple[str, str]:
    """Two texts, long ones from shortly before the place where they part."""
    if max(len(one), len(other)) <= _LONGEST:
        return one, other
    pairs = enumerate(zip(one, other, strict=False))
    parted = next((at for at, (left, right) in pairs if left != right), min(len(one), len(other)))
    start = one.rfind(" ", 0, max(0, parted - _BEFORE)) + 1
    lead = "..." if start else ""
    return lead + _short(one[start:]), lead + _short(other[start:])


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
