"""How much memory a run takes: as much as its buffers, however long its files are."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from runs import ROOT

CLASSES = 512
MEASURED = """
import contextlib, io, resource, sys
from distillcli.cli import main
with contextlib.redirect_stdout(io.StringIO()) as out:
    try:
        main()
    except SystemExit as end:
        assert not end.code, end.code
assert out.getvalue().startswith("distill score"), out.getvalue()
# Not ru_maxrss: that of a child starts from the peak of the process that made it.
peak = next(line.split()[1] for line in open("/proc/self/status") if "VmHWM" in line)
print(int(peak) * 1024)
"""


def dump(path: Path, megabytes: int) -> None:
    """Class scores of so many megabytes, the same thousand rows again and again."""
    rows = megabytes * 10**6 // (CLASSES * 4) // 1000 * 1000
    part = np.random.default_rng(len(path.name)).normal(0, 3, (1000, CLASSES)).astype("float32")
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, CLASSES)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for _ in range(rows // 1000):
            file.write(part.tobytes())


def peak(folder: Path, megabytes: int) -> int:
    """The largest resident size, in bytes, of scoring a pair of files of so many megabytes each."""
    names = [folder / f"{name}.npy" for name in ("teacher", "student")]
    try:
        for path in names:
            dump(path, megabytes)
        arguments = ["score", "--teacher", str(names[0]), "--student", str(names[1])]
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, *arguments, "--device", "cpu", "--threads", "2"],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=False,
        )
    finally:
        for path in names:
            path.unlink()
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """A pair four times as long takes no more memory, within 60 MB; files are never mapped."""
    short, long = peak(tmp_path, 64), peak(tmp_path, 256)
    assert long - short < 60e6, f"{short:,} and {long:,} bytes"
    assert long < 2 * 256e6  # nothing like both files at once
