"""From a file, or from data, to a checked config."""

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

from distillcli.config.assembly import assemble
from distillcli.config.catalogue import Catalogue
from distillcli.config.config import Config
from distillcli.config.explain import read
from distillcli.config.models import FORMS, OWNERS, STRATEGIES, WrittenConfig
from distillcli.config.settings import Origins, Problems, Setting, overlay
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
    merged = overlay(data, problems, FORMS)
    _check_owners(merged, problems)
    written = read(merged, problems, catalogue)
    _check_required(written, problems, require_student)
    config = assemble(written, problems, catalogue)
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
