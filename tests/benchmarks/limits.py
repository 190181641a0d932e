"""What bounds the arithmetic: reading alone, exponentials alone, the kernels' sweeps alone.

Each is KL at the temperature and cross-entropy on arrays in memory, or a part of that, with nothing
around it: no checks, no sums over rows, no report.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import scripts
from pairs import Run, wall

from distillcli.kernels import table
from distillcli.kernels.fast import sweeping
from distillcli.kernels.table import Asked
from distillcli.kernels.wanted import NARROW
from distillcli.numerics.scores import Logits

Arrays = dict[str, np.ndarray[Any, Any]]
# Teacher, student and labels of some rows, in, nothing out.
Part = Callable[[Any, Any, Any], Any]
OF_TEACHER, OF_STUDENT = 0, table.ONE | table.NLL


def reading(teacher: Any, student: Any, labels: Any) -> None:
    """Every number once."""
    teacher.max(), student.max()


class Buffers(threading.local):
    """Each thread's own arrays, used again."""

    shape: tuple[int, ...] = ()
    cells = np.empty(0)

    def of(self, like: Any) -> list[Any]:
        if self.shape != like.shape:
            self.shape, self.arrays = like.shape, [np.empty_like(like) for _ in range(4)]
        return self.arrays

    def table(self, columns: int, rows: int) -> Any:
        """What a sweep fills in."""
        if columns * rows > self.cells.size:
            self.cells = np.empty(columns * rows)
        return self.cells[: columns * rows].reshape(columns, rows)


_buffers = Buffers()


def exponentials(teacher: Any, student: Any, labels: Any) -> None:
    """One of each number, by NumPy; what is computed needs no more of them at T = 2."""
    out = _buffers.of(teacher)
    for index, scores in enumerate((teacher, student)):
        np.exp(scores, out=out[index])


def passes(teacher: Any, student: Any, labels: Any) -> None:
    """The fewest passes that NumPy can do it in, and no care for what lies near or is masked.

    Few classes are turned round first: NumPy adds up short rows one by one.
    """
    if teacher.shape[1] < NARROW:
        teacher, student = np.ascontiguousarray(teacher.T), np.ascontiguousarray(student.T)
        axis, rows, places, dot = 0, np.s_[None, :], (labels, np.arange(len(labels))), _dot_narrow
    else:
        axis, rows, places, dot = 1, np.s_[:, None], (np.arange(len(labels)), labels), _dot
    p, q, e, f = _buffers.of(teacher)
    scale = teacher.dtype.type(1 / scripts.TEMPERATURE)
    totals = []
    for scores, shifted, exps in ((teacher, p, e), (student, q, f)):
        np.subtract(scores, scores.max(axis=axis)[rows], out=shifted)
        np.multiply(shifted, scale, out=exps)
        np.exp(exps, out=exps)
        totals.append(dot(exps, None))
    chosen = q[places]
    np.subtract(p, q, out=p)
    divergence = dot(e, p) * scale / totals[0] - np.log(totals[0] / totals[1])
    surprise = np.log(dot(f, f)) - chosen
    assert divergence.shape == surprise.shape == labels.shape


def _dot(one: Any, other: Any | None) -> Any:
    """Sums of products along rows, or of numbers, by BLAS in parts too short for its threads."""
    part = next(size for size in range(1024, 0, -1) if one.shape[1] % size == 0)
    shape = (len(one), -1, part)
    factors = np.ones(part, one.dtype) if other is None else other.reshape(shape)
    return np.vecdot(one.reshape(shape), factors).sum(axis=1)


def _dot_narrow(one: Any, other: Any | None) -> Any:
    return (one if other is None else np.multiply(one, other, out=one)).sum(axis=0)


def loops(teacher: Any, student: Any, labels: Any) -> None:
    """The compiled sweep."""
    asked = Asked(
        (OF_TEACHER, OF_STUDENT),
        divergences=((scripts.TEMPERATURE, table.FORWARD),),
        labels=labels,
    )
    found = _buffers.table(asked.columns, len(teacher))
    sweeping.sweep([Logits(teacher), Logits(student)], asked, 0, len(teacher), found)


# And over how many bytes each goes at once: as many as are best for it.
LIMITS: dict[str, tuple[Part, int]] = {
    "reading": (reading, 2**21),
    "exponentials": (exponentials, 2**20),
    "passes": (passes, 2**20),
    "loops": (loops, 2**21),
}


def limit(name: str, made: Arrays, threads: int) -> Run:
    """One of LIMITS over all rows, piece by piece, in so many threads."""
    part, size = LIMITS[name]
    teacher, student, labels = made.values()
    step = max(1, size // teacher[0].nbytes)
    cuts = range(0, len(teacher), step)

    def one(start: int) -> None:
        rows = slice(start, start + step)
        with np.errstate(all="ignore"):
            part(teacher[rows], student[rows], labels[rows])

    def work() -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(one, cuts))

    return wall(work)
