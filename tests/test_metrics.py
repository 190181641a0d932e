"""The row values of the metrics against slow references, and the table that names them."""

import math
from typing import Any

import numpy as np
import pytest
import reference
from libraries import LIBRARIES, Library

from distillcli.losses import LOGIT_LOSSES
from distillcli.metrics import COLUMNS, METRICS, available, rows
from distillcli.numerics.scores import Logits

INF = math.inf
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


def example(dtype: str) -> tuple[Any, Any, Any]:
    """Teacher, student and labels with ties, masked classes and confident rows."""
    generator = np.random.default_rng(5)
    teacher, student = generator.normal(size=(2, 12, 8)).astype(dtype) * 3
    teacher[0] = student[0] = 0.0
    teacher[1, 2] = teacher[1, 5] = 20.0
    student[2] = [9, 8, 7, 6, 5, 5, 5, 5]
    teacher[2] = [0, 0, 0, 0, 1, 0, 0, 0]
    student[3] = [9, 8, 7, 6, 5.5, 5, 5, 5]
    teacher[3] = [0, 0, 0, 0, 0, 1, 0, 0]
    teacher[4, 3:] = student[4, 3:] = -INF
    student[5] = [300, 0, 0, 0, 0, 0, 0, 0]
    return teacher, student, np.arange(12) % 8


def expected(teacher: list[float], student: list[float], label: int) -> dict[str, float]:
    """Every column of one row, at temperature 3 for the KL."""
    slow = reference
    roles = {"student": student, "teacher": teacher}
    found = {
        "kl": slow.kl(teacher=teacher, student=student, temperature=3.0, temperature_squared=False),
        "top1_agreement": float(slow.top(teacher) == slow.top(student)),
        "top5_agreement": slow.top5_agreement(teacher, student),
        "acceptance_rate": slow.acceptance_rate(teacher, student),
    }
    for role, row in roles.items():
        found[f"{role}_accuracy"] = float(slow.top(row) == label)
        found[f"{role}_nll"] = slow.cross_entropy(student=row, labels=label)
        found[f"{role}_entropy"] = slow.entropy(row)
        found[f"{role}_confidence"] = slow.confidence(row)
    likely = {role: math.exp(-found[f"{role}_nll"]) for role in roles}
    found["nll_gap"] = found["student_nll"] - found["teacher_nll"]
    found["label_probability_gap"] = (likely["student"] - likely["teacher"]) ** 2
    return found


@pytest.mark.parametrize("library", LIBRARIES)
@DTYPES
def test_rows_agree_with_the_reference(library: Library, dtype: str) -> None:
    """Every column of every row is right, ties and masks included."""
    teacher, student, labels = example(dtype)
    found = rows(
        METRICS,
        teacher=Logits(library.array(teacher, dtype)),
        student=Logits(library.array(student, dtype)),
        labels=library.array(labels, "int64"),
        temperature=3.0,
    )
    assert list(found) == list(COLUMNS)
    slow = [
        expected(*row)
        for row in zip(teacher.tolist(), student.tolist(), labels.tolist(), strict=True)
    ]
    tolerance = (
        {"rtol": 1e-11, "atol": 1e-13} if dtype == "float64" else {"rtol": 1e-5, "atol": 1e-6}
    )
    for name, values in found.items():
        values = library.host(values)
        assert values.dtype == np.float64
        assert values.shape == (12,)
        np.testing.assert_allclose(values, [row[name] for row in slow], **tolerance, err_msg=name)


def test_fewer_than_five_classes_always_agree_in_five() -> None:
    """With four classes nobody can be out of the five highest."""
    generator = np.random.default_rng(0)
    teacher, student = (Logits(generator.normal(size=(20, 4))) for _ in range(2))
    assert (rows(["top5_agreement"], teacher=teacher, student=student)["top5_agreement"] == 1).all()


def test_only_what_is_wanted_and_can_be_had_is_computed() -> None:
    """Columns follow from the metrics that are wanted and the inputs that are there."""
    scores = Logits(np.zeros((2, 3)))
    labels = np.zeros(2, dtype=np.int64)
    assert list(rows(METRICS, student=scores)) == ["student_entropy", "student_confidence"]
    assert list(rows(["student_ece"], student=scores, labels=labels)) == [
        "student_accuracy",
        "student_confidence",
    ]
    assert list(rows(["kl_mean", "kl_p99"], teacher=scores, student=scores)) == ["kl"]
    assert rows([], teacher=scores, student=scores, labels=labels) == {}


def test_the_loss_and_the_metric_share_their_divergence() -> None:
    """The KL of a pair at a temperature is computed once."""
    generator = np.random.default_rng(0)
    teacher, student = (Logits(generator.normal(size=(3, 4))) for _ in range(2))
    loss = LOGIT_LOSSES["kl"].function(teacher=teacher, student=student, temperature=4.0)
    column = rows(["kl_mean"], teacher=teacher, student=student, temperature=4.0)["kl"]
    assert column is teacher.divergence(student, 4.0)
    np.testing.assert_array_equal(loss, 16 * column)
    other = Logits(generator.normal(size=(3, 4)))
    assert (teacher.divergence(other, 4.0) != column).all()


def test_names_of_the_metrics() -> None:
    """The documented names, and no other."""
    assert list(METRICS) == [
        "kl_mean",
        "kl_stderr",
        "kl_median",
        "kl_p90",
        "kl_p95",
        "kl_p99",
        "kl_p999",
        "kl_max",
        "top1_agreement",
        "top5_agreement",
        "acceptance_rate",
        "cka",
        "cka_unbiased",
        "student_accuracy",
        "student_nll",
        "student_perplexity",
        "student_entropy",
        "student_ece",
        "teacher_accuracy",
        "teacher_nll",
        "teacher_perplexity",
        "teacher_entropy",
        "teacher_ece",
        "perplexity_ratio",
        "perplexity_ratio_stderr",
        "label_probability_rms",
    ]


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_the_table_is_sound(metric: Any) -> None:
    """Columns are known, and what they need is what the metric needs."""
    needed = {role for column in metric.columns for role in COLUMNS[column].needs}
    assert metric.needs == (needed or {"hidden"})
    assert bool(metric.columns) == (metric.finish != "given")
    assert (metric.quantile is not None) == (metric.finish == "quantile")
    assert metric.meaning


def test_available() -> None:
    """Without labels nothing that needs them is offered."""
    assert available({"student", "labels"}) == (
        "student_accuracy",
        "student_nll",
        "student_perplexity",
        "student_entropy",
        "student_ece",
    )
    of_rows = tuple(name for name, metric in METRICS.items() if metric.columns)
    assert available(("teacher", "student", "labels")) == of_rows
