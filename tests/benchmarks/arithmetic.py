"""The arithmetic alone, on arrays in memory: both kernels against PyTorch on as many threads.

Ours is the whole of `score` but for start-up and reading: tiles, checks, row values, sums,
quantiles. Theirs is `scripts.py`. All are run in turn, several times; a ratio is the median of
the ratios of neighbours, and the loss of all must agree.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import limits
import numpy as np
import scripts
import torch
from commands import CATALOGUE, THREADS, Table
from pairs import Run, Times, facts, in_turn, machine, wall
from runs import silent

from distillcli.commands.score import score
from distillcli.config import Config, from_data
from distillcli.formats.readers import ArrayReader

torch.set_num_threads(THREADS)
# Rows, classes, elements, rows at a time of a careful script.
SHAPES = [
    *((2048, 32_000, dtype, scripts.BLOCK) for dtype in ("float32", "float16", "bfloat16")),
    *((256, 152_064, dtype, 8) for dtype in ("float32", "float16", "bfloat16")),
    (50_000, 1000, "float32", 1024),
    (1_000_000, 10, "float32", 65_536),
]
SMALL = [(64, 300, dtype, 16) for dtype in ("float32", "float16", "bfloat16")]
HEAD = (
    "rows x classes", "elements", "kernel", "GB/s", "eager", "in blocks", "compiled",
    "eager / ours", "blocks / ours", "compiled / ours",
)  # fmt: skip

Shape = tuple[int, int, str, int]
Arrays = dict[str, np.ndarray[Any, Any]]


def arrays(shape: Shape, distance: float) -> Arrays:
    """Class scores of a teacher, a student so far from it, and labels; bfloat16 as its bits.

    Few classes are taken three times as far apart, so that their rows too have a KL above 0.03.
    """
    rows, classes, dtype, _ = shape
    distance *= 3 if classes < 64 else 1
    random = np.random.default_rng(0)
    teacher = random.standard_normal((rows, classes), dtype="f4") * 3
    student = teacher + random.standard_normal((rows, classes), dtype="f4") * np.float32(distance)
    return {
        "teacher": _stored(teacher, dtype),
        "student": _stored(student, dtype),
        "labels": random.integers(0, classes, rows),
    }


def _stored(scores: Any, dtype: str) -> Any:
    return (scores.view("u4") >> 16).astype("u2") if dtype == "bfloat16" else scores.astype(dtype)


def tensors(made: Arrays, dtype: str) -> list[torch.Tensor]:
    """The same for PyTorch, without a copy."""
    found = [torch.from_numpy(array) for array in made.values()]
    if dtype == "bfloat16":
        found[:2] = [scores.view(torch.bfloat16) for scores in found[:2]]
    return found


@contextmanager
def in_memory(made: Arrays) -> Iterator[None]:
    """Readers hand out parts of the arrays; no scores are read or copied."""
    read, known = ArrayReader.read, dict[ArrayReader, Any]()

    def part(reader: ArrayReader, start: int, stop: int, out: Any) -> Any:
        if reader not in known:
            known[reader] = made[Path(str(reader.where).rpartition(" in ")[2]).stem]
        rows = known[reader][start:stop]
        if rows.ndim > 1:
            return rows
        np.copyto(out, rows)  # labels are read ahead, where nobody looks at what is returned
        return out

    ArrayReader.read = part  # type: ignore[method-assign]  # until the end of this
    try:
        yield
    finally:
        ArrayReader.read = read  # type: ignore[method-assign]  # its own again


def config(folder: Path, made: Arrays, dtype: str, kernel: str, metrics: str) -> Config:
    """Scores the arrays, which lie in the folder as well."""
    sources: dict[str, Any] = {}
    for role, array in made.items():
        if not (folder / f"{role}.npy").exists():
            np.save(folder / f"{role}.npy", array)
        declared = {"dtype": dtype} if dtype == "bfloat16" and role != "labels" else {}
        sources[role] = {"path": f"{role}.npy", **declared} if declared else f"{role}.npy"
    data = {
        "strategy": "response",
        "device": "cpu",
        "threads": THREADS,
        "kernel": kernel,
        "metrics": metrics,
        **sources,
        "response": {
            "alpha": scripts.ALPHA,
            "soft_loss": {"name": "kl", "temperature": scripts.TEMPERATURE},
        },
    }
    return from_data(data, base=folder, catalogue=CATALOGUE, where="benchmark")


def ours(plan: Config, made: Arrays, losses: dict[str, float], name: str) -> Run:
    """`score` on the arrays in memory; the loss is left behind."""

    def work() -> None:
        with in_memory(made):
            found = score(plan, progress=silent, note=lambda text: None)
        assert found.loss is not None
        losses[name] = found.loss

    return wall(work)


def theirs(
    script: Callable[..., Any], given: Sequence[Any], losses: dict[str, float], name: str
) -> Run:
    def work() -> None:
        with torch.no_grad():
            losses[name] = script(*given)["loss"]

    return wall(work)


def measured(
    folder: Path, shape: Shape, metrics: str, repeats: int, distance: float = 1.0
) -> dict[str, Times]:
    """All ways of computing one thing, in turn."""
    _, _, dtype, block = shape
    made, losses = arrays(shape, distance), dict[str, float]()
    function = scripts.loss_rows if metrics == "none" else scripts.all_rows
    given = tensors(made, dtype)
    runs = {
        kernel: ours(config(folder, made, dtype, kernel, metrics), made, losses, kernel)
        for kernel in ("numpy", "fast")
    }
    for name, script in (
        ("eager", scripts.whole(function)),
        ("blocks", scripts.in_blocks(function, block)),
        ("compiled", scripts.compiled(function)),
    ):
        runs[name] = theirs(script, given, losses, name)
    found = in_turn(list(runs.values()), repeats)
    exact = losses["fast"]
    for name, loss in losses.items():
        assert abs(loss - exact) <= 1e-4 * abs(exact), (shape, name, loss, exact)
    return dict(zip(runs, found, strict=True))


def ratio(one: Times, other: Times) -> float:
    """How many times as fast the other is, run by run."""
    pairs = zip(one.seconds, other.seconds, strict=True)
    return float(np.median([a / b for a, b in pairs]))


def speeds(folder: Path, shapes: Sequence[Shape], metrics: str, repeats: int) -> Table:
    """Both kernels against the scripts."""
    rows: list[list[Any]] = []
    for shape in shapes:
        with _place(folder) as place:
            found = measured(place, shape, metrics, repeats)
        size = 2 * shape[0] * shape[1] * (4 if shape[2] == "float32" else 2) / 1e9
        for kernel in ("numpy", "fast"):
            mine = found[kernel]
            others = [found[name] for name in ("eager", "blocks", "compiled")]
            rows.append([
                f"{shape[0]:,} x {shape[1]:,}", shape[2], kernel, size / mine.median,
                *(size / one.median for one in others), *(ratio(one, mine) for one in others),
            ])  # fmt: skip
        print(rows[-2], rows[-1], sep="\n", file=sys.stderr, flush=True)
    what = "KL and cross-entropy" if metrics == "none" else "the same with all metrics"
    return Table(f"{what}: GB/s, and how many times as fast ours is", HEAD, rows)


def costs(folder: Path, shapes: Sequence[Shape], repeats: int) -> Table:
    """Each kernel against itself: with all metrics, and on dumps that are nearly the same."""
    rows: list[list[Any]] = []
    for shape in shapes:
        for kernel in ("numpy", "fast"):
            rows.append([f"{shape[0]:,} x {shape[1]:,}", shape[2], kernel])
            for metrics, distance in (("all", 1.0), ("none", 0.01)):
                with _place(folder) as one, _place(folder) as other:
                    made = arrays(shape, 1.0), arrays(shape, distance)
                    runs = [
                        ours(config(place, data, shape[2], kernel, what), data, {}, "")
                        for place, data, what in (
                            (one, made[0], "none"), (other, made[1], metrics)
                        )
                    ]  # fmt: skip
                    times = in_turn(runs, repeats)
                rows[-1].append(ratio(times[1], times[0]))
    head = ("rows x classes", "elements", "kernel", "all metrics / loss alone", "near / far")
    return Table("what metrics cost, and near-identical dumps", head, rows)


def bounds(folder: Path, shapes: Sequence[Shape], repeats: int) -> Table:
    """What the machine does at most, and which share of it the whole reaches."""
    rows: list[list[Any]] = []
    for shape in shapes:
        made, size = arrays(shape, 1.0), 2 * shape[0] * shape[1] * 4 / 1e9
        with _place(folder) as place:
            runs = {
                kernel: ours(config(place, made, shape[2], kernel, "none"), made, {}, "")
                for kernel in ("numpy", "fast")
            }
            for name in limits.LIMITS:
                runs |= {(name, count): limits.limit(name, made, count) for count in (1, THREADS)}
            times = dict(zip(runs, in_turn(list(runs.values()), repeats), strict=True))
        named = f"{shape[0]:,} x {shape[1]:,}"
        for name, kernel in (
            ("reading", "fast"), ("exponentials", "numpy"), ("passes", "numpy"), ("loops", "fast"),
        ):  # fmt: skip
            one, all_of_them = times[name, 1], times[name, THREADS]
            whole = times[kernel]
            rows.append([
                named, name, size / one.median, size / all_of_them.median,
                kernel, size / whole.median, ratio(all_of_them, whole),
            ])  # fmt: skip
    head = (
        "rows x classes", "alone", "GB/s, 1 thread", f"GB/s, {THREADS} threads",
        "kernel", "whole, GB/s", "whole / alone",
    )  # fmt: skip
    return Table("what bounds the loss alone, float32", head, rows)


@contextmanager
def _place(folder: Path) -> Iterator[Path]:
    with TemporaryDirectory(dir=folder) as place:
        yield Path(place)


def table(small: bool = False) -> tuple[str, list[dict[str, Any]]]:
    """The tables in Markdown, and as data."""
    shapes, repeats = (SMALL, 1) if small else (SHAPES, 5)
    with TemporaryDirectory(prefix="distill-benchmark-") as folder:
        place = Path(folder)
        found = [speeds(place, shapes, metrics, repeats) for metrics in ("none", "all")]
        found.append(costs(place, [s for s in shapes if s[2] == "float32"], repeats))
        found.append(bounds(place, [s for s in shapes if s[2] == "float32"], repeats))
    about = f"{THREADS} threads; median of {repeats}; T = {scripts.TEMPERATURE:g}\n"
    text = "\n".join(["## Arithmetic\n", facts(machine()), about, *(one.text() for one in found)])
    return text, [asdict(one) for one in found]
