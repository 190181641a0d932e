"""`distill init`: a commented starter config, on the sample data or on files of the user's own."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from distillcli.config import parse_value
from distillcli.config.models import STRATEGIES
from distillcli.config.text import suggestion
from distillcli.errors import UsageError

SAMPLE = Path("sample_data", "digits.h5")
SCHEMA_FILE = "distill.schema.json"
COMMENTS = 37  # the column at which the templates' comments stand

# The inputs that a user can name, and for each strategy those that go together.
INPUTS = ("teacher", "student", "labels", "teacher_hidden", "student_hidden")
_NEEDED = {
    "response": ("teacher", "student"),
    "progressive": ("teacher_hidden", "student_hidden"),
    "ensemble": ("teacher",),
}
_TAKEN = {
    "response": ("teacher", "student", "labels"),
    "progressive": INPUTS,
    "ensemble": ("teacher", "student", "labels"),
}


def init(strategy: str, own: Mapping[str, Sequence[str]], *, folder: Path) -> str:
    """A commented config for a file in `folder`.

    Args:
        strategy: a name in STRATEGIES.
        own: the sources of the user's own inputs by their names in INPUTS, as they are to stand in
            the config; none for the sample data.
        folder: the paths to the sample data start from it.

    Raises:
        UsageError: no such strategy, or inputs that it does not have or cannot do without.
    """
    _check(strategy, own)
    text = files("distillcli").joinpath("templates", f"{strategy}.yaml").read_text("ascii")
    modeline, _, rest = text.partition("\n")
    template = Template(rest.splitlines())
    if own:
        _fill(template, strategy, own)
        config = template.text()
    else:
        up = sample_steps(folder)
        config = template.text().replace("../sample_data/", f"{'../' * (up or 0)}sample_data/")
    with_schema = (folder / SCHEMA_FILE).is_file()
    return f"{modeline}\n{config}" if with_schema else config


def sample_steps(folder: Path) -> int | None:
    """How many folders up the sample data lie; None where they are nowhere above."""
    for steps, above in enumerate((folder, *folder.parents)):
        if (above / SAMPLE).is_file():
            return steps
    return None


@dataclass
class Template:
    """The lines of a config, changed key by key with the comments left in place."""

    lines: list[str]

    def text(self) -> str:
        return "\n".join(self.lines) + "\n"

    def put(self, key: str, values: Sequence[str]) -> None:
        """Give a key one value, or a list of them; what was said of the sample goes."""
        start, stop = self._block(key)
        new = [f"{key}:", *(f"  - {value}" for value in values)]
        if len(values) == 1:
            new = [_line(f"{key}: {values[0]}", _comment(self.lines[start]))]
        self.lines[start:stop] = new

    def leave_out(self, key: str) -> None:
        """Make a comment of an input that the user does not have."""
        start, stop = self._block(key)
        self.lines[start:stop] = [_line(f"# {key}: FILE", _comment(self.lines[start]))]

    def comment_out(self, key: str) -> None:
        """Make comments of a key and all that belongs to it."""
        start, stop = self._block(key)
        self.lines[start:stop] = [f"# {line}" for line in self.lines[start:stop]]

    def _block(self, key: str) -> tuple[int, int]:
        """The line of a key and those below that are indented deeper."""
        start = next(n for n, line in enumerate(self.lines) if line.startswith(f"{key}:"))
        inner = " " * (len(key) - len(key.lstrip()) + 1)
        stop = start + 1
        while stop < len(self.lines) and self.lines[stop].startswith(inner):
            stop += 1
        return start, stop


def _line(start: str, comment: str) -> str:
    return f"{start.ljust(COMMENTS - 1)} {comment}" if comment else start


def _comment(line: str) -> str:
    comment = line.partition("  # ")[2].strip()
    return f"# {comment}" if comment and not comment.startswith("sample:") else ""


def _check(strategy: str, own: Mapping[str, Sequence[str]]) -> None:
    if strategy not in STRATEGIES:
        hint = suggestion(strategy, STRATEGIES)
        raise UsageError("distill init", f"there is no strategy {strategy!r}", hint)
    for key, given in own.items():
        if key not in _TAKEN[strategy]:
            hint = "take it out, or choose another strategy"
            raise UsageError(flag(key), f"is nothing that strategy {strategy} has", hint)
        if len(given) > 1 and not (key == "teacher" and strategy == "ensemble"):
            hint = 'shards of one input are a pattern, like "part-*.npy"'
            raise UsageError(flag(key), "is given more than once", hint)
    for key in _missing(strategy, own):
        beside = " and ".join(flag(one) for one in own)
        raise UsageError(flag(key), "is missing", f"give it beside {beside}")


def _missing(strategy: str, own: Mapping[str, Sequence[str]]) -> Iterator[str]:
    needed = list(_NEEDED[strategy])
    if strategy == "progressive" and {"teacher", "student", "labels"} & set(own):
        needed += ["teacher", "student"]
    return (key for key in needed if own and key not in own)


def flag(key: str) -> str:
    """The option that names an input."""
    return f"--{key.replace('_', '-')}"


def _fill(template: Template, strategy: str, own: Mapping[str, Sequence[str]]) -> None:
    """The user's own inputs in place of the sample's, and what follows from them."""
    for key in _TAKEN[strategy]:
        name = "teachers" if key == "teacher" and strategy == "ensemble" else key
        if key in own:
            listed = name == "teachers" and len(own[key]) == 1
            values = [_scalar(value) for value in own[key]]
            template.put(name, [f"[{values[0]}]"] if listed else values)
        else:
            template.leave_out(name)
    if strategy == "progressive" and "teacher" not in own:
        template.comment_out("response")
    elif "labels" not in own:
        template.put("  alpha", ["1.0"])
    template.put("batch_size", ["auto"])


def _scalar(text: str) -> str:
    """The text as YAML, in quotes where it would be read as something else."""
    plain = re.fullmatch(r"[\w./~][\w./:~@%+=-]*", text) is not None
    return text if plain and parse_value(text, where="") == text else json.dumps(text)
