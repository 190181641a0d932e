"""Every option and every key of a config with values that it was not made for.

Whatever is given, a command ends in a result or in words of its own: no trace, no bug, nothing on
stdout beside an error.
"""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz import ended, program
from runs import written

TEXTS = (
    "",
    " ",
    "-1",
    "0",
    "1e999",
    "nan",
    "-inf",
    "true",
    "null",
    "[",
    "{a: 1}",
    "[1, 2]",
    "x" * 5000,
    "9" * 400,
    "\x1b[31m",
    "\u202e",
    "\udcff",
    "a\nb",
    "a=b",
    "=",
    "::",
    "*",
    "..",
    "/",
    "none/there",
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    2.5,
    1e308,
    float("inf"),
    float("nan"),
    10**30,
    "",
    "x",
    "\x1b[31m\u202e",
    [],
    [[]],
    [1, 2],
    [None],
    ["x", "x"],
    {},
    {"x": 1},
    {"path": None},
    {"path": "t.npy", "dtype": "bfloat16"},
    {"path": "t.npy", "temperature": 0},
    {"init": "x"},
    {"name": "kl", "temperature": -1},
)
CONFIGS: dict[str, dict[str, Any]] = {
    "response": {
        "strategy": "response",
        "teacher": {"path": "t.npy", "kind": "logits", "temperature": 1.0},
        "student": "s.npy",
        "labels": "l.npy",
        "batch_size": 4,
        "threads": 1,
        "device": "cpu",
        "precision": "float32",
        "metrics": ["kl_mean"],
        "groups": "labels",
        "on_bad_rows": "error",
        "response": {
            "soft_loss": {"name": "jsd", "temperature": 4.0, "beta": 0.3},
            "alpha": 0.7,
        },
    },
    "progressive": {
        "strategy": "progressive",
        "teacher_hidden": ["t.npy", "t.npy"],
        "student_hidden": ["s.npy"],
        "device": "cpu",
        "progressive": {
            "layer_mapping": [[0, 1]],
            "loss": "mse",
            "hidden_weight": 1.0,
            "response_weight": 1.0,
            "layer_weights": [1.0],
            "projection": {"init": "least_squares", "ridge": 0.1},
        },
    },
    "ensemble": {
        "strategy": "ensemble",
        "teachers": ["t.npy", "s.npy"],
        "student": "s.npy",
        "labels": "l.npy",
        "device": "cpu",
        "ensemble": {
            "combine": "probabilities",
            "weights": [1, 2],
            "temperature": 2.0,
            "alpha": 0.5,
        },
    },
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: inputs, a config, a saved result."""
    monkeypatch.chdir(tmp_path)
    chance = np.random.default_rng(0)
    for name in ("t", "s"):
        np.save(tmp_path / f"{name}.npy", chance.normal(size=(9, 5)).astype("f4"))
    np.save(tmp_path / "l.npy", np.arange(9) % 5)
    written(tmp_path / "c.yaml", CONFIGS["response"])
    written(tmp_path / "e.yaml", CONFIGS["ensemble"])
    code, out, err = ended(["score", "c.yaml", "--format", "json"])
    assert code == 0, err
    (tmp_path / "r.json").write_text(out)
    return tmp_path


def checked(arguments: list[str], codes: tuple[int, ...]) -> int:
    """The exit code, one of these; every word where it belongs."""
    code, out, err = ended(arguments)
    assert code in codes, (arguments, code, err)
    assert "Traceback" not in out + err
    assert all(line.isprintable() for line in err.split("\n")), arguments
    if code == 2:
        assert out == "" or arguments[0] == "inspect" or '"error"' in out, arguments
        assert err, arguments
    return code


def keys(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places of all values."""
    entries = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in entries:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from keys(value, (*path, key))


PLACES = [(name, path) for name, config in CONFIGS.items() for path in keys(config)]


@pytest.mark.parametrize(
    ("name", "path"), PLACES, ids=[f"{name} {'.'.join(map(str, path))}" for name, path in PLACES]
)
def test_keys(folder: Path, name: str, path: tuple[Any, ...]) -> None:
    """Each key of each strategy with values of every type, in the file."""
    refused = 0
    for value in VALUES:
        config = copy.deepcopy(CONFIGS[name])
        at: Any = config
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = value
        text = json.dumps(config, ensure_ascii=False).replace("Infinity", ".inf")
        (folder / "c.yaml").write_text(text.replace("NaN", ".nan"), "utf-8")
        refused += checked(["score", "c.yaml", "--format", "json"], (0, 2)) == 2
    assert refused > len(VALUES) // 2


BASES = {
    "score": ["c.yaml"],
    "check": ["c.yaml", "--baseline", "r.json"],
    "diff": ["r.json", "r.json"],
    "ensemble": ["e.yaml", "--output", "o.h5", "--overwrite"],
    "validate": ["c.yaml"],
    "verify": ["r.json"],
    "inspect": ["t.npy"],
    "init": ["response"],
    "schema": [],
    "doctor": [],
}


def options() -> list[tuple[str, str]]:
    """Every option that takes a value, of every command."""
    return [
        (name, parameter.opts[0])
        for name, command in program().commands.items()
        for parameter in command.params
        if parameter.opts[0].startswith("--") and not parameter.is_flag
    ]


def test_every_command_has_a_base() -> None:
    """A new command is not left out."""
    assert set(BASES) == set(program().commands)


@pytest.mark.parametrize(("name", "option"), options())
def test_options(folder: Path, name: str, option: str) -> None:
    """Each option of each command with texts of every kind."""
    for text in TEXTS:
        arguments = [name, *BASES[name], option, text]
        checked(arguments, (0, 1, 2, 3) if option == "--device" else (0, 1, 2))


@pytest.mark.parametrize("name", BASES)
def test_arguments(folder: Path, name: str) -> None:
    """Each command with texts of every kind in the place of its argument."""
    for text in TEXTS:
        checked([name, text, *BASES[name][1:]], (0, 1, 2))
