"""Thousands of mutated files, and headers of one's own making: a result or one clear line."""

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from format_files import npy_header, source
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distillcli.errors import DataError
from distillcli.formats import open_rows

HARNESS = Path(__file__).parent / "fuzz.py"
COUNT, SEED = 5000, 7


def test_mutated_files() -> None:
    """No input of any format ends in a traceback, a signal, a hang, or 300 MB."""
    half = COUNT // 2
    runs = [
        subprocess.Popen(
            [sys.executable, HARNESS, *map(str, ("--count", half, "--seed", SEED, "--first", at))],
            stdout=subprocess.PIPE,
            text=True,
        )
        for at in (0, half)
    ]
    told = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], "".join(told)
    assert all(f"{half:,} inputs, 0 findings" in text for text in told)


def test_the_harness_sees_what_is_wrong(tmp_path: Path) -> None:
    """A planted crash, hang, traceback and word on stdout are findings, each with its number."""
    script = f"""
import sys, os, time
sys.path[:0] = [{str(HARNESS.parent)!r}, {str(HARNESS.parent.parent)!r}]
import fuzz
fuzz.HANG = 1.0
calls = fuzz.mmap.mmap(-1, 1)
def judged(arguments):
    call, calls[0] = calls[0], calls[0] + 1
    if call == 2:
        os.kill(os.getpid(), 11)
    if call == 4:
        time.sleep(60)
    if call == 6:
        raise ValueError("planted")
    return "planted" if call == 8 else None
fuzz.judged = judged
for one in fuzz.fuzz(12, 1, ("npy",), keep=fuzz.Path({str(tmp_path / "kept")!r})):
    print(one.name, one.problem.partition(": ")[2] or one.problem)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert [line.split(" ", 1) for line in done.stdout.splitlines()] == [
        ["1.2", "-11"],
        ["1.4", "hangs"],
        ["1.6", "ValueError: planted"],
        ["1.8", "planted"],
    ]
    assert len(list((tmp_path / "kept").iterdir())) == 4


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.tuples(inner),
    max_leaves=8,
)
SHAPES = st.lists(st.integers(-1, 70) | st.integers(), max_size=5).map(tuple)
KINDS = st.sampled_from(["<f4", ">f8", "|V2", "<U3", "O", "<f", "f4", "|S0", "<M8[s]", "<c8"])


@given(
    descr=KINDS | VALUES,
    fortran=st.booleans() | VALUES,
    shape=SHAPES | VALUES,
    more=st.dictionaries(st.text(max_size=5), VALUES, max_size=1),
    version=st.integers(1, 4),
    size=st.integers(0, 600),
)
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_npy_header(
    tmp_path: Path, descr: Any, fortran: Any, shape: Any, more: Any, version: int, size: int
) -> None:
    """A header of any making is refused, or its array is read whole."""
    text = repr({"descr": descr, "fortran_order": fortran, "shape": shape, **more})
    data = npy_header(text, version=version, data=bytes(size))
    (tmp_path / "a.npy").write_bytes(data)
    with (
        contextlib.suppress(DataError),
        open_rows(source(tmp_path, "a.npy"), role="logits", row_dims=1) as reader,
    ):
        rows = reader.read(0, reader.rows, reader.empty(reader.rows))
        assert rows.nbytes == size
        assert not np.any(rows)
