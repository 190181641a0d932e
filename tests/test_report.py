"""The report: complete numbers on every page, names that cannot act, progress that stays out."""

import io
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from distillcli import report
from distillcli.errors import ConfigError, ConfigErrors, DataError, UsageError
from distillcli.report import Progress, escape, print_error, print_note, print_warning, text
from distillcli.result import BatchResult, LayerResult, Result, TeacherResult

ESCAPE_CODE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
WIDTHS = [None, 40, 80, 200]

METRICS = {
    "kl_mean": 0.0834512,
    "kl_stderr": 0.0051234,
    "kl_median": 0.0123,
    "kl_p90": 0.234,
    "kl_p95": 0.4567,
    "kl_p99": 1.2345,
    "kl_p999": 2.3456,
    "kl_max": 12.9876,
    "top1_agreement": 0.9355,
    "top5_agreement": 0.9989,
    "student_accuracy": 0.9333,
    "teacher_accuracy": 0.9711,
    "student_nll": 0.2346,
    "teacher_nll": 0.11,
    "student_entropy": 0.21,
    "teacher_entropy": 0.0543,
    "student_ece": 0.0123,
    "teacher_ece": 0.0091,
}
FACTS: dict[str, Any] = {
    "conventions": "kl = T^2 * KL(teacher || student), natural log, mean over rows",
    "inputs": [
        {"role": "teacher", "path": "runs/a.h5::logits", "shape": [1280, 10], "dtype": "float32"},
        {"role": "labels", "path": "runs/labels.npy", "shape": [1280], "dtype": "int64"},
    ],
    "losses": {"soft": "kl", "hard": "cross_entropy"},
    "temperature": 4.0,
    "precision": "float32",
    "device": "cpu",
    "kernel": "numpy",
    "seconds": 2.0,
    "bytes_read": 4_000_000_000,
    "batch_size": 256,
    "notes": [],
    "unavailable": {},
}


def batches(count: int, terms: Sequence[str] = ("soft", "hard")) -> tuple[BatchResult, ...]:
    """Batches of 256 rows, each with figures of its own."""
    return tuple(
        BatchResult(
            index,
            256 * index,
            256 * (index + 1),
            1 + index / 100_000,
            {term: 2 + order + index / 100_000 for order, term in enumerate(terms)},
            {"top1_agreement": 0.9355, "student_accuracy": 0.9333},
        )
        for index in range(count)
    )


def response(count: int = 5, **changes: Any) -> Result:
    """A result of the response strategy."""
    parts: dict[str, Any] = {
        "command": "score",
        "strategy": "response",
        "rows": 256 * count,
        "rows_skipped": 0,
        "loss": 0.812346,
        "terms": {"soft": 1.01235, "hard": 0.345678},
        "weights": {"soft": 0.7, "hard": 0.3},
        "metrics": METRICS,
        "batches": batches(count),
        "nonfinite": {},
        "facts": FACTS,
    }
    return Result(**(parts | changes))


def progressive() -> Result:
    """A result with layers and three terms."""
    return response(
        strategy="progressive",
        terms={"soft": 1.01235, "hard": 0.345678, "hidden": 12.3457},
        weights={"soft": 0.7, "hard": 0.3, "hidden": 1.0},
        batches=batches(5, ("soft", "hard", "hidden")),
        layers=(LayerResult(0, 1, 0.5, 8.123456), LayerResult(1, 3, 0.5, 16.567891)),
    )


def ensemble() -> Result:
    """A result with teachers."""
    return response(
        strategy="ensemble",
        teachers=(
            TeacherResult("dumps/teacher_a.h5::logits", 0.25, 0.9711, 0.1101),
            TeacherResult("dumps/teacher_b.h5::logits", 0.75, 0.9778, 0.0789),
        ),
    )


class Stream(io.StringIO):
    """A stream in memory that says what it is told to about itself."""

    def __init__(self, *, terminal: bool = False, encoding: str = "utf-8") -> None:
        super().__init__()
        self._terminal, self._encoding = terminal, encoding

    def isatty(self) -> bool:
        return self._terminal

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def write(self, text: str) -> int:
        text.encode(self._encoding)  # fails as a real stream would
        return super().write(text)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the caller's decides what a test sees."""
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def shown(result: Result, **options: Any) -> str:
    """The report as it goes to a pipe, or to the stream that is given."""
    stream = options.pop("stream", None) or Stream()
    report.render(result, format="table", stream=stream, **options)
    return str(stream.getvalue())


def words(page: str) -> set[str]:
    """What stands between blanks."""
    return set(page.split())


@pytest.mark.parametrize("width", WIDTHS)
def test_every_number_is_complete_at_every_width(width: int | None) -> None:
    """No number of the report is shortened, broken or left out."""
    numbers = {"0.812346", "1.01235", "0.345678", "0.08345", "0.00512", "0.0123", "0.2340"}
    numbers |= {"0.4567", "1.2345", "2.3456", "12.9876", "0.9355", "0.9989", "0.9711", "0.0091"}
    numbers |= {f"{1 + index / 100_000:.5f}" for index in range(5)} | {"1024:1280", "1,280"}
    assert numbers <= words(shown(response(), width=width))


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("make", [response, progressive, ensemble])
def test_no_line_is_wider_than_the_page(make: Callable[[], Result], width: int) -> None:
    """Each line fits, so that a terminal tears no line."""
    assert max(map(len, shown(make(), width=width).splitlines())) <= width


def test_off_a_terminal_nothing_is_wrapped() -> None:
    """A long name and the conventions stay on one line each, whatever COLUMNS says."""
    path = "/long/" + "directory/" * 40 + "teacher.h5::logits"
    facts = FACTS | {"conventions": "words " * 100}
    page = shown(response(facts=facts, teachers=(TeacherResult(path, 1.0, 0.9, 0.1),)), color=False)
    assert path in page
    assert f"conventions  {'words ' * 100}".rstrip() in page


def test_a_terminal_gives_its_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """COLUMNS counts on a terminal."""
    monkeypatch.setenv("COLUMNS", "60")
    page = ESCAPE_CODE.sub("", shown(response(), stream=Stream(terminal=True)))
    assert max(map(len, page.splitlines())) <= 60
    assert "12.9876" in words(page)


def test_the_table_has_one_row_per_batch() -> None:
    """Batch, rows, loss, each term, agreement, accuracy; in this order."""
    page = shown(response())
    assert re.search(r"^batch +rows +loss +soft +hard +agreement +accuracy$", page, re.M)
    row = r"^ +3 +768:1024 +1\.00003 +2\.00003 +3\.00003 +0\.9355 +0\.9333$"
    assert re.search(row, page, re.M)


def test_without_labels_there_is_no_accuracy() -> None:
    """A column that no batch has a figure for is not there."""
    without = tuple(
        BatchResult(b.index, b.start, b.stop, b.loss, b.terms, {"top1_agreement": 0.5})
        for b in batches(3)
    )
    page = shown(response(batches=without, metrics={"top1_agreement": 0.5}))
    assert "accuracy" not in page
    assert "agreement" in page


def test_thousands_of_batches_stay_readable() -> None:
    """The first ten, the last ten, and a line that says how many there are between."""
    page = shown(response(5000))
    rows = [int(match) for match in re.findall(r"^ *(\d+) +\d+:\d+ ", page, re.M)]
    assert rows == [*range(10), *range(4990, 5000)]
    assert "4,980 more left out; --all-batches prints every one" in page


def test_the_rows_on_both_sides_of_the_gap_line_up() -> None:
    """Columns end at the same place before and after what is left out."""
    page = shown(response(5000))
    lines = [line for line in page.splitlines() if re.match(r" *\d+ +\d+:\d+ ", line)]
    assert len({tuple(match.end() for match in re.finditer(r"\S+", line)) for line in lines}) == 1


def test_all_batches_prints_every_one() -> None:
    """Nothing is left out when it is asked not to be."""
    page = shown(response(300), all_batches=True)
    assert len(re.findall(r"^ *\d+ +\d+:\d+ ", page, re.M)) == 300
    assert "left out" not in page


def test_a_few_batches_are_all_shown() -> None:
    """Up to a screen of batches none is left out."""
    assert "left out" not in shown(response(24))
    assert "5 more left out" in shown(response(25))


def test_joined_batches_are_said_to_be() -> None:
    """A line that stands for several batches does not pass as one."""
    page = shown(response(facts=FACTS | {"batches_joined": 3}))
    assert "each line stands for up to 3 batches" in page


def test_the_loss_is_spelled_out_as_a_sum() -> None:
    """The total, then weight times term."""
    line = "0.812346 = 0.7 \u00d7 1.01235 soft + 0.3 \u00d7 0.345678 hard"
    assert line in shown(response())


def test_student_and_teacher_stand_side_by_side() -> None:
    """One row per figure; the teacher of an ensemble is its blend."""
    assert re.search(r"^accuracy +0\.9333 +0\.9711$", shown(response()), re.M)
    assert re.search(r"^ +student +teacher$", shown(response()), re.M)
    assert re.search(r"^ +student +blend$", shown(ensemble()), re.M)


def test_layers_and_teachers_have_tables() -> None:
    """A row for each pair of layers, and for each teacher."""
    assert re.search(r"^ +1 +3 +0\.5000 +16\.5679$", shown(progressive()), re.M)
    row = r"^ +1 +0\.7500 +0\.9778 +0\.0789  dumps/teacher_b\.h5::logits$"
    assert re.search(row, shown(ensemble()), re.M)


@pytest.mark.parametrize("color", [True, False])
def test_what_is_not_finite_is_a_warning(color: bool) -> None:
    """A missing number is never shown as one, and is counted where it cannot be overlooked."""
    first = BatchResult(0, 0, 256, None, {"soft": None, "hard": 0.2}, {"top1_agreement": 0.5})
    result = response(
        loss=None,
        terms={"soft": None, "hard": 0.2},
        batches=(first, *batches(5)[1:]),
        metrics=METRICS | {"kl_mean": None, "kl_stderr": None, "kl_max": None},
        nonfinite={"soft": 3, "hard": 0, "kl_mean": 1},
        rows_skipped=12,
    )
    page = ESCAPE_CODE.sub("", shown(result, color=color))
    assert "loss       not finite = 0.7 \u00d7 not finite soft" in page
    assert re.search(r"^warning +not finite: soft in 3 rows, kl_mean in 1 row$", page, re.M)
    assert re.search(r"^skipped +12 bad rows left out of 1,292$", page, re.M)
    assert re.search(r"^KL, T=4 +not finite ", page, re.M)
    assert "nan" not in page
    assert "None" not in page


def test_notes_reasons_conventions_and_speed_are_told() -> None:
    """What a reader has to know about the numbers stands below them."""
    facts = FACTS | {
        "notes": ["no labels: alpha is 1"],
        "unavailable": {"teacher_ece": "no scores at T = 1"},
    }
    page = shown(response(facts=facts))
    assert re.search(r"^note +no labels: alpha is 1$", page, re.M)
    assert re.search(r"^left out +teacher_ece: no scores at T = 1$", page, re.M)
    assert re.search(r"^conventions +kl = T\^2 \* KL\(teacher \|\| student\), natural", page, re.M)
    assert re.search(r"^time +2\.00 s, 640 rows/s, 2\.00 GB/s$", page, re.M)


def test_a_bare_result_has_a_report() -> None:
    """No metrics, no batches, no facts: still a report, with the loss."""
    page = shown(response(metrics={}, batches=(), facts={}))
    assert "0.812346" in page
    assert "\n\n\n" not in page


def test_unknown_metrics_come_last() -> None:
    """A metric that the table of metrics does not have is shown all the same."""
    page = shown(response(metrics=METRICS | {"new_figure": 0.1234}))
    assert re.search(r"^other +new figure 0\.1234$", page, re.M)
    assert page.index("new figure") > page.index("entropy")


def test_the_standard_error_may_be_missing() -> None:
    """A single row has a mean without an error."""
    page = shown(response(metrics={"kl_mean": 0.5, "kl_stderr": None}))
    assert re.search(r"^KL, T=4 +0\.5000$", page, re.M)


@pytest.mark.parametrize("options", [{}, {"color": False}])
def test_no_escape_codes_off_a_terminal(options: dict[str, Any]) -> None:
    """A pipe gets plain text without blanks at the ends of lines."""
    page = shown(response(), **options)
    assert "\x1b" not in page
    assert not re.search(r"[ \t]$", page, re.M)


@pytest.mark.parametrize(
    ("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb"), ("TERM", "unknown")]
)
def test_a_terminal_without_colour(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """NO_COLOR and terminals that know no codes get none."""
    monkeypatch.setenv(name, value)
    assert "\x1b" not in shown(response(), stream=Stream(terminal=True))


def test_colour_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal gets it, unless the caller says no; an empty NO_COLOR says nothing."""
    monkeypatch.setenv("NO_COLOR", "")
    assert "\x1b[1m" in shown(response(), stream=Stream(terminal=True))
    assert "\x1b" not in shown(response(), stream=Stream(terminal=True), color=False)


def test_colour_changes_no_character() -> None:
    """Without its codes the coloured report is the plain one."""
    for result in (response(5000), progressive(), ensemble()):
        coloured = ESCAPE_CODE.sub("", shown(result, color=True, width=80))
        lines = [line.rstrip() for line in coloured.splitlines()]
        assert lines == shown(result, color=False, width=80).splitlines()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
@pytest.mark.parametrize("terminal", [True, False])
def test_every_encoding_will_do(encoding: str, terminal: bool) -> None:
    """A locale that lacks a character gets another one, or its escape; the numbers stay."""
    stream = Stream(terminal=terminal, encoding=encoding)
    facts = FACTS | {"notes": ["\u65e5\u672c\u8a9e"]}
    page = ESCAPE_CODE.sub("", shown(response(5000, facts=facts), stream=stream))
    assert "0.812346" in words(page)
    assert ("\\u65e5\\u672c" in page) == (encoding != "utf-8")


HOSTILE = "a\x1b[2J\x07\r\n\x9b31m\u202e\u200b\u2066[bold red]x[/bold red]:smile:\udcff\ue000.h5"


@pytest.mark.parametrize("width", [None, 80])
def test_hostile_names_are_shown_not_obeyed(width: int | None) -> None:
    """No control character of a name reaches the terminal, and its markup is text."""
    facts = FACTS | {
        "inputs": [{"role": HOSTILE, "path": HOSTILE, "shape": [1], "dtype": HOSTILE}],
        "notes": [HOSTILE],
        "unavailable": {HOSTILE: HOSTILE},
        "losses": {"soft": HOSTILE},
        "device": HOSTILE,
        "kernel": HOSTILE,
        "conventions": HOSTILE,
    }
    result = response(
        facts=facts,
        strategy=HOSTILE,
        metrics={HOSTILE: 1.0, f"student_{HOSTILE}": 2.0},
        nonfinite={HOSTILE: 1},
        teachers=(TeacherResult(HOSTILE, 1.0),),
    )
    page = shown(result, width=width)
    assert all(character == "\n" or character.isprintable() for character in page)
    if width is None:
        assert escape(HOSTILE) in page
    assert ":smile:" in page


@pytest.mark.parametrize(
    ("raw", "safe"),
    [
        ("plain name-1.h5::a/b [x]", "plain name-1.h5::a/b [x]"),
        ("Sch\u00f6n \u65e5\u672c \u00b5", "Sch\u00f6n \u65e5\u672c \u00b5"),
        ("\x00\t\n\x1b\x7f\x9b", "\\x00\\x09\\x0a\\x1b\\x7f\\x9b"),
        ("\u202e\u2066\u200b\u200d\ufeff\u2028", "\\u202e\\u2066\\u200b\\u200d\\ufeff\\u2028"),
        ("\xa0\xad\u3164\ufe0f", "\\xa0\\xad\\u3164\\ufe0f"),
        ("\udcff\U000e0041", "\\udcff\\U000e0041"),
    ],
)
def test_escape(raw: str, safe: str) -> None:
    """What a terminal obeys or hides is written out; letters of all scripts stay."""
    assert escape(raw) == safe


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.1234567, 1.5], ["0.12346", "1.50000"]),
        ([12.3456789], ["12.3457"]),
        ([123456.789, 1.0], ["123456.789", "1.000"]),
        ([0.0], ["0"]),
        ([-0.0, 0.5], ["0.000000", "0.500000"]),
        ([1e-12, 1.0], ["1.00000e-12", "1.00000e+00"]),
        ([1.5e10], ["1.50000e+10"]),
        ([], []),
    ],
)
def test_losses_of_a_column_share_their_decimals(values: list[float], expected: list[str]) -> None:
    """Six significant digits for the largest, four for the smallest, or scientific notation."""
    assert text.losses(values) == expected


def test_shares_have_four_decimals() -> None:
    """Also 0 and 1; a small share is not shown as none."""
    assert text.shares([0, 1, 0.96444]) == ["0.0000", "1.0000", "0.9644"]
    assert text.share(0.00001) == "0.00001"


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (71_920, "71.9 kB"), (999_600, "1.00 MB"),
     (2.5e9, "2.50 GB"), (1.2e14, "120 TB"), (3e18, "3000000 TB")],
)  # fmt: skip
def test_sizes(number: float, expected: str) -> None:
    """Three digits and a unit."""
    assert text.size(number).replace(text.TIE, " ") == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.0351, "35 ms"), (0.9999, "1.00 s"), (59.999, "1 min 00 s"), (125, "2 min 05 s"),
     (3725, "1 h 02 min")],
)  # fmt: skip
def test_durations(seconds: float, expected: str) -> None:
    """As a person says it."""
    assert text.duration(seconds).replace(text.TIE, " ") == expected


def test_json_has_the_documented_keys_in_order() -> None:
    """Those of the result, layers and teachers only where there are any."""
    stream = Stream(encoding="ascii")
    report.render(ensemble(), format="json", stream=stream)
    data = json.loads(stream.getvalue())
    assert list(data) == [
        "schema", "command", "strategy", "rows", "rows_skipped", "rows_masked", "loss",
        "terms", "weights", "metrics", "teachers", "batches", "nonfinite", "facts",
    ]  # fmt: skip
    assert set(data["batches"][0]) == {"index", "start", "stop", "loss", "terms", "metrics"}


def test_json_keeps_every_number() -> None:
    """What is read back is what was found, to the last bit; None is null."""
    result = response(loss=0.1 + 0.2, terms={"soft": 1e-300, "hard": None})
    stream = Stream()
    report.render(result, format="json", stream=stream, color=True, width=40)
    data = json.loads(stream.getvalue())
    assert data["loss"] == 0.1 + 0.2
    assert data["terms"] == {"soft": 1e-300, "hard": None}
    assert data == json.loads(json.dumps(result.as_dict()))
    assert stream.getvalue().isascii()
    assert stream.getvalue().endswith("}\n")


def test_json_refuses_what_is_not_json() -> None:
    """A NaN in a result is a mistake, and nothing of it is written."""
    stream = Stream()
    with pytest.raises(ValueError, match="not JSON compliant"):
        report.render(response(loss=float("nan")), format="json", stream=stream)
    assert stream.getvalue() == ""


def test_an_unknown_format_is_named() -> None:
    """The error names the flag and the formats that there are."""
    with pytest.raises(UsageError, match="--format: no format 'xml'; one of table, json"):
        report.render(response(), format="xml", stream=Stream())


def test_errors_are_one_line_each() -> None:
    """A mistake per line, however long, escaped, without codes off a terminal."""
    stream = Stream()
    one = ConfigError("c.yaml:1:2: a", "is wrong " * 50, "say b")
    two = ConfigError("c.yaml:2:1: b\x1b[2J", "two\nlines")
    print_error(ConfigErrors([one, two]), stream)
    assert stream.getvalue().splitlines() == [
        f"distill: error: c.yaml:1:2: a: {'is wrong ' * 50}; say b",
        "distill: error: c.yaml:2:1: b\\x1b[2J: two\\x0alines",
    ]


def test_messages_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Coloured, but not wrapped: the terminal breaks lines, and they copy as one."""
    monkeypatch.setenv("COLUMNS", "40")
    stream = Stream(terminal=True)
    print_error(DataError("f.npy", "word " * 30), stream)
    assert "\x1b[1;31merror:" in stream.getvalue()
    assert stream.getvalue().count("\n") == 1


def test_notes_and_warnings() -> None:
    """Each says what it is; a locale that lacks a character gets its escape."""
    stream = Stream(encoding="ascii")
    print_note("caf\u00e9", stream)
    print_warning("careful", stream)
    assert stream.getvalue() == "distill: note: caf\\xe9\ndistill: warning: careful\n"


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_progress_in_a_log() -> None:
    """One line at the start and one every 30 seconds, with rate and time left."""
    clock, stream = Clock(), Stream()
    with Progress(1_000_000, 4 * 10**9, stream=stream, clock=clock) as progress:
        for _ in range(10):
            clock.now += 8
            progress.advance(100_000, 4 * 10**8)
    assert stream.getvalue().splitlines() == [
        "distill: score: 1,000,000 rows, 4.00 GB",
        "distill: score: 400,000 of 1,000,000 rows, 12,500 rows/s, 50.0 MB/s, 0:48 left",
        "distill: score: 800,000 of 1,000,000 rows, 12,500 rows/s, 50.0 MB/s, 0:16 left",
    ]


@pytest.mark.parametrize("terminal", [True, False])
def test_no_progress_is_silent(terminal: bool) -> None:
    """Nothing at all where it is not wanted."""
    clock, stream = Clock(), Stream(terminal=terminal)
    with Progress(100, enabled=False, stream=stream, clock=clock) as progress:
        clock.now += 60
        progress.advance(50, 100)
    assert stream.getvalue() == ""


def test_short_work_shows_no_bar() -> None:
    """What is done in half a second does not flicker."""
    clock, stream = Clock(), Stream(terminal=True)
    with Progress(100, stream=stream, clock=clock) as progress:
        clock.now += 0.4
        progress.advance(50)
        clock.now += 0.4
        progress.advance(50)
    assert stream.getvalue() == ""


def test_the_bar_tells_rate_and_time_left_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows and bytes a second, time left; at the end its line is erased."""
    monkeypatch.setenv("COLUMNS", "80")
    clock, stream = Clock(), Stream(terminal=True)
    with Progress(1000, 8_000_000, stream=stream, clock=clock) as progress:
        clock.now += 2
        progress.advance(250, 2_000_000)
        drawn = ESCAPE_CODE.sub("", stream.getvalue())
    assert "25 % 125 rows/s, 1.00 MB/s, 0:06 left" in drawn
    assert stream.getvalue().endswith("\x1b[1A\x1b[2K")


@pytest.mark.parametrize("columns", [40, 60])
def test_the_bar_fits_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """The rate gives way first, the time left last; nothing is shortened."""
    monkeypatch.setenv("COLUMNS", str(columns))
    clock, stream = Clock(), Stream(terminal=True)
    with Progress(1_000_000, 8 * 10**9, stream=stream, clock=clock) as progress:
        clock.now += 2
        progress.advance(250_000, 2 * 10**9)
        drawn = re.split(r"[\r\n]", ESCAPE_CODE.sub("", stream.getvalue()))
    assert max(map(len, drawn)) <= columns
    assert any("0:06 left" in line for line in drawn)


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the cursor cannot move there is no bar."""
    monkeypatch.setenv("TERM", "dumb")
    clock, stream = Clock(), Stream(terminal=True)
    with Progress(1, stream=stream, clock=clock) as progress:
        clock.now += 31
        progress.advance(1)
    assert stream.getvalue() == (
        "distill: score: 1 row\ndistill: score: 1 of 1 row, 0 rows/s, 0:00 left\n"
    )


def test_the_bar_goes_when_the_work_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error leaves no bar behind, and the cursor is there again."""
    clock, stream = Clock(), Stream(terminal=True)

    def fail() -> None:
        with Progress(100, stream=stream, clock=clock) as progress:
            clock.now += 2
            progress.advance(10)
            raise DataError("f.npy", "changed")

    with pytest.raises(DataError):
        fail()
    assert stream.getvalue().count("\x1b[?25l") == stream.getvalue().count("\x1b[?25h") == 1
