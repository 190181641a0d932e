"""Runs what README.md shows and holds its outputs and tables against the product.

`python tests/readme.py` writes them anew; `tests/test_readme.py` fails where they differ.

A block fenced as `console` holds commands after `$ `, each followed by its standard output. The
blocks of a `##` section run in one shell, in a copy of the repository's configs and sample data. A
line `...` in an output stands for any lines. What changes from run to run (times, versions) is
compared after `steady`.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
MARK = "=====next====="


@dataclass
class Command:
    """A command of a console block and what it prints."""

    text: str
    output: str


@dataclass
class Block:
    """A console block: where it lies in the text, and its commands."""

    start: int
    stop: int
    commands: list[Command]


def sections(text: str) -> Iterator[tuple[str, list[Block]]]:
    """The heading and the console blocks of every section that has some."""
    edges = [match.start() for match in re.finditer(r"^## ", text, re.M)] + [len(text)]
    for start, stop in pairwise(edges):
        heading = text[start:stop].splitlines()[0].removeprefix("## ")
        blocks = [
            Block(start + m.start(1), start + m.end(1), commands(m.group(1)))
            for m in re.finditer(r"^```console\n(.*?)^```$", text[start:stop], re.M | re.S)
        ]
        if blocks:
            yield heading, blocks


def commands(block: str) -> list[Command]:
    """Commands start with `$ `; a here-document goes on to its end mark."""
    found: list[Command] = []
    end: str | None = None
    for line in block.splitlines():
        if end is not None:
            found[-1].text += f"\n{line}"
            end = None if line == end else end
        elif line.startswith("$ "):
            found.append(Command(line[2:], ""))
            here = re.search(r"<<'?(\w+)'?", line)
            end = here.group(1) if here else None
        else:
            found[-1].output += f"{line}\n"
    return found


def run(items: list[Command]) -> list[str]:
    """What the commands print, run one after the other in a shell of their own."""
    script = "\n".join(f"{item.text}\necho '{MARK}'" for item in items)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("configs", "sample_data"):
            shutil.copytree(ROOT / name, Path(folder) / name)
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=300,
        )
        outputs = done.stdout.split(f"{MARK}\n")
        return [text.replace(folder, "~/work") for text in outputs[: len(items)]]


def environment() -> dict[str, str]:
    """That of a user who has installed distill, without settings of their own."""
    own = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("DISTILL_", "GITHUB_"))
        and key not in ("COLUMNS", "NO_COLOR", "TERM")
    }
    folder = str(Path(sys.executable).parent)
    return {**own, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}


def steady(text: str) -> str:
    """The text without what differs from run to run."""
    text = re.sub(r"^(time +).*$", r"\1-", text, flags=re.M)
    text = re.sub(r"\b[0-9]+(\.[0-9]+)? (ms|s)\b", "-", text)
    text = re.sub(r"[0-9,.]+ rows/s|[0-9.]+ [kMG]B/s", "-", text)
    return re.sub(r" +$", "", text, flags=re.M)


def matches(shown: str, printed: str) -> bool:
    """Whether a shown output is the printed one; a line `...` stands for any lines."""
    parts = [re.escape(steady(part)) for part in re.split(r"^\.\.\.\n", shown, flags=re.M)]
    return re.fullmatch("(?:.*\n)*?".join(parts), steady(printed)) is not None


def loss_table() -> str:
    """The table of losses, from the code."""
    from distillcli.losses import LOSSES

    lines = ["| loss | of | formula | parameters | source |", "|---|---|---|---|---|"]
    for loss in LOSSES:
        own = [one for one in loss.parameters if one.name not in SHARED]
        parameters = ", ".join(f"`{one.name}` {default(one)}" for one in own)
        formula = loss.formula.replace("|", "\\|")
        of = ", ".join([loss.family, *needs(loss)])
        lines.append(f"| `{loss.name}` | {of} | {formula} | {parameters} | {loss.reference} |")
    return "\n".join(lines)


def needs(loss: Any) -> Iterator[str]:
    """Which dumps and batches it takes, told below the table."""
    if loss.allows_tail:
        yield "top-k too"
    if (loss.least_batch or 1) > 1:
        yield f"{loss.least_batch} rows"


SHARED = ("temperature", "temperature_squared", "standardize")  # told below the table


def default(parameter: Any) -> str:
    """Its value where none is given, as the table shows it."""
    if parameter.default is None:
        return "(needed)"
    return str(parameter.default).lower() if parameter.kind is bool else f"{parameter.default:g}"


TABLE = re.compile(r"(<!-- table of losses -->\n).*?(\n<!-- /table of losses -->)", re.S)


def refreshed(text: str) -> str:
    """The README with its outputs and tables as they are now; outputs with `...` stay."""
    pieces, at = [], 0
    for _, blocks in sections(text):
        printed = iter(run([item for block in blocks for item in block.commands]))
        for block in blocks:
            lines = []
            for item in block.commands:
                now = next(printed)
                keep = matches(item.output, now)
                lines.append(f"$ {item.text}\n{item.output if keep else now}")
            pieces += [text[at : block.start], *lines]
            at = block.stop
    text = "".join([*pieces, text[at:]])
    return TABLE.sub(lambda match: match.group(1) + loss_table() + match.group(2), text)


if __name__ == "__main__":
    README.write_text(refreshed(README.read_text(encoding="utf-8")), encoding="utf-8")
