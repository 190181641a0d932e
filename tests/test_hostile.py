"""Broken and hostile files through the command line: one line, little time, little memory.

Each case is a student that will not do. The process must end by itself with exit 2, say nothing on
stdout, name the file in one line, and open no file but those that it was given.
"""

import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import h5py
import numpy as np
import pytest
from forked import Finished, Forked
from format_files import npy_bytes, npy_header, write_npz
from refusals import FLOATS
from test_config_yaml import REFUSED
from test_formats_refused_hdf5 import HDF5
from test_formats_refused_npy import NPY, PLAIN
from test_formats_refused_safetensors import SAFETENSORS

MEMORY = 300e6
SECONDS = 2.0  # of computing; the clock of a machine that does other things is no measure
CASES = Path(__file__).parent / "cases" / "hdf5"

Make = Callable[[Path], object]


@pytest.fixture(scope="module")
def run() -> Iterator[Forked]:
    """Runs commands, each in a process of its own."""
    with Forked() as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good teacher, and files that nobody names."""
    np.save(tmp_path / "good.npy", FLOATS)
    np.save(tmp_path / "other.npy", FLOATS)
    (tmp_path / "raw").write_bytes(FLOATS.tobytes())
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["y"] = FLOATS
    return tmp_path


def checked(done: Finished, *named: str, code: int = 2) -> None:
    """It ended by itself, as it should, with little time and memory, and read what it was given."""
    assert done.code == code, done
    assert "Traceback" not in done.err
    assert "a bug in distill" not in done.err
    assert done.peak < MEMORY
    assert done.cpu < SECONDS
    assert done.opened is None or set(done.opened) <= set(named)


def refused(done: Finished, name: str, *more: str) -> str:
    """The one line that says why; it names the file."""
    checked(done, name, "good.npy", *more)
    assert done.out == ""
    (error,) = done.errors
    assert name in error
    assert all(line.startswith("distill: ") for line in done.err.splitlines())
    assert error.isprintable()
    return error


def score(student: str) -> tuple[str, ...]:
    return "score", "--teacher", "good.npy", "--student", student, "--device", "cpu"


@pytest.mark.parametrize(("make", "problem"), [c[1:] for c in NPY], ids=[c[0] for c in NPY])
def test_npy(folder: Path, run: Forked, make: Make, problem: str) -> None:
    """Every odd NPY file."""
    make(folder / "bad.npy")
    assert refused(run(folder, *score("bad.npy")), "bad.npy") == f"student in bad.npy: {problem}"


@pytest.mark.parametrize(("make", "problem"), [c[1:] for c in HDF5], ids=[c[0] for c in HDF5])
def test_hdf5(folder: Path, run: Forked, make: Make, problem: str) -> None:
    """Every odd HDF5 file; what links and storage point to is not opened."""
    make(folder / "bad.h5")
    assert refused(run(folder, *score("bad.h5::x")), "bad.h5") == f"student in {problem}"


@pytest.mark.parametrize("make", [c[1] for c in SAFETENSORS], ids=[c[0] for c in SAFETENSORS])
def test_safetensors(folder: Path, run: Forked, make: Make) -> None:
    """Every odd safetensors file."""
    make(folder / "bad.safetensors")
    error = refused(run(folder, *score("bad.safetensors::x")), "bad.safetensors")
    assert error.startswith("student in bad.safetensors")


# --- more of each format ----------------------------------------------------------------------


def _directory_entry(change: Callable[[bytearray, int], None], deflated: bool = True) -> Make:
    """An NPZ file whose entry in the zip's directory was changed."""

    def make(path: Path) -> None:
        write_npz(path, {"x": npy_bytes(FLOATS)}, deflated=deflated)
        data = bytearray(path.read_bytes())
        change(data, data.rindex(b"PK\x01\x02"))
        path.write_bytes(data)

    return make


def _number(at: int, form: str, value: int) -> Callable[[bytearray, int], None]:
    return lambda data, entry: struct.pack_into(form, data, entry + at, value)


def _bomb(path: Path) -> None:
    """A header of a few bytes and 300 MB of zeros behind it, in 300 kB."""
    rows = 25_000_000
    header = npy_header(PLAIN.replace("(4", f"({rows}"))
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x.npy", "w") as member,
    ):
        member.write(header)
        for _ in range(12):
            member.write(bytes(rows))


def _long_comment(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(3000):
            archive.writestr(f"{index:060}.npy", b"")


def _fortran(path: Path) -> None:
    header = npy_header(PLAIN.replace("False", "True").replace("(4", "(25000000"))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header + bytes(12 * 25_000_000))


def _pickled(path: Path) -> None:
    np.savez(path, x=np.array([{}, 1], dtype=object))


NPZ: list[tuple[str, Make, str]] = [
    ("empty", lambda path: path.write_bytes(b""), "the file is empty (0 bytes)"),
    ("text", lambda path: path.write_bytes(b"hello"), "is not an NPZ file"),
    ("no members", lambda path: zipfile.ZipFile(path, "w").close(), "holds no dataset"),
    ("pickled", _pickled, "pickled Python objects"),
    ("many members", _long_comment, "holds 3,000 members"),
    ("bomb", _bomb, "25,000,000 rows, teacher has 4"),
    ("packed columns", _fortran, "is packed in Fortran order"),
    ("8 GiB declared", _directory_entry(_number(24, "<I", 0xFFFF_FFFE)), "declare"),
    ("less declared", _directory_entry(_number(24, "<I", 130)), "is cut short"),
    ("encrypted", _directory_entry(_number(8, "<H", 1)), "is encrypted"),
    ("begins elsewhere", _directory_entry(_number(42, "<I", 7)), "is not where"),
    ("beyond the end", _directory_entry(_number(42, "<I", 1 << 30)), "is not where"),
    ("two sizes", _directory_entry(_number(20, "<I", 5), deflated=False), "declares two sizes"),
    ("method 99", _directory_entry(_number(10, "<H", 99)), "method 99"),
]


@pytest.mark.parametrize(("make", "problem"), [c[1:] for c in NPZ], ids=[c[0] for c in NPZ])
def test_npz(folder: Path, run: Forked, make: Make, problem: str) -> None:
    """Every odd NPZ file, by its only array and by name."""
    make(folder / "bad.npz")
    named = refused(run(folder, *score("bad.npz::x")), "bad.npz")
    found = refused(run(folder, *score("bad.npz")), "bad.npz")
    assert problem in named or problem in found


def _chunked(data: bytes, **options: object) -> Make:
    """A dataset of 4 rows in one packed chunk of these bytes."""

    def make(path: Path) -> None:
        with h5py.File(path, "w") as file:
            made = file.create_dataset("x", (4, 3), "<f4", chunks=(4, 3), **options)
            made.id.write_direct_chunk((0, 0), data)

    return make


def _cut(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.zeros((4000, 3), "<f4"))
    os.truncate(path, path.stat().st_size - 20_000)


def _linked(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["y"] = h5py.ExternalLink("other.h5", "y")
        file["x"] = h5py.SoftLink("/y")


def _circle(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["a"], file["b"] = h5py.SoftLink("/b"), h5py.SoftLink("/a")
        file["x"] = h5py.SoftLink("/a")


def _below_a_link(path: Path) -> None:
    os.mkfifo(path.parent / "pipe")  # opening it would wait for ever
    with h5py.File(path, "w") as file:
        file["x"] = h5py.ExternalLink("pipe", "/")


def _many(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for index in range(10_050):
            file.create_group(f"{index}")


def _wide_chunks(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (1 << 40, 1 << 20), "<f4", chunks=(1, 1 << 20))[0] = 1


MORE_HDF5: list[tuple[str, Make, str]] = [
    ("cut", _cut, "cut short"),
    ("signature alone", lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n"), "HDF5"),
    ("empty", lambda path: path.write_bytes(b""), "the file is empty (0 bytes)"),
    ("soft link to an external one", _linked, "is a soft link"),
    ("soft links in a circle", _circle, "is a soft link"),
    ("external link to a pipe", _below_a_link, "is an external link"),
    ("no dataset", _many, "holds no dataset 'x'"),
    ("more declared than stored", _wide_chunks, "more than any real data would"),
    ("gzip that grows", _chunked(zlib.compress(bytes(1 << 30)), compression="gzip"), "damaged"),
    ("gzip that shrinks", _chunked(zlib.compress(bytes(40)), compression="gzip"), "40 bytes"),
    ("gzip of a byte", _chunked(b"x", compression="gzip"), "end early"),
    ("gzip cut", _chunked(zlib.compress(FLOATS.tobytes())[:-9], compression="gzip"), "end early"),
    ("no gzip", _chunked(b"\xff" * 40, compression="gzip"), "is damaged"),
    ("a wrong checksum", _chunked(FLOATS.tobytes() + b"abcd", fletcher32=True), "checksum"),
]


@pytest.mark.parametrize(
    ("make", "problem"), [c[1:] for c in MORE_HDF5], ids=[c[0] for c in MORE_HDF5]
)
def test_more_hdf5(folder: Path, run: Forked, make: Make, problem: str) -> None:
    """Cut files, links to elsewhere, bombs."""
    make(folder / "bad.h5")
    assert problem in refused(run(folder, *score("bad.h5::x")), "bad.h5")


def _lzf_run(length: int) -> bytes:
    """LZF bytes that unpack to so many equal ones."""
    return b"\x00a" + b"\xe0\xff\x00" * (length // 264)


@pytest.mark.parametrize("length", [264, 264_000, 264 << 17])
def test_a_chunk_that_the_library_unpacks(folder: Path, run: Forked, length: int) -> None:
    """LZF is unpacked by the library: within bounds, or not at all."""
    _chunked(_lzf_run(length), compression="lzf")(folder / "bad.h5")
    done = run(folder, *score("bad.h5::x"))
    if done.code:
        refused(done, "bad.h5")
    checked(done, "bad.h5", "good.npy", code=done.code)


@pytest.mark.parametrize("name", sorted(os.listdir(CASES)))
def test_files_that_have_brought_the_library_down(folder: Path, run: Forked, name: str) -> None:
    """A file at which the library crashes or never ends is refused like any other."""
    (folder / "bad.h5").write_bytes((CASES / name).read_bytes())
    for source in ("bad.h5", "bad.h5::a/x", "bad.h5::a"):
        done = run(folder, *score(source))
        checked(done, "bad.h5", "good.npy")
        assert done.out == ""
        assert all(error.startswith("student in bad.h5") for error in done.errors)
        assert done.errors
    done = run(folder, "inspect", "bad.h5")
    checked(done, "bad.h5", code=done.code)
    assert done.code in (0, 2)


# --- inspect sees the same files --------------------------------------------------------------

ALL = [("npy", *case) for case in NPY] + [("npz", *case) for case in NPZ]
ALL += [("safetensors", *case) for case in SAFETENSORS]
ALL += [("h5", *case) for case in (*HDF5, *MORE_HDF5)]


@pytest.mark.parametrize(
    ("suffix", "make"),
    [(case[0], case[2]) for case in ALL],
    ids=[f"{case[0]} {case[1]}" for case in ALL],
)
def test_inspect(folder: Path, run: Forked, suffix: str, make: Make) -> None:
    """What cannot be opened is an error; what cannot be used is told with the reason."""
    name = f"bad.{suffix}"
    make(folder / name)
    done = run(folder, "inspect", name)
    assert done.code in (0, 2)
    checked(done, name, code=done.code)
    assert (done.code == 2) == bool(done.errors)
    assert done.out.replace("\n", "").isprintable()


# --- rows that are too wide -------------------------------------------------------------------


def sparse(path: Path, shape: tuple[int, ...], kind: str = "<f4") -> None:
    """An NPY file of zeros that takes no room on the disk."""
    header = BytesIO()
    form = {"descr": kind, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, form)
    path.write_bytes(header.getvalue())
    os.truncate(path, len(header.getvalue()) + int(np.prod(shape)) * np.dtype(kind).itemsize)


@pytest.mark.parametrize("command", ["score", "validate"])
def test_a_row_wider_than_the_memory(folder: Path, run: Forked, command: str) -> None:
    """A terabyte in one row is refused before anything is allocated."""
    for name in ("bad.npy", "good.npy"):
        sparse(folder / name, (1, 1 << 38))
    arguments = score("bad.npy")
    if command == "validate":
        config = "strategy: response\nteacher: good.npy\nstudent: bad.npy\ndevice: cpu\n"
        (folder / "c.yaml").write_text(config)
        arguments = ("validate", "c.yaml")
    done = run(folder, *arguments)
    checked(done, "bad.npy", "good.npy", "c.yaml")
    (error,) = done.errors
    assert "rows of 274,877,906,944 numbers take about" in error
    assert "of memory" in error
    assert done.out == ""


def test_inspect_of_a_row_wider_than_the_memory(folder: Path, run: Forked) -> None:
    """It is told without being read."""
    sparse(folder / "bad.npy", (1, 1 << 38))
    checked(run(folder, "inspect", "bad.npy"), "bad.npy", code=0)


# --- YAML, paths ------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_yaml(folder: Path, run: Forked, text: str, message: str) -> None:
    """Whatever is no plain YAML, with its place."""
    (folder / "c.yaml").write_bytes(text.encode())
    assert refused(run(folder, "score", "c.yaml"), "c.yaml") == f"c.yaml{message}"


BOMBS = {
    "a megabyte": b"a: 1\n" * 200_000,
    "lists": b"[" * 16_000,
    "mappings": b"{" * 16_000,
    "dashes": b"- " * 8000,
    "keys": b"? " * 8000,
    "aliases": b"a: &a [x]\n" + b"".join(b"k%d: &k%d [*a,*a]\n" % (i, i) for i in range(500)),
    "merge keys": b"<<: {a: 1}\n" * 1000,
    "binary": bytes(range(256)) * 16,
    "no text": b"strategy: \xff\xfe\n",
    "long scalar": b"strategy: " + b"x" * 16_000,
    "long key": b"x" * 16_000 + b": 1",
    "digits": b"batch_size: " + b"9" * 15_000,
    "exponent": b"threads: 1e" + b"9" * 10_000,
}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS.keys())
def test_yaml_bombs(folder: Path, run: Forked, text: bytes) -> None:
    """They end at once, in lines that name the file."""
    (folder / "c.yaml").write_bytes(text)
    done = run(folder, "score", "c.yaml")
    checked(done, "c.yaml")
    assert done.out == ""
    assert done.errors
    assert all(error.startswith("c.yaml") and len(error) < 1000 for error in done.errors)


def test_paths(folder: Path, run: Forked) -> None:
    """A folder, a pipe, a device, a loop, a name that is too long, one that is not UTF-8."""
    (folder / "below").mkdir()
    os.mkfifo(folder / "pipe.npy")
    (folder / "loop.npy").symlink_to("loop.npy")
    odd = os.fsdecode(b"\xff\xfe\x1b.npy")
    np.save(os.path.join(folder, odd), FLOATS[:3])
    names = ["below", "pipe.npy", "loop.npy", "x" * 5000, "/dev/zero", "good.npy/x", odd, "no/x"]
    for name in names:
        done = run(folder, *score(name))
        checked(done, "good.npy", name)
        (error,) = done.errors
        assert error.startswith("student in ")
        assert error.isprintable()
        assert done.out == ""
    for name in names[:-2]:
        checked(run(folder, "score", name))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(folder: Path, run: Forked) -> None:
    """The reason is the system's."""
    (folder / "bad.npy").write_bytes(npy_bytes(FLOATS))
    (folder / "bad.npy").chmod(0)
    assert "Permission denied" in refused(run(folder, *score("bad.npy")), "bad.npy")
