"""The GPU against its own limits: `python tests/benchmarks/gpu.py`, with the table as output.

Everything is timed in one run on one device: the copy bandwidth of its memory, the rate of its bus
from pinned memory, our kernel, the whole stream from files in the page cache, and PyTorch (and
Liger's KL where it is installed) on the same arrays. With `--dry` every step runs on a stand-in
for CuPy, small, and checked against NumPy; no time is told, because it would mean nothing.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from distillcli.backend import Backend, choose
from distillcli.kernels import Wanted, fill
from distillcli.numerics.scores import Logits
from distillcli.numerics.stored import Stored, widened

SHAPES = [(8192, 128256), (16384, 32000)]
DRY_SHAPES = [(64, 2500), (128, 300)]
ELEMENTS = ("float32", "bfloat16")
SIZES = {"float32": 4, "bfloat16": 2}
REPEATS = 10
LAUNCHES = 20  # between two events, so that what a launch costs on the host is hidden
TEMPERATURE = 2.0
TARGETS = "targets: 75 % of the copy bandwidth, 85 % of the bus, 4x PyTorch eager"

Array = Any


class Clock:
    """Seconds of work on the device, done several times in a row; None in a dry run."""

    def __init__(self, cupy: Any, dry: bool) -> None:
        self._cupy, self._dry = cupy, dry

    def __call__(self, work: Callable[[], Any]) -> float | None:
        work()
        if self._dry:
            return None
        times = []
        for _ in range(REPEATS):
            begin, end = self._cupy.cuda.Event(), self._cupy.cuda.Event()
            begin.record()
            for _ in range(LAUNCHES):
                work()
            end.record()
            end.synchronize()
            times.append(self._cupy.cuda.get_elapsed_time(begin, end) / 1e3 / LAUNCHES)
        return statistics.median(times)


def arrays(shape: tuple[int, int], element: str) -> tuple[Array, Array]:
    """Teacher and student on the host, as they are stored."""
    random = np.random.default_rng(0)
    teacher = random.standard_normal(shape, dtype=np.float32) * 3
    student = teacher + random.standard_normal(shape, dtype=np.float32)
    if element == "float32":
        return teacher, student
    return tuple((side.view(np.uint32) >> 16).astype(np.uint16) for side in (teacher, student))


def wide(array: Array, element: str) -> Array:
    return widened(array, element=element, dtype="float32")


def scores(array: Array, element: str) -> Logits:
    return Logits(Stored(array, element, "float32", lambda bits: wide(bits, element)))


def kernel(backend: Backend, one: Array, other: Array, element: str) -> Array:
    """KL, cross-entropy's sums, entropies and top classes of both, in one launch."""
    p, q = scores(one, element), scores(other, element)
    both = (p, q)
    wanted = Wanted(both, {TEMPERATURE: ["forward"]}, above=p, ones=both, entropies=both, tops=both)
    fill(wanted, "cuda", backend.gpu)
    return p.divergence(q, TEMPERATURE)


def share(done: float | None, size: int, limit: float | None) -> str:
    return "-" if done is None or limit is None else f"{size / done / limit:.0%}"


def ratio(other: float | None, ours: float | None) -> str:
    return "-" if other is None or ours is None else f"{other / ours:.1f}x"


def check(found: Array, one: Array, other: Array, element: str) -> None:
    """The kernel's rows are those of NumPy, at the accuracy of float32."""
    with np.errstate(all="ignore"):
        p, q = (Logits(wide(side, element).astype(np.float64)) for side in (one[:8], other[:8]))
        right = p.divergence(q, TEMPERATURE)
    assert np.allclose(found[:8], right, rtol=1e-5, atol=1e-6), "the kernel is wrong"


def peers(one: Array, other: Array, element: str, dry: bool) -> dict[str, Callable[[], Any]]:
    """The same loss by others, on the same numbers."""
    try:
        import torch
    except ImportError:
        return {}
    place = "cpu" if dry else "cuda"
    sides = [
        torch.from_numpy(side.view(np.int16) if side.itemsize == 2 else side)
        for side in (one, other)
    ]
    if element == "bfloat16":
        sides = [side.view(torch.bfloat16) for side in sides]
    teacher, student = (side.to(place) for side in sides)

    def eager() -> Any:
        log_p = torch.log_softmax(teacher.float() / TEMPERATURE, -1)
        log_q = torch.log_softmax(student.float() / TEMPERATURE, -1)
        return torch.nn.functional.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)

    found = {"PyTorch eager": eager}
    if not dry:
        found["torch.compile"] = torch.compile(eager)
    try:
        from liger_kernel.transformers.kl_div import LigerKLDIVLoss
    except ImportError:
        return found
    liger = LigerKLDIVLoss(reduction="batchmean", log_target=True)
    log_p = torch.log_softmax(teacher.float() / TEMPERATURE, -1)
    log_q = torch.log_softmax(student.float() / TEMPERATURE, -1)
    found["Liger KL, of log-softmaxes made before"] = lambda: liger(log_q, log_p)
    return found


def stream(one: Array, other: Array, element: str, dry: bool) -> float | None:
    """Seconds in which `distill score` takes up these rows from files that the page cache holds.

    The slope from half of the rows to all of them: without what a command needs to begin and end.
    """
    half = len(one) // 2
    few = whole_command(one[:half], other[:half], element, dry)
    many = whole_command(one, other, element, dry)
    return None if dry else (many - few) * len(one) / (len(one) - half)


def whole_command(one: Array, other: Array, element: str, dry: bool) -> float:
    """Seconds of `distill score`, the best of some."""
    from runs import distill

    with tempfile.TemporaryDirectory() as folder:
        names = []
        for name, side in (("t", one), ("s", other)):
            np.save(f"{folder}/{name}.npy", side)
            names.append(f"{{path: {folder}/{name}.npy, dtype: {element}}}")
        config = Path(folder, "config.yaml")
        config.write_text(
            f"strategy: response\nteacher: {names[0]}\nstudent: {names[1]}\ndevice: cuda\n"
            f"response: {{alpha: 1.0, soft_loss: {{name: kl, temperature: {TEMPERATURE}}}}}\n"
        )
        times = []
        for _ in range(1 if dry else 4):
            begin = time.perf_counter()
            done = distill("score", config, "--format", "json")
            times.append(time.perf_counter() - begin)
            assert done.code == 0, done.errors
            assert done.data["rows"] == len(one)
    return min(times)


def pinned(backend: Backend, array: Array) -> Array:
    """A copy in pinned memory, without which the rate of the bus would be another one."""
    notes: list[str] = []
    found = choose(backend.device, notes.append).gpu.buffer(array.shape, array.dtype)
    assert not [note for note in notes if "pinned" in note], notes
    found[...] = array
    return found


def lines(backend: Backend, cupy: Any, dry: bool) -> Iterator[str]:
    """The table."""
    clock = Clock(cupy, dry)
    yield "| rows x classes | type | of copy bandwidth | of the bus, from files | faster than |"
    yield "|---|---|---|---|---|"
    for shape in DRY_SHAPES if dry else SHAPES:
        for element in ELEMENTS:
            yield line(backend, cupy, clock, shape, element, dry)


def line(
    backend: Backend, cupy: Any, clock: Clock, shape: tuple[int, int], element: str, dry: bool
) -> str:
    one, other = arrays(shape, element)
    size = one.nbytes + other.nbytes
    host = pinned(backend, one)
    with backend.active():
        # What is copied is read and written: the bandwidth is twice the bytes in that time.
        source = backend.to_device(one)
        copied = clock(lambda: source.copy())
        bus = clock(lambda: backend.to_device(host))
        given = [source, backend.to_device(other)]
        ours = clock(lambda: kernel(backend, *given, element))
        check(backend.to_host(kernel(backend, *given, element)), one, other, element)
    copy_rate = None if copied is None else 2 * one.nbytes / copied
    bus_rate = None if bus is None else one.nbytes / bus
    others = {name: clock(work) for name, work in peers(one, other, element, dry).items()}
    told = ", ".join(f"{name} {ratio(seconds, ours)}" for name, seconds in others.items())
    whole = stream(one, other, element, dry)
    cells = (share(ours, size, copy_rate), share(whole, size, bus_rate), told or "-")
    return f"| {shape[0]} x {shape[1]} | {element} | {' | '.join(cells)} |"


@contextmanager
def device(dry: bool) -> Iterator[tuple[Backend, Any]]:
    with ExitStack() as stack:
        if dry:
            import fake_cupy

            stack.enter_context(fake_cupy.installed())
        import cupy

        yield choose("cuda"), cupy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry", action="store_true", help="everything but the timing, on no GPU")
    dry = parser.parse_args().dry
    with device(dry) as (backend, cupy):
        name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
        print(f"On {name}; {TARGETS}.\n" if not dry else "A dry run: checked, and not timed.\n")
        for text in lines(backend, cupy, dry):
            print(text, flush=True)


if __name__ == "__main__":
    main()
