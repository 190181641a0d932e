"""Names from files and paths: shown, never obeyed, in every format and in every error."""

import csv
import io
import json
import re
import unicodedata
from pathlib import Path

import h5py
import numpy as np
import pytest
from format_files import npy_bytes, safetensors_bytes, write_npz
from runs import distill

NAMES = [
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x9b31m",
    "cr\rlf\nnel\x85ls\u2028ps\u2029",
    "back\x08\x7fspace\ttab",
    "bidi\u202e\u2066\u200f",
    "zero\u200b\u200d\ufeff\u2060width",
    "tag\U000e0041\ufe0f\u00ad\u180e",
    "[bold red]markup[/] [link=http://x]y[/link]",
    "=1+1|cmd",
    "+1",
    "-1",
    "@SUM(A1)",
    "|pipe|`code`|<b>html</b>|![x](y)",
    "\"quote\" 'single' \\back {brace}",
    "%s {0} $HOME `id` $(id)",
]
SCORES = np.random.default_rng(0).normal(size=(6, 4)).astype("f4")


def clean(text: str) -> bool:
    """Nothing in it that a terminal would obey or hide."""
    hidden = ("Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn")
    return all(
        unicodedata.category(sign) not in hidden and sign != "\ufe0f"
        for sign in text.replace("\n", "")
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a teacher."""
    np.save(tmp_path / "t.npy", SCORES)
    np.save(tmp_path / "labels.npy", np.array([0, 1, 2, 3, 0, 1]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_reports(folder: Path, name: str) -> None:
    """A path and a dataset of that name, in the report of each format, on stdout and in files."""
    with h5py.File(folder / f"{name.replace('/', '')}.h5", "w") as file:
        file.create_group(name.replace("/", ""))["x"] = SCORES
    source = f"{name.replace('/', '')}.h5::{name.replace('/', '')}/x"
    command = ("score", "--teacher", "t.npy", "--student", source, "--labels", "labels.npy")
    command = (*command, "--set", "groups=labels", "--device", "cpu", "--format")
    for format in ("table", "md", "csv", "json", "jsonl"):
        done = distill(*command, format, "--worst", "2", "--export", "txt=out.txt")
        assert done.code == 0, done
        assert clean(done.out), format
        assert clean(done.err)
        assert clean((folder / "out.txt").read_text())
    (given,) = [
        one["path"] for one in json.loads(distill(*command, "json").out)["facts"][
            "inputs"
        ] if one["role"] == "student"
    ]  # fmt: skip
    assert given in source
    for row in csv.reader(io.StringIO(distill(*command, "csv").out)):
        assert not any(re.match(r"[=@\t\r]|[+-](?![\d.])", cell) for cell in row)


@pytest.mark.parametrize("name", NAMES)
def test_markdown_and_tables_do_not_obey(folder: Path, name: str) -> None:
    """Markup of rich is text, and a name stays within its cell of a Markdown table."""
    path = folder / f"{name.replace('/', '')}.npy"
    np.save(path, SCORES)
    arguments = ("score", "--teacher", "t.npy", "--student", path.name, "--device", "cpu")
    table = distill(*arguments).out
    if "bold red" in name:
        assert "[bold red]markup[] [link=http:x]y[link]" in table
    markdown = distill(*arguments, "--format", "md").out
    inputs = [
        line for line in markdown.splitlines() if line.startswith(("| `teacher` ", "| `student` "))
    ]
    cells = [re.split(r"(?<!\\)\|", line) for line in inputs]
    assert len(cells) == 2
    assert {len(row) for row in cells} == {6}


@pytest.mark.parametrize("name", NAMES)
def test_inspect(folder: Path, name: str) -> None:
    """Names and attributes of datasets, groups and members; JSON has them as they are."""
    inner = name.replace("/", "")
    with h5py.File(folder / "a.h5", "w") as file:
        file[f"{inner}/x"] = SCORES
        file[inner].attrs[name] = name
        file[f"{inner}/x"].attrs[name] = name
        file.attrs[name] = name
    write_npz(folder / "a.npz", {name: npy_bytes(SCORES)})
    data = safetensors_bytes({name: SCORES}, {name: name})
    (folder / "a.safetensors").write_bytes(data)
    for path in ("a.h5", "a.npz", "a.safetensors", f"./{name}.npy"):
        table, data = distill("inspect", path), distill("inspect", path, "--format", "json")
        assert clean(table.out + table.err)
        assert clean(data.out + data.err)
        found = json.loads(data.out)["files"][0]
        if path == "a.h5":
            assert found["arrays"][0]["name"] == f"{inner}/x"
            assert found["attributes"] == {name: name}


@pytest.mark.parametrize("name", NAMES)
def test_errors(folder: Path, name: str) -> None:
    """One line each: a path that is not there, a dataset, the candidates, a key of a config."""
    inner = name.replace("/", "")
    with h5py.File(folder / "a.h5", "w") as file:
        file[inner], file["x"] = SCORES, SCORES
    np.save(folder / f"{inner}x.npy", SCORES)
    (folder / "c.yaml").write_text(f"strategy: response\n{json.dumps(name)}: {json.dumps(name)}\n")
    teacher = ("score", "--teacher", "t.npy", "--student")
    for arguments in (
        (*teacher, f"{name}.npy"),
        (*teacher, f"a.h5::{name}?"),
        (*teacher, "a.h5"),
        (*teacher, "t.npy", "--labels", name),
        (*teacher, "t.npy", "--set", f"{name}={name}"),
        (*teacher, "t.npy", "--temperature", f"{name}?"),
        (*teacher, "t.npy", "--per-row", f"none/{name}"),
        (*teacher, "t.npy", "--export", f"{name}={name}"),
        (*teacher, "t.npy", "--rows", name),
        ("score", "c.yaml"),
        ("score", f"{name}.yaml"),
        ("validate", name),
        ("diff", name, name),
        ("verify", name),
    ):
        done = distill(*arguments)
        assert (done.code, done.out) == (2, ""), arguments
        assert clean(done.err), arguments
        usage = ("Usage: ", "Try ", "Error: ") if name == "-1" else ()  # it looks like an option
        assert all(line.startswith(("distill: ", *usage)) for line in done.err.split("\n") if line)
