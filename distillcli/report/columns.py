"""The tables of a result as columns of text, the same for every form of report."""

from collections.abc import Sequence
from dataclasses import replace

from distillcli.report import text
from distillcli.report.grid import Column
from distillcli.result import BatchResult, GroupResult, Number, Result, WorstRow

# The metrics that have a column where parts of a run are told, and its heading.
_METRICS = {
    "top1_agreement": "top-1\nagreement",
    "student_accuracy": "student\naccuracy",
}


def batches(result: Result, shown: Sequence[BatchResult]) -> list[Column]:
    """One line per batch; of one without rows that count, that there are none."""
    figures = [
        Column("loss", text.losses(batch.loss for batch in shown), style="bold"),
        *(
            Column(text.escape(term), text.losses(batch.terms.get(term) for batch in shown))
            for term in result.terms
        ),
        *_metrics(shown),
    ]
    return [
        Column("batch", [str(batch.index) for batch in shown]),
        Column("rows", [f"{batch.start}:{batch.stop}" for batch in shown]),
        *(_where_counted(column, shown) for column in figures),
    ]


def _where_counted(column: Column, shown: Sequence[BatchResult]) -> Column:
    none = "no rows" if column.heading == "loss" else ""
    cells = zip(column.cells, shown, strict=True)
    return replace(column, cells=[cell if batch.counted else none for cell, batch in cells])


def _metrics(parts: Sequence[BatchResult] | Sequence[GroupResult]) -> list[Column]:
    names = [name for name in _METRICS if any(name in part.metrics for part in parts)]
    return [
        Column(_METRICS[name], text.shares(part.metrics.get(name) for part in parts))
        for name in names
    ]


def groups(result: Result, shown: Sequence[GroupResult]) -> list[Column]:
    """One line per group."""
    columns = [
        Column("group", [str(group.group) for group in shown]),
        Column("rows", [f"{group.rows:,}" for group in shown]),
        Column("loss", text.losses(group.loss for group in shown), style="bold"),
        *_metrics(shown),
    ]
    if any("kl_mean" in group.metrics for group in shown):
        values = text.metrics(group.metrics.get("kl_mean") for group in shown)
        columns.append(Column(divergence(result), values))
    return columns


def divergence(result: Result) -> str:
    """`KL, T=4`: the KL metrics by the temperature they are taken at."""
    temperature = result.facts.get("temperature")
    return "KL" if temperature is None else f"KL, T={text.weight(temperature)}"


def worst(result: Result, shown: Sequence[WorstRow]) -> list[Column]:
    """One line per row, with the top class of each side and its probability."""
    teacher = "blend" if result.strategy == "ensemble" else "teacher"
    columns = [
        Column("worst\nrow", [str(row.row) for row in shown]),
        Column("loss", text.losses(row.loss for row in shown), style="bold"),
        _wholes("label", [row.label for row in shown]),
        _wholes("student\nclass", [row.student_class for row in shown]),
        _shares("student\nprob.", [row.student_probability for row in shown]),
        _wholes(f"{teacher}\nclass", [row.teacher_class for row in shown]),
        _shares(f"{teacher}\nprob.", [row.teacher_probability for row in shown]),
    ]
    return [column for column in columns if column is not None]


def _wholes(heading: str, values: Sequence[int | None]) -> Column | None:
    known = [str(value) for value in values if value is not None]
    return Column(heading, known) if known else None


def _shares(heading: str, values: Sequence[Number]) -> Column | None:
    known = [value for value in values if value is not None]
    return Column(heading, text.shares(known)) if known else None


def layers(result: Result) -> list[Column]:
    """One line per pair of layers."""
    found = result.layers or ()
    terms = [layer.term or "hidden" for layer in found]
    several = len(set(terms)) > 1
    return [
        *([Column("term", [text.escape(term) for term in terms])] if several else []),
        Column("student\nlayer", [str(layer.student) for layer in found]),
        Column("teacher\nlayer", [str(layer.teacher) for layer in found]),
        Column("weight", text.shares(layer.weight for layer in found)),
        Column("loss", text.losses(layer.loss for layer in found), style="bold"),
        *(
            Column(heading, text.shares(getattr(layer, name) for layer in found))
            for name, heading in (("cka", "CKA"), ("cka_unbiased", "CKA\nunbiased"))
            if any(getattr(layer, name) is not None for layer in found)
        ),
    ]


def teachers(result: Result) -> list[Column]:
    """One line per teacher of an ensemble."""
    found = result.teachers or ()
    columns = [
        Column("teacher", [str(index) for index in range(len(found))]),
        Column("weight", text.shares(teacher.weight for teacher in found), style="bold"),
    ]
    if any(teacher.accuracy is not None or teacher.nll is not None for teacher in found):
        columns.append(Column("accuracy", text.shares(each.accuracy for each in found)))
        columns.append(Column("nll", text.metrics(each.nll for each in found)))
    columns.append(Column("source", [text.escape(each.source) for each in found], name=True))
    return columns
