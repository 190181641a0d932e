"""What a run would do, for people and as JSON."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

from rich.console import RenderableType
from rich.text import Text

from distillcli.planning.plan import Plan, Run
from distillcli.report import text
from distillcli.report.grid import Column, grid
from distillcli.report.head import inputs, recipe
from distillcli.report.lines import labelled
from distillcli.report.page import Page
from distillcli.report.summary import by_reason
from distillcli.result import json_text


def write_plan(
    plan: Plan,
    stream: TextIO,
    *,
    format: str = "table",
    color: bool | None = None,
    width: int | None = None,
) -> None:
    """Write a plan.

    Args:
        format: "table" or "json".
        stream, color, width: see `distillcli.report.render`.
    """
    if format == "json":
        stream.write(json_text(plan.as_dict()))
        return
    page = Page.of(stream, color=color, width=width)
    stream.write(page.text(_lines(plan, page)))


def _lines(plan: Plan, page: Page) -> Iterator[RenderableType]:
    yield Text(f"distill validate: {text.escape(plan.strategy)}", style="bold")
    if plan.run is None:
        yield from labelled([(text.escape(key), value) for key, value in _flat(plan.config)])
        verdict = "the config is valid; no input was looked at"
    else:
        yield from _run(plan, plan.run, page)
        verdict = "the config is valid, and the headers of its inputs fit together"
    yield Text("")
    notes = [("note", text.escape(note)) for note in plan.notes]
    yield from labelled([*notes, (Text("valid", "bold green not dim"), verdict)])


def _run(plan: Plan, run: Run, page: Page) -> Iterator[RenderableType]:
    facts = {"losses": run.losses, "temperature": run.temperature, "config": plan.config}
    loss = recipe(run.weights, facts, page)
    entries = [("loss", loss), *inputs(run.inputs, page), ("weights", _weights(run))]
    yield from labelled([*entries, ("run", _how(run))])
    yield from _layers(run, page)
    yield Text("")
    yield from grid(
        [
            Column("pass", [one.label for one in run.passes], name=True),
            Column("rows", [f"{one.rows:,}" for one in run.passes]),
            Column("reads", [text.tied(text.size(one.bytes)) for one in run.passes]),
        ],
        page,
    )
    yield Text("")
    sizes = [part.bytes for part in run.memory]
    yield from grid(
        [
            Column("memory", [*(part.name for part in run.memory), "at most about"], name=True),
            Column("", [text.size(size) for size in (*sizes, run.memory_bytes)]),
            Column("for", [*(part.why for part in run.memory), ""], name=True, style="dim"),
        ],
        page,
    )
    yield Text("")
    yield from labelled(_metrics(run))


def _weights(run: Run) -> str:
    """How the teachers of an ensemble are weighed; nothing for another strategy."""
    weights = run.teacher_weights
    if weights is None or isinstance(weights, str):
        return weights or ""
    return ", ".join(text.weight(weight) for weight in weights)


def _layers(run: Run, page: Page) -> Iterator[RenderableType]:
    layers = run.layers
    if not layers:
        return
    terms = [one.term or "hidden" for one in layers]
    several = len(set(terms)) > 1
    yield Text("")
    yield from grid(
        [
            *([Column("term", [text.escape(term) for term in terms])] if several else []),
            Column("student\nlayer", [str(one.student) for one in layers]),
            Column("teacher\nlayer", [str(one.teacher) for one in layers]),
            Column("weight", text.shares(one.weight for one in layers)),
            Column("student\nwidth", [str(one.student_width) for one in layers]),
            Column("teacher\nwidth", [str(one.teacher_width) for one in layers]),
            Column(
                "projection",
                [text.escape(one.projection or "") for one in layers],
                name=True,
            ),
        ],
        page,
        keys=2 + several,
    )


def _how(run: Run) -> str:
    """`899 rows of 10 classes in 8 batches of 128, cpu, kernel numpy, float32, 2 threads`."""
    first, stop = run.row_range
    part = f"rows {first}:{stop} of {run.rows_stored:,}, " if run.rows < run.rows_stored else ""
    classes = f" of {text.count(run.classes, 'class')}" if run.classes is not None else ""
    batches = f"{text.count(run.batches, 'batch')} of {run.batch_size:,}"
    where = f"{run.device}, kernel {run.kernel}, {run.precision}"
    threads = text.count(run.threads, "thread")
    return f"{part}{text.count(run.rows, 'row')}{classes} in {batches}, {where}, {threads}"


def _metrics(run: Run) -> list[tuple[str, str]]:
    missing = by_reason(run.unavailable)
    return [
        ("metrics", ", ".join(run.metrics)),
        *(("left out", text.escape(f"{', '.join(names)}: {why}")) for why, names in missing),
        ("conventions", text.escape(run.conventions)),
    ]


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every value in force under its dotted key, as `--set` takes it."""
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and not _is_source(value):
            yield from _flat(value, f"{name}.")
        else:
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield name, text.escape(shown)


def _is_source(value: Mapping[str, Any]) -> bool:
    return "path" in value
