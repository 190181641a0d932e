"""The benchmarks run, and their arithmetic is right; how fast anything is is not tested here."""

import json
import subprocess
import sys
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import pytest
from runs import ROOT

sys.path.append(str(ROOT / "tests" / "benchmarks"))

from pairs import machine, markdown, paired, wall


def test_ratios_are_those_of_neighbours() -> None:
    """Run by run, not median by median: a machine that slows down changes no ratio."""
    slower = count(1)
    ours = lambda: float(next(slower))  # noqa: E731
    theirs = count(1)
    found = paired(ours, lambda: 3.0 * next(theirs), repeats=5, warm_up=2)
    assert found.ours.seconds == (3, 4, 5, 6, 7)
    assert found.theirs.seconds == (9, 12, 15, 18, 21)
    assert (found.ratio, found.spread) == (3.0, "3.00 to 3.00")
    assert found.ours.median == 5


def test_wall_takes_the_time_of_the_work() -> None:
    done: list[int] = []
    assert wall(lambda: done.append(1))() > 0
    assert done == [1]


def test_tables() -> None:
    """Numbers stand at the right, text at the left."""
    table = markdown(["what", "s"], [["a", 0.12345], ["b", 1234.5]])
    assert table == "| what | s |\n| --- | ---: |\n| a | 0.123 |\n| b | 1,234 |\n"


@pytest.mark.parametrize("name", ["processor", "cores", "memory", "python", "numpy"])
def test_facts_of_the_machine(name: str) -> None:
    assert machine()[name]


@pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")
def test_the_cpu_table(tmp_path: Path) -> None:
    """Both kernels and the scripts agree on the loss, and every ratio is there."""
    script, path = ROOT / "tests" / "benchmarks" / "cpu.py", tmp_path / "t.json"
    done = subprocess.run(
        [sys.executable, script, "--small", "--json", path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    tables = json.loads(path.read_text())
    assert len(tables) == 11
    kernels = {row[2] for row in tables[0]["rows"]}
    assert kernels == {"numpy", "fast"}


def test_whole_commands(tmp_path: Path) -> None:
    """Every table is there, in Markdown and as data, and nothing is left behind."""
    script = ROOT / "tests" / "benchmarks" / "commands.py"
    words = [
        "--small",
        "--folder",
        tmp_path,
        "--save",
        tmp_path / "t.md",
        "--json",
        tmp_path / "t.json",
    ]
    done = subprocess.run(
        [sys.executable, script, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.json", "t.md"]
    tables = json.loads((tmp_path / "t.json").read_text())
    text = (tmp_path / "t.md").read_text()
    assert len(tables) == 7
    for one in tables:
        assert f"### {one['title']}" in text
        assert one["rows"]
        assert all(len(row) == len(one["head"]) for row in one["rows"])
    assert done.stdout == f"{text}\n"
