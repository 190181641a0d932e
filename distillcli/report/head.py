"""What a report begins with: the loss that is meant, and the arrays that it is taken of."""

from collections.abc import Mapping, Sequence
from typing import Any

from distillcli.report import text
from distillcli.report.page import Page
from distillcli.result import Result, part_taken


def recipe(weights: Mapping[str, float], facts: Mapping[str, Any], page: Page) -> str:
    """`0.7 x soft (kl) + 0.3 x hard (cross_entropy), T = 4`."""
    names: Mapping[str, str] = facts.get("losses", {})
    parts = []
    for term, weight in weights.items():
        told = names.get(term, term)
        name = f" ({text.escape(told)})" if told != term else ""
        parts.append(text.tied(f"{text.weight(weight)} {page.times} {text.escape(term)}{name}"))
    return ", ".join(part for part in (" + ".join(parts), _temperatures(facts)) if part)


def _temperatures(facts: Mapping[str, Any]) -> str:
    """`T = 4`, or `T = 1, 4`, those of all terms in their order."""
    listed = facts.get("config", {}).get("losses") or ()
    found = [facts.get("temperature"), *(loss.get("temperature") for loss in listed)]
    shown = dict.fromkeys(text.weight(each) for each in found if each is not None)
    return text.tied(f"T = {', '.join(shown)}") if shown else ""


def inputs(entries: Sequence[Mapping[str, Any]], page: Page) -> list[tuple[str, str]]:
    """Role, and shape, type and path below each other."""
    shapes = [_shape(each.get("shape", ()), page) for each in entries]
    types, paths, roles = (
        [text.escape(str(each.get(key, ""))) for each in entries]
        for key in ("dtype", "path", "role")
    )
    wide, long = (max(map(len, column), default=0) for column in (shapes, types))
    return [
        (role, f"{shape:<{wide}}  {kind:<{long}}  {path}{_reading(each)}")
        for role, shape, kind, path, each in zip(roles, shapes, types, paths, entries, strict=True)
    ]


def _reading(entry: Mapping[str, Any]) -> str:
    """`, probabilities at T = 2`, where the numbers are something else than logits."""
    kind, temperature = entry.get("kind", "logits"), entry.get("temperature", 1.0)
    if kind == "logits":
        return ""
    return text.escape(f", {kind.replace('_', '-')} at T = {temperature:g}")


def run(result: Result) -> str:
    """`1,280 rows in batches of 256, cpu, kernel numpy, float32`."""
    facts = result.facts
    size, kernel = facts.get("batch_size"), facts.get("kernel")
    rows = text.count(result.rows, "row")
    parts = [
        str(facts.get("device", "")),
        f"kernel {kernel}" if kernel else "",
        str(facts.get("precision", "")),
    ]
    joined = facts.get("batches_joined", 1)
    lines = f", {joined:,} of them to a line" if joined > 1 else ""
    cut = f"{rows} in batches of {size:,}{lines}" if isinstance(size, int) else rows
    return ", ".join([*_range(facts), cut, *(text.escape(part) for part in parts if part)])


def _range(facts: Mapping[str, Any]) -> list[str]:
    """`rows 100:300 of 899`, where not all of them are taken."""
    part = part_taken(facts)
    return [text.tied(f"rows {part} of {facts.get('rows_stored', 0):,}")] if part else []


def _shape(shape: Sequence[int], page: Page) -> str:
    return text.tied(f" {page.times} ".join(str(length) for length in shape))
