"""Comparisons in every format: complete, valid, and safe with hostile names."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest
from checks import baseline, dump
from runs import distill

from distillcli.checking.comparison import Comparison, Row
from distillcli.checking.conditions import Difference
from distillcli.checking.noise import Noise
from distillcli.config import Check
from distillcli.errors import DataError, DistillError, NoBaselineError
from distillcli.report.verdicts import FORMATS, render, render_failure
from distillcli.report.verdicts.github import MOST, SUMMARY_BYTES, append_summary

HOSTILE = [
    "a|b",
    "::error title=x::owned",
    "##[error]owned",
    "line\nfeed",
    "carriage\rreturn",
    "\x1b[2J\x1b]0;title\x07",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "](http://example.org)",
    "![x](http://example.org/x.png)",
    "`code` **bold** ~~gone~~",
    "@everyone #1 http://example.org www.example.org",
    "&lt;b&gt; 100%0A, : %25",
    "]]>",
    '" onload="x',
    "\u202egnp.exe",
    "\x00\x0b\ufffe\udc80",
    "e\u0301 \u200b zero width",
    "x" * 300,
    "",
]


def row(name: str = "loss", verdict: str = "fail", **more: object) -> Row:
    values = {"baseline": 1.0, "now": 1.25, "difference": 0.25, "allowed": 0.125}
    values |= {"better": "lower", "reason": "worse, 2 x the limit"}
    return Row(name=name, verdict=verdict, **values | more)  # type: ignore[arg-type]


def compared(*rows: Row, **more: object) -> Comparison:
    values = {"baseline": "base.json", "now": "config.yaml", "check": Check()}
    return Comparison(command="check", rows=rows, **values | more)  # type: ignore[arg-type]


def hostile(name: str) -> Comparison:
    """The name wherever one from outside can stand."""
    difference = Difference("rows", name, name, name)
    return compared(
        row(name, reason=name),
        row("loss", "near"),
        baseline=name,
        now=name,
        lifted=(difference,),
        changes=(difference,),
    )


def shown(comparison: Comparison, format: str) -> str:
    stream = io.StringIO()
    render(comparison, format=format, stream=stream)
    return stream.getvalue()


NOISE = Noise(rows=60, left_out=2, mean=0.01, low=0.004, high=0.02)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_acts(format: str, name: str) -> None:
    """Nothing that a terminal obeys or hides, whatever the format."""
    text = shown(hostile(name), format)
    assert all(character.isprintable() or character == "\n" for character in text)
    text.encode("utf-8")
    if name in ("line\nfeed", "carriage\rreturn"):
        assert len(text.splitlines()) == len(shown(hostile("plain"), format).splitlines())


# --- table, Markdown, JSON -----------------------------------------------------------------------


def test_the_table_tells_everything() -> None:
    text = shown(
        compared(
            row(), row("kl_mean", "near"), row("kl_max", "new", baseline=None, allowed=None),
            noise=NOISE, changes=(Difference("", "device", "cpu", "cuda:0"),),
            lifted=(Difference("rows", "rows", "60", "50"),),
        ),
        "table",
    )  # fmt: skip
    for part in (
        "distill check: FAILED, 1 of 3 numbers is outside its limit",
        "baseline   base.json",
        "drift: any move beyond its limit fails",
        "lifted     rows 60, now 50",
        "loss over 60 rows, 2 left out: mean difference +0.01, 95 % interval +0.004 to +0.02: sig",
        "device cpu, now cuda:0",
    ):
        assert part in text
    assert re.search(r"^loss +1 +1\.25 +\+0\.25 +0\.125 +FAIL +worse, 2 x the limit$", text, re.M)


def test_a_pass_is_told_with_its_near_misses() -> None:
    text = shown(compared(row("loss", "near"), row("soft", "pass", reason="")), "table")
    assert text.startswith("distill check: passed, 2 numbers, 1 near the limit\n")


def test_colour_only_where_it_is_wanted() -> None:
    stream = io.StringIO()
    render(compared(row()), format="table", stream=stream, color=True)
    assert "\x1b[1;31mFAIL" in stream.getvalue()
    assert "\x1b" not in shown(compared(row()), "table")


@pytest.mark.parametrize("name", HOSTILE)
def test_markdown_cells_stay_cells(name: str) -> None:
    """No name ends a cell, starts markup, HTML, a link or a mention."""
    text = shown(hostile(name), "md")
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 4
    assert {line.count("|") for line in table} == {8}
    assert not re.search(r"[<>`~\[\]@\\]|://|www\.|\*\*(?!FAIL)(?<!FAIL\*\*)", text)


def test_json_has_every_number_in_full() -> None:
    third = row(now=1 / 3, difference=1 / 3 - 1)
    data = json.loads(shown(compared(third, noise=NOISE), "json"))
    assert data["schema"] == "distillcli.check/1"
    assert data["verdict"] == "fail"
    assert data["numbers"][0]["now"] == 1 / 3
    assert data["loss_over_rows"]["low"] == NOISE.low
    assert data["check"]["default"] == {"rel": 1e-4, "abs": 1e-6}


# --- JUnit ---------------------------------------------------------------------------------------

# What the schema of JUnit reports allows: attributes (those with ! are required), children.
JUNIT = {
    "testsuites": ({"name", "time", "tests", "failures", "errors"}, {"testsuite"}),
    "testsuite": (
        {"name!", "tests!", "failures!", "errors!", "skipped", "time", "timestamp", "hostname"},
        {"properties", "testcase", "system-out", "system-err"},
    ),
    "properties": (set(), {"property"}),
    "property": ({"name!", "value!"}, set()),
    "testcase": (
        {"name!", "classname!", "time", "status"},
        {"skipped", "error", "failure", "system-out", "system-err"},
    ),
    "failure": ({"message", "type"}, set()),
    "error": ({"message", "type"}, set()),
    "skipped": ({"message", "type"}, set()),
    "system-out": (set(), set()),
}  # fmt: skip
ORDER = ["properties", "testcase", "system-out", "system-err"]


def violations(element: Element) -> Iterator[str]:
    """Where an element and those in it break the schema."""
    attributes, children = JUNIT[element.tag]
    required = {name[:-1] for name in attributes if name.endswith("!")}
    if missing := required - set(element.attrib):
        yield f"{element.tag} lacks {missing}"
    if unknown := set(element.attrib) - {name.rstrip("!") for name in attributes}:
        yield f"{element.tag} has {unknown}"
    if children and (element.text or "").strip():
        yield f"{element.tag} holds text"
    for child in element:
        if child.tag not in children:
            yield f"{child.tag} in {element.tag}"
        else:
            yield from violations(child)


def junit(text: str) -> Element:
    """The suite of a report that is as the schema has it, its counts included."""
    root = ElementTree.fromstring(text)
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n')
    assert list(violations(root)) == []
    (suite,) = root
    tags = [child.tag for child in suite]
    assert tags == sorted(tags, key=ORDER.index)
    cases = suite.findall("testcase")
    assert int(suite.attrib["tests"]) == len(cases)
    for count, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert int(suite.attrib[count]) == len(suite.findall(f"testcase/{tag}"))
        assert all(len(case.findall(tag)) <= 1 for case in cases)
    return suite


def test_junit_has_a_case_per_number() -> None:
    suite = junit(shown(compared(row(), row("soft", "near"), row("hard", "pass")), "junit"))
    assert [case.attrib["name"] for case in suite.iter("testcase")] == ["loss", "soft", "hard"]
    (failure,) = suite.iter("failure")
    assert failure.attrib["message"] == (
        "loss: now 1.25, baseline 1, difference +0.25, allowed 0.125 (worse, 2 x the limit)"
    )
    assert (failure.text or "").splitlines() == [
        "value: 1.25",
        "baseline: 1.0",
        "difference: 0.25",
        "limit: 0.125",
        "margin: -0.125",
        "reason: worse, 2 x the limit",
    ]


@pytest.mark.parametrize("name", HOSTILE)
def test_junit_is_valid_with_hostile_names(name: str) -> None:
    suite = junit(shown(hostile(name), "junit"))
    assert len(list(suite.iter("testcase"))) == 2


def test_junit_tells_errors_and_skips() -> None:
    """Bad data is an error; no baseline yet is no failure of the outputs, but skipped."""
    for error, tag in ((DataError("a", "is bad"), "error"), (NoBaselineError("b", "x"), "skipped")):
        stream = io.StringIO()
        render_failure(error, format="junit", stream=stream)
        (found,) = junit(stream.getvalue()).iter(tag)
        assert found.attrib["message"] == str(error)


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("format", ["json", "junit", "github"])
def test_failures_with_hostile_names(format: str, name: str) -> None:
    stream = io.StringIO()
    render_failure(DataError(name, name, name), format=format, stream=stream)
    text = stream.getvalue()
    assert all(character.isprintable() or character == "\n" for character in text)
    if format == "junit":
        junit(text)
    elif format == "json":
        assert json.loads(text)["verdict"] == "error"
    else:
        assert commands(text) == 1


# --- GitHub --------------------------------------------------------------------------------------

COMMAND = re.compile(r"::(error|warning|notice) title=[^:,\n]*::[^\n]*")


def commands(text: str) -> int:
    """How many lines are commands; each is whole, and no other line could be one."""
    lines = text.splitlines()
    found = [line for line in lines if COMMAND.fullmatch(line)]
    others = [line for line in lines if line not in found]
    assert not any(line.lstrip().startswith("::") or "##[" in line for line in others)
    assert all(line.startswith("distill ") for line in others)
    return len(found)


@pytest.mark.parametrize("name", HOSTILE)
def test_annotations_cannot_be_broken_out_of(name: str) -> None:
    text = shown(hostile(name), "github")
    assert commands(text) == 2
    assert [line.split(" ")[0] for line in text.splitlines()[:2]] == ["::error", "::warning"]


def test_annotations_escape_what_commands_mean() -> None:
    text = shown(compared(row("a%b:c,d", reason="100 %")), "github")
    title, message = text.splitlines()[0].removeprefix("::error title=").split("::")
    assert title == "distill check%3A a%25b%3Ac%2Cd"
    assert message.startswith("a%25b:c,d now 1.25, baseline 1")
    assert message.endswith("(100 %25)")


@pytest.mark.parametrize("count", [0, 1, MOST - 1, MOST, MOST + 1, 500])
def test_at_most_ten_annotations(count: int) -> None:
    """The last of them names the rest."""
    text = shown(compared(*(row(f"n{index}") for index in range(count))), "github")
    assert commands(text) == min(count, MOST)
    if count > MOST:
        assert f"::{count - MOST + 1} more: n9, n10" in text
    assert text.splitlines()[-1].startswith("distill check: ")


def test_the_summary_is_appended_and_stays_below_its_limit(tmp_path: Path) -> None:
    """Cut at the end of a line, with a word about it; several reports add up."""
    path = tmp_path / "summary.md"
    path.write_text("before\n")
    found = compared(*(row(f"number {index}" + "é" * 50) for index in range(6000)))
    append_summary(found, path)
    append_summary(found, path)
    append_summary(found, path)
    text = path.read_text(encoding="utf-8")
    assert text.startswith("before\n### distill check: FAILED")
    assert len(path.read_bytes()) <= SUMMARY_BYTES < 1 << 20
    assert text.rstrip().endswith("... cut here: the summary of a step must stay below 1 MiB")


def test_the_summary_of_a_full_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    path.write_bytes(b"x" * SUMMARY_BYTES)
    append_summary(compared(row()), path)
    assert path.stat().st_size == SUMMARY_BYTES


@pytest.mark.parametrize("name", HOSTILE)
def test_the_summary_with_hostile_names(name: str, tmp_path: Path) -> None:
    for found in (hostile(name), DataError(name, name)):
        path = tmp_path / "summary.md"
        append_summary(found, path)
        assert "<" not in path.read_text(encoding="utf-8")


def test_a_summary_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DistillError, match="GITHUB_STEP_SUMMARY"):
        append_summary(compared(row()), tmp_path / "none" / "summary.md")


# --- on the command line -------------------------------------------------------------------------


def test_formats_on_the_command_line(tmp_path: Path) -> None:
    """Each format on stdout, others into files beside it, the summary where GitHub asks for it."""
    config = dump(tmp_path)
    base = baseline(tmp_path, config)
    dump(tmp_path, worse=0.4)
    summary = tmp_path / "summary.md"
    done = distill(
        "check", config, "--baseline", base, "--format", "github",
        "--export", f"junit={tmp_path / 'r.xml'}", "--export", f"md={tmp_path / 'r.md'}",
        "--export", f"json={tmp_path / 'r.json'}", "--export", f"txt={tmp_path / 'r.txt'}",
        variables={"GITHUB_STEP_SUMMARY": str(summary)},
    )  # fmt: skip
    assert done.code == 1
    assert commands(done.out) == MOST
    assert summary.read_text() == (tmp_path / "r.md").read_text()
    assert junit((tmp_path / "r.xml").read_text()).attrib["failures"] != "0"
    assert json.loads((tmp_path / "r.json").read_text())["verdict"] == "fail"
    assert (tmp_path / "r.txt").read_text().startswith("distill check: FAILED")


@pytest.mark.parametrize(("gone", "tag"), [("base.json", "skipped"), ("student.npy", "error")])
def test_a_check_that_cannot_be_made_is_told_to_machines(
    gone: str, tag: str, tmp_path: Path
) -> None:
    """Exit 2, and a report all the same."""
    config = dump(tmp_path)
    base = baseline(tmp_path, config)
    (tmp_path / gone).unlink()
    report = tmp_path / "r.xml"
    done = distill("check", config, "--baseline", base, "--format", "github", "--export",
                   f"junit={report}")  # fmt: skip
    assert done.code == 2
    assert commands(done.out) == 1
    assert len(list(junit(report.read_text()).iter(tag))) == 1
    assert len(done.errors) == 1


@pytest.mark.parametrize(
    ("victim", "harm"),
    [
        ("base.json", "nothing"),
        ("labels.npy", "nothing"),
        ("labels.npy", "student.npy"),
        ("labels.npy", "base.json"),
        ("labels.npy", "config.yaml"),
        ("config.yaml", "nothing"),
    ],
)
@pytest.mark.parametrize("format", ["junit", "json"])
def test_no_report_takes_the_place_of_an_input(
    victim: str, harm: str, format: str, tmp_path: Path
) -> None:
    """Also not the report of a run that failed before it knew its inputs."""
    config = dump(tmp_path)
    base = baseline(tmp_path, config)
    (tmp_path / harm).unlink(missing_ok=True)
    before = (tmp_path / victim).read_bytes()
    done = distill("check", config, "--baseline", base, "--export", f"{format}={tmp_path / victim}")
    assert done.code == 2
    assert (tmp_path / victim).read_bytes() == before


@pytest.mark.parametrize("format", FORMATS)
def test_diff_in_every_format(format: str, tmp_path: Path) -> None:
    config = dump(tmp_path)
    a = baseline(tmp_path, config)
    dump(tmp_path, worse=0.4)
    b = tmp_path / "b.json"
    distill("check", config, "--baseline", b, "--update-baseline")
    done = distill("diff", a, b, "--format", format)
    assert done.code == 0
    if format == "junit":
        assert junit(done.out).attrib["failures"] == "0"
    elif format == "json":
        assert json.loads(done.out)["command"] == "diff"
    else:
        assert "distill diff: " in done.out
