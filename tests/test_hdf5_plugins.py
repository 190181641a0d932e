"""HDF5 filters of the extra `hdf5plugin`: with it, without it, and on damaged chunks."""

import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest
from forked import Forked
from runs import distill

SCORES = np.random.default_rng(0).normal(size=(60, 40)).astype(np.float32)
FILTERS = {
    "zstd": hdf5plugin.Zstd(),
    "lz4": hdf5plugin.LZ4(),
    "blosc": hdf5plugin.Blosc(),
    "blosc2": hdf5plugin.Blosc2(),
    "bitshuffle": hdf5plugin.Bitshuffle(),
    "bzip2": hdf5plugin.BZip2(),
    "zfp": hdf5plugin.Zfp(reversible=True),
}
MEMORY = 300 << 20


@pytest.fixture(scope="module")
def run() -> Iterator[Forked]:
    """Commands in processes that have not loaded the extra themselves."""
    with Forked() as forked:
        yield forked


def packed(folder: Path, name: str) -> Path:
    """A file of SCORES in chunks that a filter of the extra has packed."""
    path = folder / f"{name}.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=SCORES, chunks=(16, 40), **FILTERS[name])
    return path


def score(path: Path) -> tuple[str, ...]:
    return "score", "--teacher", str(path), "--student", str(path), "--device", "cpu", "--quiet"


@pytest.mark.parametrize("name", FILTERS)
def test_the_extra_is_loaded_where_a_file_needs_it(tmp_path: Path, run: Forked, name: str) -> None:
    """No variable has to be set, and no plug-in is looked for in a folder."""
    path = packed(tmp_path, name)
    done = run(tmp_path, *score(path), variables={"HDF5_PLUGIN_PRELOAD": "::"})
    assert (done.code, done.errors) == (0, [])
    assert "60 rows" in done.out


def test_what_no_such_file_asks_for_is_not_loaded() -> None:
    """Neither the library nor the extra; a plain HDF5 file leaves the extra where it is."""
    script = (
        "import sys, distillcli.formats.hdf5.plugins as plugins; "
        "print(plugins.installed(), plugins.available(1), 'hdf5plugin' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "True True False\n"


@pytest.mark.parametrize("name", FILTERS)
def test_without_the_extra_the_message_names_it(tmp_path: Path, name: str) -> None:
    """One line, with the command that installs it."""
    path = packed(tmp_path, name)
    script = (
        "import sys; sys.modules['hdf5plugin'] = None; sys.argv[0] = 'distill'\n"
        "from distillcli.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *score(path)], capture_output=True, text=True
    )
    number = FILTERS[name].filter_id
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[0] == (
        f"distill: error: teacher in {path}::x: is packed with HDF5 filter {name} ({number}), "
        "which cannot be read; pip install 'distillcli[hdf5plugin]', "
        'or write it with compression="gzip" instead'
    )


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("how", ["flipped", "zeros", "cut", "huge"])
def test_damaged_chunks(tmp_path: Path, run: Forked, name: str, how: str) -> None:
    """A result or one line; never a crash, a hang or much memory."""
    path = packed(tmp_path, name)
    with h5py.File(path, "r+") as file:
        _, good = file["x"].id.read_direct_chunk((16, 0))
        bad = {
            "flipped": bytes(byte ^ 0x55 for byte in good),
            "zeros": bytes(len(good)),
            "cut": good[: len(good) // 3],
            # Where formats say how long the values are, some say so little- and some big-endian.
            "huge": struct.pack("<I", 0x7FFF_FFF0) * 3 + good[12:],
        }[how]
        file["x"].id.write_direct_chunk((16, 0), bad)
    done = run(tmp_path, *score(path))
    assert done.code in (0, 2)
    assert (done.code == 2) == bool(done.errors)
    assert done.peak < MEMORY
    assert done.cpu < 4
    assert all(error.isprintable() and f"{path}::x" in error for error in done.errors)


def test_doctor_tells_of_the_filters() -> None:
    """With the extra its filters stand among those that can be read."""
    readers = distill("doctor", "--format", "json").data["readers"]
    assert readers["hdf5"].endswith("zfp, zstd, blosc2")
    assert "not " not in readers["hdf5"]
