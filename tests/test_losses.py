"""Every loss against its slow reference, known cases and 50-digit arithmetic."""

import itertools
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
import reference
from libraries import LIBRARIES, Library

from distillcli.errors import MismatchError
from distillcli.losses import (
    FEATURE_LOSSES,
    LABEL_LOSSES,
    LOGIT_LOSSES,
    LOSSES,
    RELATION_LOSSES,
    SCORE_LOSSES,
    Loss,
    Parameter,
)
from distillcli.numerics.scores import Logits
from distillcli.teachers import blend

CASES_FOLDER = Path(__file__).parent / "cases"
CASES = json.loads((CASES_FOLDER / "loss_cases.json").read_text())
PEERS = json.loads((CASES_FOLDER / "peer_vectors.json").read_text())
PEER_VALUES = {entry["name"]: entry["value"] for entry in PEERS["values"]}

TOLERANCES = {
    "float64": {"rtol": 1e-9, "atol": 1e-12},
    "float32": {"rtol": 1e-5, "atol": 1e-6},
}
BY_NAME = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: f"{loss.family}-{loss.name}")
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
INF = math.inf
# Classes, scale of the scores, distance between teacher and student.
SHAPES = [(4, 1.0, 1.0), (7, 5.0, 0.3), (50, 3.0, 8.0), (6, 80.0, 200.0), (12, 2.0, 1e-3)]


def rows_of(classes: int, scale: float, distance: float, masked: bool) -> tuple[Any, Any]:
    """Five rows of a teacher and of a student at a distance, the last two columns masked or not."""
    generator = np.random.default_rng(classes)
    teacher = generator.normal(size=(5, classes)) * scale
    student = teacher + generator.normal(size=(5, classes)) * distance
    teacher[0] = 0.0
    if masked:
        teacher[:, -2:] = student[:, -2:] = -INF
        teacher[1, : classes - 3] = -INF
    return teacher, student


def settings(loss: Loss) -> list[dict[str, Any]]:
    """Parameters to try: the defaults, then others for each parameter that there is."""
    needed = {p.name: others(p)[0] for p in loss.parameters if p.default is None}
    tried = [{**needed, p.name: value} for p in loss.parameters for value in others(p)]
    both = [{"temperature": 3.0, "temperature_squared": False}]
    names = {p.name for p in loss.parameters}
    return [needed, *tried, *(both if "temperature" in names else [])]


def others(parameter: Parameter) -> list[Any]:
    """Values that a parameter may have beside its default: both ends and some between."""
    if parameter.name == "temperature":
        return [0.1, 4.0, 20.0]
    if parameter.kind is bool:
        return [not parameter.default]
    assert parameter.low is not None
    assert parameter.high is not None
    if parameter.kind is int:
        return [int(parameter.low), int(parameter.low) + 1]
    ends = [end for end in (parameter.low, parameter.high) if end < 1e6]
    return [*ends, *(x for x in (0.75, 2.5) if x <= parameter.high)]


def inputs_of(loss: Loss, teacher: Any, student: Any, labels: Any = None) -> dict[str, Any]:
    """What a loss takes of these; without labels they are class 0."""
    if labels is None:
        labels = np.zeros(len(student), dtype=np.int64)
    if loss.family == "sequences" and len(teacher.shape) == 2:
        teacher, student = in_sequences(teacher), in_sequences(student)
    given = {"teacher": teacher, "student": student, "labels": labels}
    return {name: given[name] for name in loss.inputs}


def in_sequences(x: Any) -> Any:
    """Rows as sequences of two positions: [rows, 2, an even number]."""
    there, back = np.concatenate([x, -x], axis=1), np.concatenate([x[:, ::-1], x], axis=1)
    return np.stack([there, back], axis=1)


def expected(loss: Loss, inputs: dict[str, Any], **parameters: Any) -> list[float]:
    """What the reference says, row by row, on the very numbers that the loss was given."""
    slow = getattr(reference, loss.name)
    columns = {name: np.asarray(values).tolist() for name, values in inputs.items()}
    if parameters.pop("standardize", False):
        for side in ("teacher", "student"):
            columns[side] = [reference.standardized(row) for row in columns[side]]
    if loss.least_batch is not None:
        return [slow(**columns, **parameters)]
    return [
        slow(**dict(zip(inputs, row, strict=True)), **parameters)
        for row in zip(*columns.values(), strict=True)
    ]


def test_every_loss_has_a_reference() -> None:
    """No loss enters the table without a slow counterpart of the same name."""
    missing = [loss.name for loss in LOSSES if not hasattr(reference, loss.name)]
    assert not missing


def test_the_reference_does_not_import_the_package() -> None:
    """The reference stays independent of what it judges."""
    assert "distillcli" not in (Path(__file__).parent / "reference.py").read_text()


@pytest.mark.parametrize("library", LIBRARIES)
@DTYPES
@BY_NAME
def test_agrees_with_the_reference(library: Library, dtype: str, loss: Loss) -> None:
    """Every loss gives one float64 number for each row, and the right one, on every library."""
    for shape, masked in itertools.product(SHAPES, {False, loss.allows_masked}):
        teacher, student = (x.astype(dtype) for x in rows_of(*shape, masked=masked))
        inputs = inputs_of(loss, teacher, student)
        arrays = {name: library.array(x, x.dtype.name) for name, x in inputs.items()}
        for parameters in settings(loss):
            values = library.host(loss.function(**arrays, **parameters))
            shape = (5, 2) if loss.family == "sequences" else (5,)
            assert (values.dtype, values.shape) == (np.float64, shape)
            values = values.mean(axis=1) if loss.family == "sequences" else values
            if loss.least_batch is not None:
                values = values.mean(keepdims=True)
            slow = expected(loss, inputs, **parameters)
            np.testing.assert_allclose(values, slow, **TOLERANCES[dtype], err_msg=str(parameters))


@pytest.mark.parametrize("loss", RELATION_LOSSES.values(), ids=lambda loss: loss.name)
def test_the_least_batch_is_the_least_that_tells_sides_apart(loss: Loss) -> None:
    """On a row fewer any two sides have the same loss; on that many they do not."""
    assert loss.least_batch is not None

    def values(rows: int) -> Any:
        chance = np.random.default_rng(rows)
        pairs = (chance.normal(size=(2, rows, 4)) for _ in range(9))
        return [loss.function(teacher=t, student=s).mean() for t, s in pairs]

    assert np.ptp(values(loss.least_batch - 1)) < 1e-12
    assert np.ptp(values(loss.least_batch)) > 1e-3


@DTYPES
@pytest.mark.parametrize("name", ["dist", "linear_cka", "linear_cka_unbiased"])
def test_what_has_no_spread(name: str, dtype: str) -> None:
    """It agrees with what has none either and nothing else, whatever its mean is rounded to."""
    loss = SCORE_LOSSES[name].function
    chance = np.random.default_rng(3)
    for rows, classes in itertools.product((4, 7, 10, 49), (3, 7)):
        varied = chance.normal(size=(rows, classes)).astype(dtype)
        flat, other = (np.tile(chance.normal(size=classes), (rows, 1)) for _ in range(2))
        flat = flat.astype(dtype)
        more = {"beta": 0.0} if name == "dist" else {}
        assert (loss(teacher=flat, student=flat.copy()) == 0).all()
        assert (loss(teacher=flat, student=other.astype(dtype), **more) == 0).all()
        assert (loss(teacher=flat, student=varied, **more) == 1).all()
        assert (loss(teacher=varied, student=flat, **more) == 1).all()
        if name == "dist":  # the probabilities of shifted scores differ by rounding
            shifts = chance.integers(-3, 4, size=(rows, 1)).astype("float64")
            assert (loss(teacher=flat, student=flat.astype("float64") + shifts, **more) == 0).all()


def test_rows_that_are_all_as_far_apart_have_no_unbiased_estimate() -> None:
    """Off the diagonal all their products are the same, which is rounding once it is centred."""
    loss = RELATION_LOSSES["linear_cka_unbiased"].function
    for rows in (4, 5, 7, 11):
        corners = np.eye(rows)
        varied = np.random.default_rng(rows).normal(size=(rows, 3))
        assert (loss(teacher=corners, student=0.3 * corners[:, ::-1]) == 0).all()
        assert (loss(teacher=corners, student=varied) == 1).all()


@pytest.mark.parametrize("library", LIBRARIES)
@DTYPES
@pytest.mark.parametrize(
    ("name", "case"),
    [(name, case) for name in LOGIT_LOSSES for case in CASES.get(name, ())],
)
def test_known_values(library: Library, dtype: str, name: str, case: dict[str, Any]) -> None:
    """The published cases of single losses come out."""
    given = {key: case[key] for key in case if key in ("temperature", "kl_weight", "mse_weight")}
    inputs = {role: library.array(case[role], dtype) for role in ("teacher", "student")}
    values = library.host(LOGIT_LOSSES[name].function(**inputs, **given))
    np.testing.assert_allclose(values.mean(), case["expected"], **TOLERANCES[dtype])


@DTYPES
@pytest.mark.parametrize("case", CASES["response"])
def test_known_values_of_a_response(dtype: str, case: dict[str, Any]) -> None:
    """alpha * kl + (1 - alpha) * cross-entropy gives the known values; alpha is the soft weight."""
    if "preset" in case:
        assert case["preset"] == "balanced"
        case = {**case, "alpha": 0.5, "temperature": 4.0}
    student, labels = np.array(case["student"], dtype=dtype), np.array(case["labels"])
    teacher = np.array(case["teacher"], dtype=dtype)
    function = LOGIT_LOSSES["kl"].function
    soft = function(teacher=teacher, student=student, temperature=case["temperature"])
    hard = LABEL_LOSSES["cross_entropy"].function(student=student, labels=labels)
    total = case["alpha"] * soft.mean() + (1 - case["alpha"]) * hard.mean()
    np.testing.assert_allclose(total, case["expected"], **TOLERANCES[dtype])


@DTYPES
@pytest.mark.parametrize("case", [c for c in CASES["ensemble"] if "expected" in c])
def test_known_values_of_an_ensemble(dtype: str, case: dict[str, Any]) -> None:
    """alpha * kl(blend, student) + (1 - alpha) * cross-entropy gives the known value."""
    teachers = [Logits(np.array(rows, dtype=dtype)) for rows in case["teachers"]]
    temperature = case["temperature"]
    blended = blend(
        teachers, weights=case["weights"], combine=case["combine"], temperature=temperature
    )
    student = Logits(np.array(case["student"], dtype=dtype))
    soft = LOGIT_LOSSES["kl"].function(teacher=blended, student=student, temperature=temperature)
    labels = np.array(case["labels"])
    hard = LABEL_LOSSES["cross_entropy"].function(student=student, labels=labels)
    total = case["alpha"] * soft.mean() + (1 - case["alpha"]) * hard.mean()
    np.testing.assert_allclose(total, case["expected"], **TOLERANCES[dtype])


@DTYPES
@pytest.mark.parametrize("case", CASES["progressive"])
def test_known_values_of_a_progressive_run(dtype: str, case: dict[str, Any]) -> None:
    """The mean over layer pairs of the mean over rows gives the known values."""
    projection = np.array(case["projection"], dtype=dtype) if "projection" in case else None
    losses = []
    for student_layer, teacher_layer in case["layer_mapping"]:
        student = np.array(case["student_hidden"][student_layer], dtype=dtype)
        teacher = np.array(case["teacher_hidden"][teacher_layer], dtype=dtype)
        projected = student if projection is None else student @ projection
        function = FEATURE_LOSSES[case["loss"]].function
        losses.append(function(teacher=teacher, student=projected).mean())
    tolerance = TOLERANCES[dtype]
    if case["loss"] == "cosine" and dtype == "float32":
        tolerance = {"rtol": 2e-3, "atol": 1e-7}  # the inputs themselves are rounded
    np.testing.assert_allclose(np.mean(losses), case["expected"], **tolerance)


def test_values_of_other_tools() -> None:
    """On one small set of logits the losses give what published conventions give."""
    teacher, student = np.array(PEERS["teacher"]), np.array(PEERS["student"])

    def mean(name: str, **parameters: Any) -> float:
        function = SCORE_LOSSES[name].function
        return float(function(teacher=teacher, student=student, **parameters).mean())

    labels = np.array(PEERS["labels"])
    hard = LABEL_LOSSES["cross_entropy"].function(student=student, labels=labels).mean()
    normalized = FEATURE_LOSSES["normalized_mse"].function(teacher=teacher, student=student)
    measured = {
        "fkl_T1_mean_noT2": mean("kl", temperature_squared=False),
        "fkl_T4_mean_xT2": mean("kl", temperature=4.0),
        "fkl_T4_mean_noT2": mean("kl", temperature=4.0, temperature_squared=False),
        "rkl_T1_mean_noT2": mean("reverse_kl"),
        "rkl_T2_mean_noT2": mean("reverse_kl", temperature=2.0, temperature_squared=False),
        "ce": float(hard),
        "torchdistill_KDLoss_a.5_T4": 0.5 * float(hard) + 0.5 * mean("kl", temperature=4.0),
        "textbrewer_kd_mse_T4": mean("mse") / 16,
        "trl_gjsd_b0.1": mean("jsd", beta=0.1),
        "trl_gjsd_b0.5": mean("jsd", beta=0.5),
        "mse": mean("mse"),
        "cosine_1_minus": mean("cosine"),
        "pkd_normalised_mse": float(normalized.mean()),
        "kdlib_mse_on_probs_T4_xT2": mean("probability_mse", temperature=4.0),
        "sfkl_.1_trueKL": mean("skew_kl"),
        "distillm_srkl_.1": mean("skew_reverse_kl"),
        "tvd": mean("tvd"),
        "mdistiller_dkd_T4_tckd": mean("dkd", labels=labels, beta=0.0, temperature=4.0),
        "mdistiller_dkd_T4_nckd": mean("dkd", labels=labels, alpha=0.0, beta=1.0, temperature=4.0),
        "mdistiller_dkd_a1_b8_T4": mean("dkd", labels=labels, temperature=4.0),
        "uld_sorted_L1_sum_mean_over_tokens": mean("uld"),
        "dist_inter_T1": mean("dist", gamma=0.0),
        "dist_intra_T1": mean("dist", beta=0.0),
        "dist_inter_T4": mean("dist", gamma=0.0, temperature=4.0),
        "rkd_d": mean("rkd_distance"),
        "repdistiller_rkd_25_50": 25 * mean("rkd_distance") + 50 * mean("rkd_angle"),
        "spkd": mean("similarity_preserving"),
        "linear_cka_biased": 1 - mean("linear_cka"),
        "linear_cka_unbiased": 1 - mean("linear_cka_unbiased"),
        "fkl_T4_torch_reduction_mean_xT2": mean("kl", temperature=4.0) / 4,
        "textbrewer_kd_ce_T4": mean(
            "kl", temperature=4.0, temperature_squared=False, with_entropy=True
        ),
        "distillm_sfkl_.1_CE": mean("skew_kl", with_entropy=True),
        "EAR_sum_min": 1 - mean("tvd"),
    }
    published = {name: PEER_VALUES[name] for name in measured}
    assert measured == pytest.approx(published, rel=1e-9, abs=1e-12)
    elsewhere = {"logitstd_T2_noT2", "pkt_mean_over_B2", "top1_agree", "teacher_top2_overlap"}
    elsewhere |= {name for name in PEER_VALUES if name.startswith("topk2_")}
    assert set(PEER_VALUES) - set(measured) - elsewhere == {"repdistiller_cc"}  # not offered


def test_values_of_tools_that_add_an_epsilon() -> None:
    """Tools that add 1e-7 to deviations or to probabilities are as far off as that makes them."""
    teacher, student = np.array(PEERS["teacher"]), np.array(PEERS["student"])
    plain = {"temperature": 2.0, "temperature_squared": False, "standardize": True}
    value = LOGIT_LOSSES["kl"].function(teacher=teacher, student=student, **plain).mean()
    least = min(rows.std(axis=1, ddof=1).min() for rows in (teacher, student))
    assert value == pytest.approx(PEER_VALUES["logitstd_T2_noT2"], rel=2e-7 / least)
    pkt = RELATION_LOSSES["pkt"].function
    value = pkt(teacher=teacher, student=student).mean()
    assert value == pytest.approx(PEER_VALUES["pkt_mean_over_B2"], abs=1e-7)
    value = pkt(teacher=teacher, student=student, epsilon=1e-7).mean()
    assert value == pytest.approx(PEER_VALUES["pkt_mean_over_B2"], rel=1e-9)


def test_an_epsilon_of_published_code() -> None:
    """Where no class varies much it decides; 0 gives what the formula says."""
    chance = np.random.default_rng(0)
    teacher, student = chance.normal(size=(2, 16, 50)) * 20
    dist = LOGIT_LOSSES["dist"].function
    p, q = (np.exp(x - x.max(axis=1, keepdims=True)) for x in (teacher, student))
    p, q = (x / x.sum(axis=1, keepdims=True) for x in (p, q))

    def published(a: Any, b: Any) -> float:
        a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
        lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        return float(1 - ((a * b).sum(axis=1) / (lengths + 1e-8)).mean())

    found = dist(teacher=teacher, student=student, epsilon=1e-8).mean()
    assert found == pytest.approx(published(p, q) + published(p.T, q.T), rel=1e-12)
    assert dist(teacher=teacher, student=teacher).max() == 0
    assert dist(teacher=teacher, student=teacher, epsilon=1e-8).mean() > 0.1


def test_losses_of_feature_maps() -> None:
    """Selectivity within each image, and attention transfer, as code for convolutions has them."""
    teacher, student = np.random.default_rng(0).normal(
        size=(2, 5, 9, 6)
    )  # images, places, channels
    right, found = [], []
    for one, other in zip(teacher, student, strict=True):
        a, b = (x / np.linalg.norm(x, axis=0) for x in (one, other))
        right.append(
            sum(w * ((x.T @ y) ** 2).mean() for w, x, y in ((1, a, a), (1, b, b), (-2, a, b)))
        )
        found.append(RELATION_LOSSES["nst"].function(teacher=one, student=other).mean())
    np.testing.assert_allclose(found, right, rtol=1e-10)
    maps = [(x**2).mean(axis=2) for x in (teacher, student)]
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in maps)
    value = FEATURE_LOSSES["normalized_mse"].function(teacher=maps[0], student=maps[1]).mean()
    assert value == pytest.approx(((a - b) ** 2).mean(), rel=1e-12)


def test_the_jsd_of_other_tools() -> None:
    """With the shares of the mixture exchanged, and with KL at both ends of beta."""
    teacher, student = np.array(PEERS["teacher"]), np.array(PEERS["student"])
    sides = {"teacher": teacher, "student": student}
    jsd = LOGIT_LOSSES["jsd"].function
    np.testing.assert_allclose(jsd(**sides, swap_mixture=True), jsd(**sides), rtol=1e-12)
    p, q = (np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) for x in (teacher, student))
    for beta in (0.1, 0.7):
        m = (1 - beta) * p + beta * q
        right = beta * (p * np.log(p / m)).sum(1) + (1 - beta) * (q * np.log(q / m)).sum(1)
        np.testing.assert_allclose(jsd(**sides, beta=beta, swap_mixture=True), right, rtol=1e-12)
        assert abs(jsd(**sides, beta=beta) - right).max() > 1e-3
    for beta, name in ((0.0, "kl"), (1.0, "reverse_kl")):
        right = LOGIT_LOSSES[name].function(**sides)
        np.testing.assert_array_equal(jsd(**sides, beta=beta, kl_at_ends=True), right)
        assert (jsd(**sides, beta=beta) == 0).all()


SKEWED = {"alpha": 0.1}
DIVERGENCES: dict[str, dict[str, float]] = {
    "kl": {},
    "reverse_kl": {},
    "jsd": {"beta": 0.3},
    "skew_kl": SKEWED,
    "skew_reverse_kl": SKEWED,
    "symmetric_kl": {"beta": 0.3},
    "alpha_jsd": {"beta": 1e-3},
}


def exact(teacher: list[float], student: list[float], temperature: float) -> dict[str, Any]:
    """The divergences of one row with 50 digits, T^2 included."""
    with mpmath.workdps(50):
        p, q = ([mpmath.mpf(x) / temperature for x in row] for row in (teacher, student))
        p, q = ([mpmath.exp(x - max(row)) for x in row] for row in (p, q))
        p, q = ([x / mpmath.fsum(row) for x in row] for row in (p, q))

        def mixed(share: float) -> list[Any]:
            part = mpmath.mpf(share)
            return [part * a + (1 - part) * b for a, b in zip(p, q, strict=True)]

        def divergence(one: list[Any], other: list[Any]) -> Any:
            return mpmath.fsum(a * mpmath.log(a / b) for a, b in zip(one, other, strict=True))

        square = mpmath.mpf(temperature) ** 2
        beta, little = mpmath.mpf(0.3), mpmath.mpf(1e-3)
        m, near_q, skewed, back = mixed(0.3), mixed(1e-3), mixed(0.1), mixed(1 - mpmath.mpf(0.1))
        found = {
            "kl": divergence(p, q),
            "reverse_kl": divergence(q, p),
            "jsd": beta * divergence(p, m) + (1 - beta) * divergence(q, m),
            "skew_kl": divergence(p, skewed),
            "skew_reverse_kl": divergence(q, back),
            "symmetric_kl": beta * divergence(p, q) + (1 - beta) * divergence(q, p),
            "alpha_jsd": divergence(p, near_q) / (1 - little) + divergence(q, near_q) / little,
        }
        return {name: square * value for name, value in found.items()}


def bound(dtype: str, temperature: float, value: float) -> float:
    """How far a loss may be from its exact value."""
    if dtype == "float64":
        return max(1e-11 * value, 1e-12)
    return max((1e-5 if 0.1 <= temperature <= 20 else 1e-4) * value, 1e-6)


@DTYPES
@pytest.mark.parametrize("temperature", [1e-2, 0.1, 1.0, 4.0, 20.0, 1000.0])
@pytest.mark.parametrize("scale", [0.5, 20.0, 1e3, 9e3])
@pytest.mark.parametrize("distance", [1e-6, 1e-3, 0.1, 3.0, 1e3])
@pytest.mark.parametrize("offset", [0.0, 9999.0])
def test_accuracy(
    dtype: str, temperature: float, scale: float, distance: float, offset: float
) -> None:
    """The losses keep their bounds, for close and far, flat and one-hot, shifted and large rows."""
    generator = np.random.default_rng(7)
    for classes in (2, 9):
        flat = generator.uniform(-1, 1, size=classes) * scale
        one_hot = np.full(classes, -scale) + generator.uniform(0, 1, size=classes)
        one_hot[0] = scale
        for row in (flat, one_hot):
            student = (row + generator.normal(size=classes) * distance).astype(dtype)[None]
            teacher = (row + (offset if scale < 9e3 else 0)).astype(dtype)[None]
            truth = exact(teacher[0].tolist(), student[0].tolist(), temperature)
            for name, true_value in truth.items():
                own = {"temperature": temperature, **DIVERGENCES[name]}
                value = LOGIT_LOSSES[name].function(teacher=teacher, student=student, **own)[0]
                assert value >= 0
                error = abs(float(value - true_value))
                assert error <= bound(dtype, temperature, float(true_value)), name


@DTYPES
def test_accuracy_for_a_large_vocabulary(dtype: str) -> None:
    """262,144 classes, most of the mass in the tail, keep the bound."""
    generator = np.random.default_rng(3)
    teacher = (generator.normal(size=(1, 262_144)) * 2).astype(dtype)
    student = (teacher + generator.normal(size=teacher.shape) * 0.2).astype(dtype)
    for temperature in (1.0, 20.0):
        value = LOGIT_LOSSES["kl"].function(
            teacher=teacher, student=student, temperature=temperature
        )[0]
        slow = reference.kl(
            teacher=teacher[0].tolist(), student=student[0].tolist(), temperature=temperature
        )
        # The reference is in float64 itself, and its own noise grows with T.
        assert abs(value - slow) <= max(bound(dtype, temperature, slow), 1e-10 * slow)


@DTYPES
@pytest.mark.parametrize("library", LIBRARIES)
def test_masked_classes(library: Library, dtype: str) -> None:
    """Masked in both adds 0, in P alone what Q gives the class, in Q alone infinity."""
    plain = library.array([[1.0, 2.0, 0.5]], dtype)
    other = library.array([[0.0, 1.0, 3.0]], dtype)
    masked = library.array([[1.0, -INF, 2.0, 0.5]], dtype)
    masked_other = library.array([[0.0, -INF, 1.0, 3.0]], dtype)
    kl, reverse_kl = LOGIT_LOSSES["kl"].function, LOGIT_LOSSES["reverse_kl"].function
    jsd = LOGIT_LOSSES["jsd"].function
    for function in (kl, reverse_kl, jsd):
        without = library.host(function(teacher=plain, student=other, temperature=2.0))
        with_mask = library.host(function(teacher=masked, student=masked_other, temperature=2.0))
        np.testing.assert_allclose(with_mask, without, rtol=1e-6)
    half = library.array([[0.0, -INF]], dtype)
    even = library.array([[0.0, 0.0]], dtype)
    log2 = math.log(2)
    assert float(kl(teacher=half, student=even)[0]) == pytest.approx(log2)
    assert float(kl(teacher=even, student=half)[0]) == INF
    assert float(reverse_kl(teacher=half, student=even)[0]) == INF
    assert float(reverse_kl(teacher=even, student=half)[0]) == pytest.approx(log2)
    # P = (1/2, 1/2), Q = (1, 0), M = (3/4, 1/4)
    to_mixture = 0.5 * math.log(2 / 3) + 0.5 * log2, math.log(4 / 3)
    assert float(jsd(teacher=even, student=half)[0]) == pytest.approx(sum(to_mixture) / 2)


@DTYPES
def test_a_class_with_underflowing_mass_still_has_mass(dtype: str) -> None:
    """A student that masks a class of finite teacher score has an infinite loss, however low."""
    teacher = np.array([[0.0, -5000.0]], dtype=dtype)
    student = np.array([[0.0, -INF]], dtype=dtype)
    kl = LOGIT_LOSSES["kl"].function
    assert kl(teacher=teacher, student=student)[0] == INF
    assert kl(teacher=teacher, student=np.array([[0.0, -4000.0]], dtype=dtype))[0] == 0.0
    far = np.array([[-5000.0, 0.0]], dtype=dtype)
    assert kl(teacher=teacher, student=far)[0] == pytest.approx(5000.0)


@DTYPES
@pytest.mark.parametrize("name", ["cosine", "normalized_mse"])
def test_unit_rows_neither_overflow_nor_underflow(dtype: str, name: str) -> None:
    """Rows of any length have a direction; a zero row has none."""
    function = FEATURE_LOSSES[name].function
    large, small = np.array([[3e30, 4e30]], dtype=dtype), np.array([[3e-30, 4e-30]], dtype=dtype)
    zero = np.zeros((1, 2), dtype=dtype)
    assert function(teacher=large, student=small)[0] == pytest.approx(0.0, abs=1e-13)
    assert function(teacher=large, student=large)[0] == 0.0
    alone = {"cosine": 1.0, "normalized_mse": 0.5}[name]
    assert function(teacher=zero, student=small)[0] == pytest.approx(alone, rel=1e-6)
    none = {"cosine": 1.0, "normalized_mse": 0.0}[name]
    assert function(teacher=zero, student=zero)[0] == none


def test_squares_of_large_float32_do_not_overflow() -> None:
    """The mean squared difference is formed in float64."""
    far = np.array([[1e30, 0.0]], dtype=np.float32)
    value = FEATURE_LOSSES["mse"].function(teacher=far, student=np.zeros_like(far))[0]
    assert value == pytest.approx(5e59, rel=1e-6)


@DTYPES
@pytest.mark.parametrize(
    "loss",
    [loss for loss in LOSSES if loss.least_batch is None],
    ids=lambda loss: f"{loss.family}-{loss.name}",
)
@pytest.mark.parametrize("classes", [2, 10, 1000, 8193])
def test_rows_do_not_depend_on_the_tile(loss: Loss, dtype: str, classes: int) -> None:
    """Each row's loss has the same bits whether computed alone or among others."""
    teacher, student = (x.astype(dtype) for x in rows_of(classes, 4.0, 1.0, masked=False))
    inputs = inputs_of(loss, teacher, student, np.array([0, 1, 0, 1, 1]))
    needed = settings(loss)[0]
    together = loss.function(**inputs, **needed)
    for start, stop in ((0, 1), (1, 3), (3, 5)):
        cut = {name: np.ascontiguousarray(x[start:stop]) for name, x in inputs.items()}
        np.testing.assert_array_equal(loss.function(**cut, **needed), together[start:stop])


@BY_NAME
def test_shapes_that_differ_are_refused(loss: Loss) -> None:
    """The error names both shapes."""
    labels = np.zeros(3, dtype=np.int64)
    wrong: list[tuple[Any, Any, str]] = []
    if "teacher" in loss.inputs:
        wrong.append((np.zeros((2, 3)), np.zeros((3, 3)), r"teacher \[2, .*\], student \[3, .*\]"))
        if not loss.any_width:
            wrong.append(
                (np.zeros((3, 3)), np.zeros((3, 4)), r"teacher \[3, .*\], student \[3, .*\]")
            )
    if "labels" in loss.inputs:
        wrong.append((np.zeros((2, 3)), np.zeros((2, 3)), r"student \[2, 3\], labels \[3\]"))
    for teacher, student, shown in wrong:
        with pytest.raises(MismatchError, match=shown):
            loss.function(**inputs_of(loss, teacher, student, labels), **settings(loss)[0])


@BY_NAME
def test_one_dimension_is_refused(loss: Loss) -> None:
    """The error says how one row is written."""
    row = np.zeros(3)
    with pytest.raises(MismatchError, match=r"reshape\(1, -1\)"):
        loss.function(**inputs_of(loss, row, row), **settings(loss)[0])


@pytest.mark.parametrize("loss", LOGIT_LOSSES.values(), ids=lambda loss: loss.name)
def test_kinds_that_differ(loss: Loss) -> None:
    """Losses on raw outputs refuse two kinds; the others compare what the kinds stand for."""
    scores = np.array([[0.3, 1.2, -0.5]])
    probabilities = np.exp(scores) / np.exp(scores).sum()
    teacher, student = Logits(probabilities, kind="probabilities"), Logits(scores)
    if loss.same_kind:
        with pytest.raises(MismatchError, match="teacher probabilities, student logits"):
            loss.function(**inputs_of(loss, teacher, student, np.array([1])))
    else:
        inputs = inputs_of(loss, teacher, student, np.array([1]))
        as_logits = inputs_of(loss, student, student, np.array([1]))
        value, truth = loss.function(**inputs)[0], loss.function(**as_logits)[0]
        assert value == pytest.approx(truth, abs=1e-15)


def test_stored_probabilities_keep_their_temperature() -> None:
    """p stored at T0 stands for the logits T0 log p, and 0 for a masked class."""
    scores = np.array([[0.3, 1.2, -0.5, -INF]])
    shares = np.exp(scores / 4)
    shares /= shares.sum()
    with np.errstate(divide="ignore"):
        logs = np.log(shares)
    student = Logits(np.array([[1.0, 0.0, 0.5, 2.0]]))
    kl = LOGIT_LOSSES["kl"].function
    truth = kl(teacher=Logits(scores), student=student, temperature=2.0)
    for stored in (Logits(shares, "probabilities", 4.0), Logits(logs, "log_probabilities", 4.0)):
        value = kl(teacher=stored, student=student, temperature=2.0)
        np.testing.assert_allclose(value, truth, rtol=1e-13)


@pytest.mark.parametrize("library", LIBRARIES)
def test_bad_rows_are_seen(library: Library) -> None:
    """NaN, +inf, nothing but -inf, and a negative probability make a row bad; a mask does not."""
    nan = math.nan
    rows = [[0.0, 1.0], [nan, 1.0], [0.0, INF], [-INF, -INF], [-INF, 1.0]]
    logits = Logits(library.array(rows, "float32"))
    assert library.host(logits.bad).tolist() == [False, True, True, True, False]
    assert library.host(logits.finite).tolist() == [True, False, False, False, False]
    shares = Logits(
        library.array([[0.0, 1.0], [-0.1, 1.1], [nan, 1.0]], "float64"), "probabilities"
    )
    assert library.host(shares.bad).tolist() == [False, True, True]


def test_other_types_are_widened() -> None:
    """Integers and float16 are taken as float64."""
    assert Logits(np.array([[1, 2]])).raw.dtype == np.float64
    assert Logits(np.array([[1, 2]], dtype=np.float16)).raw.dtype == np.float64
    assert Logits(np.array([[1, 2]], dtype=np.float32)).raw.dtype == np.float32


def test_a_label_that_is_no_class_gives_nan() -> None:
    """Nothing is read from outside a row."""
    scores = np.array([[1.0, 2.0]] * 4)
    values = LABEL_LOSSES["cross_entropy"].function(
        student=scores, labels=np.array([0, 2, -1, -100])
    )
    assert np.isnan(values).tolist() == [False, True, True, True]


def test_parameters_are_read_off_the_signature() -> None:
    """A config learns names, defaults and ranges of every loss from the table."""
    found = {
        loss.name: [(p.name, p.kind, p.default, p.low, p.high) for p in loss.parameters]
        for loss in LOGIT_LOSSES.values()
    }
    shared = [
        ("temperature", float, 1.0, 1e-4, 1e4),
        ("temperature_squared", bool, True, None, None),
    ]
    standardize = ("standardize", bool, False, None, None)
    assert all(parameters.pop() == standardize for parameters in found.values())
    assert found["reverse_kl"] == shared
    assert found["kl"] == [*shared, ("with_entropy", bool, False, None, None)]
    off = [(name, bool, False, None, None) for name in ("swap_mixture", "kl_at_ends", "sum")]
    assert found["jsd"] == [("beta", float, 0.5, 0.0, 1.0), *shared, *off[:2]]
    assert found["topk_logistic"] == [("k", int, 10, 2, 100)]
    assert (found["mse"], found["cosine"]) == (off[2:], [])
    weights = [(f"{name}_weight", float, 0.5, 0.0, INF) for name in ("kl", "mse")]
    assert found["combined_kl_mse"] == [*weights, *shared]
    assert all(loss.formula and loss.reference and loss.laws for loss in LOSSES)


def test_the_table_needs_no_array_library() -> None:
    """The names of the losses are known before any of their libraries is loaded."""
    code = "import sys, distillcli.losses, distillcli.metrics, distillcli.teachers\n"
    code += "print([m for m in ('numpy', 'h5py', 'cupy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
