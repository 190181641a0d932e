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

from distillcli.kernels import swept_bytes, table
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
    """Each thread's arrays of one shape."""

    shape: tuple[int, ...] = ()

    def of(self, like: Any) -> list[Any]:
        if self.shape != like.shape:
            self.shape, self.arrays = like.shape, [np.empty_like(like) for _ in range(4)]
        return self.arrays


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
        axis, rows, places = 0, np.s_[None, :], (labels, np.arange(len(labels)))
    else:
        axis, rows, places = 1, np.s_[:, None], (np.arange(len(labels)), labels)
    p, q, e, f = _buffers.of(teacher)
    scale = teacher.dtype.type(1 / scripts.TEMPERATURE)
    totals = []
    for scores, shifted, exps in ((teacher, p, e), (student, q, f)):
        np.subtract(scores, scores.max(axis=axis)[rows], out=shifted)
        np.multiply(shifted, scale, out=exps)
        np.exp(exps, out=exps)
        totals.append(exps.sum(axis=axis))
    chosen = q[places]
    np.subtract(p, q, out=p)
    np.subtract(p, (np.log(totals[0] / totals[1]) / scale)[rows], out=p)
    np.multiply(e, p, out=p)
    divergence = p.sum(axis=axis) * scale / totals[0]
    np.square(f, out=f)
    surprise = np.log(f.sum(axis=axis)) - chosen
    assert divergence.shape == surprise.shape == labels.shape


def loops(teacher: Any, student: Any, labels: Any) -> None:
    """The compiled sweep."""
    asked = Asked(
        (OF_TEACHER, OF_STUDENT),
        divergences=((scripts.TEMPERATURE, table.FORWARD),),
        labels=labels,
    )
    found = np.empty((asked.columns, len(labels)))
    sweeping.sweep([Logits(teacher), Logits(student)], asked, found)


LIMITS: dict[str, tuple[Part, int]] = {
    "reading": (reading, 2**21),
    "exponentials": (exponentials, swept_bytes("numpy") or 0),
    "passes": (passes, swept_bytes("numpy") or 0),
    "loops": (loops, swept_bytes("fast") or 0),
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
