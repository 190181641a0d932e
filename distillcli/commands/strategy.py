"""Where a command's config comes from: a file, or flags that stand in for one."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from distillcli.config import Catalogue, Config, Setting, from_data, load, parse_value
from distillcli.errors import UsageError
from distillcli.losses import FEATURE_LOSSES, LOGIT_LOSSES
from distillcli.metrics import METRICS

CATALOGUE = Catalogue(LOGIT_LOSSES, FEATURE_LOSSES, tuple(METRICS))

_KEYS = {
    "--teacher": "teacher",
    "--student": "student",
    "--labels": "labels",
    "--temperature": "response.soft_loss.temperature",
    "--alpha": "response.alpha",
}
_NUMBERS = ("--temperature", "--alpha")


def from_file(path: Path, settings: Sequence[Setting] = ()) -> Config:
    """The config in a YAML file, with settings laid over it."""
    return load(path, catalogue=CATALOGUE, settings=settings)


def from_flags(flags: Mapping[str, str], settings: Sequence[Setting] = ()) -> Config:
    """The response strategy on the sources that flags name, relative to the current folder.

    Raises:
        UsageError: no teacher or no student.
    """
    for flag in ("--teacher", "--student"):
        if flag not in flags:
            raise UsageError(
                flag if flags else "distill score",
                "is missing" if flags else "nothing to score",
                "give a config, or --teacher FILE --student FILE [--labels FILE]",
            )
    own = [Setting(flag, _KEYS[flag], _value(flag, text)) for flag, text in flags.items()]
    return from_data(
        {"strategy": "response"},
        base=Path.cwd(),
        catalogue=CATALOGUE,
        where="command line",
        settings=[*own, *settings],
    )


def _value(flag: str, text: str) -> object:
    return parse_value(text, where=flag) if flag in _NUMBERS else text
