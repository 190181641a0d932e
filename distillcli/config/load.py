"""From a file, or from data, to a checked config."""

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

from distillcli.config import build
from distillcli.config.check import check_block
from distillcli.config.choice import TEMPERATURE
from distillcli.config.config import IGNORE_INDEX, Catalogue, Config, Counting, Vocabulary
from distillcli.config.explain import read
from distillcli.config.models import (
    OWNERS,
    STRATEGIES,
    EnsembleSection,
    ProgressiveSection,
    ResponseSection,
    VocabularySection,
    WrittenConfig,
)
from distillcli.config.settings import Origins, Problems, Setting, overlay
from distillcli.config.sources import Source, SourceReader
from distillcli.config.terms import (
    Around,
    check_batches,
    check_layers,
    check_terms,
    loss_terms,
)
from distillcli.config.text import escaped, nearest, shown
from distillcli.config.tree import MAX_BYTES, parse
from distillcli.errors import ConfigError, MissingError

_REQUIRED = {
    "response": ("teacher", "student"),
    "progressive": ("teacher_hidden", "student_hidden"),
    "ensemble": ("teachers", "student"),
}
_STARTS = "a config starts with a line like strategy: response, with a space after the colon"


def load(
    path: FilePath,
    *,
    catalogue: Catalogue,
    settings: Sequence[Setting] = (),
    require_student: bool = True,
) -> Config:
    """Read and check a config file.

    Args:
        path: a YAML file of at most 16 KiB; relative paths in it start from its folder.
        catalogue: the losses and metrics that there are.
        settings: laid over the file, the later ones over the earlier ones.
        require_student: whether an ensemble needs a student.

    Raises: ConfigErrors: all mistakes at once. ConfigError: the file cannot be read as YAML.
        MissingError: there is no such file.
    """
    label = escaped(str(path))
    tree = parse(_text(path, label), label)
    if tree.data is None:
        raise ConfigError(label, "is empty", _STARTS)
    if not isinstance(tree.data, dict):
        place = ":".join(map(str, (label, *tree.marks[()])))
        problem = f"must be a mapping of keys to values, not {shown(tree.data)}"
        raise ConfigError(place, problem, _STARTS)
    origins = Origins(label, FilePath(os.path.abspath(path)).parent, tree.marks, settings)
    problems = Problems(origins)
    for key, line in tree.twice.items():
        problems.add(key, f"is given twice, first on line {line}", "keep one of them")
    return _config(tree.data, problems, catalogue, require_student)


def from_data(
    data: Mapping[str, Any],
    *,
    base: FilePath,
    catalogue: Catalogue,
    where: str,
    settings: Sequence[Setting] = (),
    require_student: bool = True,
) -> Config:
    """Check a config that is already plain data; `where` names it in messages.

    Raises: ConfigErrors: all mistakes at once.
    """
    origins = Origins(where, FilePath(os.path.abspath(base)), {}, settings)
    return _config(data, Problems(origins), catalogue, require_student)


def _text(path: FilePath, label: str) -> str:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            what = "a folder" if path.is_dir() else "not a regular file"
            raise ConfigError(label, f"is {what}", "give the path of a YAML file")
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise MissingError(label, "no such file", _neighbours(path)) from None
    except PermissionError:
        raise ConfigError(label, "permission denied") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(label, f"cannot be read: {reason}") from None
    return _decoded(data, label)


def _decoded(data: bytes, label: str) -> str:
    if len(data) > MAX_BYTES:
        hint = "a config is a short YAML file"
        raise ConfigError(label, f"is larger than {MAX_BYTES // 1024} KiB", hint)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise ConfigError(f"{label}:{line}:{column}", "is not UTF-8 text") from None
    return text


def _neighbours(path: FilePath) -> str | None:
    """The files beside a missing one that may have been meant."""
    folder = path.parent
    try:
        names = sorted(one.name for one in folder.iterdir() if one.suffix in (".yaml", ".yml"))
    except OSError:
        return f"there is no folder {escaped(str(folder))}"
    if close := nearest(path.name, names):
        return f"did you mean {escaped(str(folder / close))}?"
    shortlist = ", ".join(escaped(name) for name in names[:8])
    return f"there are {shortlist}" if names else None


def _config(
    data: Mapping[str, Any], problems: Problems, catalogue: Catalogue, require_student: bool
) -> Config:
    merged = overlay(data, problems)
    _check_owners(merged, problems)
    written = read(merged, problems, catalogue)
    _check_required(written, problems, require_student)
    config = _assemble(written, problems, catalogue)
    problems.check()
    return config


def _check_owners(data: Mapping[str, Any], problems: Problems) -> None:
    """Nothing that belongs to another strategy is there."""
    strategy = data.get("strategy")
    if strategy not in STRATEGIES:
        return
    for key, owners in OWNERS.items():
        if data.get(key) is not None and strategy not in owners:
            problem = f"belongs to strategy {' or '.join(owners)}, and the strategy is {strategy}"
            problems.add((key,), problem, _instead(key, strategy))


def _check_required(written: WrittenConfig, problems: Problems, require_student: bool) -> None:
    """The strategy is there, and its inputs are."""
    if written.strategy is None:
        if not problems.touch(("strategy",)):
            problems.add(("strategy",), "is missing", f"one of: {', '.join(STRATEGIES)}")
        return
    for key in _required(written, require_student):
        if getattr(written, key) is None and not problems.touch((key,)):
            problems.add((key,), f"is missing: strategy {written.strategy} needs it")


def _required(written: WrittenConfig, require_student: bool) -> list[str]:
    strategy = str(written.strategy)
    keys = list(_REQUIRED[strategy])
    if strategy == "progressive" and written.response is not None:
        keys += ["teacher", "student"]
    if strategy == "ensemble" and not require_student:
        keys.remove("student")
    return keys


def _instead(key: str, strategy: str) -> str:
    others = {("teacher", "ensemble"): "teachers", ("teachers", "response"): "teacher"}
    if other := others.get((key, strategy)):
        return f"this strategy has {other}"
    return "take it out, or change the strategy"


def _assemble(written: WrittenConfig, problems: Problems, catalogue: Catalogue) -> Config:
    reader = SourceReader(problems)
    labels = written.labels is not None or problems.touch(("labels",))
    listed = loss_terms(problems, catalogue, written.losses or (), _around(written, labels))
    on = frozenset(term.on for term in listed)
    builder = build.Builder(problems, reader, catalogue, labels, on)
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
    check_layers(problems, catalogue, terms)
    return config


def _around(written: WrittenConfig, labels: bool) -> Around:
    blended = written.ensemble.temperature if written.ensemble is not None else None
    return Around(
        strategy=str(written.strategy),
        logits=bool(written.teacher and written.student) or written.strategy == "ensemble",
        labels=labels,
        temperature=TEMPERATURE if blended is None else blended,
    )


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
