"""Where a command's config comes from: a file, or flags that stand in for one."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from distillcli.checking.saved import read_result
from distillcli.config import Catalogue, Config, Setting, from_data, load, parse_value
from distillcli.errors import FormatError, UsageError
from distillcli.losses import LABEL_LOSSES, LAYER_LOSSES, SCORE_LOSSES
from distillcli.metrics import METRICS
from distillcli.result import part_taken

CATALOGUE = Catalogue(SCORE_LOSSES, LAYER_LOSSES, LABEL_LOSSES, tuple(METRICS))

_KEYS = {
    "--teacher": "teacher",
    "--student": "student",
    "--labels": "labels",
    "--temperature": "response.soft_loss.temperature",
    "--alpha": "response.alpha",
}
_NUMBERS = ("--temperature", "--alpha")


def from_file(
    path: Path, settings: Sequence[Setting] = (), *, require_student: bool = True
) -> Config:
    """The config in a YAML file, with settings laid over it."""
    return load(path, catalogue=CATALOGUE, settings=settings, require_student=require_student)


def from_result(
    path: Path, settings: Sequence[Setting] = (), *, note: Callable[[str], None], all_rows: bool
) -> Config:
    """The config that a saved result was made with, with settings laid over it.

    Relative paths start where they did: from the folder of that config as it is found from the
    current folder, which is the one that the result was made in.

    Args:
        path: the JSON of `score`.
        settings: laid over the config.
        note: told when the result is of a part of the rows, and all are to be scored.
        all_rows: whether all rows are to be scored.

    Raises:
        MissingError, FormatError: the file is not there, or no saved result.
        ConfigErrors: the config in it cannot be used.
    """
    where = f"--config-from {path}"
    facts = read_result(path, role="--config-from").facts
    if all_rows and (rows := part_taken(facts)):
        note(f"{path} is of rows {rows}, and all are scored; --rows {rows} scores the same")
    data, folder = facts.get("config"), facts.get("config_folder", ".")
    if not isinstance(data, dict) or not isinstance(folder, str) or "\0" in folder:
        raise FormatError(where, "does not say which config it was made with", "give the config")
    return from_data(
        data, base=Path.cwd() / folder, catalogue=CATALOGUE, where=where, settings=settings
    )


def from_flags(
    flags: Mapping[str, str], settings: Sequence[Setting] = (), *, weaker: Sequence[Setting] = ()
) -> Config:
    """The response strategy on the sources that flags name, relative to the current folder.

    Args:
        flags: text by flag.
        settings: laid over what the flags say.
        weaker: what the flags are laid over.

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
        settings=[*weaker, *own, *settings],
    )


def _value(flag: str, text: str) -> object:
    return parse_value(text, where=flag) if flag in _NUMBERS else text
