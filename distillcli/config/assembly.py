"""From a config as it is written to its values, with the defaults filled in."""

from typing import Any

from distillcli.config import build
from distillcli.config.catalogue import Catalogue
from distillcli.config.check import check_block
from distillcli.config.choice import TEMPERATURE
from distillcli.config.config import Config
from distillcli.config.models import (
    EnsembleSection,
    ProgressiveSection,
    ResponseSection,
    VocabularySection,
    WrittenConfig,
)
from distillcli.config.sections import IGNORE_INDEX, Counting, Vocabulary
from distillcli.config.settings import Problems
from distillcli.config.sources import Source, SourceReader
from distillcli.config.terms import (
    Around,
    check_batches,
    check_terms,
    loss_terms,
)
from distillcli.config.text import nearest, shown


def assemble(written: WrittenConfig, problems: Problems, catalogue: Catalogue) -> Config:
    """The config; its mistakes are added to `problems`."""
    reader = SourceReader(problems)
    labels = written.labels is not None or problems.touch(("labels",))
    listed = loss_terms(problems, catalogue, written.losses or (), _around(written, labels))
    on = frozenset(term.on for term in listed)
    mapped = all(term.layer_mapping for term in listed if term.on == "hidden")
    builder = build.Builder(problems, reader, catalogue, labels, on, mapped)
    teachers = written.teachers or ()
    hidden = written.teacher_hidden, written.student_hidden
    config = Config(
        strategy=str(written.strategy),
        teacher=reader.source(written.teacher, ("teacher",)) if written.teacher else None,
        teachers=tuple(reader.source(one, ("teachers", i)) for i, one in enumerate(teachers)),
        student=reader.source(written.student, ("student",)) if written.student else None,
        labels=(
            reader.source(written.labels, ("labels",), scores=False) if written.labels else None
        ),
        teacher_tokens=_tokens("teacher", written, reader),
        student_tokens=_tokens("student", written, reader),
        teacher_hidden=reader.layers(hidden[0], ("teacher_hidden",)) if hidden[0] else None,
        student_hidden=reader.layers(hidden[1], ("student_hidden",)) if hidden[1] else None,
        batch_size=written.batch_size or "auto",
        threads=written.threads or "auto",
        device=written.device or "auto",
        kernel=written.kernel or "auto",
        precision=written.precision or "auto",
        metrics=_metrics(written.metrics, catalogue, problems),
        on_bad_rows=written.on_bad_rows or "error",
        groups=_groups(written, reader, labels),
        counting=_counting(written, reader, labels),
        vocabulary=_vocabulary(written, reader),
        tail=written.tail or "bucket",
        response=_response(written, builder),
        progressive=_progressive(written, builder),
        ensemble=_ensemble(written, builder),
        losses=listed,
        origins=problems.origins,
        check=check_block(problems, catalogue, written.check, [term.name for term in listed]),
    )
    terms = config.terms()
    if listed:
        check_terms(problems, catalogue, terms)
    check_batches(problems, catalogue, terms, config.batch_size)
    return config


def _around(written: WrittenConfig, labels: bool) -> Around:
    return Around(
        strategy=str(written.strategy),
        logits=bool(written.teacher and written.student) or written.strategy == "ensemble",
        labels=labels,
        temperature=_temperature(written),
    )


def _temperature(written: WrittenConfig) -> float:
    """That of the strategy's own keys, which entries of `losses` without one share."""
    found: Any = None
    if written.ensemble is not None:
        found = written.ensemble.temperature
    elif written.response is not None:
        found = (written.response.soft_loss or {}).get("temperature")
    # What is no number has its own message.
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    return float(found) if is_number else TEMPERATURE


def _groups(written: WrittenConfig, reader: SourceReader, labels: bool) -> Any:
    if written.groups is None:
        return None
    if written.groups != "labels":
        return reader.source(written.groups, ("groups",), scores=False)
    if not labels:
        hint = "add labels: FILE, or name a source with one integer per row"
        reader.problems.add(("groups",), "are to be the labels, and there are none", hint)
    return "labels"


def _tokens(side: str, written: WrittenConfig, reader: SourceReader) -> Source | None:
    key = f"{side}_tokens"
    source = getattr(written, key)
    if source is None:
        return None
    other = "student_tokens" if side == "teacher" else "teacher_tokens"
    if getattr(written, other) is None and not reader.problems.touch((other,)):
        problem = f"are to be compared with {other}, and there are none"
        reader.problems.add((key,), problem, f"add {other}: FILE, or leave both out")
    return reader.source(source, (key,), scores=False)


def _counting(written: WrittenConfig, reader: SourceReader, labels: bool) -> Counting:
    for key in ("ignore_index", "shift_labels"):
        if getattr(written, key) not in (None, False) and not labels:
            reader.problems.add((key,), "is about labels, and there are none", "add labels: FILE")
    ignored = written.ignore_index
    return Counting(
        mask=reader.source(written.mask, ("mask",), scores=False) if written.mask else None,
        ignore_index=(
            IGNORE_INDEX if ignored is None else ignored if isinstance(ignored, int) else None
        ),
        shift_labels=bool(written.shift_labels),
        skip_first=(written.positions and written.positions.skip_first) or 0,
    )


def _vocabulary(written: WrittenConfig, reader: SourceReader) -> Vocabulary:
    rule, path = written.vocabulary, ("vocabulary", "map")
    if not isinstance(rule, VocabularySection):
        return Vocabulary("common" if rule == "common" else "error")
    if rule.map is None:
        if not reader.problems.touch(("vocabulary",)):
            reader.problems.add(("vocabulary",), "has no map", "write {map: ids.npy}, or common")
        return Vocabulary()
    if written.strategy == "ensemble":
        problem = "pairs the classes of one teacher, and an ensemble has several"
        reader.problems.add(path, problem, "use common, or bring the dumps to one vocabulary")
    return Vocabulary("map", reader.source(rule.map, path, scores=False))


def _metrics(written: Any, catalogue: Catalogue, problems: Problems) -> Any:
    if not isinstance(written, list):
        return () if written == "none" else "all"
    for index, name in enumerate(written):
        path = ("metrics", index)
        if name not in (*catalogue.metrics, "all"):
            close = nearest(name, catalogue.metrics)
            hint = f"did you mean {close}?" if close else f"one of: {', '.join(catalogue.metrics)}"
            problems.add(path, f"{shown(name)} is not a metric", hint)
        elif name in written[:index]:
            problems.add(path, f"{shown(name)} is named twice")
    return tuple(written)


def _response(written: WrittenConfig, builder: build.Builder) -> Any:
    if written.response is not None:
        return build.response(builder, written.response)
    if written.strategy != "response" or builder.problems.touch(("response",)):
        return None
    if written.losses is not None:
        return None
    return build.response(builder, ResponseSection())


def _progressive(written: WrittenConfig, builder: build.Builder) -> Any:
    if written.strategy != "progressive" and written.progressive is None:
        return None
    section = written.progressive or ProgressiveSection()
    return build.progressive(builder, section, responds=written.response is not None)


def _ensemble(written: WrittenConfig, builder: build.Builder) -> Any:
    if written.strategy != "ensemble" and written.ensemble is None:
        return None
    section = written.ensemble or EnsembleSection()
    return build.ensemble(builder, section, teachers=len(written.teachers or ()))
