"""What distill runs on, for people and as JSON."""

from collections.abc import Iterator, Mapping
from typing import Any, TextIO

from rich.console import RenderableType
from rich.text import Text

from distillcli.report.lines import labelled
from distillcli.report.page import Page
from distillcli.report.text import escape
from distillcli.result import json_text

_LABEL = 15
_GROUPS = {
    "versions": "versions",
    "machine": "machine",
    "readers": "files that can be read",
    "gpu": "GPU, each step after the one before",
    "auto": "--device auto",
}


def write_checkup(
    found: Mapping[str, Any],
    stream: TextIO,
    *,
    format: str = "table",
    color: bool | None = None,
    width: int | None = None,
) -> None:
    """Write what a checkup has found, as its `as_dict` has it.

    Args:
        format: "table" or "json".
        stream, color, width: see `distillcli.report.render`.
    """
    if format == "json":
        stream.write(json_text(found))
        return
    page = Page.of(stream, color=color, width=width)
    stream.write(page.text(_lines(found)))


def _lines(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    for index, (key, title) in enumerate(_GROUPS.items()):
        if index:
            yield Text("")
        yield Text(title, style="bold")
        lines = [(f"  {escape(name)}", escape(value)) for name, value in found[key].items()]
        yield from labelled([*lines, *_more(key, found)], least=_LABEL)


def _more(key: str, found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What stands below a group: the first thing that is missing, and how to get it."""
    if key != "gpu":
        return []
    extra = {"missing": found["gpu_missing"], "to get it": found["gpu_hint"]}
    told = [(f"  {name}", escape(value)) for name, value in extra.items() if value]
    labels = ["  not run yet", *[""] * len(found["gpu_not_run"])]
    items = zip(labels, found["gpu_not_run"], strict=False)
    return [*told, *((label, escape(item)) for label, item in items)]
