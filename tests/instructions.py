"""How many instructions the CUDA kernels take for a score, counted in their machine code.

`python tests/instructions.py` prints the table that tests/benchmarks/gpu.md shows. What is counted
is the way through the loop that a step of plain scores takes: no reference moves, no class is
masked, the row goes on. Every instruction counts that this way issues.
"""

import functools
import heapq
import importlib.util
import itertools
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from distillcli.kernels.cuda.variant import BLOCK, SQUARINGS, Variant

LOSS = frozenset({"forward"})
USUAL = frozenset({"forward", "ones", "above"})
ALL = frozenset({"forward", "reverse", "squares", "cosine", "above", "ones"})
SIZES = {"float16": 2, "bfloat16": 2, "float32": 4}
LINE = re.compile(r"^\s+/\*[0-9a-f]+\*/\s+(.*?)\s*;", re.MULTILINE)
EXPONENTIAL, LOAD, WIDENED = "MUFU.EX2", "LDG.E.128", "F2F.F64"
LOCAL = ("LDL", "STL")  # memory of a thread: registers were too few


@functools.cache
def disassembler() -> str | None:
    """Where nvdisasm is, of the toolkit or of its wheel."""
    found = importlib.util.find_spec("nvidia")
    folders = list(found.submodule_search_locations or ()) if found else []
    files = (str(file) for folder in folders for file in Path(folder).rglob("bin/nvdisasm"))
    return shutil.which("nvdisasm") or next(files, None)


@dataclass
class Piece:
    """Instructions that are gone through in one go, and the pieces that may come after them."""

    instructions: list[str]
    after: list[str]

    def count(self, name: str) -> int:
        return sum(name in text for text in self.instructions)


def pieces(cubin: Path, kernel: str) -> dict[str, Piece]:
    """The code of a kernel in the order of its addresses, by label."""
    command = [str(disassembler()), "-c", str(cubin)]
    code = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    body = code.partition(f"\n.text.{kernel}:\n")[2].partition("\n\t.section")[0]
    found: dict[str, Piece] = {}
    label, numbers = "start", itertools.count()
    for part in re.split(r"^(\.L_x_\d+):$", body, flags=re.MULTILINE):
        if part.startswith(".L_x_"):
            label = part
            continue
        piece = found.setdefault(label, Piece([], []))
        for text in LINE.findall(part):
            piece.instructions.append(text)
            if re.search(r"\b(BRA|EXIT|RET|CALL|BSYNC)\b", text):
                label = f"{label.partition('+')[0]}+{next(numbers)}"
                piece = found.setdefault(label, Piece([], []))
    for (_, piece), (following, _) in itertools.pairwise(found.items()):
        piece.after = _after(piece, following)
    return found


def _after(piece: Piece, following: str) -> list[str]:
    last = piece.instructions[-1] if piece.instructions else ""
    is_sure = not (last.startswith("@") or re.search(r"BRA\S* !?U?P\d", last))
    if re.search(r"\b(EXIT|RET)\b", last) and is_sure:
        return []
    jump = re.search(r"\bBRA\b.*`\((\.L_x_\d+)\)", last)
    there = [jump[1]] if jump else []
    return there if jump and is_sure else [*there, following]


def shortest(code: dict[str, Piece], start: str, stop: str) -> tuple[int, tuple[str, ...]] | None:
    """Instructions from the beginning of one piece to that of another, and the pieces between."""
    waiting: list[tuple[int, str, tuple[str, ...]]] = [(0, start, ())]
    seen: set[str] = set()
    while waiting:
        length, at, way = heapq.heappop(waiting)
        if at == stop and way:
            return length, way
        if at in seen:
            continue
        seen.add(at)
        for after in code[at].after:
            whole = length + len(code[at].instructions)
            heapq.heappush(waiting, (whole, after, (*way, at)))
    return None


def step(code: dict[str, Piece], loads: int) -> Counter[str]:
    """What a step takes: from its exponentials over the sums and so many loads of the step after
    the next back to them."""
    names = list(code)
    middle = max(names, key=lambda name: code[name].count(EXPONENTIAL))
    later = names[names.index(middle) + 1 :]
    sums = next(name for name in later if code[name].count(WIDENED) >= 4)
    loading = [name for name in names if code[name].count(LOAD)]
    for number in range(1, 5):
        ways = (
            _around(code, (middle, sums, *some))
            for some in itertools.permutations(loading, number)
            if sum(code[name].count(LOAD) for name in some) == loads
        )
        found = [way for way in ways if way is not None]
        if found:
            taken = [text for name in min(found)[1] for text in code[name].instructions]
            counted = Counter({name: _count(taken, name) for name in (EXPONENTIAL, LOAD)})
            counted["all"] = len(taken)
            counted["MUFU"] = _count(taken, "MUFU")
            counted["local"] = sum(_count(taken, name) for name in LOCAL)
            return counted
    raise AssertionError("no way around the loop")


def _count(instructions: list[str], name: str) -> int:
    return sum(name in text for text in instructions)


def _around(code: dict[str, Piece], stops: tuple[str, ...]) -> tuple[int, tuple[str, ...]] | None:
    length, whole = 0, ()
    for start, stop in itertools.pairwise((*stops, stops[0])):
        found = shortest(code, start, stop)
        if found is None:
            return None
        length, whole = length + found[0], (*whole, *found[1])
    return (length, whole) if len(set(whole)) == len(whole) else None


def scores_of_a_step(element: str) -> int:
    """Of both sides."""
    return 2 * (16 if SIZES[element] == 2 else 8)


def usual(element: str, asked: frozenset[str], temperature: float, temperatures: int) -> Variant:
    """As a run on a large vocabulary takes it."""
    squarings = SQUARINGS.get(temperature)
    return Variant(element, element, "float32", BLOCK, asked, temperatures, squarings)


def counts(cubin: Path, element: str) -> dict[str, float]:
    """For one score of either side."""
    scores = scores_of_a_step(element)
    found = step(pieces(cubin, "pair"), scores * SIZES[element] // 16)
    return {name: count / scores for name, count in found.items()}


ROWS = [
    ("the loss at T = 2", LOSS, 2.0, 1),
    ("and all default metrics", USUAL, 2.0, 1),
    ("the same at T = 3", USUAL, 3.0, 1),
    ("and all distances", ALL, 2.0, 1),
    ("loss and metrics, 2 temperatures", USUAL, 2.0, 2),
    ("loss and metrics, 4 temperatures", USUAL, 2.0, 4),
]


def main() -> None:
    import tempfile

    from compilers import cubin

    print(
        "| what is asked | type | instructions | of them MUFU | registers |\n|---|---|---|---|---|"
    )
    for (told, asked, temperature, number), element in itertools.product(ROWS, SIZES):
        variant = usual(element, asked, temperature, number)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "rows.cubin")
            log = cubin(variant, "sm_90", path)
            found = counts(path, element)
        registers = re.findall(r"Used ([0-9]+) registers", log.partition("'pair'")[2])[0]
        print(f"| {told} | {element} | {found['all']:.1f} | {found['MUFU']:.1f} | {registers} |")


if __name__ == "__main__":
    main()
