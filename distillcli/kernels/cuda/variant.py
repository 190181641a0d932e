"""What a CUDA kernel is compiled for; the sources lie beside this file."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SOURCES = Path(__file__).parent
SOURCE = "rows.cu"
NAMES = ("alone", "pair")
STANDARD = "-std=c++17"
BLOCK = 128  # threads
MOST_TEMPERATURES = 4  # that one sweep takes
MOST_CLASSES = 2**30  # that a class is counted to in 32 bits

# The types in which scores may lie in the memory of the device, and their names in the sources.
STORED = {
    "float16": "Float16",
    "bfloat16": "BFloat16",
    "float32": "Float32",
    "float64": "Float64",
}
REALS = {"float32": "float", "float64": "double"}

# The columns that the kernels write, [rows] each, in the order of `Column` in the source.
SIDE = ("max", "top", "total", "entropy", "finite")
COLUMNS = (
    *(f"teacher_{name}" for name in SIDE),
    *(f"student_{name}" for name in SIDE),
    *("squares", "cosine", "above", "overlap"),
)
AT_A_TEMPERATURE = ("teacher_tempered", "student_tempered", "forward", "reverse")
# What may be asked for beside the highest scores and their classes.
ASKED = ("forward", "reverse", "squares", "cosine", "above", "ones", "overlap")


@cache
def source_text() -> str:
    """The source with all it includes, each file once."""
    seen: set[str] = set()

    def text(name: str) -> str:
        if name in seen:
            return ""
        seen.add(name)
        written = (SOURCES / name).read_text(encoding="utf-8").replace("#pragma once\n", "")
        return re.sub(r'#include "(.+)"\n', lambda found: text(found[1]), written)

    return text(SOURCE)


@dataclass(frozen=True)
class Variant:
    """One set of definitions.

    Args:
        teacher, student: how scores are stored; the first alone counts where there is one side.
        real: the type of the arithmetic.
        lanes: threads that share a row.
        asked: names of ASKED.
        temperatures: of the divergences, how many.
        squarings: how often an exponential at the first of them is squared to be that at 1; None
            where that does not do.
    """

    teacher: str
    student: str
    real: str
    lanes: int
    asked: frozenset[str] = frozenset()
    temperatures: int = 1
    squarings: int | None = None

    @property
    def options(self) -> tuple[str, ...]:
        """What the compiler is told, beside where the sources lie."""
        return (
            STANDARD,
            f"-DDISTILL_TEACHER=distill::{STORED[self.teacher]}",
            f"-DDISTILL_STUDENT=distill::{STORED[self.student]}",
            f"-DDISTILL_REAL={REALS[self.real]}",
            f"-DDISTILL_LANES={self.lanes}",
            f"-DDISTILL_TEMPERATURES={self.temperatures}",
            f"-DDISTILL_SQUARINGS={-1 if self.squarings is None else self.squarings}",
            *(f"-DDISTILL_{name.upper()}={int(name in self.asked)}" for name in ASKED),
        )


SQUARINGS = {1.0: 0, 2.0: 1, 4.0: 2}  # each doubles an error of rounding, so no more


def columns(temperatures: int) -> tuple[str, ...]:
    """The names of all that a kernel writes, those of temperatures with their number."""
    at = (f"{name}_{index}" for index in range(temperatures) for name in AT_A_TEMPERATURE)
    return (*COLUMNS, *at)


def lanes(classes: int) -> int:
    """How many threads share a row; it depends on nothing else, and so do the bits of a row."""
    if classes <= 64:
        return 4
    return 32 if classes <= 2048 else BLOCK


def blocks(rows: int, threads_per_row: int) -> int:
    """How many blocks give every row its threads, within what a grid may have."""
    return int(min(-(-rows * threads_per_row // BLOCK), 2**31 - 1))
