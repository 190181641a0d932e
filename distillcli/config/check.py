"""The block `check:`, and `--fail-on`: how far each number of a result may move."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from distillcli.config.catalogue import Catalogue
from distillcli.config.choice import given_or
from distillcli.config.models import CheckSection, ToleranceSection
from distillcli.config.settings import Problems
from distillcli.config.text import nearest, shown
from distillcli.config.tolerance import ABS, REL, Check, Tolerance
from distillcli.config.tree import Path
from distillcli.errors import UsageError

LOSS_NAMES = ("loss", "soft", "hard", "hidden")  # the total and the terms; the rest are metrics

_NUMBER = re.compile(r"(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?")


def check_block(
    problems: Problems,
    catalogue: Catalogue,
    written: CheckSection | None,
    terms: Sequence[str] = (),
) -> Check:
    """The block as it is in force; entries that name no number are noted as mistakes.

    Args:
        terms: the names of the terms in `losses`.
    """
    if written is None:
        return Check()
    known = (*LOSS_NAMES, *terms, *catalogue.metrics)
    for name in written.metrics or {}:
        _check_name(problems, ("check", "metrics", name), name, known)
    default = written.default or ToleranceSection()
    return Check(
        mode=written.mode or "drift",  # type: ignore[arg-type]  # Choice has checked it
        default=Tolerance(given_or(default.rel, REL), given_or(default.abs, ABS)),
        tolerances=tuple(
            (name, Tolerance(given_or(one.rel, 0.0), given_or(one.abs, 0.0)))
            for name, one in (written.metrics or {}).items()
        ),
        significant=bool(written.significant),
    )


def _check_name(problems: Problems, path: Path, name: str, known: Sequence[str]) -> None:
    if not _names_any(name, known):
        problems.add(path, *_unknown(name, known))


def _names_any(pattern: str, known: Iterable[str]) -> bool:
    return any(pattern == name or fnmatchcase(name, pattern) for name in known)


def _unknown(name: str, known: Sequence[str]) -> tuple[str, str]:
    close = nearest(name, known)
    hint = f"did you mean {close}?" if close else f"the numbers are {', '.join(known)}"
    return f"{shown(name)} names no number of a result", hint


def fail_on(
    texts: Sequence[str],
    *,
    metrics: Sequence[str],
    terms: Sequence[str] = (),
    where: str = "--fail-on",
) -> tuple[tuple[str, Tolerance], ...]:
    """`name:5%` and `name:0.001` as tolerances; a name may be a pattern like `*_accuracy`.

    Args:
        metrics, terms: the numbers there may be, beside the loss and the strategies' own terms.

    Raises:
        UsageError: not of that form, or no such number.
    """
    return tuple(_fail_on(text, (*LOSS_NAMES, *terms, *metrics), where) for text in texts)


def _fail_on(text: str, known: Sequence[str], where: str) -> tuple[str, Tolerance]:
    name, _, limit = (part.strip() for part in text.rpartition(":"))
    place = f"{where} {shown(text, quote=False)}"
    number = limit.removesuffix("%").strip()
    example = "write a name and a limit, like loss:5% or student_accuracy:0.001"
    if not name:
        raise UsageError(place, "is not a name, a colon and a limit", example)
    if not _NUMBER.fullmatch(number) or float(number) == float("inf"):
        raise UsageError(place, f"{shown(limit)} is not a limit of at least 0", example)
    if not _names_any(name, known):
        raise UsageError(place, *_unknown(name, known))
    if limit.endswith("%"):
        return name, Tolerance(rel=float(number) / 100)
    return name, Tolerance(abs=float(number))


def demanding(check: Check, demanded: Sequence[tuple[str, Tolerance]]) -> Check:
    """The check with the demands of a command line, which beat those of its block."""
    return replace(check, demanded=tuple(demanded))


def as_data(check: Check) -> Mapping[str, object]:
    """The check in the form of its block, JSON-ready, with the demands among the entries."""
    entries = [*check.tolerances, *check.demanded]
    return {
        "mode": check.mode,
        "default": {"rel": check.default.rel, "abs": check.default.abs},
        "metrics": {name: {"rel": one.rel, "abs": one.abs} for name, one in entries},
        "significant": check.significant,
    }
