"""Lines of a file read to many places at once: all of them, wherever the system stops."""

from pathlib import Path

import numpy as np
import pytest

from distillcli.errors import ChangedError, DataError
from distillcli.formats import files, pieces
from distillcli.formats.files import InputFile
from distillcli.formats.pieces import Pieces, address

SIZE, LINE = 1500, 7
DATA = np.random.default_rng(0).integers(0, 256, 3 * SIZE, np.uint8)


@pytest.fixture
def file(tmp_path: Path) -> InputFile:
    (tmp_path / "x").write_bytes(DATA.tobytes())
    return InputFile(str(tmp_path / "x"), "x", "")


def lines(file: InputFile, at: np.ndarray, each: int = 1) -> np.ndarray:
    """So many lines from each of these offsets, into every second line of an array; the others stay
    as they are."""
    count = each * len(at)
    out = np.full((2 * count, LINE), 0xAB, np.uint8)
    to = address(out) + 2 * LINE * np.arange(count)
    parts = np.stack([to, np.full_like(to, LINE)], axis=-1).reshape(len(at), each, 2)
    file.read_parts(at.astype(np.int64), parts)
    assert (out[1::2] == 0xAB).all()
    return out[::2]


OFFSETS = {
    "one after the other": np.arange(0, SIZE - LINE, LINE),
    "with gaps": np.arange(3, SIZE - LINE, LINE + 4),
    "with gaps here and there": np.cumsum(np.random.default_rng(1).choice([LINE, 9, 60], 40)),
    "with one gap": np.concatenate([np.arange(0, 490, LINE), np.arange(500, 990, LINE)]),
    "backwards": np.arange(SIZE - LINE, 0, -LINE),
    "over each other": np.arange(0, 900, 2),
    "anywhere": np.random.default_rng(2).integers(0, SIZE - LINE, 300),
    "one": np.array([SIZE - LINE]),
}


@pytest.mark.parametrize("each", [1, 3])
@pytest.mark.parametrize("most", [1, 2, 1024])
@pytest.mark.parametrize("gap", [0, 4, 1 << 16])
@pytest.mark.parametrize("where", OFFSETS)
def test_lines_are_those_of_the_file(
    file: InputFile, where: str, gap: int, most: int, each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever lies between them, and however many the system takes at once."""
    monkeypatch.setattr(pieces, "GAP", gap)
    monkeypatch.setattr(pieces, "MOST", most)
    at = each * OFFSETS[where]
    expected = DATA[at[:, None] + np.arange(each * LINE)].reshape(-1, LINE)
    np.testing.assert_array_equal(lines(file, at, each), expected)


@pytest.mark.parametrize("step", [1, 5, 7, 8, 100])
def test_the_system_may_stop_anywhere(
    file: InputFile, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also within a line: what is left is asked for again."""

    def short(fd: int, wanted: Pieces, offset: int) -> int:
        ends = np.cumsum(wanted[:, 1])
        part = wanted[: int(np.searchsorted(ends, step)) + 1].copy()
        part[-1, 1] -= max(0, int(part[:, 1].sum()) - step)
        return read(fd, part, offset)

    read = pieces.read_pieces
    monkeypatch.setattr(files, "read_pieces", short)
    for at in OFFSETS.values():
        np.testing.assert_array_equal(lines(file, at), DATA[at[:, None] + np.arange(LINE)])


def test_lines_are_gathered_into_few_calls(
    file: InputFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One for neighbours, with what lies between them; another where a gap is wide."""
    calls: list[int] = []

    def counting(fd: int, wanted: Pieces, offset: int) -> int:
        calls.append(len(wanted))
        return read(fd, wanted, offset)

    read = pieces.read_pieces
    monkeypatch.setattr(files, "read_pieces", counting)
    monkeypatch.setattr(pieces, "GAP", 10)
    lines(file, np.array([0, 7, 14, 31, 49, 56]))
    assert calls == [5, 2]
    monkeypatch.setattr(pieces, "_over", None)  # where all gaps are wide, nothing is put between
    lines(file, np.array([0, 7, 31, 60, 67, 91]))
    assert calls == [5, 2, 2, 1, 2, 1]


def test_a_file_that_was_cut(file: InputFile) -> None:
    """It ends before the last line does."""
    with open(file.path, "r+b") as cut:
        cut.truncate(SIZE - 3)
    with pytest.raises(ChangedError, match="ends at byte 1,497; it was cut while read"):
        lines(file, OFFSETS["one"])


def test_a_file_that_cannot_be_read(file: InputFile) -> None:
    """What the system says is told with the place."""
    file.close()
    with pytest.raises(DataError, match="cannot be read at byte 1,493: Bad file descriptor"):
        lines(file, OFFSETS["one"])
