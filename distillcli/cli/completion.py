"""Completion of configs, files and the datasets in them; the shell completes plain paths itself.

It opens headers alone, never fails and prints nothing. Names end up in shell scripts that are
evaluated, and a dataset may have any name: what is not plainly harmless is not offered.
"""

import os
import re
import shlex
from collections.abc import Callable, Iterator, MutableMapping

CONFIGS = (".yaml", ".yml")
MOST = 500  # names offered at once
DEPTH = 3  # folders that are entered where there is nothing to choose

_HARMLESS = re.compile(r"[\w./+@%,=:~-]*")
# What stands before the word that is completed: bash splits words at colons, and completes the
# last piece alone. Not meant for people: it carries the first pieces from `mend_words` to here.
_HEAD = "_DISTILL_COMPLETION_HEAD"

Candidate = tuple[str, str]


def mend_words(environ: MutableMapping[str, str]) -> None:
    """Put together again what bash has cut at `:` and `=`; does nothing for other shells.

    The first pieces of the word at the cursor are set aside, as bash replaces the last one only.
    """
    if environ.get("_DISTILL_COMPLETE") != "complete_bash":
        return
    try:
        words = shlex.split(environ["COMP_WORDS"])
        at = int(environ["COMP_CWORD"])
    except (KeyError, ValueError):
        return  # an open quote: the shell completes on its own
    current = words[at] if at < len(words) else ""
    current = "" if current == "=" else current
    *whole, last = _joined([*words[:at], current])
    head = last if re.fullmatch(":+", current) else last.removesuffix(current)
    environ[_HEAD] = head
    environ["COMP_WORDS"] = "\n".join(map(shlex.quote, [*whole, last.removeprefix(head)]))
    environ["COMP_CWORD"] = str(len(whole))


def _joined(words: list[str]) -> list[str]:
    joined: list[str] = []
    for index, word in enumerate(words):
        after_colon = index > 0 and re.fullmatch(":+", words[index - 1])
        if joined and (re.fullmatch(":+", word) or (after_colon and word)):
            joined[-1] += word
        elif word != "=" or not (joined and joined[-1].startswith("--")):
            joined.append(word)
    return joined


def complete_source(incomplete: str) -> list[Candidate]:
    """The datasets of the file that is named, or is the only one with such a beginning."""
    return _quietly(_sources, incomplete)


def complete_config(incomplete: str) -> list[Candidate]:
    """The YAML files that begin so."""
    return _quietly(_configs, incomplete)


def _quietly(find: Callable[[str], Iterator[Candidate]], incomplete: str) -> list[Candidate]:
    """What is found, without what bash keeps; nothing where anything goes wrong."""
    head = os.environ.get(_HEAD, "")
    found: list[Candidate] = []
    try:
        for name, about in find(head + incomplete):
            if _HARMLESS.fullmatch(name) and len(found) < MOST:
                found.append((name.removeprefix(head), about))
    except Exception:
        return []
    return found


def _sources(text: str) -> Iterator[Candidate]:
    path, sign, dataset = text.partition("::")
    if not sign:
        path = _only_file(path)
    if path:
        for name, about in _datasets(path):
            if name.startswith(dataset):
                yield f"{path}::{name}", about


def _only_file(path: str) -> str:
    """The only file whose name begins so; empty where there is a choice, or a folder."""
    folder, begin = os.path.split(path)
    with os.scandir(os.path.expanduser(folder) or ".") as entries:
        found = [entry for entry in entries if entry.name.startswith(begin)]
    exact = [entry for entry in found if entry.name == begin]
    found = exact or found
    if len(found) != 1 or not found[0].is_file():
        return ""
    return os.path.join(folder, found[0].name)


def _datasets(path: str) -> Iterator[Candidate]:
    """The arrays of a file that has names for them, with their types and shapes."""
    from distillcli.formats.listing import named_arrays

    for info in named_arrays(os.path.abspath(os.path.expanduser(path))):
        shape = " x ".join(map(str, info.shape))
        # What stands in the way may quote the file, and descriptions are evaluated too.
        yield info.name, f"{info.element} {shape}" if info.readable else "cannot be read"


def _configs(text: str) -> Iterator[Candidate]:
    folder, begin = os.path.split(text)
    names = _entries(folder, begin)
    for _ in range(DEPTH):
        if len(names) != 1 or not names[0].endswith("/"):
            break
        folder = os.path.join(folder, names[0])
        names = _entries(folder, "")
    for name in names:
        yield os.path.join(folder, name), "folder" if name.endswith("/") else "config"


def _entries(folder: str, begin: str) -> list[str]:
    """Configs and folders, the latter with a slash."""
    with os.scandir(os.path.expanduser(folder) or ".") as entries:
        found = [entry for entry in entries if entry.name.startswith(begin)]
    shown = [entry for entry in found if begin or not entry.name.startswith(".")]
    folders = [f"{entry.name}/" for entry in shown if entry.is_dir()]
    files = [e.name for e in shown if e.is_file() and e.name.lower().endswith(CONFIGS)]
    return sorted(folders + files)
