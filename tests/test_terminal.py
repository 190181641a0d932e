"""The real command on terminals, in pipes, logs and odd locales: whole numbers, no stray codes."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import Ended, saved, written

from distillcli.report.page import Page
from distillcli.report.trend import BARS, bars, means, trend
from distillcli.result import BatchResult

ESCAPE_CODE = re.compile(r"\x1b")
NUMBERS = re.compile(r"(?<![\w.])-?\d+\.\d+(?![\w.])")
ROWS, CLASSES = 640, 10
UTF8 = {"LC_ALL": "C.UTF-8", "PYTHONUTF8": "", "TERM": "xterm-256color"}
# Python would repair a plain C locale by itself; these are locales without UTF-8 all the same.
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "TERM": "xterm-256color"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config with ten batches, groups and labels."""
    path = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(6)
    saved(path, **{name: rng.normal(0, 2, (ROWS, CLASSES)) for name in ("teacher", "student")})
    saved(path, labels=rng.integers(0, CLASSES, ROWS))
    config: dict[str, Any] = {name: f"{name}.npy" for name in ("teacher", "student", "labels")}
    more = {"batch_size": 64, "device": "cpu", "groups": "labels"}
    written(path / "config.yaml", {"strategy": "response", **config, **more})
    return path


ARGUMENTS = ("-m", "distillcli", "score", "config.yaml", "--worst", "3")


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables of a user with these settings and no others."""
    odd = (
        "DISTILL_",
        "LC_",
        "LANG",
        "COLUMNS",
        "NO_COLOR",
        "FORCE_COLOR",
        "PYTHON",
        "CI",
        "GITHUB",
    )
    own = {key: value for key, value in os.environ.items() if not key.startswith(odd)}
    return {**own, **variables}


def on_terminal(
    folder: Path, *more: str, columns: int = 80, variables: Mapping[str, str] = UTF8
) -> Ended:
    """What somebody sees at a terminal of that width; both streams go there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with subprocess.Popen(
        [sys.executable, *ARGUMENTS, *more],
        cwd=folder,
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
        env=environment(variables),
    ) as process:
        os.close(theirs)
        seen = b""
        while part := _read(ours):
            seen += part
        assert process.stderr is not None
        told = process.stderr.read().decode()
        code = process.wait()
    os.close(ours)
    return Ended(code, seen.decode("utf-8").replace("\r\n", "\n"), told)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other end is closed
        return b""


def in_a_pipe(folder: Path, *more: str, variables: Mapping[str, str] = UTF8) -> Ended:
    """What a pipe, a file or a log gets."""
    done = subprocess.run(
        [sys.executable, *ARGUMENTS, *more],
        cwd=folder,
        env=environment(variables),
        capture_output=True,
        check=False,
    )
    return Ended(done.returncode, done.stdout.decode("utf-8"), done.stderr.decode("utf-8"))


@pytest.fixture(scope="module")
def piped(folder: Path) -> Ended:
    """The report as a file gets it: all numbers on as many columns as they take."""
    done = in_a_pipe(folder)
    assert done.code == 0, done.err
    return done


def plain(text: str) -> str:
    """The text without escape codes."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def numbers(text: str) -> set[str]:
    """All decimal numbers of a report but the times and the trend."""
    lines = [line for line in plain(text).splitlines() if not line.startswith(("time", "trend"))]
    kept = "\n".join(lines)
    return set(NUMBERS.findall(kept[: kept.rfind("conventions")]))


def test_in_a_pipe(piped: Ended) -> None:
    """No escape codes, no trend, every number."""
    assert not ESCAPE_CODE.search(piped.out + piped.err)
    assert "trend" not in piped.out
    assert len(numbers(piped.out)) > 60
    assert max(map(len, piped.out.splitlines())) > 200


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_at_a_terminal(folder: Path, piped: Ended, columns: int) -> None:
    """Colour, a trend, no line beyond the edge, and no number that is not the one in the file."""
    done = on_terminal(folder, columns=columns)
    assert done.code == 0, done.err
    assert ESCAPE_CODE.search(done.out)
    assert max(len(line) for line in plain(done.out).splitlines()) <= columns
    assert numbers(done.out) == numbers(piped.out)
    (line,) = (one for one in plain(done.out).splitlines() if one.startswith("trend"))
    assert 2 <= sum(line.count(bar) for bar in BARS) <= 10


@pytest.mark.parametrize(
    ("more", "variables"),
    [((), {"NO_COLOR": "1"}), (("--no-color",), {}), ((), {"DISTILL_NO_COLOR": "1"})],
)
def test_without_colour(
    folder: Path, piped: Ended, more: tuple[str, ...], variables: dict[str, str]
) -> None:
    """A terminal whose user wants no colour: no codes at all, but its width and the trend."""
    done = on_terminal(folder, *more, variables={**UTF8, **variables})
    assert not ESCAPE_CODE.search(done.out)
    assert max(map(len, done.out.splitlines())) <= 80
    assert numbers(done.out) == numbers(piped.out)
    assert "trend" in done.out


def test_dumb_terminal(folder: Path, piped: Ended) -> None:
    """One that can move no cursor, such as that of an editor: plain text."""
    done = on_terminal(folder, variables={**UTF8, "TERM": "dumb"})
    assert done.code == 0
    assert not ESCAPE_CODE.search(done.out + done.err)
    assert "trend" not in done.out
    assert numbers(done.out) == numbers(piped.out)


def test_ci_log(folder: Path, piped: Ended) -> None:
    """What CI sets changes nothing: a log is a pipe, with a line of progress at the start."""
    done = in_a_pipe(folder, variables={**UTF8, "CI": "true", "GITHUB_ACTIONS": "true"})
    assert not ESCAPE_CODE.search(done.out + done.err)
    assert numbers(done.out) == numbers(piped.out)
    assert "distill: score: 640 rows" in done.err


@pytest.mark.parametrize("where", ["terminal", "pipe"])
def test_a_locale_without_utf8(folder: Path, piped: Ended, where: str) -> None:
    """ASCII signs in place of the others, and the same numbers; no trend, no failure."""
    run = on_terminal if where == "terminal" else in_a_pipe
    done = run(folder, variables=ASCII)
    assert done.code == 0, done.err
    assert done.out.isascii()
    assert "0.7 x" in done.out
    assert "trend" not in done.out
    assert numbers(done.out) == numbers(piped.out)


@pytest.mark.parametrize("variables", [UTF8, ASCII], ids=["UTF-8", "ASCII"])
def test_files_are_utf8_in_every_locale(
    folder: Path, tmp_path: Path, variables: dict[str, str]
) -> None:
    """An export does not depend on the terminal beside it."""
    exports = [f"--export={name}={tmp_path}/out.{name}" for name in ("json", "md", "txt", "csv")]
    assert in_a_pipe(folder, *exports, variables=variables).code == 0
    assert "×" in (tmp_path / "out.txt").read_text(encoding="utf-8")  # noqa: RUF001 - the sign
    assert "×" in (tmp_path / "out.md").read_text(encoding="utf-8")  # noqa: RUF001 - the sign
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["rows"] == ROWS


@pytest.mark.parametrize("format", ["table", "json", "jsonl", "csv", "md"])
def test_through_head(folder: Path, tmp_path: Path, format: str) -> None:
    """A reader that leaves early is no failure, and the files are written all the same."""
    command = [sys.executable, *ARGUMENTS, "--batch-size", "1", "--all-batches"]
    command += [f"--format={format}", "--quiet", f"--export=json={tmp_path}/out.json"]
    command += [f"--per-row={tmp_path}/rows.npy", f"--export=jsonl={tmp_path}/out.jsonl"]
    script = f'"$@" | head -n 1 > {tmp_path}/seen; echo "${{PIPESTATUS[0]}}"'
    done = subprocess.run(
        ["bash", "-c", script, "bash", *command],
        cwd=folder, env=environment(UTF8), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("0\n", "")
    assert len((tmp_path / "seen").read_text().splitlines()) == 1
    assert len(json.loads((tmp_path / "out.json").read_text())["batches"]) == ROWS
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == ROWS + 1
    assert np.load(tmp_path / "rows.npy").shape == (ROWS,)


# --- the trend ----------------------------------------------------------------------------------


def batches(*losses: float | None) -> list[BatchResult]:
    """Batches of ten rows with these losses; the last has five."""
    return [
        BatchResult(
            index, 10 * index, 10 * index + (10 if index + 1 < len(losses) else 5), loss, {}, {}
        )
        for index, loss in enumerate(losses)
    ]


def drawn(found: list[BatchResult], page: Page) -> str:
    """The line as it would be printed."""
    return page.text(trend(found, page))


def test_bars() -> None:
    """The lowest and the highest bar at the ends of the range; `!` where there is no number."""
    assert bars([0.0, 1.0, 0.5, None]) == f"{BARS[0]}{BARS[7]}{BARS[4]}!"
    assert bars([2.0, 2.0]) == BARS[3] * 2
    assert bars([None, None]) == "!!"
    assert bars([1.0, 8.0, 2.0, 7.0]) == f"{BARS[0]}{BARS[7]}{BARS[1]}{BARS[6]}"


def test_neighbours_share_a_bar() -> None:
    """Their mean over rows, and not finite if one of them is not."""
    assert means(batches(1, 2, 3, 4), 10) == [1, 2, 3, 4]
    assert means(batches(1, 3, 3, 6), 2) == [2, pytest.approx((30 + 30) / 15)]
    assert means(batches(1, None, 3, 3), 2) == [None, 3]


@pytest.mark.parametrize("width", [40, 43, 80, 200])
@pytest.mark.parametrize("count", [2, 7, 100, 4096])
def test_the_trend_fits(width: int, count: int) -> None:
    """One line within the width, whatever the numbers."""
    page = Page(width, False, "utf-8", terminal=True)
    for scale in (1.0, 1e-12, 1e12):
        losses = [scale * (1 + index % 17) for index in range(count)]
        (line,) = drawn(batches(*losses), page).splitlines()
        assert line.startswith("trend      ")
        assert len(line) <= width
        assert sum(line.count(bar) for bar in BARS) >= min(count, 8)


def test_no_trend() -> None:
    """Off a terminal, without the characters, for one batch; only `!` where nothing is finite."""
    assert drawn(batches(1, 2), Page(80, False, "utf-8")) == ""
    assert drawn(batches(1, 2), Page(80, False, "latin-1", terminal=True)) == ""
    assert drawn(batches(1), Page(80, False, "utf-8", terminal=True)) == ""
    assert drawn(batches(None, None), Page(80, False, "utf-8", terminal=True)).split() == [
        "trend",
        "!!",
    ]
