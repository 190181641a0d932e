"""What a report begins with: the loss that is meant, and the arrays that it is taken of."""

from collections.abc import Mapping, Sequence
from typing import Any

from distillcli.report import text
from distillcli.report.page import Page


def recipe(weights: Mapping[str, float], facts: Mapping[str, Any], page: Page) -> str:
    """`0.7 x soft (kl) + 0.3 x hard (cross_entropy), T = 4`."""
    names: Mapping[str, str] = facts.get("losses", {})
    parts = []
    for term, weight in weights.items():
        name = f" ({text.escape(names[term])})" if term in names else ""
        parts.append(text.tied(f"{text.weight(weight)} {page.times} {text.escape(term)}{name}"))
    temperature = facts.get("temperature")
    at = "" if temperature is None else text.tied(f"T = {text.weight(temperature)}")
    return ", ".join(part for part in (" + ".join(parts), at) if part)


def inputs(entries: Sequence[Mapping[str, Any]], page: Page) -> list[tuple[str, str]]:
    """Role, and shape, type and path below each other."""
    shapes = [_shape(each.get("shape", ()), page) for each in entries]
    types, paths, roles = (
        [text.escape(str(each.get(key, ""))) for each in entries]
        for key in ("dtype", "path", "role")
    )
    wide, long = (max(map(len, column), default=0) for column in (shapes, types))
    return [
        (role, f"{shape:<{wide}}  {kind:<{long}}  {path}")
        for role, shape, kind, path in zip(roles, shapes, types, paths, strict=True)
    ]


def _shape(shape: Sequence[int], page: Page) -> str:
    return text.tied(f" {page.times} ".join(str(length) for length in shape))
