"""What is in stored files, for people: a table a file, and what is to be known beside it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, TextIO

from rich.console import RenderableType
from rich.text import Text

from distillcli.inspecting.inspection import ArrayFound, FileFound, Inspection, LayersFound
from distillcli.report import text
from distillcli.report.grid import Column, grid
from distillcli.report.lines import labelled
from distillcli.report.page import Page
from distillcli.result import json_text

_SCORES = ("logits", "probabilities", "log_probabilities")
_SHORT = 40  # characters of an attribute of a file that is still shown
_LABEL = 10  # columns of a label
# Attributes that say what the numbers are come first.
_KNOWN = ("kind", "temperature", "classes", "top_k", "combine", "weights_rule")
_LINES = 40  # of one label
_SHOWN = 8  # attributes of an array or file
_FORMATS = {"safetensors": "safetensors", "llama.cpp": "base logits of llama.cpp"}
_LOOKS = {
    "log_probabilities": "log-probabilities",
    "float8": "float8?",
    "hidden_states": "hidden states",
    "token_ids": "token ids",
    "top_k_values": "top-k values",
    "top_k_indices": "top-k indices",
}


def write_inspection(
    found: Inspection,
    stream: TextIO,
    *,
    format: str = "table",
    color: bool | None = None,
    width: int | None = None,
) -> None:
    """Write what an inspection has found; the errors in it have no place in the tables.

    Args:
        format: "table" or "json".
        stream, color, width: see `distillcli.report.render`.
    """
    if format == "json":
        stream.write(json_text(found.as_dict()))
        return
    page = Page.of(stream, color=color, width=width)
    unbroken = Page(None, page.color, page.encoding)
    stream.write(page.text(inspection(found, page)) + unbroken.text(_use(found)))


def inspection(found: Inspection, page: Page) -> Iterator[RenderableType]:
    """The parts of the report, each separated from the next by an empty line."""
    first = True
    for _, group in groupby(
        (file for file in found.files if file.error is None), key=_goes_with_others
    ):
        files = list(group)
        for part in [files] if _goes_with_others(files[0]) else [[file] for file in files]:
            if not first:
                yield Text("")
            first = False
            yield from _part(part, page)
    last = list(labelled(_shards(found, page), least=_LABEL))
    if last and not first:
        yield Text("")
        yield from last


def _use(found: Inspection) -> Iterator[RenderableType]:
    """How to go on; one line each, so that a terminal breaks it and it can be copied."""
    if found.use:
        yield Text("")
    for label, line in _under("use", found.use):
        yield Text.assemble((f"{label:<{_LABEL}}  ", "dim"), text.escape(line))


def _goes_with_others(file: FileFound) -> bool:
    """Files that hold one array by their nature share a table."""
    return [array.name for array in file.arrays] == [None]


def _part(files: Sequence[FileFound], page: Page) -> Iterator[RenderableType]:
    """The table of one file, or of several that hold one array each."""
    arrays = [(file, array) for file in files for array in file.arrays]
    yield _head(files)
    if arrays:
        yield from grid(_columns(arrays, page), page)
        yield Text("")
    yield from labelled(list(_remarks(files, arrays)), least=_LABEL)


def _head(files: Sequence[FileFound]) -> Text:
    (first, *others) = files
    size = text.size(sum(file.size or 0 for file in files))
    if others:
        kind = f"{len(files):,} files, {_format(first)}"
        return Text(f"{kind}, {size}", style="bold")
    count = text.count(len(first.arrays), "dataset")
    what = f"{size}" if _goes_with_others(first) else f"{size}, {count}"
    return Text(f"{text.escape(first.path)}: {_format(first)}, {what}", style="bold")


def _format(file: FileFound) -> str:
    """The name of a format as people write it."""
    return _FORMATS.get(file.format or "", (file.format or "").upper())


Arrays = Sequence[tuple[FileFound, ArrayFound]]
Line = tuple[str | Text, str]


def _columns(arrays: Arrays, page: Page) -> list[Column]:
    named = arrays[0][1].name is not None
    found = [array for _, array in arrays]
    names = [text.escape(file.path if array.name is None else array.name) for file, array in arrays]
    columns = [
        Column("dataset" if named else "file", names, name=True),
        Column("shape", [_shape(array.shape, page) for array in found], name=True),
        Column("type", [_type(array) for array in found], name=True),
        Column("looks like", [_looks(array) for array in found], name=True, style="bold"),
        *_figures(found),
        *_masses(found),
        Column("layout", [_layout(*each, page) for each in arrays], name=True),
        Column("size", [_size(array.logical) for array in found]),
    ]
    if any(array.stored != array.logical for array in found):
        columns.append(Column("stored", [_size(array.stored) for array in found]))
    return columns


def _shape(shape: Sequence[int] | None, page: Page) -> str:
    if shape is None:
        return ""
    return text.tied(f" {page.times} ".join(map(str, shape))) if shape else "scalar"


def _type(array: ArrayFound) -> str:
    order = " big-endian" if array.big_endian else ""
    return text.escape(f"{array.type or ''}{order}")


def _looks(array: ArrayFound) -> str:
    if array.refusal is not None:
        return "refused"
    layers = f", {text.count(array.layers, 'layer')}" if array.layers else ""
    return f"{_LOOKS.get(array.looks or '', array.looks or '')}{layers}"


def _layout(file: FileFound, array: ArrayFound, page: Page) -> str:
    if array.layout is None:
        return ""
    shows_order = array.rank > 1 and file.format in ("npy", "npz")  # the others know one alone
    kind = "one stream" if array.layout == "stream" else array.layout
    shape = f" {_shape(array.chunk, page)}" if array.chunk else ""
    order = f", {'Fortran' if array.fortran else 'C'} order" if shows_order else ""
    packed = f", {' '.join(map(text.escape, array.filters))}" if array.filters else ""
    return f"{kind}{shape}{order}{packed}"


def _size(number: int | None) -> str:
    return "" if number is None else text.size(number)


def _figures(found: Sequence[ArrayFound]) -> Iterator[Column]:
    """What the samples come to; a column that says nothing is left out."""
    samples = [array.sample for array in found]
    if not any(samples):
        return
    yield Column("lowest", [_number(each.low if each else None) for each in samples])
    yield Column("highest", [_number(each.high if each else None) for each in samples])
    for heading, key in (("NaN", "nan"), ("+inf", "inf"), ("-inf", "neg_inf")):
        counts = [getattr(each, key, 0) for each in samples]
        if any(counts):
            cells = [f"{count:,}" if count else "" for count in counts]
            yield Column(heading, cells, style="bold red")
    if any(each and each.distinct is not None for each in samples):
        yield Column("distinct", [_count(each.distinct if each else None) for each in samples])
    if any(array.looks in _SCORES for array in found):
        yield Column("rows sum\nto 1", [_sums_to_one(array) for array in found])
    if any(each and each.rows < each.of for each in samples):
        yield Column("rows\nlooked at", [_count(each.rows if each else None) for each in samples])


def _masses(found: Sequence[ArrayFound]) -> Iterator[Column]:
    """How much of the probability those hold that have a part of the classes."""
    if any(array.mass is not None for array in found):
        cells = ["" if array.mass is None else f"{array.mass:.4f}" for array in found]
        yield Column("mass\nheld", cells)


def _number(value: float | int | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value + 0.0:.6g}"


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _sums_to_one(array: ArrayFound) -> str:
    """Told of scores alone: for others it means nothing."""
    if array.sample is None or array.sample.sums_to_one is None or array.looks not in _SCORES:
        return ""
    return "yes" if array.sample.sums_to_one else "no"


def _remarks(files: Sequence[FileFound], arrays: Arrays) -> Iterator[Line]:
    """What the table has no place for."""
    groups = [group for file in files for group in file.layers]
    yield from _under("layers", (_layer_group(group) for group in groups))
    remarks = (_about(*each, each[1].remark) for each in arrays if each[1].remark)
    yield from _under("remark", remarks)
    yield from _under("attributes", _attributes(files, arrays))
    refused = (_about(*each, str(each[1].refusal)) for each in arrays if each[1].refusal)
    yield from _under(Text("refused", "bold yellow not dim"), refused)
    yield "sample", _sample([array for _, array in arrays])


def _under(label: str | Text, lines: Iterable[str]) -> Iterator[Line]:
    """Lines of one kind, with the label before the first, and so many at most."""
    told = list(lines)
    for index, line in enumerate(told[:_LINES]):
        yield ("" if index else label), line
    if len(told) > _LINES:
        yield "", f"and {len(told) - _LINES:,} more; --format json tells all"


def _layer_group(group: LayersFound) -> str:
    widths = ", ".join(map(str, dict.fromkeys(group.widths)))
    return f"{text.escape(group.source)}: {text.count(group.layers, 'layer')} of width {widths}"


def _about(file: FileFound, array: ArrayFound, remark: str | None) -> str:
    return f"{text.escape(array.name or file.path)}: {text.escape(remark or '')}"


def _attributes(files: Sequence[FileFound], arrays: Arrays) -> Iterator[str]:
    """Of datasets all of them, of files the short ones."""
    for file in files:
        short = {key: value for key, value in file.attributes.items() if len(str(value)) <= _SHORT}
        if short:
            yield f"{text.escape(file.path)}: {_pairs(short)}"
    for file, array in arrays:
        if array.attributes:
            yield _about(file, array, _pairs(array.attributes))


def _pairs(attributes: Mapping[str, Any]) -> str:
    known = [name for name in _KNOWN if name in attributes]
    names = [*known, *(name for name in attributes if name not in known)]
    shown = [(name, attributes[name]) for name in names[:_SHOWN]]
    more = f", and {len(attributes) - _SHOWN} more" if len(attributes) > _SHOWN else ""
    return ", ".join(text.escape(f"{key} {value}") for key, value in shown) + more


def _sample(found: Sequence[ArrayFound]) -> str:
    """How much was looked at, whether all of it is finite, and what was left out."""
    samples = [array.sample for array in found if array.sample is not None]
    left = sum(array.sample is None and array.refusal is None for array in found)
    finite = not any(each.nan or each.inf or each.neg_inf for each in samples)
    whole = all(each.rows == each.of for each in samples)
    extent = "every row" if whole else "some rows from the beginning, middle and end"
    return "; ".join(
        part
        for part in (
            f"{extent}{', no NaN and no infinity' if finite else ''}" if samples else "",
            f"{text.count(left, 'array')} not looked into: a row takes too much" if left else "",
        )
        if part
    )


def _shards(found: Inspection, page: Page) -> list[tuple[str | Text, str]]:
    return [
        (
            (
                "shards",
                f"{text.escape(each.source)}: {each.files:,} files, joined "
                f"{_shape(each.shape, page)} {text.escape(each.type or '')}",
            )
            if each.problem is None
            else (
                Text("shards", "bold yellow not dim"),
                f"{text.escape(each.source)} cannot be joined: {text.escape(each.problem)}",
            )
        )
        for each in found.shards
    ]
