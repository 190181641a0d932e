"""The compiled kernel: stored types as they lie, the same bits in any company, and its absence."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernels import NO_FAST
from runs import distill, scored, written

from distillcli import kernels
from distillcli.formats import widen
from distillcli.formats.elements import BFLOAT16, Element, element_of
from distillcli.kernels import Wanted, fill, kernel_for
from distillcli.kernels.wanted import DIRECTIONS
from distillcli.numerics.scores import Logits
from distillcli.numerics.stored import Stored

Array = np.ndarray[Any, Any]
needs_numba = pytest.mark.skipif(NO_FAST is not None, reason=str(NO_FAST))
ELEMENTS = {
    "float16": element_of("f2", None, ""),
    "bfloat16": BFLOAT16,
    "float32": element_of("f4", None, ""),
    "float64": element_of("f8", None, ""),
}


def bits(scores: Array, name: str) -> Array:
    """The scores as they are stored in this type."""
    if name == "bfloat16":
        return (scores.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return scores.astype(name)


def as_stored(array: Array, element: Element, dtype: str) -> Logits:
    return Logits(
        Stored(array, str(element), dtype, lambda part: widen(part, element, np.dtype(dtype)))
    )


def figures(p: Logits, q: Logits) -> list[Array]:
    """All that the kernel is asked, and what the plain functions make of it."""
    wanted = Wanted(
        (p, q), {4.0: DIRECTIONS}, squares=True, cosine=True, above=p, overlap=True,
        ones=(p, q), entropies=(p, q), tops=(p, q),
    )  # fmt: skip
    with np.errstate(all="ignore"):
        fill(wanted, "fast")
        labels = np.arange(p.shape[0]) % p.shape[1]
        return [
            p.divergence(q, 4.0),
            q.divergence(p, 4.0),
            p.remembered("squares", q, pytest.fail),
            p.remembered("cosine", q, pytest.fail),
            q.above_top_of(p),
            p.remembered("overlap", q, pytest.fail),
            *(x for one in (p, q) for x in (one.max, one.top, one.entropy, one.bad, one.finite)),
            *(one.nll(labels) for one in (p, q)),
        ]


def pair(rows: int, classes: int) -> tuple[Array, Array]:
    random = np.random.default_rng(classes)
    teacher = random.standard_normal((rows, classes)) * 5
    student = (
        teacher + random.standard_normal((rows, classes)) * np.geomspace(1e-4, 3, rows)[:, None]
    )
    teacher[5, 0] = student[5, 0] = student[6, 1] = teacher[7, 1] = -np.inf
    student[8, 0], student[9, 1], teacher[9] = np.nan, np.inf, -np.inf
    return teacher, student


@needs_numba
@pytest.mark.parametrize("classes", [2, 10, 63, 64, 1000, 3001])
@pytest.mark.parametrize(
    ("teacher", "student", "dtype"),
    [
        ("float16", "float16", "float32"),
        ("bfloat16", "bfloat16", "float32"),
        ("float32", "float32", "float32"),
        ("float64", "float64", "float64"),
        ("float16", "float32", "float32"),
        ("bfloat16", "float16", "float64"),
        ("float32", "float64", "float64"),
    ],
)
def test_stored_types_are_what_they_are_widened_to(
    classes: int, teacher: str, student: str, dtype: str
) -> None:
    """A row read as it is stored has the bits of the same row widened before."""
    one, other = pair(70, classes)
    stored = [(bits(one, teacher), ELEMENTS[teacher]), (bits(other, student), ELEMENTS[student])]
    found = figures(*(as_stored(array, element, dtype) for array, element in stored))
    wide = [widen(array, element, np.dtype(dtype)) for array, element in stored]
    for here, there in zip(found, figures(*map(Logits, wide)), strict=True):
        assert np.array_equal(here, there, equal_nan=True)


@needs_numba
def test_nothing_is_widened_that_the_kernel_has_read() -> None:
    """The plain functions find all they ask for, labels' scores included."""
    one, other = pair(20, 300)
    element = ELEMENTS["float16"]

    def never(array: Array) -> Array:
        assert array.shape[1] == 1, "a whole tile was widened"
        return widen(array, element, np.dtype(np.float32))

    stored = [bits(scores, "float16")[10:] for scores in (one, other)]
    figures(*(Logits(Stored(array, "float16", "float32", never)) for array in stored))


@needs_numba
@pytest.mark.parametrize("classes", [2, 10, 63, 64, 1000, 5000])
@pytest.mark.parametrize("element", ["float16", "float32", "float64"])
def test_a_row_has_the_same_bits_in_any_company(classes: int, element: str) -> None:
    """Wherever a tile begins and ends, masked, bad and near-equal neighbours included."""
    one, other = (bits(scores, element) for scores in pair(200, classes))
    dtype = "float64" if element == "float64" else "float32"

    def of(start: int, stop: int) -> list[Array]:
        return figures(
            as_stored(one[start:stop], ELEMENTS[element], dtype),
            as_stored(other[start:stop], ELEMENTS[element], dtype),
        )

    whole = of(0, 200)
    for start, stop in ((0, 1), (4, 10), (63, 65), (64, 128), (130, 200)):
        for index, (part, all_of_it) in enumerate(zip(of(start, stop), whole, strict=True)):
            if index < len(whole) - 2:  # the labels of the last two count from the first row
                assert np.array_equal(part, all_of_it[start:stop], equal_nan=True)


@needs_numba
@pytest.mark.parametrize("classes", [10, 700])
def test_whole_runs_on_any_number_of_threads(tmp_path: Path, classes: int) -> None:
    """Every figure has the same bits for each batch size and number of threads."""
    rows = 40_000 if classes < 64 else 3000
    random = np.random.default_rng(0)
    for name in ("teacher", "student"):
        scores = random.standard_normal((rows, classes)) * 3
        np.save(tmp_path / f"{name}.npy", scores.astype(np.float16))
    np.save(tmp_path / "labels.npy", random.integers(0, classes, rows))
    sources = {name: f"{name}.npy" for name in ("teacher", "student", "labels")}
    config = {"strategy": "response", **sources, "kernel": "fast"}
    first = scored(tmp_path, {**config, "threads": 1, "batch_size": rows})
    assert first.facts["kernel"] == "fast"
    for threads, batch_size in ((1, 7), (2, 64), (2, 1000), (4, rows)):
        again = scored(tmp_path, {**config, "threads": threads, "batch_size": batch_size})
        assert (again.loss, again.terms, again.metrics) == (first.loss, first.terms, first.metrics)


def test_auto_takes_the_compiled_kernel_for_large_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small ones are done before it is loaded; without the extra everything is NumPy's."""
    monkeypatch.setattr(kernels, "why_not_fast", lambda: None)
    assert kernel_for("auto", kernels.WORTH_COMPILING) == "fast"
    assert kernel_for("auto", kernels.WORTH_COMPILING - 1) == "numpy"
    assert kernel_for("fast", 0) == "fast"
    assert kernel_for("numpy", 2**40) == "numpy"
    monkeypatch.setattr(kernels, "why_not_fast", lambda: "numba is not installed")
    assert kernel_for("auto", 2**40) == "numpy"


def test_the_kernel_that_is_not_there_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for by name it is an error with the way out."""
    monkeypatch.setattr(kernels, "why_not_fast", lambda: "numba is not installed")
    for name in ("teacher", "student"):
        np.save(tmp_path / f"{name}.npy", np.ones((3, 4), np.float32))
    config = {"strategy": "response", "teacher": "teacher.npy", "student": "student.npy"}
    done = distill("score", written(tmp_path / "c.yaml", {**config, "kernel": "fast"}))
    assert done.code == 3
    assert "kernel fast: numba is not installed; pip install 'distillcli[fast]'" in done.err


@needs_numba
def test_the_second_start_compiles_nothing(tmp_path: Path) -> None:
    """What was compiled is kept on disk and taken from there."""
    script = """
import numpy as np
from distillcli.kernels import Wanted, fill
from distillcli.numerics.scores import Logits
from distillcli.kernels.fast import wide
p, q = Logits(np.ones((2, 100), np.float32)), Logits(np.ones((2, 100), np.float32))
fill(Wanted((p, q), {2.0: ["forward"]}, ones=(q,)), "fast")
stats = wide.sweep.stats
print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
"""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    found = [
        subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True, text=True, env=environment, check=True,
        ).stdout.split()
        for _ in range(2)
    ]  # fmt: skip
    assert found == [["0", "1"], ["1", "0"]]


@needs_numba
def test_where_nothing_can_be_kept_it_is_compiled_anew(tmp_path: Path) -> None:
    """A home that cannot be written is no error."""
    script = """
import numba.core.caching as caching
caching.CacheImpl._locator_classes = []
from distillcli.kernels.fast.compiling import compiled
print(compiled(lambda x: x + 1)(1))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "2\n"


def exact_divergence(p: Array, q: Array, temperature: float) -> Array:
    """KL(p || q) from numbers of 64 binary digits, all terms >= 0."""
    logs = []
    for scores in (p, q):
        scaled = scores.astype(np.longdouble) / temperature
        scaled -= scaled.max(axis=1, keepdims=True)
        logs.append(scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True)))
    gap = logs[0] - logs[1]
    return (np.exp(logs[0]) * (np.expm1(-gap) + gap)).sum(axis=1)


@needs_numba
@pytest.mark.parametrize("temperature", [0.1, 1.0, 3.0, 20.0])
@pytest.mark.parametrize("offset", [0.0, 30.1, 1000.7])
@pytest.mark.parametrize("classes", [70, 5000])
def test_divergences_on_both_sides_of_what_float32_can_do(
    classes: int, offset: float, temperature: float
) -> None:
    """Where a sum in float32 stands, and where it gives way to float64, a third of the bound is
    not used up: from near-equal rows to distant ones, with scores that are far from each other."""
    random = np.random.default_rng(int(temperature * 10 + offset + classes))
    for distance in (1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0):
        p = (random.standard_normal((24, classes)) * 3).astype(np.float32)
        q = (p + random.standard_normal(p.shape) * distance + offset).astype(np.float32)
        sides = Logits(p), Logits(q)
        fill(Wanted(sides, {temperature: DIRECTIONS}), "fast")
        for one, other in (sides, sides[::-1]):
            exact = exact_divergence(one.scores, other.scores, temperature) * temperature**2
            found = one.remembered(("kl", temperature), other, pytest.fail) * temperature**2
            assert (np.abs(found - exact) <= np.maximum(1e-5 * exact, 1e-6) / 3).all()


@needs_numba
def test_the_bound_of_a_sum_in_float32_holds() -> None:
    """What the rounding of gaps does to a sum is below what the kernel thinks that it may do."""
    from distillcli.kernels.fast import wide

    random = np.random.default_rng(5)
    for scale, distance, offset in [(1.0, 0.01, 0.0), (1 / 3, 0.1, 7.3), (10.0, 1.0, 0.0)]:
        p = (random.standard_normal((1, 300)) * 3).astype(np.float32)
        q = (p + random.standard_normal(p.shape) * distance + offset).astype(np.float32)
        wide_p, wide_q = p.astype(float), q.astype(float)
        exps = [np.exp((x - x.max()) * scale).astype(np.float32)[0] for x in (wide_p, wide_q)]
        ratio = exps[0].astype(float).sum() / exps[1].astype(float).sum()
        centre = float((wide_p.max() - wide_q.max()) * scale + np.log(ratio))
        found, sizes = wide._in_float32(p[0], q[0], *exps, scale, ratio, centre)
        gap = (wide_p - wide_q)[0] * scale - centre
        e, f = exps[0].astype(float), exps[1].astype(float) * ratio
        exact = np.where(np.abs(gap) < 0.5, e * (np.expm1(-gap) + gap), e * gap + f - e).sum()
        assert sizes == pytest.approx((e * np.abs(gap)).sum(), rel=1e-5)
        loses = wide.GAP_LOSES * (4 * sizes + 2 * abs(centre) * e.sum())
        assert abs(found - exact) <= loses + 2e-6 * exact
