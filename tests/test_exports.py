"""The result in other forms: JSON lines, CSV, Markdown, and files beside the terminal report."""

import csv
import io
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import Ended, distill, saved, written

from distillcli import report
from distillcli.report.markdown import code, escaped
from distillcli.result import BatchResult, Result

ROWS, CLASSES = 40, 5


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config in the current folder; four batches."""
    rng = np.random.default_rng(2)
    saved(tmp_path, **{name: rng.normal(0, 2, (ROWS, CLASSES)) for name in ("teacher", "student")})
    saved(tmp_path, labels=rng.integers(0, CLASSES, ROWS))
    monkeypatch.chdir(tmp_path)
    return written(tmp_path / "config.yaml", CONFIG)


CONFIG: dict[str, Any] = {
    "strategy": "response",
    "teacher": "teacher.npy",
    "student": "student.npy",
    "labels": "labels.npy",
    "batch_size": 10,
    "device": "cpu",
}


def lines(text: str) -> list[dict[str, Any]]:
    """Each line as JSON."""
    return [json.loads(line) for line in text.splitlines()]


def worked(*arguments: str | Path) -> Ended:
    """A run that ends well."""
    done = distill("score", *arguments)
    assert done.code == 0, done.err
    return done


# --- jsonl --------------------------------------------------------------------------------------


def test_jsonl(config: Path) -> None:
    """A line for each batch, and one that is the result without them."""
    found = lines(worked(config, "--format", "jsonl").out)
    data = worked(config, "--format", "json").data
    assert [line["batch"] for line in found[:-1]] == data["batches"]
    summary = found[-1]["summary"]
    assert "batches" not in summary
    assert {key: value for key, value in summary.items() if key != "facts"} == {
        key: value for key, value in data.items() if key not in ("facts", "batches")
    }


def test_jsonl_has_every_batch(config: Path) -> None:
    """More batches than a result keeps: none of them is joined, in the stream and in the file."""
    rng = np.random.default_rng(0)
    for name in ("teacher", "student"):
        np.save(f"{name}.npy", rng.normal(size=(5000, 2)))
    np.save("labels.npy", np.zeros(5000, int))
    arguments = (config, "--batch-size", "1", "--export", "jsonl=out.jsonl", "--format")
    found = lines(worked(*arguments, "jsonl").out)
    assert [line["batch"]["start"] for line in found[:-1]] == list(range(5000))
    assert [line["batch"]["index"] for line in found[:-1]] == list(range(5000))
    assert lines(Path("out.jsonl").read_text())[:-1] == found[:-1]
    data = worked(*arguments, "json").data
    assert len(data["batches"]) == 2500
    assert data["facts"]["batches_joined"] == 2


def test_jsonl_ends_with_the_reason_of_a_failure(config: Path) -> None:
    """Batches that were done are there; the last line says what stopped the run; exit code 2."""
    rows = 300_000  # more than what is read at once
    scores = np.random.default_rng(0).normal(size=(rows, 16)).astype("float32")
    np.save("teacher.npy", scores)
    scores[-1, 3] = np.nan
    np.save("student.npy", scores)
    np.save("labels.npy", np.zeros(rows, int))
    arguments = (config, "--batch-size", "10000", "--export", "jsonl=out.jsonl")
    done = distill("score", *arguments, "--format", "jsonl")
    found = lines(done.out)
    assert done.code == 2
    assert len(found) > 1
    assert all(set(line) == {"batch"} for line in found[:-1])
    error = found[-1]["error"]
    assert error["where"] == "student in student.npy"
    assert error["problem"].startswith("row 299999")
    assert error["exit_code"] == 2
    assert error["message"] == done.errors[-1]
    assert not os.path.exists("out.jsonl")


@pytest.mark.parametrize(
    "arguments",
    [["--set", "teacher=gone.npy"], ["--set", "alpha=3"], ["--rows", "1"], ["--worst", "x"]],
)
def test_jsonl_of_a_run_that_does_not_begin(config: Path, arguments: list[str]) -> None:
    """What is wrong from the start is told in the same way."""
    done = distill("score", config, "--format", "jsonl", *arguments)
    (line,) = lines(done.out)
    assert done.code == line["error"]["exit_code"] == 2
    assert done.errors == line["error"]["message"].splitlines()


# --- csv ----------------------------------------------------------------------------------------


def test_csv(config: Path) -> None:
    """One line per batch and one for all; every number reads back to the same double."""
    found = list(csv.DictReader(io.StringIO(worked(config, "--format", "csv").out)))
    data = worked(config, "--format", "json").data
    assert [row["batch"] for row in found] == ["0", "1", "2", "3", "all"]
    for row, batch in zip(found, data["batches"], strict=False):
        assert (int(row["start"]), int(row["stop"])) == (batch["start"], batch["stop"])
        assert float(row["loss"]) == batch["loss"]
        assert {name: float(row[name]) for name in batch["terms"]} == batch["terms"]
        assert {name: float(row[name]) for name in batch["metrics"]} == batch["metrics"]
        assert row["kl_p99"] == ""
    assert (found[-1]["start"], found[-1]["stop"]) == ("0", "40")
    assert {name: float(found[-1][name]) for name in data["metrics"]} == data["metrics"]


def result(**changes: Any) -> Result:
    """A result with names that could act."""
    batches = (BatchResult(0, 0, 5, None, {"=term": -1.5}, {}),)
    parts: dict[str, Any] = {
        "command": "score", "strategy": "a|b", "rows": 5, "rows_skipped": 1, "loss": None,
        "terms": {"=term": -1.5}, "weights": {"=term": 1.0},
        "metrics": {"+metric": 0.5, "@x": None}, "batches": batches, "nonfinite": {"@x": 3},
        "facts": {
            "notes": ["<b>*bold*</b> [link](http://example.invalid) \x1b[31m"],
            "conventions": "a | b `code` c",
            "inputs": [
                {"role": "teacher", "path": "a|`b`\\|c*.npy\u202e", "shape": [5], "dtype": "f"}
            ],
        },
    }  # fmt: skip
    return Result(**{**parts, **changes})


def rendered(format: str, shown: Result) -> str:
    """The result in a format."""
    stream = io.StringIO()
    report.render(shown, format=format, stream=stream)
    return stream.getvalue()


def test_csv_cells_that_start_a_formula() -> None:
    """Names get a quote in front; numbers stay numbers; what is not finite is empty."""
    head, batch, whole = csv.reader(io.StringIO(rendered("csv", result())))
    assert head == ["batch", "start", "stop", "loss", "'=term", "'+metric", "'@x"]
    assert batch == ["0", "0", "5", "", "-1.5", "", ""]
    assert whole == ["all", "0", "5", "", "-1.5", "0.5", ""]


# --- Markdown -----------------------------------------------------------------------------------


def cells(line: str) -> list[str]:
    """The cells of a line of a table, as GitHub cuts it: at pipes without a backslash."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_markdown(config: Path) -> None:
    """Tables of inputs, batches, groups, worst rows and metrics, each as wide as its head."""
    arguments = (config, "--set", "groups=labels", "--worst", "3", "--format", "md")
    out = worked(*arguments).out
    tables = [block.splitlines() for block in out.split("\n\n") if block.startswith("|")]
    heads = [cells(table[0])[0] for table in tables]
    assert heads == ["input", "batch", "group", "worst row", "metric"]
    for table in tables:
        assert {len(cells(line)) for line in table} == {len(cells(table[0]))}
        assert all(set(cell) <= set(":- ") for cell in cells(table[1]))
    assert [len(table) - 2 for table in tables[:4]] == [3, 4, 5, 3]
    assert "### distill score: response" in out
    assert "\x1b" not in out
    assert out.endswith("`\n")


def test_markdown_of_hostile_names() -> None:
    """Nothing in a name acts: no markup, no link, no mention, no escape code, no further cell."""
    out = rendered("md", result())
    assert "### distill score: a\\|b" in out
    assert "\\<b\\>\\*bold\\*\\</b\\> \\[link\\]\\(http\\://example.invalid\\) \\\\x1b\\[31m" in out
    (line,) = (line for line in out.splitlines() if "teacher" in line)
    assert len(cells(line)) == 4
    assert cells(line)[3] == r"`` a\|`b`\\x7cc*.npy\u202e ``"
    assert "conventions: `` a | b `code` c ``" in out
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert "**loss not finite**" in out
    assert "**not finite:** \\@x in 3 rows" in out
    assert "**skipped:** 1 bad row" in out


def test_code_and_escapes() -> None:
    """The fence is longer than any backtick inside."""
    assert code("a") == "`a`"
    assert code("a``b") == "``` a``b ```"
    assert code("") == ""
    assert escaped("a_b|c") == "a\\_b\\|c"


def test_long_markdown_is_shortened(config: Path) -> None:
    """As in the table: the ends of the batches, unless all of them are asked for."""
    short = worked(config, "--format", "md", "--batch-size", "1").out
    assert "20 more left out" in short
    whole = worked(config, "--format", "md", "--batch-size", "1", "--all-batches").out
    assert "| 20 | 20:21 |" in whole
    assert "left out" not in whole


# --- files --------------------------------------------------------------------------------------


def without_time(text: str) -> str:
    """The text without what differs between two runs."""
    text = re.sub(r'"seconds": [0-9.e-]+', "", text)
    return re.sub(r"^time .*$", "", text, flags=re.M)


def test_exports(config: Path) -> None:
    """Every format in a file of its own beside the report; the same as on stdout."""
    names = ("json", "jsonl", "csv", "md", "txt")
    exports = [f"--export={name}=out.{name}" for name in names]
    done = worked(config, *exports)
    assert done.out.startswith("distill score: response")
    for name in names:
        shown = worked(config, "--format", "table" if name == "txt" else name).out
        assert without_time(Path(f"out.{name}").read_text()) == without_time(shown)
    left = {"config.yaml", "teacher.npy", "student.npy", "labels.npy"}
    assert set(os.listdir()) - left == {f"out.{name}" for name in names}


def test_txt_is_plain_whatever_the_terminal(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No colours, no narrow columns, UTF-8."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("FORCE_COLOR", "1")
    worked(config, "--export", "txt=out.txt")
    text = Path("out.txt").read_text(encoding="utf-8")
    assert "\x1b" not in text
    assert any(len(line) > 100 for line in text.splitlines())
    assert "───" in text


def test_the_variable_counts_without_the_flag(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One export a line, blanks in paths allowed; the flag takes its place."""
    monkeypatch.setenv("DISTILL_EXPORT", "json=one.json\n\n csv=a b.csv \n")
    worked(config)
    assert os.path.exists("one.json")
    assert os.path.exists("a b.csv")
    os.unlink("one.json")
    worked(config, "--export", "md=two.md")
    assert not os.path.exists("one.json")
    assert os.path.exists("two.md")
    monkeypatch.setenv("DISTILL_EXPORT", "pdf=x")
    assert distill("score", config).errors[0].startswith("DISTILL_EXPORT: no format 'pdf'")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--export", "pdf=a.pdf"], "--export: no format 'pdf'; one of json, jsonl, csv, md, txt"),
        (["--export", "table=a"], "--export: no format 'table'"),
        (["--export", "a.json"], "--export: 'a.json' is not FORMAT=PATH"),
        (["--export", "json="], "--export: 'json=' is not FORMAT=PATH"),
        (["--export", "json=."], "--export json .: is a folder"),
        (["--export", "json=gone/a.json"], "--export json gone/a.json: there is no such folder"),
        (["--export", "json=teacher.npy"], "--export json teacher.npy: is an input, teacher"),
        (["--export", "csv=./labels.npy"], "--export csv labels.npy: is an input, labels"),
        (["--export", "csv=link.npy"], "--export csv link.npy: is an input, student"),
        (["--export", "csv=config.yaml"], "--export csv config.yaml: is an input, the config"),
        (["--per-row", "a.txt"], "--per-row a.txt: is written as NPY; call it a.npy"),
        (["--per-row", "a.h5"], "--per-row a.h5: is written as NPY; call it a.npy"),
        (["--per-row", "student.npy"], "--per-row student.npy: is an input, student"),
        (["--export", "json=a", "--export", "csv=./a"], "--export csv a: --export json writes"),
        (["--export", "json=a", "--export", "json=a"], "--export json a: --export json writes"),
        (["--export", "json=a", "--per-row", "a"], "--export json a: --per-row writes the same"),
        (["--format", "pdf"], "--format: no format 'pdf'"),
        (["--format", "txt"], "--format: no format 'txt'"),
    ],
)
def test_what_is_refused(config: Path, arguments: list[str], words: str) -> None:
    """Told before any work, with nothing written."""
    os.symlink("student.npy", "link.npy")
    before = {name: Path(name).read_bytes() for name in os.listdir()}
    done = distill("score", config, *arguments)
    assert done.code == 2
    assert done.out == ""
    assert done.errors[0].startswith(words), done.errors
    assert {name: Path(name).read_bytes() for name in os.listdir()} == before
    assert "rows," not in done.err.split("distill: error")[0]


def test_a_failure_writes_nothing(config: Path) -> None:
    """Old files stay as they were when the run fails."""
    student = np.load("student.npy")
    student[3] = np.nan
    np.save("student.npy", student)
    names = ("json", "jsonl", "csv", "md", "txt")
    for name in names:
        Path(f"out.{name}").write_text("old")
    before = set(os.listdir())
    done = distill("score", config, *(f"--export={name}=out.{name}" for name in names))
    assert done.code == 2
    assert set(os.listdir()) == before
    assert all(Path(f"out.{name}").read_text() == "old" for name in names)
