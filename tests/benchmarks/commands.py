"""Whole commands: start-up, reading, overlap, growth, threads and memory, in tables of ratios.

    python tests/benchmarks/commands.py --save FILE.md      all of it, some 20 GB on the disk
    python tests/benchmarks/commands.py --small             whether it runs; the figures say nothing
    python tests/benchmarks/commands.py --only growth --rows 4096 --repeats 3

What is compared is run in turn, several times; the tables hold medians, and ratios of neighbours.
Files are read from the page cache: a disk would hide what the program costs. They have come there
from the disk: pages of a file that was just written in small parts are slower to read.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pairs import Metered, Pair, Run, Times, facts, in_turn, machine, markdown, paired, wall

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from distillcli.backend import choose, one_blas_thread
from distillcli.batches.tiles import Tile

one_blas_thread()

import h5py
import numpy as np
from runs import silent

from distillcli.commands.score import score
from distillcli.commands.strategy import CATALOGUE
from distillcli.config import Config, from_data
from distillcli.fold import in_row_order
from distillcli.formats.readers import ArrayReader
from distillcli.strategy.inputs import opened
from distillcli.strategy.passes import Passes
from distillcli.strategy.selection import Selection

THREADS = len(os.sched_getaffinity(0))
BLOCK = 512  # rows that are made; longer dumps repeat them
MEASURED = """
import sys
from distillcli.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
peak = next(line.split()[1] for line in open("/proc/self/status") if "VmHWM" in line)
print("peak", peak, file=sys.stderr)
"""


@dataclass(frozen=True)
class Sizes:
    """What is measured: rows of the pairs, classes, and how often."""

    rows: int
    packed_rows: int  # of gzip files, which take long to write
    classes: int
    repeats: int = 5
    warm_up: int = 1

    @property
    def often(self) -> tuple[int, int]:
        """How often a thing is run: to be counted, and before."""
        return self.repeats, self.warm_up


FULL = Sizes(rows=16384, packed_rows=2048, classes=32000)
SMALL = Sizes(rows=256, packed_rows=128, classes=1000, repeats=1, warm_up=0)


@dataclass(frozen=True)
class Table:
    """A table of the report."""

    title: str
    head: tuple[str, ...]
    rows: list[list[Any]]

    def text(self) -> str:
        return f"### {self.title}\n\n{markdown(self.head, self.rows)}"


# --- dumps ---------------------------------------------------------------------------------------

Write = Callable[[Path, Iterator[Any], tuple[int, int]], str]


def blocks(seed: int, rows: int, classes: int, dtype: str) -> Iterator[Any]:
    """Class scores, the same block of rows again and again; bfloat16 as the bits of its values."""
    part = np.random.default_rng(seed).normal(0, 3, (min(BLOCK, rows), classes)).astype("f4")
    part = (part.view("u4") >> 16).astype("u2") if dtype == "bfloat16" else part.astype(dtype)
    for start in range(0, rows, BLOCK):
        yield part[: min(BLOCK, rows - start)]


def npy(path: Path, parts: Iterator[Any], shape: tuple[int, int]) -> str:
    """As one NPY file."""
    with path.with_suffix(".npy").open("wb") as file:
        for index, part in enumerate(parts):
            if index == 0:
                fields = {"descr": part.dtype.str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, fields)
            file.write(part.data)
    return f"{path.name}.npy"


def hdf5(**options: Any) -> Write:
    """As one dataset `x` of an HDF5 file."""

    def write(path: Path, parts: Iterator[Any], shape: tuple[int, int]) -> str:
        with h5py.File(path.with_suffix(".h5"), "w") as file:
            at, dataset = 0, None
            for part in parts:
                if dataset is None:
                    dataset = file.create_dataset("x", shape, part.dtype, **options)
                dataset[at : at + len(part)] = part
                at += len(part)
        return f"{path.name}.h5::x"

    return write


@contextmanager
def pair(
    folder: Path, write: Write, rows: int, classes: int, dtype: str = "f4"
) -> Iterator[Config]:
    """A config that scores two dumps, which are there for as long as it is in use."""
    sides = {
        role: write(folder / role, blocks(seed, rows, classes, dtype), (rows, classes))
        for seed, role in enumerate(("teacher", "student"))
    }
    sources: dict[str, Any] = {
        role: {"path": text, "dtype": "bfloat16"} if dtype == "bfloat16" else text
        for role, text in sides.items()
    }
    data = {
        "strategy": "response",
        "device": "cpu",
        "threads": THREADS,
        **sources,
        "response": {"soft_loss": {"name": "kl", "temperature": 2.0}},
    }
    (folder / "config.yaml").write_text(json.dumps(data))
    for text in sides.values():
        _fetch(folder / text.partition("::")[0])
    try:
        yield from_data(data, base=folder, catalogue=CATALOGUE, where="benchmark")
    finally:
        for text in sides.values():
            (folder / text.partition("::")[0]).unlink()


def _fetch(path: Path) -> None:
    """Have the system forget a file, and read it from the disk again."""
    with path.open("rb", buffering=0) as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        part = bytearray(1 << 20)
        while file.readinto(part):
            pass


# --- what is timed -------------------------------------------------------------------------------


def command(*arguments: str | Path) -> Run:
    """The installed command as a process of its own."""
    return wall(lambda: run([sys.executable, "-m", "distillcli", *map(str, arguments)]))


def run(arguments: list[str]) -> str:
    """What a process says on its stream of errors."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DISTILL_")}
    done = subprocess.run(
        arguments, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def scoring(config: Config, rows: int | None = None) -> Run:
    """The work of `score` on the first rows, or all, in this process, without start-up."""
    first = Selection(limit=rows)
    return wall(lambda: score(config, progress=silent, note=lambda text: None, selection=first))


def reading(config: Config) -> Run:
    """Every tile of every input as it is stored, and nothing done with it."""

    def work() -> None:
        with opened(config) as inputs:
            passes = Passes.over(config, inputs, choose("cpu"), silent)
            roles = list(inputs.items)
            grid, items = passes.grid(roles, by_kernel=True), inputs.only(roles)
            read = in_row_order(
                lambda tile: [_piece_by_piece(tile, role) for role in roles],
                items,
                grid,
                passes.machine,
            )
            for _ in read:
                pass

    return wall(work)


def _piece_by_piece(tile: Tile, role: str) -> None:
    for start in range(tile.start, tile.stop, tile.at_once):
        tile.rows_of(role, start, min(tile.stop, start + tile.at_once))


@contextmanager
def standing_still() -> Iterator[None]:
    """Readers that fill each buffer once, and leave it as it is from then on."""
    filled: set[int] = set()
    read = ArrayReader.read

    def once(reader: ArrayReader, start: int, stop: int, out: Any) -> Any:
        place = out.__array_interface__["data"][0]
        if place not in filled:
            filled.add(place)
            read(reader, start, stop, out)
        return out

    ArrayReader.read = once  # type: ignore[method-assign]  # until the end of this
    try:
        yield
    finally:
        ArrayReader.read = read  # type: ignore[method-assign]  # its own again


def computing(config: Config) -> Run:
    """The work of `score` on rows that lie in the buffers already."""

    def work() -> float:
        with standing_still():
            return scoring(config)()

    return work


def through_h5py(folder: Path, rows: int, classes: int) -> Run:
    """Both files read by the HDF5 library into one buffer, a good size at a time."""

    def work() -> None:
        buffer = np.empty((min(BLOCK, rows), classes), "f4")
        for role in ("teacher", "student"):
            with h5py.File(folder / f"{role}.h5") as file:
                for start in range(0, rows, BLOCK):
                    stop = min(start + BLOCK, rows)
                    file["x"].read_direct(buffer[: stop - start], np.s_[start:stop])

    return wall(work)


# --- the tables ----------------------------------------------------------------------------------


def start_up(folder: Path, sizes: Sizes) -> Table:
    """What is there before any work."""
    shown = {
        "distill --help": ("--help",),
        "distill score --help": ("score", "--help"),
        "distill score configs/response.yaml": ("score", "configs/response.yaml"),
    }
    times = in_turn([command(*words) for words in shown.values()], *sizes.often)
    rows = [[name, one.median, one.spread] for name, one in zip(shown, times, strict=True)]
    return Table("Start-up", ("command", "s", "least to most"), rows)


STORES: Mapping[str, tuple[Write, str]] = {
    "npy float32": (npy, "f4"),
    "npy float16": (npy, "f2"),
    "npy bfloat16": (npy, "bfloat16"),
    "HDF5 contiguous float32": (hdf5(), "f4"),
    "HDF5 chunks of whole rows": (hdf5(chunks=(16, 0)), "f4"),
    "HDF5 chunks of h5py's choice": (hdf5(chunks=True), "f4"),
    "HDF5 gzip": (hdf5(chunks=True, compression="gzip"), "f4"),
    "HDF5 gzip, shuffle": (hdf5(chunks=True, compression="gzip", shuffle=True), "f4"),
}


def overlap(folder: Path, sizes: Sizes) -> Table:
    """The whole command against its parts alone.

    Reading from the page cache is work for the processors, which computing keeps busy already: no
    work can be done in less than what both take of the processors, divided among these.
    """
    rows = []
    for name, (write, dtype) in STORES.items():
        count = sizes.packed_rows if "gzip" in name else sizes.rows
        with pair(folder, _fitted(write, sizes), count, sizes.classes, dtype) as config:
            whole = command("score", folder / "config.yaml", "--format", "json")
            parts = Metered(reading(config)), Metered(computing(config))
            all_, work, read, compute = in_turn([whole, scoring(config), *parts], *sizes.often)
            size = 2 * count * sizes.classes * (4 if dtype == "f4" else 2) / 1e9
            busy = [sum(one.busy[-sizes.repeats :]) / sizes.repeats / THREADS for one in parts]
            longer = Times(tuple(map(max, read.seconds, compute.seconds)))
            least = Times(tuple(max(one, sum(busy)) for one in longer.seconds))
            rows.append(
                [
                    name,
                    size,
                    all_.median,
                    work.median,
                    read.median,
                    compute.median,
                    sum(busy),
                    Pair(longer, work).ratio,
                    Pair(least, work).ratio,
                    size / all_.median,
                ]
            )
    head = ("input", "GB", "command s", "work s", "reading s", "computing s", "both / cores s")
    ratios = ("work / longer", "work / least", "GB/s")
    return Table("Whole commands, and their parts alone", (*head, *ratios), rows)


def _fitted(write: Write, sizes: Sizes) -> Write:
    """Chunks of whole rows know how long a row is."""
    whole = STORES["HDF5 chunks of whole rows"][0]
    return hdf5(chunks=(16, sizes.classes)) if write is whole else write


def against_npy(folder: Path, sizes: Sizes) -> Table:
    """Reading alone, against reading the same numbers from NPY files."""
    rows = []
    for name in [name for name in STORES if name.startswith("HDF5 c")]:
        other = folder / "hdf5"
        other.mkdir(exist_ok=True)
        write = _fitted(STORES[name][0], sizes)
        with (
            pair(folder, npy, sizes.rows, sizes.classes) as plain,
            pair(other, write, sizes.rows, sizes.classes) as config,
        ):
            found = paired(reading(plain), reading(config), *sizes.often)
        rows.append([name, found.theirs.median, found.ours.median, found.ratio, found.spread])
    head = ("input", "s", "npy s", "times npy", "least to most")
    return Table("Reading alone, against NPY", head, rows)


def against_h5py(folder: Path, sizes: Sizes) -> Table:
    """Reading alone, against the HDF5 library's own read."""
    rows = []
    for name in [name for name in STORES if name.startswith("HDF5")]:
        count = sizes.packed_rows if "gzip" in name else sizes.rows
        with pair(folder, _fitted(STORES[name][0], sizes), count, sizes.classes) as config:
            library = through_h5py(folder, count, sizes.classes)
            found = paired(reading(config), library, *sizes.often)
        rows.append([name, found.ours.median, found.theirs.median, found.ratio, found.spread])
    head = ("input", "s", "h5py s", "times as fast", "least to most")
    return Table("Reading alone, against h5py", head, rows)


def growth(folder: Path, sizes: Sizes) -> Table:
    """Rows x1, x2, x4 and x8 without start-up, and the largest resident size of the command.

    Start-up is what a line through the first step and an eighth of it leaves for no rows at all:
    files are opened, some rows looked at, threads begun, sums finished.
    """
    steps = [sizes.rows // 8 * times for times in (1, 2, 4, 8)]
    few, first = steps[0] // 8, steps[0]
    with pair(folder, npy, sizes.rows, sizes.classes) as config:
        least, *times = in_turn([scoring(config, rows) for rows in (few, *steps)], *sizes.often)
        peaks = [_peak(folder / "config.yaml", rows) for rows in steps]
    slopes = [(b - a) / (first - few) for a, b in zip(least.seconds, times[0].seconds, strict=True)]
    slope = statistics.median(slopes)
    begun = times[0].median - slope * first
    rows = [
        [count, one.median, one.median - begun, (one.median - begun) / (slope * first), peak]
        for count, one, peak in zip(steps, times, peaks, strict=True)
    ]
    head = ("rows", "work s", f"without start-up ({begun:.3f} s)", "times the first", "peak MB")
    return Table("Rows", head, rows)


def _peak(config: Path, rows: int) -> float:
    """The largest resident size of a run, in MB."""
    words = ["score", str(config), "--limit", str(rows), "--format", "json"]
    told = run([sys.executable, "-c", MEASURED, *words])
    return int(told.split("peak ")[1]) * 1024 / 1e6


def threads(folder: Path, sizes: Sizes) -> Table:
    """Two threads against one."""
    rows = []
    for name in ("npy float32", "npy float16", "HDF5 gzip"):
        count = sizes.packed_rows if "gzip" in name else sizes.rows
        with pair(folder, STORES[name][0], count, sizes.classes, STORES[name][1]) as config:
            one, two = (scoring(replace(config, threads=n)) for n in (1, 2))
            found = paired(two, one, *sizes.often)
        rows.append([name, found.theirs.median, found.ours.median, found.ratio, found.spread])
    head = ("input", "1 thread s", "2 threads s", "times as fast", "least to most")
    return Table("Threads", head, rows)


def ensemble(folder: Path, sizes: Sizes) -> Table:
    """Two teachers blended and written, against scoring the same bytes."""
    rows = []
    count = min(sizes.rows, 4 * sizes.packed_rows)
    with pair(folder, npy, count, sizes.classes):
        data = {
            "strategy": "ensemble",
            "teachers": ["teacher.npy", "student.npy"],
            "device": "cpu",
            "ensemble": {"combine": "probabilities", "temperature": 2.0},
        }
        (folder / "ensemble.yaml").write_text(json.dumps(data))
        scored = command("score", folder / "config.yaml", "--format", "json")
        for output in ("out.h5", "out.npy"):
            words = ("--output", folder / output, "--overwrite", "--format", "json")
            found = paired(
                command("ensemble", folder / "ensemble.yaml", *words), scored, *sizes.often
            )
            size = 2 * count * sizes.classes * 4 / 1e9
            rows.append(
                [output, size, found.ours.median, size / found.ours.median, 1 / found.ratio]
            )
            (folder / output).unlink()
    head = ("output", "GB read", "s", "GB/s", "times `score`")
    return Table("`distill ensemble`, two teachers, float32 logits written", head, rows)


TABLES = {
    made.__name__: made
    for made in (start_up, overlap, against_npy, against_h5py, growth, threads, ensemble)
}


def table(
    sizes: Sizes = FULL, folder: Path | None = None, only: Sequence[str] = tuple(TABLES)
) -> tuple[str, list[dict[str, Any]]]:
    """The tables in Markdown, and as data."""
    found: list[Table] = []
    for make in (TABLES[name] for name in only):
        with TemporaryDirectory(dir=folder, prefix="distill-benchmark-") as place:
            found.append(make(Path(place), sizes))
        print(found[-1].text(), file=sys.stderr, flush=True)
    about = f"{THREADS} threads; {sizes.classes:,} classes; median of {sizes.repeats}\n"
    text = "\n".join(["## Whole commands\n", facts(machine()), about, *(t.text() for t in found)])
    return text, [asdict(one) for one in found]


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="tiny files, once: does it run?")
    for name in ("rows", "packed_rows", "classes", "repeats"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N")
    parser.add_argument("--only", nargs="+", choices=TABLES, default=tuple(TABLES), metavar="TABLE")
    parser.add_argument("--folder", type=Path, help="where the dumps are written for the time")
    parser.add_argument("--save", type=Path, help="the tables, in Markdown")
    parser.add_argument("--json", type=Path, help="the tables, as data")
    wishes = parser.parse_args()
    known = {field.name for field in fields(Sizes)}
    wanted = {name: n for name, n in vars(wishes).items() if name in known and n is not None}
    sizes = replace(SMALL if wishes.small else FULL, **wanted)
    text, data = table(sizes, wishes.folder, wishes.only)
    print(text)
    if wishes.save is not None:
        wishes.save.write_text(text, encoding="utf-8")
    if wishes.json is not None:
        wishes.json.write_text(json.dumps(data, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
