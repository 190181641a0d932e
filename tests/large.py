"""A large pair of dumps as language models leave them: made, scored, and held against float64.

    python tests/large.py --gigabytes 4

Two sides in bfloat16, each in safetensors shards of its own sizes, [sequences, positions, classes],
with an attention mask and labels of which some are to be ignored. They are scored in a process of
their own, whose memory is measured, and a thousand rows are computed again from the files in
float64 by the formula. Exit 1 where a row is off, or where it took a gigabyte.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

POSITIONS, CLASSES = 128, 32_000
TEMPERATURE, ALPHA = 2.0, 0.7
SAMPLED = 1000
MEMORY = 10**9
IGNORED = -100
CUTS = {"teacher": (0.1, 0.15, 0.6), "student": (0.4,)}  # where each side is cut into shards

Array = npt.NDArray[Any]

SCORED = """
import sys
from distillcli.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
peak = next(line.split()[1] for line in open("/proc/self/status") if "VmHWM" in line)
print(int(peak) * 1024, file=sys.stderr)
"""


@dataclass(frozen=True)
class Judged:
    """How it went: rows that count, peak memory in bytes, the worst row, and seconds of scoring.

    `error` is in units of what a row may be off: 1e-5 relative or 1e-6 absolute.
    """

    rows: int
    masked: int
    peak: int
    error: float
    seconds: float


def made(folder: Path, sequences: int) -> Path:
    """The files of a pair, and the config that scores it."""
    chance = np.random.default_rng(0)
    masks = np.arange(POSITIONS) < chance.integers(POSITIONS // 4, POSITIONS + 1, (sequences, 1))
    labels = chance.integers(0, CLASSES, (sequences, POSITIONS))
    labels[chance.random(labels.shape) < 0.05] = IGNORED
    np.save(folder / "mask.npy", masks.astype(np.int8))
    np.save(folder / "labels.npy", labels)
    for side, cuts in CUTS.items():
        _write_side(folder, side, _shards(sequences, cuts))
    config = {
        "strategy": "response",
        "teacher": "teacher-*.safetensors",
        "student": "student-*.safetensors::logits",
        "labels": "labels.npy",
        "mask": "mask.npy",
        "response": {"alpha": ALPHA, "soft_loss": {"name": "kl", "temperature": TEMPERATURE}},
    }
    (folder / "large.yaml").write_text(json.dumps(config))
    return folder / "large.yaml"


def _shards(sequences: int, cuts: Sequence[float]) -> list[tuple[int, int]]:
    """First and last sequence of each shard."""
    edges = [0, *(max(1, int(cut * sequences)) for cut in cuts), sequences]
    return [(first, stop) for first, stop in pairwise(edges) if stop > first]


def _write_side(folder: Path, side: str, shards: list[tuple[int, int]]) -> None:
    for index, (first, stop) in enumerate(shards):
        name = f"{side}-{index + 1:05}-of-{len(shards):05}.safetensors"
        shape = [stop - first, POSITIONS, CLASSES]
        size = 2 * int(np.prod(shape))
        fields = {"logits": {"dtype": "BF16", "shape": shape, "data_offsets": [0, size]}}
        header = json.dumps(fields).encode()
        with (folder / name).open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            for sequence in range(first, stop):
                file.write(_logits(side, sequence).tobytes())


def _logits(side: str, sequence: int) -> Array:
    """The bits of one sequence; a student is its teacher with noise."""
    chance = np.random.default_rng([1, sequence])
    values = chance.standard_normal((POSITIONS, CLASSES), np.float32) * 3
    if side == "student":
        values += np.random.default_rng([2, sequence]).standard_normal(values.shape, np.float32)
    return (values.view(np.uint32) >> 16).astype("<u2")


def scored(config: Path) -> tuple[dict[str, Any], int, float]:
    """The result, the peak of memory, and the seconds that it took."""
    start = time.monotonic()
    options = ["--device", "cpu", "--quiet", "--per-row", "rows.npy", "--format", "json"]
    done = subprocess.run(
        [sys.executable, "-c", SCORED, "score", config, *options],
        capture_output=True,
        text=True,
        cwd=config.parent,
        check=True,
    )
    seconds = time.monotonic() - start
    return json.loads(done.stdout), int(done.stderr.splitlines()[-1]), seconds


def sampled(folder: Path, count: int) -> Iterator[tuple[int, float]]:
    """The number and the loss of some rows that count, from the files, in float64."""
    labels = np.load(folder / "labels.npy").reshape(-1)
    kept = np.load(folder / "mask.npy").reshape(-1).astype(bool) & (labels != IGNORED)
    rows = np.flatnonzero(kept)
    for row in np.random.default_rng(3).choice(rows, min(count, len(rows)), replace=False):
        teacher, student = (_row(folder, side, int(row)) for side in CUTS)
        p, q = (_log_softmax(side / TEMPERATURE) for side in (teacher, student))
        soft = TEMPERATURE**2 * float((np.exp(p) * (p - q)).sum())
        hard = -float(_log_softmax(student)[labels[row]])
        yield int(row), ALPHA * soft + (1 - ALPHA) * hard


def _row(folder: Path, side: str, row: int) -> Array:
    """One row of a side, found in its shard by the header alone: float64 [classes]."""
    for path in sorted(folder.glob(f"{side}-*.safetensors")):
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            shape = json.loads(file.read(length))["logits"]["shape"]
            held = shape[0] * POSITIONS
            if row < held:
                file.seek(8 + length + 2 * row * CLASSES)
                bits = np.frombuffer(file.read(2 * CLASSES), "<u2")
                return (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
            row -= held
    raise IndexError(row)


def _log_softmax(scores: Array) -> Array:
    shifted = scores - scores.max()
    found: Array = shifted - np.log(np.exp(shifted).sum())
    return found


def judged(folder: Path, sequences: int, count: int = SAMPLED) -> Judged:
    """Make a pair, score it, and hold some rows against what they should be."""
    result, peak, seconds = scored(made(folder, sequences))
    losses = np.load(folder / "rows.npy")
    errors = [
        abs(losses[row] - loss) / max(1e-5 * abs(loss), 1e-6)
        for row, loss in sampled(folder, count)
    ]
    return Judged(result["rows"], result["rows_masked"], peak, max(errors), seconds)


def main() -> int:
    """Tell how it went; exit 1 if it did not go well."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=4.0, help="of both sides together")
    parser.add_argument("--folder", type=Path, help="where the files are made for the time being")
    given = parser.parse_args()
    sequences = max(2, round(given.gigabytes * 1e9 / (2 * POSITIONS * CLASSES * 2)))
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        found = judged(Path(name), sequences)
        size = sum(path.stat().st_size for path in Path(name).glob("*.safetensors"))
    print(
        f"{size / 1e9:.1f} GB, {found.rows:,} rows count and {found.masked:,} are masked; "
        f"{found.seconds:.0f} s, at most {found.peak / 1e6:.0f} MB; the worst of {SAMPLED:,} rows "
        f"is off by {found.error:.2g} of what it may be"
    )
    return int(found.error > 1 or found.peak > MEMORY)


if __name__ == "__main__":
    sys.exit(main())
