"""The end of a report: the loss as a sum, the metrics in groups, and what to know about them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from distillcli.metrics import METRICS
from distillcli.report import text
from distillcli.report.columns import divergence
from distillcli.report.grid import Column, grid
from distillcli.report.lines import labelled
from distillcli.report.page import Page
from distillcli.result import Result

_SIDES = ("student", "teacher")
_QUANTILES = {
    "kl_median": "median",
    "kl_p90": "p90",
    "kl_p95": "p95",
    "kl_p99": "p99",
    "kl_p999": "p99.9",
    "kl_max": "max",
}
_COMPARED = "student and teacher"
_OTHERS = "other"
_ERROR = "_stderr"
_SHARES = ("accuracy", "agreement", "ece")


def summary(result: Result, page: Page) -> Iterator[RenderableType]:
    """The parts of the summary."""
    if result.terms:
        yield from labelled([(Text("loss", "bold not dim"), _sum(result, page))])
    for title, names in _groups(result).items():
        lines = list(_group(result, title, names, page))
        if lines:
            yield Text("")
            yield from lines
    yield Text("")
    yield from labelled([*_warnings(result), *_remarks(result)])


def _sum(result: Result, page: Page) -> Text:
    """`0.612345 = 0.7 x 0.812345 soft + 0.3 x 0.145678 hard`."""
    parts = [
        text.tied(
            f"{text.weight(result.weights.get(name, 0.0))} {page.times} "
            f"{text.loss(term)} {text.escape(name)}"
        )
        for name, term in result.terms.items()
    ]
    style = "bold red" if result.loss is None else "bold"
    return Text.assemble((text.loss(result.loss), style), f" = {' + '.join(parts)}")


def _groups(result: Result) -> dict[str, list[str]]:
    """The names of the metrics by group, in the order in which the table has them."""
    groups: dict[str, list[str]] = {}
    for name in (*METRICS, *(name for name in result.metrics if name not in METRICS)):
        group = METRICS[name].group if name in METRICS else _OTHERS
        if name in result.metrics:
            groups.setdefault(_COMPARED if group in _SIDES else group, []).append(name)
    return groups


def _group(
    result: Result, title: str, names: Sequence[str], page: Page
) -> Iterator[RenderableType]:
    """KL as a line of numbers, student and teacher side by side, what is left in one line."""
    divergence = [name for name in names if name == "kl_mean" or name in _QUANTILES]
    sides = [name for name in names if name.startswith(_SIDES)]
    rest = [
        name for name in names if name not in (*divergence, *sides) and not name.endswith(_ERROR)
    ]
    if divergence:
        yield from _divergence(result, divergence, page)
    if sides:
        yield from _side_by_side(result, sides, page)
    if rest:
        yield from labelled([(text.escape(title), _in_one_line(result, title, rest, page))])


def _in_one_line(result: Result, title: str, names: Sequence[str], page: Page) -> Text:
    """`top-1 0.9644  top-5 0.9989`: what the title says already is not said again."""
    line = Text()
    for name in names:
        label = re.sub(r"^top(?=\d)", "top-", name.removesuffix(f"_{title}")).replace("_", " ")
        line.append(f"{text.escape(label)}{text.TIE}")
        line.append(*_styled(_with_error(result, name, page))).append("   ")
    line.rstrip()
    return line


def _styled(value: str) -> tuple[str, str]:
    return value, "bold red" if value == text.NOT_FINITE else "bold"


def _value(result: Result, name: str) -> str:
    value = result.metrics[name]
    return text.share(value) if name.endswith(_SHARES) else text.metric(value)


def _with_error(result: Result, name: str, page: Page) -> str:
    error = f"{name}{_ERROR}"
    if error not in result.metrics:
        return _value(result, name)
    return text.mean_and_error(result.metrics[name], result.metrics[error], page.plus_minus)


def _divergence(result: Result, names: Sequence[str], page: Page) -> Iterator[RenderableType]:
    """KL with its error, and its quantiles, as one line of numbers under their names."""
    metrics = result.metrics
    columns = [_names([divergence(result)])]
    if "kl_mean" in names:
        error = metrics.get("kl_stderr")
        mean = text.mean_and_error(metrics["kl_mean"], error, page.plus_minus)
        columns.append(Column("mean", [mean], style="bold"))
    columns += [
        Column(heading, [text.metric(metrics[name])])
        for name, heading in _QUANTILES.items()
        if name in names
    ]
    yield from grid(columns, page)


def _side_by_side(result: Result, names: Sequence[str], page: Page) -> Iterator[RenderableType]:
    """`student_x` and `teacher_x` as one row x with two columns."""
    rows = list(dict.fromkeys(name.split("_", 1)[-1] for name in names))
    blend = {"teacher": "blend"} if result.strategy == "ensemble" else {}
    columns = [
        Column(blend.get(side, side), [_cell(result, f"{side}_{row}") for row in rows])
        for side in _SIDES
        if any(name.startswith(side) for name in names)
    ]
    yield from grid([_names([text.escape(row) for row in rows]), *columns], page)


def _cell(result: Result, name: str) -> str:
    return _value(result, name) if name in result.metrics else ""


def _names(names: Sequence[str]) -> Column:
    """A first column as wide as that of the labels, so that all blocks line up."""
    return Column("", [name.ljust(9) for name in names], name=True, style="dim")


def _warnings(result: Result) -> list[tuple[Text, str]]:
    """What must not be overlooked: numbers that are not finite, rows that were left out."""
    counts = ", ".join(
        text.tied(f"{text.escape(name)} in {text.count(number, 'row')}")
        for name, number in result.nonfinite.items()
        if number
    )
    skipped, masked = result.rows_skipped, result.rows_masked
    taken = result.rows + skipped + masked
    return [
        (Text("warning", "bold red not dim"), counts and f"not finite: {counts}"),
        (
            Text("skipped", "bold yellow not dim"),
            f"{text.count(skipped, 'bad row')} left out of {taken:,}" if skipped else "",
        ),
        (
            Text("rows", "not dim"),
            f"{result.rows:,} of {taken:,} count, {masked:,} masked, {skipped:,} skipped"
            if masked else "",
        ),
    ]  # fmt: skip


def _remarks(result: Result) -> list[tuple[str, str]]:
    facts = result.facts
    missing = by_reason(facts.get("unavailable") or {})
    return [
        *(("note", text.escape(note)) for note in facts.get("notes", ())),
        *(("left out", text.escape(f"{', '.join(names)}: {why}")) for why, names in missing),
        ("per row", _per_row(facts)),
        ("conventions", text.escape(facts.get("conventions", ""))),
        ("time", _time(result)),
    ]


def _per_row(facts: Mapping[str, Any]) -> str:
    found = facts.get("per_row")
    return f"the loss of each row is in {text.escape(str(found['path']))}" if found else ""


def by_reason(unavailable: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    """The names of metrics that cannot be had, by the reason that they share."""
    found: dict[str, list[str]] = {}
    for name, why in unavailable.items():
        found.setdefault(why, []).append(name)
    return list(found.items())


def _time(result: Result) -> str:
    seconds, read = result.facts.get("seconds"), result.facts.get("bytes_read", 0)
    if not seconds:
        return ""
    return f"{text.duration(seconds)}, {text.speed(result.rows, read, seconds)}"
