"""Two ways of doing the same work, timed in turn: ratios that hold on a machine whose speed drifts.

A time alone says little on a shared machine. The ratio of two runs that followed each other says
more, and the median of several such ratios is what the tables hold.
"""

import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

LIBRARIES = ("numpy", "h5py", "numba", "torch")

Run = Callable[[], float]  # does the work once; the seconds that count


@dataclass(frozen=True)
class Times:
    """The seconds of several runs of one thing."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def spread(self) -> str:
        """The least and the most."""
        return f"{min(self.seconds):.3g} to {max(self.seconds):.3g}"


@dataclass(frozen=True)
class Pair:
    """The seconds of two things that were run in turn."""

    ours: Times
    theirs: Times

    @property
    def ratios(self) -> tuple[float, ...]:
        """Theirs over ours, run by run: how many times as fast ours is."""
        return tuple(b / a for a, b in zip(self.ours.seconds, self.theirs.seconds, strict=True))

    @property
    def ratio(self) -> float:
        """The median of the ratios."""
        return statistics.median(self.ratios)

    @property
    def spread(self) -> str:
        """The least and the greatest ratio."""
        return f"{min(self.ratios):.2f} to {max(self.ratios):.2f}"


def wall(work: Callable[[], Any]) -> Run:
    """A run whose seconds are those on the clock."""

    def run() -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    return run


@dataclass
class Metered:
    """A run, and the processor seconds of this process that each of its turns takes."""

    run: Run
    busy: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        started = time.process_time()
        seconds = self.run()
        self.busy.append(time.process_time() - started)
        return seconds


def paired(ours: Run, theirs: Run, repeats: int = 5, warm_up: int = 1) -> Pair:
    """Both in turn, `repeats` times, after `warm_up` times that do not count."""
    found = in_turn([ours, theirs], repeats, warm_up)
    return Pair(found[0], found[1])


def in_turn(runs: Sequence[Run], repeats: int = 5, warm_up: int = 1) -> list[Times]:
    """All of them one after the other, `repeats` times, after `warm_up` times that do not count."""
    rounds = [[run() for run in runs] for _ in range(warm_up + repeats)][warm_up:]
    return [Times(tuple(seconds)) for seconds in zip(*rounds, strict=True)]


def machine(libraries: Sequence[str] = LIBRARIES) -> dict[str, str]:
    """What the figures depend on: processor, cores, memory, versions; plain text by name."""
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name: _version(name) for name in libraries},
    }


def _processor() -> str:
    """The model, and the widest vectors it has: two models of one name may differ in them."""
    told = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = re.search(r"^model name\s*: (.*)$", told, re.M)
    number = re.search(r"^cpu family\s*: (.*)\n^model\s*: (.*)$", told, re.M)
    named = model[1] if model else platform.machine()
    family = f", family {number[1]} model {number[2]}" if number else ""
    vectors = next((name for name in ("avx512f", "avx2") if name in told.split()), "no AVX2")
    return f"{named}{family}, {vectors}"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def markdown(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown; numbers with three digits that count, at the right."""
    shown = [[_shown(cell) for cell in row] for row in rows]
    right = [all(not isinstance(row[at], str) for row in rows) for at in range(len(head))]
    lines = [head, ["---:" if one else "---" for one in right], *shown]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _shown(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:.3g}" if abs(cell) < 1000 else f"{cell:,.0f}"
    return str(cell)


def facts(found: dict[str, str]) -> str:
    """What `machine` tells, as one line in Markdown."""
    return "; ".join(f"{name} {value}" for name, value in found.items()) + "\n"
