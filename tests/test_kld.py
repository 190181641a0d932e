"""The file that `llama-perplexity --kl-divergence-base` of llama.cpp writes, as a source."""

import re
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from format_files import kld_bytes, kld_row, source
from libraries import LIBRARIES, Library
from runs import scored

from distillcli.errors import ConfigError, DataError, FormatError, MissingError
from distillcli.formats import open_rows
from distillcli.numerics.scores import Logits
from distillcli.result import Result
from distillcli.strategy.floored import Floored

CONTEXT, VOCABULARY, CHUNKS = 9, 31, 3
FIRST, POSITIONS = 4, 4  # of a context of 9: positions 4 to 7 are stored, 8 has no next token


def chunks(vocabulary: int = VOCABULARY, context: int = CONTEXT) -> tuple[np.ndarray, np.ndarray]:
    """Logits and tokens; rows whose logits span little, a lot, and nothing at all."""
    rng = np.random.default_rng(vocabulary)
    positions = context - 1 - context // 2
    logits = rng.normal(0, 2, (CHUNKS, positions, vocabulary)).astype(np.float32)
    logits[0, 0] *= 12
    logits[1, -1] = 3.25
    tokens = rng.integers(0, vocabulary, (CHUNKS, context))
    return logits, tokens


def saved(folder: Path, name: str = "base.kld", **shape: int) -> tuple[np.ndarray, np.ndarray]:
    logits, tokens = chunks(**shape)
    (folder / name).write_bytes(kld_bytes(logits, tokens))
    return logits, tokens


def read(folder: Path, text: str, row_dims: int = 1) -> np.ndarray:
    with open_rows(source(folder, text), role="teacher", row_dims=row_dims) as reader:
        return reader.read(0, reader.rows, reader.empty(reader.rows))


@pytest.mark.parametrize("vocabulary", [31, 32, 30_001])
@pytest.mark.parametrize("context", [9, 10, 3])
def test_log_probabilities_are_those_that_were_stored(tmp_path, vocabulary, context):
    """Within half a step of the true ones; those beyond the floor are at the floor."""
    logits, _ = saved(tmp_path, vocabulary=vocabulary, context=context)
    rows = logits.reshape(-1, vocabulary).astype(np.float64)
    exact = rows - rows.max(1)[:, None]
    exact -= np.log(np.exp(exact).sum(1))[:, None]
    got = read(tmp_path, "base.kld")
    floor = np.maximum(exact.min(1), exact.max(1) - 16)[:, None]
    step = (exact.max(1)[:, None] - floor) / 65535
    assert got.dtype == np.float32
    assert (np.abs(got - np.maximum(exact, floor)) <= 0.5 * step + 1e-5).all()


def test_rows_are_what_the_format_says(tmp_path):
    """scale * q + lowest in float32, for a row written by hand."""
    bits = np.array([0, 65535, 7, 300], "<u2")
    row = struct.pack("<ff", 0.25, -20.0) + bits.tobytes()
    head = struct.pack("<8siii", b"_logits_", 4, 4, 1) + struct.pack("<4i", 5, 6, 7, 8)
    (tmp_path / "a.kld").write_bytes(head + row)
    assert read(tmp_path, "a.kld").tolist() == [[-20.0, 16363.75, -18.25, 55.0]]
    assert read(tmp_path, "a.kld::labels", 0).tolist() == [8]
    assert read(tmp_path, "a.kld::tokens", 0).tolist() == [7]
    assert read(tmp_path, "a.kld::context_tokens", 0).tolist() == [5, 6, 7, 8]


@pytest.mark.parametrize("context", [9, 10])
def test_tokens_belong_to_their_rows(tmp_path, context):
    """A row's label is the token after the one that led to it."""
    _, tokens = saved(tmp_path, context=context)
    first = context // 2
    assert read(tmp_path, "base.kld::tokens", 0).tolist() == tokens[:, first:-1].ravel().tolist()
    assert read(tmp_path, "base.kld::labels", 0).tolist() == tokens[:, first + 1 :].ravel().tolist()


def test_any_range_of_rows_on_any_thread(tmp_path):
    """Ranges and threads do not disturb each other, and nothing else in a buffer is touched."""
    saved(tmp_path)
    whole = read(tmp_path, "base.kld")
    with (
        open_rows(source(tmp_path, "base.kld"), role="teacher", row_dims=1) as reader,
        ThreadPoolExecutor(4) as pool,
    ):
        ranges = [(a, b) for a in range(13) for b in range(a, 13)] * 5

        def part(span: tuple[int, int]) -> np.ndarray:
            return reader.read(*span, reader.empty(span[1] - span[0]))

        for (start, stop), got in zip(ranges, pool.map(part, ranges), strict=True):
            np.testing.assert_array_equal(got, whole[start:stop])


def test_shards_and_names(tmp_path):
    """Files of several chunks are joined, and the magic tells where the name does not."""
    for index in range(3):
        saved(tmp_path, f"base-{index}.bin")
    whole = read(tmp_path, "base-*.bin")
    assert whole.shape == (3 * CHUNKS * POSITIONS, VOCABULARY)
    np.testing.assert_array_equal(whole[: len(whole) // 3], read(tmp_path, "base-0.bin"))


def refusal(folder: Path, text: str = "a.kld", row_dims: int = 1) -> str:
    with pytest.raises((FormatError, MissingError)) as caught:
        open_rows(source(folder, text), role="teacher", row_dims=row_dims)
    return str(caught.value)


def test_labels_have_to_be_named(tmp_path):
    """All that could be meant is listed."""
    saved(tmp_path)
    assert refusal(tmp_path, "base.kld", 0) == (
        "teacher in base.kld: holds more than one dataset of integers [rows] or [rows, positions]; "
        "it holds labels int32 [3, 4], tokens int32 [3, 4], context_tokens int32 [3, 9], "
        "log_probabilities float32 [3, 4, 31]"
    )


def test_a_file_cut_anywhere_is_refused(tmp_path):
    """llama.cpp never looks whether its writes succeed; here a short file is no source."""
    saved(tmp_path)
    whole = (tmp_path / "base.kld").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "a.kld").write_bytes(whole[:length])
        refusal(tmp_path)
    assert refusal(tmp_path).startswith(
        "teacher in a.kld: is cut short: 3 chunks of 4 positions take "
    )
    (tmp_path / "a.kld").write_bytes(whole + b"\0")
    assert refusal(tmp_path) == (
        "teacher in a.kld: is longer than it declares: 3 chunks of 4 positions take 992 bytes, "
        "there are 993; write the file again; its writer may have been stopped, or the disk full"
    )


@pytest.mark.parametrize(
    "numbers",
    [
        (0, 5, 1),
        (2, 5, 1),
        (-9, 5, 1),
        (8, 1, 1),
        (8, -1, 1),
        (8, 5, 0),
        (8, 5, -3),
        (1 << 30, 5, 1),
    ],
)
def test_heads_that_make_no_sense(tmp_path, numbers):
    """Sizes that no such file has are told as they are."""
    (tmp_path / "a.kld").write_bytes(struct.pack("<8siii", b"_logits_", *numbers) + bytes(100))
    context, vocabulary, count = numbers
    assert refusal(tmp_path) == (
        f"teacher in a.kld: declares a context of {context:,}, a vocabulary of {vocabulary:,} and "
        f"{count:,} chunks; it is damaged, or of another byte order"
    )


def test_another_file_of_that_name(tmp_path):
    """The first bytes are told."""
    (tmp_path / "a.kld").write_bytes(b"GGUF3232323232323232323")
    assert refusal(tmp_path) == (
        "teacher in a.kld: is not a base-logits file of llama.cpp: it begins with b'GGUF3232'"
    )


@pytest.mark.parametrize("scale", [np.nan, np.inf, -1.0])
def test_a_row_without_a_scale_is_damaged(tmp_path, scale):
    """The row is named when it is read."""
    saved(tmp_path)
    data = bytearray((tmp_path / "base.kld").read_bytes())
    size = len(kld_row(np.zeros(VOCABULARY, np.float32)))
    struct.pack_into("<f", data, len(data) - 5 * size, scale)
    (tmp_path / "base.kld").write_bytes(data)
    with pytest.raises(FormatError) as caught:
        read(tmp_path, "base.kld")
    assert str(caught.value) == (
        "teacher in base.kld::log_probabilities: row 7 has no scale that is a finite number; "
        "the file is damaged"
    )


# --- scores -----------------------------------------------------------------------------------


def language(rows: int, vocabulary: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits of a teacher and of a student near it, float64 [1, rows, vocabulary]."""
    rng = np.random.default_rng(rows)
    teacher = rng.normal(0, spread, (1, rows, vocabulary))
    teacher[0, np.arange(rows), rng.integers(0, vocabulary, rows)] += 10
    return teacher, teacher + rng.normal(0, 0.1, teacher.shape)


def run(folder: Path, teacher: np.ndarray, student: np.ndarray, /, **config: Any) -> Result:
    """The scores of a student against the stored teacher, at temperature 1."""
    rows = teacher.shape[1]
    context = 2 * rows + 1
    tokens = np.random.default_rng(1).integers(0, teacher.shape[2], (len(teacher), context))
    (folder / "base.kld").write_bytes(kld_bytes(teacher, tokens))
    np.save(folder / "student.npy", student)
    soft = {"name": "kl", "temperature": 1.0}
    given = {
        "strategy": "response",
        "teacher": "base.kld",
        "student": "student.npy",
        "labels": "base.kld::labels",
        "precision": "float64",
        "response": {"alpha": 1.0, "soft_loss": soft},
    }
    return scored(folder, {**given, **config})


def log_softmax(rows: np.ndarray) -> np.ndarray:
    shifted = rows - rows.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_arithmetic_on_every_array_library(library: Library, dtype: str) -> None:
    """A row with a floor and one without, by the formulas: divergence, label and certainty."""
    stored = np.array([[-0.1, -3.0, -16.1, -16.1], [-1.0, -1.5, -2.0, -1.3]])
    student = np.array([[5.0, 2.0, -9.0, -4.0], [0.3, 0.1, -0.2, 0.4]])
    known = Floored(Logits(library.array(stored, dtype), "log_probabilities"))
    pair = known.bucketed(), known.bucketed_alike(Logits(library.array(student, dtype)))
    p, q = np.exp(stored), np.exp(log_softmax(student))
    rest = min(1 - p[0, :2].sum(), p[0, 2:].sum())
    first = np.array([*p[0, :2], rest]) / (p[0, :2].sum() + rest)
    other = np.array([*q[0, :2], q[0, 2:].sum()])
    second = p[1] / p[1].sum()
    expected = [(first * np.log(first / other)).sum(), (second * np.log(second / q[1])).sum()]
    found = library.host(pair[0].divergence(pair[1], 1.0))
    np.testing.assert_allclose(found, expected, rtol=1e-5 if dtype == "float32" else 1e-11)
    labels = library.array([3, 1], "int64")
    nll = -np.log([p[0, 3] / (p[0, :2].sum() + rest), second[1]])
    np.testing.assert_allclose(library.host(known.nll(labels)), nll, rtol=1e-6)
    assert library.host(known.holds_below(labels)).tolist() == [1.0, 0.0]
    sure = library.host(1.0 / known.softened(1.0).total)
    np.testing.assert_allclose(sure, [first.max(), second.max()], rtol=1e-6)
    assert library.host(known.top).tolist() == [0, 0]


def test_without_a_floor_the_figures_are_those_of_the_logits(tmp_path):
    """Where nothing lies 16 below the highest logit, 16 bits are all that is lost."""
    teacher, student = language(40, 50, 1.0)
    kld = run(tmp_path, teacher, student)
    np.save(tmp_path / "teacher.npy", teacher)
    whole = run(tmp_path, teacher, student, teacher="teacher.npy")
    assert kld.facts["inputs"][0]["kind"] == "log_probabilities"
    assert "what is at the floor of the teacher's file is one class" in kld.facts["conventions"]
    assert set(whole.metrics) - set(kld.metrics) == {"teacher_entropy", "acceptance_rate"}
    for name, value in kld.metrics.items():
        assert value == pytest.approx(whole.metrics[name], rel=2e-3, abs=2e-5), name


def test_what_lies_below_the_floor_is_one_class(tmp_path):
    """The divergence of the classes above the floor and of the mass below it, on both sides."""
    teacher, student = language(30, 3000, 4.0)
    result = run(tmp_path, teacher, student)
    exact, given = log_softmax(teacher[0]), log_softmax(student[0])
    kept = teacher[0] > teacher[0].max(-1, keepdims=True) - 16
    assert 0.05 < 1 - kept.mean() < 0.95
    p, q = np.exp(exact), np.exp(given)
    terms = np.where(kept, p * (exact - given), 0).sum(-1)
    rest, other = np.where(kept, 0, p).sum(-1), np.where(kept, 0, q).sum(-1)
    bucketed = terms + rest * np.log(rest / other)
    whole = (p * (exact - given)).sum(-1)
    assert (bucketed <= whole + 1e-12).all()
    assert result.metrics["kl_mean"] == pytest.approx(bucketed.mean(), rel=1e-2)
    assert result.metrics["kl_mean"] == pytest.approx(whole.mean(), rel=1e-2)


def test_a_student_that_is_the_teacher_has_next_to_no_divergence(tmp_path):
    """A floor is no mass: 100,000 classes at it would be more than a tenth of a nat."""
    rng = np.random.default_rng(0)
    teacher = rng.normal(0, 1, (1, 8, 100_000))
    teacher[..., 0] = 22
    low = teacher.min(-1, keepdims=True)
    assert (teacher.max(-1, keepdims=True) - low > 16).all()
    result = run(tmp_path, teacher, teacher)
    assert 0 <= result.metrics["kl_max"] < 1e-5
    assert result.metrics["top1_agreement"] == 1


def test_perplexities_and_the_label(tmp_path):
    """Perplexity of both, their ratio with its error, and the probability of the label."""
    teacher, student = language(200, 64, 1.0)
    result = run(tmp_path, teacher, student)
    labels = read(tmp_path, "base.kld::labels", 0)
    row = np.arange(200)
    nll_t, nll_s = (-log_softmax(side[0])[row, labels] for side in (teacher, student))
    gap = nll_s - nll_t
    expected = {
        "teacher_perplexity": np.exp(nll_t.mean()),
        "student_perplexity": np.exp(nll_s.mean()),
        "perplexity_ratio": np.exp(gap.mean()),
        "perplexity_ratio_stderr": np.exp(gap.mean()) * gap.std(ddof=1) / np.sqrt(200),
        "label_probability_rms": np.sqrt(((np.exp(-nll_s) - np.exp(-nll_t)) ** 2).mean()),
    }
    for name, value in expected.items():
        assert result.metrics[name] == pytest.approx(value, rel=1e-3), name


def test_a_label_below_the_floor_has_at_most_its_probability(tmp_path):
    """No infinite perplexity for a token that the file does not tell apart."""
    teacher = np.zeros((1, 4, 12))
    teacher[..., 0] = 40
    result = run(tmp_path, teacher, teacher)
    labels = read(tmp_path, "base.kld::labels", 0)
    assert result.metrics["teacher_nll"] == pytest.approx(16 * (labels != 0).mean(), rel=1e-6)
    below = int((labels != 0).sum())
    assert 0 < below <= 4
    assert result.facts["floor"] == {"role": "teacher", "labels_below": below, "of": 4}
    (note,) = [note for note in result.facts["notes"] if "below the floor" in note]
    assert note.startswith(f"{below} of 4 labels ")
    np.save(tmp_path / "zeros.npy", np.zeros_like(labels))
    above = run(tmp_path, teacher, teacher, labels="zeros.npy")
    assert above.facts["floor"]["labels_below"] == 0
    assert not any("below the floor" in note for note in above.facts["notes"])


def test_students_that_do_not_fit_the_file(tmp_path):
    """Padded classes and whole contexts: the slice to take is told, not what would not help."""
    teacher, student = language(10, 20, 1.0)
    padded = np.pad(student, ((0, 0), (0, 0), (0, 4)))
    for config in ({}, {"vocabulary": "common"}):
        with pytest.raises(DataError) as caught:
            run(tmp_path, teacher, padded, **config)
        assert "logits[..., :20]" in str(caught.value)
        assert "common" not in str(caught.value)
    whole = np.concatenate([student, student, student[:, :1]], axis=1)
    with pytest.raises(DataError) as caught:
        run(tmp_path, teacher, whole)
    assert "student in student.npy: 21 rows (1 x 21), teacher has 10 rows (1 x 10)" in str(
        caught.value
    )
    assert "save logits[:, context // 2 : -1] of the student" in str(caught.value)
    with pytest.raises(DataError, match="same split"):
        run(tmp_path, teacher, student[:, :9])


def test_what_takes_every_class_is_refused(tmp_path):
    """Another temperature, raw outputs, and a student or one of several teachers of this kind."""
    teacher, student = language(10, 20, 1.0)
    for soft, problem in (
        (
            {"name": "kl", "temperature": 2.0},
            "is 2, and teacher in base.kld::log_probabilities was",
        ),
        (
            {"name": "mse"},
            "mse needs every class, and teacher in base.kld::log_probabilities holds",
        ),
    ):
        with pytest.raises(ConfigError, match=re.escape(problem)):
            run(tmp_path, teacher, student, response={"alpha": 1.0, "soft_loss": soft})
    with pytest.raises(DataError, match="student in base.kld::log_probabilities: holds log-prob"):
        run(tmp_path, teacher, student, student="base.kld")
    with pytest.raises(DataError, match="holds log_probabilities at temperature 1"):
        run(tmp_path, teacher, student, teacher={"path": "base.kld", "kind": "probabilities"})
