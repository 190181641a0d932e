"""`--rows A:B` and `--limit N`: which rows, what is refused, and that no other figure moves."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from runs import distill, saved, silent, written

from distillcli.commands.score import score
from distillcli.commands.strategy import CATALOGUE
from distillcli.config import from_data
from distillcli.errors import UsageError
from distillcli.result import Result
from distillcli.sinks.collection import Wishes
from distillcli.strategy.selection import Selection
from distillcli.sums.rows import Floats

ROWS = 9000  # over two blocks of 4096


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two teachers, a student, labels and hidden layers of two widths."""
    rng = np.random.default_rng(3)
    names = ("teacher", "other", "student")
    saved(tmp_path, "float32", **{name: rng.normal(0, 2, (ROWS, 4)) for name in names})
    saved(tmp_path, "float32", narrow=rng.normal(size=(ROWS, 3)), wide=rng.normal(size=(ROWS, 5)))
    saved(tmp_path, labels=rng.integers(0, 4, ROWS))
    return tmp_path


RESPONSE = {
    "strategy": "response",
    "teacher": "teacher.npy",
    "student": "student.npy",
    "labels": "labels.npy",
}
ENSEMBLE = {
    "strategy": "ensemble",
    "teachers": ["teacher.npy", "other.npy"],
    "student": "student.npy",
    "labels": "labels.npy",
    "ensemble": {"weights": "accuracy"},
}
FITTED = {
    "strategy": "progressive",
    "student_hidden": ["narrow.npy"],
    "teacher_hidden": ["wide.npy"],
    "progressive": {"layer_mapping": [[0, 0]], "projection": {"init": "least_squares"}},
}


def run(
    folder: Path, config: dict[str, object], rows: str | None, limit: str | None = None
) -> tuple[Result, Floats]:
    """The result, and the loss of every row."""
    checked = from_data({"device": "cpu", **config}, base=folder, catalogue=CATALOGUE, where="test")
    path = folder / "rows.npy"
    result = score(
        checked,
        progress=silent,
        note=lambda text: None,
        selection=Selection.parse(rows, limit),
        wishes=Wishes(per_row=path),
    )
    return result, np.load(path)


@pytest.mark.parametrize(
    ("rows", "limit", "expected"),
    [
        (None, None, (0, 100)),
        ("10:20", None, (10, 20)),
        (":20", None, (0, 20)),
        ("20:", None, (20, 100)),
        (":", None, (0, 100)),
        ("99:100", None, (99, 100)),
        (" 10:20 ", None, (10, 20)),
        (None, "7", (0, 7)),
        (None, "100000", (0, 100)),
        ("10:20", "5", (10, 15)),
        ("10:20", "50", (10, 20)),
    ],
)
def test_bounds(rows: str | None, limit: str | None, expected: tuple[int, int]) -> None:
    """Half-open as in Python; the limit counts from the first row taken."""
    assert Selection.parse(rows, limit).bounds(100) == expected


@pytest.mark.parametrize(
    ("rows", "limit", "words"),
    [
        ("10", None, "--rows: '10' is not a range of rows"),
        ("-5:", None, "not a range"),
        ("1:2:3", None, "not a range"),
        ("a:b", None, "not a range"),
        ("", None, "not a range"),
        ("1e3:", None, "not a range"),
        ("9" * 30 + ":", None, "not a range"),
        ("20:10", None, "20:10 holds no rows"),
        ("20:20", None, "holds no rows"),
        (None, "0", "--limit: '0' is not a number of rows"),
        (None, "-1", "not a number of rows"),
        (None, "1.5", "not a number of rows"),
        ("100:", None, "100: is outside the input, which has 100 rows"),
        ("0:101", None, "0:101 is outside the input, which has 100 rows"),
        ("500:600", "3", "500:600 is outside"),
    ],
)
def test_what_is_refused(rows: str | None, limit: str | None, words: str) -> None:
    """Each with the flag and the way out; nothing is cut to what there is."""
    with pytest.raises(UsageError, match=words) as caught:
        Selection.parse(rows, limit).bounds(100)
    assert caught.value.hint


@pytest.mark.parametrize("config", [RESPONSE, ENSEMBLE], ids=["response", "ensemble"])
@pytest.mark.parametrize(("first", "stop"), [(0, 100), (4000, 8500), (4096, 8192), (8999, 9000)])
def test_a_range_is_a_slice(folder: Path, config: dict[str, object], first: int, stop: int) -> None:
    """The rows have the bits that they have in a run over all; the loss is their mean."""
    if config is ENSEMBLE:  # weights of its own are found in the rows that are taken
        config = {**ENSEMBLE, "ensemble": {"weights": [0.5, 0.5]}}
    _, whole = run(folder, config, None)
    result, part = run(folder, config, f"{first}:{stop}")
    np.testing.assert_array_equal(part, whole[first:stop])
    assert result.rows == stop - first
    assert result.loss == pytest.approx(part.mean(), rel=1e-12)
    assert (result.batches[0].start, result.batches[-1].stop) == (first, stop)
    assert result.facts["row_range"] == [first, stop]
    assert result.facts["rows_stored"] == ROWS


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("classes", [2, 7, 63, 64, 101, 1000])
def test_a_range_is_a_slice_for_every_width(tmp_path: Path, classes: int, dtype: str) -> None:
    """Whatever way a kernel takes for rows of this width, the ends of a range change nothing."""
    rng = np.random.default_rng(classes)
    shape = (300, classes)
    saved(tmp_path, dtype, **{name: rng.normal(0, 3, shape) for name in ("teacher", "student")})
    saved(tmp_path, labels=rng.integers(0, classes, shape[0]))
    _, whole = run(tmp_path, RESPONSE, None)
    for first, stop in ((1, 300), (17, 18), (130, 291)):
        np.testing.assert_array_equal(
            run(tmp_path, RESPONSE, f"{first}:{stop}")[1], whole[first:stop]
        )


@pytest.mark.parametrize("config", [ENSEMBLE, FITTED], ids=["accuracy", "least squares"])
def test_first_passes_take_the_same_rows(folder: Path, config: dict[str, object]) -> None:
    """Weights and matrices are found in the rows taken: files of these rows alone give the same."""
    names = ("teacher", "other", "student", "narrow", "wide", "labels")
    taken, _ = run(folder, config, "4096:6000")
    cut = folder / "cut"
    cut.mkdir()
    for name in names:
        np.save(cut / f"{name}.npy", np.load(folder / f"{name}.npy")[4096:6000])
    alone, _ = run(cut, config, None)
    assert taken.loss == pytest.approx(alone.loss, rel=1e-9)
    assert [one.weight for one in taken.teachers or ()] == [
        one.weight for one in alone.teachers or ()
    ]
    whole, _ = run(folder, config, None)
    assert taken.loss != pytest.approx(whole.loss, rel=1e-6)


@pytest.mark.parametrize(
    "arguments",
    [["--rows", "10:30"], ["--rows", "10:", "--limit", "20"], ["--rows", "10:", "--limit=20"]],
)
def test_on_the_command_line(folder: Path, arguments: Sequence[str]) -> None:
    """The flags, and the report says which rows it is of."""
    config = written(folder / "config.yaml", RESPONSE)
    done = distill("score", config, *arguments)
    assert done.code == 0, done.err
    assert "run        rows 10:30 of 9,000, 20 rows in batches of" in done.out


def test_without_a_range_the_report_says_nothing_of_one(folder: Path) -> None:
    """A run over all rows looks as before."""
    config = written(folder / "config.yaml", RESPONSE)
    assert "run        9,000 rows in batches of" in distill("score", config).out


def test_outside_on_the_command_line(folder: Path) -> None:
    """One line that names the flag, or the variable, and how many rows there are."""
    config = written(folder / "config.yaml", RESPONSE)
    (error,) = distill("score", config, "--rows", "0:9001").errors
    assert error.startswith("--rows: 0:9001 is outside the input, which has 9,000 rows")
    done = distill("score", config, variables={"DISTILL_ROWS": "0:9001"})
    assert done.code == 2
    assert done.errors[0].startswith("DISTILL_ROWS: 0:9001 is outside")
