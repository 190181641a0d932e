"""On a GPU: the whole table of losses, types, shapes and masks against the slow references.

`pytest -m gpu` runs it where there is one. Where there is none the same tests run on a stand-in
for CuPy, with the kernels on the processor, on fewer shapes: they hold the tests and the code that
leads to the device, and say nothing about a device.
"""

import inspect
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_cupy
import numpy as np
import pytest
import reference
from emulation import NO_COMPILER
from libraries import NO_GPU
from runs import ROOT, distill

from distillcli.backend import Backend, choose, cuda
from distillcli.formats.elements import BFLOAT16, widen
from distillcli.kernels import Wanted, fill
from distillcli.kernels.wanted import DIRECTIONS
from distillcli.losses import LOGIT_LOSSES, Loss
from distillcli.numerics.scores import Logits
from distillcli.numerics.stored import Stored, widened

Array = np.ndarray[Any, Any]
ELEMENTS = ("float16", "bfloat16", "float32", "float64")
SHAPES = [(7, 2), (33, 10), (5, 65), (3, 2049)]
LARGE = [(4, 32001), (2, 131072), (2, 262144), (70001, 3)]
STRATEGIES = ("response", "progressive", "ensemble")


@pytest.fixture(
    params=[
        pytest.param(
            "device",
            marks=[pytest.mark.gpu, pytest.mark.skipif(NO_GPU is not None, reason=str(NO_GPU))],
        ),
        pytest.param(
            "stand-in",
            marks=pytest.mark.skipif(NO_COMPILER is not None, reason=str(NO_COMPILER)),
        ),
    ]
)
def gpu(request: pytest.FixtureRequest) -> Iterator[bool]:
    """There is a device; whether it is a real one."""
    if request.param == "device":
        yield True
        return
    with fake_cupy.installed():
        yield False


def stored(values: Array, element: str) -> tuple[Array, Array]:
    """As they are stored, and what that means."""
    if element == "bfloat16":
        bits = (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
        return bits, widen(bits, BFLOAT16, np.float64)
    kept = values.astype(element)
    return kept, kept.astype(np.float64)


def scores(backend: Backend, bits: Array, element: str) -> Logits:
    dtype = "float64" if element == "float64" else "float32"

    def wide(array: Any) -> Any:
        return widened(array, element=element, dtype=dtype)

    return Logits(Stored(backend.to_device(bits), element, dtype, wide))


def pair(shape: tuple[int, int], masked: bool = False) -> tuple[Array, Array]:
    random = np.random.default_rng(shape[1])
    teacher = random.standard_normal(shape) * 3
    student = teacher + random.standard_normal(shape) * np.logspace(-4, 0.5, shape[0])[:, None]
    if masked:
        teacher[:, -1] = student[:, -1] = -math.inf
        teacher[1, 0] = -math.inf
        student[2, 0] = -math.inf
    return teacher, student


def within(found: Array, right: Array, element: str) -> None:
    relative, absolute = (1e-11, 1e-12) if element == "float64" else (1e-5, 1e-6)
    infinite = np.isinf(right)
    assert (np.isinf(found) == infinite).all()
    off = np.abs(found[~infinite] - right[~infinite])
    assert (off <= np.maximum(relative * np.abs(right[~infinite]), absolute)).all(), off.max()


def is_tempered(known: Loss) -> bool:
    return any(one.name == "temperature" for one in known.parameters)


def computed(
    name: str, teacher: Logits, student: Logits, backend: Backend, t: float, **given: Any
) -> Array:
    """The rows of a loss after the kernel has run."""
    known = LOGIT_LOSSES[name]
    more = given | ({"temperature": t} if is_tempered(known) else {})
    asks: dict[str, Any] = {ask: ask in known.asks for ask in ("squares", "cosine")}
    asks["divergences"] = {t: [one for one in DIRECTIONS if one in known.asks]}
    with backend.active():
        fill(Wanted((teacher, student), **asks), "cuda", backend.gpu)
        rows = known.function(teacher=teacher, student=student, **more)
        return np.array(backend.to_host(rows), np.float64)


REFERENCED = ("kl", "reverse_kl", "jsd", "mse", "cosine", "combined_kl_mse")


@pytest.mark.parametrize("element", ELEMENTS)
@pytest.mark.parametrize("name", REFERENCED)
def test_losses(name: str, element: str, gpu: bool) -> None:
    """Each against its slow reference, at several temperatures, without masks and with."""
    backend, known = choose("cuda"), LOGIT_LOSSES[name]
    tempered = is_tempered(known)
    for shape in SHAPES + LARGE[:1] if gpu else SHAPES[:3]:
        for masked in (False, True) if known.allows_masked and shape[1] > 2 else (False,):
            (one, t), (other, s) = (stored(side, element) for side in pair(shape, masked))
            for temperature in (0.5, 1.0, 4.0) if tempered else (1.0,):
                more = {"temperature": temperature} if tempered else {}
                slow = getattr(reference, name)
                right = [
                    slow(teacher=p, student=q, **more)
                    for p, q in zip(t.tolist(), s.tolist(), strict=True)
                ]
                p, q = scores(backend, one, element), scores(backend, other, element)
                found = computed(name, p, q, backend, temperature)
                within(found, np.array(right), element)


@pytest.mark.parametrize("name", sorted(LOGIT_LOSSES))
def test_every_loss_as_on_the_cpu(name: str, gpu: bool) -> None:
    """Those that no kernel knows run through the plain functions there."""
    backend, known = choose("cuda"), LOGIT_LOSSES[name]
    teacher, student = pair((8, 50))
    labelled = "labels" in inspect.signature(known.function).parameters
    labels = np.arange(8) % 50
    sides = [scores(backend, side, "float64") for side in (teacher, student)]
    given = {"labels": backend.to_device(labels)} if labelled else {}
    found = computed(name, *sides, backend, 2.0, **given)
    more: dict[str, Any] = {"temperature": 2.0} if is_tempered(known) else {}
    if labelled:
        more["labels"] = labels
    right = known.function(teacher=teacher, student=student, **more)
    within(found, np.asarray(right), "float64")


@pytest.mark.parametrize("element", ELEMENTS)
def test_shapes(element: str, gpu: bool) -> None:
    """From 2 to 262,144 classes, from a few rows to many; on a device all of them."""
    backend = choose("cuda")
    for shape in SHAPES + LARGE if gpu else SHAPES[:2]:
        (one, t), (other, s) = (stored(side, element) for side in pair(shape))
        p, q = scores(backend, one, element), scores(backend, other, element)
        found = computed("kl", p, q, backend, 2.0)
        log_p, log_q = (log_softmax(side, 2.0) for side in (t, s))
        gap = log_p - log_q
        terms = np.exp(log_p) * (np.expm1(-gap) + gap)
        within(found, 4 * terms.sum(axis=1).astype(np.float64), "float32")


@pytest.mark.parametrize("element", ELEMENTS)
def test_all_at_once(element: str, gpu: bool) -> None:
    """Several temperatures, the overlap, the sums and entropies at 1, top classes and ranks."""
    backend = choose("cuda")
    for shape in SHAPES if gpu else SHAPES[:2]:
        (one, t), (other, s) = (stored(side, element) for side in pair(shape))
        p, q = both = scores(backend, one, element), scores(backend, other, element)
        asked = dict.fromkeys((2.0, 0.5, 1.0, 3.0, 20.0), DIRECTIONS)
        wanted = Wanted(both, asked, above=p, overlap=True, ones=both, entropies=both, tops=both)
        with backend.active():
            fill(wanted, "cuda", backend.gpu)
            found = {
                "overlap": p.remembered("overlap", q, lambda: None),
                **{f"total {n}": side.softened(1.0).total for n, side in enumerate(both)},
                **{f"entropy {n}": side.entropy for n, side in enumerate(both)},
                **{f"kl {at}": p.divergence(q, at) * at**2 for at in asked},
                **{f"reverse {at}": q.divergence(p, at) * at**2 for at in asked},
                "top": p.top,
                "above": q.above_top_of(p) >= 5,
            }
            on_host = {name: np.array(backend.to_host(rows)) for name, rows in found.items()}
        for name, right in expected(Logits(t), Logits(s), asked).items():
            within(on_host[name].astype(np.float64), right, element)


def expected(p: Logits, q: Logits, asked: Any) -> dict[str, Array]:
    """The same by the plain functions, in float64."""
    shares = [np.exp(side.log_softmax()) for side in (p, q)]
    found = {
        "overlap": np.minimum(*shares).sum(axis=1),
        **{f"total {n}": side.softened(1.0).total for n, side in enumerate((p, q))},
        **{f"entropy {n}": side.entropy for n, side in enumerate((p, q))},
        **{f"kl {at}": p.divergence(q, at) * at**2 for at in asked},
        **{f"reverse {at}": q.divergence(p, at) * at**2 for at in asked},
        "top": p.top,
        "above": q.above_top_of(p) >= 5,
    }
    return {name: np.asarray(rows, np.float64) for name, rows in found.items()}


def log_softmax(values: Array, temperature: float) -> Array:
    x = values.astype(np.longdouble) / temperature
    x -= x.max(axis=1, keepdims=True)
    rows: Array = x - np.log(np.exp(x).sum(axis=1, keepdims=True))
    return rows


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_sample_data_as_on_the_cpu(strategy: str, gpu: bool) -> None:
    """Every figure of the three strategies, within what float32 leaves open."""
    results = []
    for device in ("cuda", "cpu"):
        config = ROOT / "configs" / f"{strategy}.yaml"
        done = distill("score", config, "--device", device, "--format", "json")
        assert done.code == 0, done.errors
        results.append(done.data)
    found, right = results
    assert found["facts"]["kernel"] == "cuda"
    assert found["loss"] == pytest.approx(right["loss"], rel=1e-6)
    assert found["metrics"].keys() == right["metrics"].keys()
    for name, value in right["metrics"].items():
        assert found["metrics"][name] == pytest.approx(value, rel=1e-5, abs=1e-7), name


def test_soft_targets_as_on_the_cpu(gpu: bool, tmp_path: Path) -> None:
    """What `ensemble` writes, number by number."""
    import h5py

    written = []
    for device in ("cuda", "cpu"):
        path = tmp_path / f"{device}.h5"
        config = ROOT / "configs" / "ensemble.yaml"
        done = distill("ensemble", config, "--device", device, "--output", path)
        assert done.code == 0, done.errors
        with h5py.File(path) as file:
            written.append({name: file[name][...] for name in file})
    assert written[0].keys() == written[1].keys()
    for name, values in written[1].items():
        assert np.allclose(written[0][name], values, rtol=1e-5, atol=1e-6), name


def run_of(folder: Path, *more: str) -> dict[str, Any]:
    flags = ("--teacher", folder / "t.npy", "--student", folder / "s.npy", "--temperature", "2")
    done = distill("score", *flags, "--device", "cuda", "--format", "json", *more)
    assert done.code == 0, done.errors
    result = json.loads(done.out)
    result["facts"].pop("seconds")
    return {**result, "notes": [note for note in done.notes if "memory" in note]}


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    teacher, student = pair((3000, 17))
    np.save(tmp_path / "t.npy", teacher.astype(np.float16))
    np.save(tmp_path / "s.npy", student.astype(np.float32))
    return tmp_path


def test_bit_for_bit(gpu: bool, dump: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Again, and in batches of any size: the same bits."""
    first = run_of(dump)
    assert run_of(dump) == first
    monkeypatch.setattr(cuda, "LEAST_BATCH", 1)
    for size in (1 << 12, 1 << 14):
        monkeypatch.setattr(cuda, "BATCH_BYTES", size)
        assert run_of(dump) == first


ROWWISE = [name for name, known in LOGIT_LOSSES.items() if known.least_batch is None]


@pytest.mark.parametrize("name", ROWWISE)
def test_a_row_has_its_bits_in_any_company(name: str, gpu: bool) -> None:
    """By the plain functions: alone, in a tile, and in a tile that begins one row later."""
    backend, known = choose("cuda"), LOGIT_LOSSES[name]
    for classes in (10, 257, 4099):
        sides = [side.astype(np.float32) for side in pair((34, classes))]
        labels = np.arange(34) % classes

        def rows(first: int, stop: int, sides: Any = sides, labels: Any = labels) -> Array:
            with backend.active():
                teacher, student = (scores(backend, side[first:stop], "float32") for side in sides)
                given = {"teacher": teacher, "student": student}
                if "labels" in inspect.signature(known.function).parameters:
                    given["labels"] = backend.to_device(labels[first:stop])
                return np.array(backend.to_host(known.function(**given)))

        whole = rows(0, 34)
        assert np.array_equal(rows(1, 34), whole[1:], equal_nan=True), classes
        for row in (0, 7, 33):
            assert np.array_equal(rows(row, row + 1), whole[row : row + 1], equal_nan=True), row


def test_out_of_memory(gpu: bool, dump: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a limit on the memory, fewer rows at once, the same numbers and a note."""
    first = run_of(dump)
    if gpu:
        import cupy

        pool = cupy.get_default_memory_pool()
        pool.free_all_blocks()
        monkeypatch.setattr(cuda, "STREAMS", 1)
        pool.set_limit(size=256 * 1024)
    else:
        fake_cupy.state.largest = 1000 * 17 * 8
    try:
        again = run_of(dump)
    finally:
        if gpu:
            pool.set_limit(size=0)
    notes = again.pop("notes")
    assert again == {key: value for key, value in first.items() if key != "notes"}
    assert notes
    assert "which changes no number" in notes[0]
