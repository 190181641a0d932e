"""YAML as a config may hold it: plain, small, and with the place of every key."""

import contextlib
import math
import os
import random
from pathlib import Path
from typing import Any

import pytest
from catalogue_stand_in import CATALOGUE
from hypothesis import given
from hypothesis import strategies as st

from distillcli.config import load
from distillcli.config.tree import MAX_BYTES, parse, scalar
from distillcli.errors import ConfigError, DistillError, MissingError

GOOD = "strategy: response\nteacher: t.npy\nstudent: s.npy\n"
STARTS = "a config starts with a line like strategy: response, with a space after the colon"
COLON = "quote a value that holds a colon followed by a space, and check the indentation"
INDENT = "check the indentation, and that each key is followed by a colon and a space"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1.0e-3", 1e-3),
        ("1E5", 1e5),
        (".5", 0.5),
        ("4.", 4.0),
        ("-3", -3),
        ("+7", 7),
        ("010", 10),
        ("0o10", 8),
        ("0x10", 16),
        (".inf", math.inf),
        ("-.inf", -math.inf),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("1_000", "1_000"),
        ("2001-01-01", "2001-01-01"),
        ("1:30", "1:30"),
        ("e5", "e5"),
        ("1e", "1e"),
        ("inf", "inf"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: Any) -> None:
    """1e-4 is a number, and no is a text."""
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)


def test_nan_is_a_number() -> None:
    """So that its refusal can say what it is."""
    assert math.isnan(scalar(".nan"))


def test_quoted_scalars_are_texts() -> None:
    """Whatever they look like."""
    assert parse("a: '4'\nb: \"true\"\nc: |\n  5\n", "c").data == {
        "a": "4",
        "b": "true",
        "c": "5\n",
    }


def test_every_key_and_item_has_its_place() -> None:
    """In block and in flow style, lines and columns from 1."""
    tree = parse("# c\na:\n  - {b: 1, c: [2, 3]}\n  - 'x'\nd: 4\n", "c")
    assert tree.data == {"a": [{"b": 1, "c": [2, 3]}, "x"], "d": 4}
    assert tree.marks == {
        (): (2, 1),
        ("a",): (2, 1),
        ("a", 0): (3, 5),
        ("a", 0, "b"): (3, 6),
        ("a", 0, "c"): (3, 12),
        ("a", 0, "c", 0): (3, 16),
        ("a", 0, "c", 1): (3, 19),
        ("a", 1): (4, 5),
        ("d",): (5, 1),
    }


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        "\ufeff" + GOOD,
        GOOD.replace("\n", "\r\n"),
        "---\n" + GOOD + "...\n",
        "# comment\n\n" + GOOD,
        "{strategy: response, teacher: t.npy, student: s.npy}",
        GOOD + "#" * (MAX_BYTES - len(GOOD)),
    ],
)
def test_harmless_spellings_are_read(text: str, tmp_path: Path) -> None:
    """A byte order mark, Windows line ends, document marks, flow style, the full size."""
    file = tmp_path / "c.yaml"
    file.write_bytes(text.encode())
    assert load(file, catalogue=CATALOGUE).strategy == "response"


REFUSED = {
    "empty": ("", f": is empty; {STARTS}"),
    "comments only": ("# x\n\n", f": is empty; {STARTS}"),
    "null": ("~", f": is empty; {STARTS}"),
    "list": ("- a\n", f":1:1: must be a mapping of keys to values, not a list; {STARTS}"),
    "number": ("4", f":1:1: must be a mapping of keys to values, not 4; {STARTS}"),
    "no space after the colon": (
        "strategy:response\n",
        f':1:1: must be a mapping of keys to values, not "strategy:response"; {STARTS}',
    ),
    "no space after a later colon": (
        GOOD + "labels:l.npy\n",
        ":5:1: not valid YAML: could not find expected ':', "
        f"while scanning a simple key that starts on line 4; {INDENT}",
    ),
    "tab": (
        GOOD + "response:\n\talpha: 1\n",
        ":5:1: not valid YAML: found character '\\t' that cannot start any token; "
        "indent with spaces, not with tabs",
    ),
    "odd indentation": (
        GOOD + "  labels: l.npy\n",
        f":4:9: not valid YAML: mapping values are not allowed here; {COLON}",
    ),
    "half indentation": (
        GOOD + "response:\n  alpha: 1\n preset: hinton\n",
        ":6:2: not valid YAML: expected <block end>, but found '<block mapping start>', "
        f"while parsing a block mapping that starts on line 1; {INDENT}",
    ),
    "colon in a value": (
        GOOD + "labels: a: b\n",
        f":4:10: not valid YAML: mapping values are not allowed here; {COLON}",
    ),
    "open bracket": (
        GOOD + "metrics: [a, b\n",
        ":5:1: not valid YAML: expected ',' or ']', but got '<stream end>', "
        "while parsing a flow sequence that starts on line 4; close what was opened with [ or {",
    ),
    "open brace": (
        GOOD + "labels: {path: x\nthreads: 2\n",
        ":5:8: not valid YAML: expected ',' or '}', but got ':', "
        "while parsing a flow mapping that starts on line 4; close what was opened with [ or {",
    ),
    "open quote": (
        GOOD + "labels: 'x\n",
        ":5:1: not valid YAML: found unexpected end of stream, "
        "while scanning a quoted scalar that starts on line 4; close the quotes",
    ),
    "at sign": (
        GOOD + "labels: @x\n",
        ":4:9: not valid YAML: found character '@' that cannot start any token; "
        "put quotes around the value",
    ),
    "anchor": (
        GOOD + "labels: &a l.npy\n",
        ":4:9: anchors and aliases (&a) are not allowed; "
        "write the value out, or put quotes around a text that starts with * or &",
    ),
    "glob that is an alias": (
        GOOD + "labels: *.npy\n",
        ":4:9: anchors and aliases (*.npy) are not allowed; "
        "write the value out, or put quotes around a text that starts with * or &",
    ),
    "alias bomb": (
        "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
        ":1:4: anchors and aliases (&a) are not allowed; "
        "write the value out, or put quotes around a text that starts with * or &",
    ),
    "merge key": (
        GOOD + "response: {<<: {alpha: 1}}\n",
        ":4:12: merge keys (<<) are not allowed; write the keys out",
    ),
    "python tag": (
        "a: !!python/object/apply:os.system [id]\n",
        ":1:4: tags (tag:yaml.org,2002:python/object/apply:os.system) are not allowed; "
        "put quotes around a text that starts with !",
    ),
    "own tag": (
        "!x {a: 1}\n",
        ":1:1: tags (!x) are not allowed; put quotes around a text that starts with !",
    ),
    "%YAML": ("%YAML 1.1\n---\n" + GOOD, ":1:1: YAML directives (%...) are not allowed"),
    "%TAG": ("# x\n%TAG ! x:\n---\n" + GOOD, ":2:1: YAML directives (%...) are not allowed"),
    "two documents": (
        GOOD + "---\n" + GOOD,
        ":4:1: a second document starts here; one config per file",
    ),
    "directive of a second document": (
        GOOD + "...\n%YAML 1.1\n---\na: 1\n",
        ":6:1: a second document starts here; one config per file",
    ),
    "list as a key": (
        GOOD + "[a]: 1\n",
        ":4:1: a list or a mapping cannot be a key; put quotes around it",
    ),
    "deep list": ("a: " + "[" * 40 + "]" * 40, ":1:20: nested deeper than 16 levels"),
    "deep mapping": (
        "".join(" " * depth + "a:\n" for depth in range(40)),
        ":18:18: nested deeper than 16 levels",
    ),
    "control character": (
        GOOD + "a\x1b[31m: 1\n",
        ":4:2: not valid YAML: character U+001B may not stand in it",
    ),
    "null byte": (GOOD + "\0", ":4:1: not valid YAML: character U+0000 may not stand in it"),
    "surrogate": (
        GOOD + 'labels: "\\ud800"\n',
        ":4:9: holds half of a surrogate pair, which is not a character",
    ),
    "bad escape": (
        GOOD + 'labels: "C:\\qata"\n',
        ":4:13: not valid YAML: found unknown escape character 'q', "
        "while scanning a double-quoted scalar that starts on line 4",
    ),
    "too large": (
        "a: 1\n" * 4000,
        ": is larger than 16 KiB; a config is a short YAML file",
    ),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_plain_yaml_is_refused_on_one_line(
    text: str, message: str, tmp_path: Path
) -> None:
    """Line, column, what is wrong, and what to do."""
    file = tmp_path / "c.yaml"
    file.write_bytes(text.encode())
    with pytest.raises(ConfigError) as caught:
        load(file, catalogue=CATALOGUE)
    assert str(caught.value) == f"{file}{message}"


def test_bytes_that_are_no_text_are_refused_with_their_place(tmp_path: Path) -> None:
    """A dump given in place of a config, for example."""
    file = tmp_path / "c.yaml"
    file.write_bytes(b"a: 1\nb: \xff\xfe\n")
    with pytest.raises(ConfigError, match=r"c\.yaml:2:4: is not UTF-8 text$"):
        load(file, catalogue=CATALOGUE)


@pytest.mark.parametrize(
    "text", ["[" * 16000, "{" * 16000, "- " * 8000, "? " * 8000, "!" * 16000, "&a " * 5000]
)
def test_bombs_end_at_once(text: str, tmp_path: Path) -> None:
    """They are refused while they are read, not after."""
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError):
        load(file, catalogue=CATALOGUE)


def test_what_is_not_a_file_is_refused(tmp_path: Path) -> None:
    """A folder, a pipe, a device: none is read, none makes the command wait."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="is not a regular file"):
        load(tmp_path / "pipe", catalogue=CATALOGUE)
    with pytest.raises(ConfigError, match="is a folder; give the path of a YAML file"):
        load(tmp_path, catalogue=CATALOGUE)
    with pytest.raises(ConfigError, match="cannot be read"):
        load(Path("a\0b"), catalogue=CATALOGUE)
    with pytest.raises(ConfigError, match="cannot be read"):
        load(Path("x" * 5000), catalogue=CATALOGUE)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    """The permission is named as the reason."""
    file = tmp_path / "c.yaml"
    file.touch(mode=0o000)
    with pytest.raises(ConfigError, match="permission denied"):
        load(file, catalogue=CATALOGUE)


def test_names_are_escaped_in_messages(tmp_path: Path) -> None:
    """Neither a file's name nor a key reaches the terminal raw."""
    with pytest.raises(MissingError) as caught:
        load(tmp_path / "a\x1b[31m\u202e.yaml", catalogue=CATALOGUE)
    assert "\\x1b[31m\\u202e.yaml" in str(caught.value)
    file = tmp_path / "c.yaml"
    file.write_text(GOOD + '"\\e[31m\\u202e": 1\ndevice: "\\e[31m"\n')
    with pytest.raises(ConfigError) as refused:
        load(file, catalogue=CATALOGUE)
    assert all(line.isprintable() for line in str(refused.value).splitlines())


SAMPLE = (
    GOOD
    + "labels: {path: 'l.h5', dataset: x}\nmetrics: [kl_mean]\n"
    + 'response:\n  soft_loss: {name: jsd, temperature: 4.0, "beta": .5}\n  alpha: 0.7\n'
)
MUTATIONS = (*"{}[]:,-#&*!|>'\"%@` \t\n\x00\x1b0aé\u2028~?<", "")


@pytest.mark.parametrize("seed", range(300))
def test_mutated_configs_are_read_or_refused(seed: int, tmp_path: Path) -> None:
    """Never anything but a config or an error of ours."""
    chance = random.Random(seed)
    text = list(SAMPLE)
    for _ in range(chance.randint(1, 8)):
        place = chance.randrange(len(text))
        text[place] = chance.choice(MUTATIONS)
    file = tmp_path / "c.yaml"
    file.write_text("".join(text))
    with contextlib.suppress(DistillError):
        assert load(file, catalogue=CATALOGUE).resolved()


@given(st.text(st.sampled_from(list("ab: \n-[]{},'\"#&*!|>%?<0.\t")), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    """The reader lets no exception of the YAML library out."""
    with contextlib.suppress(ConfigError):
        tree = parse(text, "c")
        assert tree.data is None or tree.marks
