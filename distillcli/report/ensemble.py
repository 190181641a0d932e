"""What became of an ensemble: who weighs what, how good each is, and what was written."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TextIO

from rich.console import RenderableType
from rich.text import Text

from distillcli.ensembles.ensemble_result import EnsembleResult, Figures, Side
from distillcli.report import head, text
from distillcli.report.grid import Column, grid
from distillcli.report.lines import labelled
from distillcli.report.page import Page
from distillcli.result import Number, json_text

FORMATS = ("table", "json", "jsonl", "csv", "md")
FIGURES = ("accuracy", "nll", "entropy", "ece")
HEADINGS = ("rows", "scores", "source", "weight", *FIGURES)


def write_ensemble(
    result: EnsembleResult,
    stream: TextIO,
    *,
    format: str = "table",
    color: bool | None = None,
    width: int | None = None,
) -> None:
    """Write the report in one of FORMATS, or as `txt`; see `distillcli.report.render`."""
    match format:
        case "json":
            stream.write(json_text(result.as_dict()))
        case "jsonl":
            stream.write(json.dumps(result.as_dict(), allow_nan=False) + "\n")
        case "csv":
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(HEADINGS)
            writer.writerows([_csv_cell(cell) for cell in row] for row in _records(result))
        case "md":
            _write_markdown(result, stream)
        case _:
            page = Page.of(stream, color=color, width=width)
            stream.write(page.text(report(result, page)))


def _records(result: EnsembleResult) -> Iterator[list[Any]]:
    """One record for each set of scores over each set of rows."""
    for figures in (result.all, result.held_out):
        if figures is None:
            continue
        span = f"{figures.first}:{figures.stop}"
        for index, side in enumerate(figures.teachers):
            who = [f"teachers[{index}]", result.sources[index], result.weights[index]]
            yield [span, *who, *(getattr(side, name) for name in FIGURES)]
        for name in ("blend", "uniform"):
            side = getattr(figures, name)
            if side is not None:
                yield [span, name, "", None, *(getattr(side, one) for one in FIGURES)]


def _csv_cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    if isinstance(value, str):
        shown = text.escape(value)
        return f"'{shown}" if shown[:1] in ("=", "+", "-", "@") else shown
    return "" if value is None else repr(value)


def _write_markdown(result: EnsembleResult, stream: TextIO) -> None:
    rows = [[_md_cell(cell) for cell in row] for row in _records(result)]
    for row in (HEADINGS, ["---"] * len(HEADINGS), *rows):
        stream.write(f"| {' | '.join(row)} |\n")


def _md_cell(value: Any) -> str:
    if isinstance(value, str):
        return text.escape(value).replace("|", "\\|").replace("<", "&lt;")
    return "" if value is None else text.metric(value).replace(text.TIE, " ")


def report(result: EnsembleResult, page: Page) -> Iterator[RenderableType]:
    """The parts of the report, each separated from the next by an empty line."""
    parts: tuple[Callable[[EnsembleResult, Page], Iterator[RenderableType]], ...] = (
        _head, _all, _held_out, _agreement, _divergence, _end,
    )  # fmt: skip
    for index, part in enumerate(parts):
        lines = list(part(result, page))
        if lines and index:
            yield Text("")
        yield from lines


def _head(result: EnsembleResult, page: Page) -> Iterator[RenderableType]:
    yield Text("distill ensemble", style="bold")
    output, facts = result.output, result.facts
    rule = text.escape(str(output["weights_rule"]))
    at = text.tied(f"T = {text.weight(output['temperature'])}")
    run = [text.count(result.rows, "row"), facts["device"], f"kernel {facts['kernel']}"]
    yield from labelled(
        [
            ("blend", f"mean of {text.escape(output['combine'])}, {at}, weights: {rule}"),
            *head.inputs(facts["inputs"], page),
            ("run", ", ".join([*run, facts["precision"]])),
        ]
    )


def _all(result: EnsembleResult, page: Page) -> Iterator[RenderableType]:
    yield from _table(result, result.all, page, "all rows" if result.held_out else "")


def _held_out(result: EnsembleResult, page: Page) -> Iterator[RenderableType]:
    figures = result.held_out
    if figures is not None:
        span = f"{figures.first}:{figures.stop}"
        title = f"held out: rows {span}, on which no weights were found"
        yield from _table(result, figures, page, title)


def _table(
    result: EnsembleResult, figures: Figures, page: Page, title: str
) -> Iterator[RenderableType]:
    """The teachers, their blend, and a blend with equal weights, below each other."""
    if title:
        yield Text(title, style="bold")
    names = [_teacher(index, figures) for index in range(len(figures.teachers))]
    sides: list[Side] = list(figures.teachers)
    weights = [*text.shares(result.weights)]
    for name, side in (("blend", figures.blend), ("uniform", figures.uniform)):
        if side is not None:
            names.append("equal weights" if name == "uniform" else name)
            sides.append(side)
            weights.append("")
    columns = [Column("", names, name=True), Column("weight", weights, style="bold")]
    columns += [
        Column(name, _cells(name, [getattr(side, name) for side in sides]))
        for name in FIGURES
        if any(getattr(side, name) is not None for side in sides)
    ]
    sources = [text.escape(source) for source in result.sources]
    columns.append(Column("source", sources + [""] * (len(names) - len(sources)), name=True))
    yield from grid(columns, page)
    if figures.terms:
        yield from labelled([("student", _loss(result, figures, page))])


def _teacher(index: int, figures: Figures) -> str:
    best = " (best nll)" if figures.best == index and len(figures.teachers) > 1 else ""
    return f"teachers[{index}]{best}"


def _cells(name: str, values: Sequence[Number]) -> list[str]:
    return text.shares(values) if name in ("accuracy", "ece") else text.metrics(values)


def _loss(result: EnsembleResult, figures: Figures, page: Page) -> str:
    """`loss 0.61 = 0.7 x 0.81 soft + 0.3 x 0.15 hard, KL 0.29 +- 0.01, top-1 agreement 0.94`."""
    parts = " + ".join(
        text.tied(
            f"{text.weight(result.term_weights[name])} {page.times} {text.loss(value)} {name}"
        )
        for name, value in figures.terms.items()
    )
    known = figures.metrics
    error = text.mean_and_error(known["kl_mean"], known["kl_stderr"], page.plus_minus)
    agreement = text.share(known["top1_agreement"])
    return f"loss {text.loss(figures.loss)} = {parts}, KL {error}, top-1 agreement {agreement}"


def _agreement(result: EnsembleResult, page: Page) -> Iterator[RenderableType]:
    def cell(first: int, second: int) -> Number:
        pair = _pair(result, first, second)
        return pair["top1_agreement"]

    yield from _matrix(result, page, "top-1 agreement", cell, text.shares, 1.0)


def _divergence(result: EnsembleResult, page: Page) -> Iterator[RenderableType]:
    def cell(first: int, second: int) -> Number:
        pair = _pair(result, first, second)
        return pair["kl" if first < second else "kl_reversed"]

    title = "mean KL(row || column), T = 1"
    yield from _matrix(result, page, title, cell, text.metrics, 0.0)


def _matrix(
    result: EnsembleResult,
    page: Page,
    title: str,
    cell: Callable[[int, int], Number],
    shown: Callable[[Sequence[Number]], list[str]],
    diagonal: float,
) -> Iterator[RenderableType]:
    count = len(result.sources)
    if count < 2:
        return
    yield Text(title, style="bold")
    columns = [Column("", [f"teachers[{index}]" for index in range(count)], name=True)]
    for second in range(count):
        values = [diagonal if i == second else cell(i, second) for i in range(count)]
        columns.append(Column(f"teachers[{second}]", shown(values)))
    yield from grid(columns, page)


def _pair(result: EnsembleResult, first: int, second: int) -> Mapping[str, Number]:
    low, high = sorted((first, second))
    return next(
        {"top1_agreement": pair.top1_agreement, "kl": pair.kl, "kl_reversed": pair.kl_reversed}
        for pair in result.pairs
        if (pair.first, pair.second) == (low, high)
    )


def _masked(result: EnsembleResult) -> str:
    """Rows that do not count are written too, if the teachers have anything there."""
    bare = result.output["rows_nan"] - result.rows_skipped
    told = "their targets are in the file"
    if bare:
        rest = result.rows_masked - bare
        told = f"{bare:,} of them hold NaN in the file"
        told += f", the targets of the other {rest:,} are there" if rest else ", as the teachers do"
    return f"{result.rows_masked:,} rows are not in the figures; {told}"


def _end(result: EnsembleResult, page: Page) -> Iterator[RenderableType]:
    facts, output = result.facts, result.output
    counts = ", ".join(f"{text.escape(k)} in {v:,} rows" for k, v in result.nonfinite.items())
    skipped = f"{result.rows_skipped:,} bad rows hold NaN in the file"
    yield from labelled(
        [
            ("fit", _fit(result.fit)),
            ("written", _written(output, page)),
            (Text("warning", "bold red not dim"), counts and f"not finite: {counts}"),
            (Text("skipped", "bold yellow not dim"), skipped if result.rows_skipped else ""),
            ("masked", _masked(result) if result.rows_masked else ""),
            *(("note", text.escape(note)) for note in facts["notes"]),
            ("conventions", facts["conventions"]),
            ("time", _time(result)),
        ]
    )


def _fit(fit: Mapping[str, Any] | None) -> str:
    if fit is None:
        return ""
    return (
        f"log-likelihood of a label {fit['before']:.6f} with equal weights, {fit['after']:.6f} "
        f"with these, over {text.count(fit['rows'], 'row')}; best to within {fit['gap']:.1e}"
    )


def _written(output: Mapping[str, Any], page: Page) -> str:
    parts = [
        f"{text.escape(name)} {one['dtype']} {f' {page.times} '.join(map(str, one['shape']))}"
        for name, one in output["datasets"].items()
    ]
    packed = f", {output['compression']}" if output["compression"] != "none" else ""
    size = text.size(output["bytes"])
    path = text.escape(output["path"])
    return f"{path}, {size}: {output['kind']}, {', '.join(parts)}{packed}"


def _time(result: EnsembleResult) -> str:
    facts = result.facts
    seconds, moved = facts["seconds"], facts["bytes_read"] + result.output["bytes"]
    rows = result.rows + result.rows_skipped + result.rows_masked
    return f"{text.duration(seconds)}, {text.speed(rows, moved, seconds)} read and written"
