"""Whole runs of `score` on small arrays, against slow references of every term and metric."""

import inspect
import json
import math
import re
from pathlib import Path
from typing import Any

import h5py
import ml_dtypes
import numpy as np
import pytest
import reference
import safetensors.numpy
from runs import ROOT, distill, saved, scored, written

from distillcli.losses import FEATURE_LOSSES, LOSSES, SCORE_LOSSES, Loss
from distillcli.metrics import METRICS
from distillcli.result import Result

ROWS, CLASSES = 23, 7
CASES = json.loads((Path(__file__).parent / "cases" / "loss_cases.json").read_text())
CLOSE = {"float64": {"rel": 1e-9, "abs": 1e-12}, "float32": {"rel": 1e-5, "abs": 1e-6}}
DTYPES = pytest.mark.parametrize("dtype", ["float64", "float32"])

Rows = list[list[float]]


def outputs(seed: int, rows: int = ROWS, width: int = CLASSES) -> Any:
    """Class scores; halves, so that some rows have several top classes."""
    return np.round(np.random.default_rng(seed).normal(0, 2.5, (rows, width)) * 2) / 2


def features(seed: int, width: int, rows: int = ROWS) -> Any:
    """Hidden states, all of them exact in float32."""
    return np.random.default_rng(seed).normal(0, 1, (rows, width)).astype("float32")


TEACHER, STUDENT = outputs(1), outputs(2)
LABELS = np.random.default_rng(3).integers(0, CLASSES, ROWS)
LABELS[:12] = TEACHER[:12].argmax(axis=1)
TEACHERS = [TEACHER, outputs(4), outputs(5)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with teacher, student and labels, three teachers and hidden states."""
    saved(tmp_path, teacher=TEACHER, student=STUDENT, labels=LABELS)
    saved(tmp_path, **{f"teacher_{n}": one for n, one in enumerate(TEACHERS)})
    hidden = {f"s{n}": features(10 + n, width) for n, width in enumerate((4, 6, 5))}
    hidden |= {f"t{n}": features(20 + n, width) for n, width in enumerate((6, 6, 5, 3))}
    saved(tmp_path, **hidden)
    return tmp_path


LOGITS = {"teacher": "teacher.npy", "student": "student.npy"}
ALL_LOGITS = {**LOGITS, "labels": "labels.npy"}


def response(**section: Any) -> dict[str, Any]:
    return {"strategy": "response", **ALL_LOGITS, "batch_size": ROWS, "response": section}


def slow_rows(name: str, teacher: Any, student: Any, **parameters: Any) -> list[float]:
    """The reference loss of each row; classes and dimensions share some."""
    slow = getattr(reference, name)
    columns = {"teacher": teacher.tolist(), "student": student.tolist()}
    if parameters.pop("standardize", False):
        columns = {side: list(map(reference.standardized, rows)) for side, rows in columns.items()}
    if "labels" in inspect.signature(slow).parameters:
        columns["labels"] = LABELS.tolist()
    if any(one.name == name and one.least_batch is not None for one in LOSSES):
        return [slow(**columns, **parameters)]
    rows = zip(*columns.values(), strict=True)
    return [slow(**dict(zip(columns, row, strict=True)), **parameters) for row in rows]


def slow_kl_rows(teacher: Any, student: Any, temperature: float) -> list[float]:
    return slow_rows("kl", teacher, student, temperature=temperature, temperature_squared=False)


def slow_hard(student: Any) -> float:
    pairs = zip(student.tolist(), LABELS.tolist(), strict=True)
    return reference.mean([reference.cross_entropy(student=s, labels=y) for s, y in pairs])


def slow_metrics(temperature: float, teacher: Any = TEACHER, target: Any = TEACHER) -> Any:
    """Every metric: the KL of `target`, and what else there is of `teacher`."""
    kl = slow_kl_rows(target, STUDENT, temperature)
    return reference.metrics(teacher.tolist(), STUDENT.tolist(), LABELS.tolist(), kl)


def check_loss(result: Result) -> None:
    """The loss is the weighted sum of the terms, and the rows are all there."""
    total = sum(result.weights[name] * (result.terms[name] or 0.0) for name in result.terms)
    assert result.loss == pytest.approx(total, rel=1e-14)
    assert (result.rows, result.rows_skipped, result.nonfinite) == (ROWS, 0, {})


# --- response ---------------------------------------------------------------------------------


def settings(loss: Loss) -> dict[str, Any]:
    """A value of each parameter of a loss that is not its default."""
    values = {"temperature": 2.5, "beta": 0.3, "kl_weight": 0.2, "mse_weight": 1.5}
    own = {one.name: values.get(one.name, one.default) for one in loss.parameters}
    return {name: value for name, value in own.items() if not isinstance(value, bool)}


def with_and_without_square() -> list[Any]:
    """Each loss with its parameters; where it has the factor T^2, also without it."""
    found = []
    for name, loss in SCORE_LOSSES.items():
        found.append(pytest.param(loss, settings(loss), id=name))
        if any(one.name == "temperature_squared" for one in loss.parameters):
            plain = {**settings(loss), "temperature_squared": False}
            found.append(pytest.param(loss, plain, id=f"{name} without T^2"))
        if any(one.name == "standardize" for one in loss.parameters):
            even = {**settings(loss), "standardize": True}
            found.append(pytest.param(loss, even, id=f"{name}, standardized"))
    return found


@pytest.mark.parametrize(("loss", "parameters"), with_and_without_square())
def test_response(folder: Path, loss: Loss, parameters: dict[str, Any]) -> None:
    """Each soft loss with its parameters, both terms, and every metric at its temperature."""
    result = scored(folder, response(soft_loss={"name": loss.name, **parameters}, alpha=0.6))
    temperature = parameters.get("temperature", 1.0)
    soft = reference.mean(slow_rows(loss.name, TEACHER, STUDENT, **parameters))
    assert result.terms == pytest.approx({"soft": soft, "hard": slow_hard(STUDENT)}, rel=1e-9)
    assert result.weights == {"soft": 0.6, "hard": 0.4}
    assert set(result.metrics) == {name for name, metric in METRICS.items() if not metric.costly}
    assert result.metrics == pytest.approx(slow_metrics(temperature), rel=1e-9)
    assert result.facts["temperature"] == temperature
    check_loss(result)


@pytest.mark.parametrize(
    ("section", "temperature", "weights"),
    [
        ({}, 4.0, {"soft": 0.7, "hard": 0.3}),
        ({"preset": "pure_kl"}, 4.0, {"soft": 1.0}),
        ({"preset": "pure_kl", "soft_loss": {"temperature": 2.0}}, 2.0, {"soft": 1.0}),
        ({"preset": "balanced"}, 4.0, {"soft": 0.5, "hard": 0.5}),
        ({"preset": "hinton"}, 4.0, {"soft": 0.7, "hard": 0.3}),
        ({"alpha": 0.0}, 4.0, {"hard": 1.0}),
        ({"soft_label_weight": 2.0, "hard_label_weight": 3.0}, 4.0, {"soft": 2.0, "hard": 3.0}),
        ({"hard_label_weight": 3.0}, 4.0, {"hard": 3.0}),
        ({"soft_label_weight": 2.0}, 4.0, {"soft": 2.0}),
    ],
)
def test_weights_of_a_response(
    folder: Path, section: dict[str, Any], temperature: float, weights: dict[str, float]
) -> None:
    """Presets, alpha and the two label weights: the terms that have a weight, each with its own."""
    result = scored(folder, response(**section))
    soft = reference.mean(slow_rows("kl", TEACHER, STUDENT, temperature=temperature))
    every = {"soft": soft, "hard": slow_hard(STUDENT)}
    assert result.weights == weights
    assert result.terms == pytest.approx({name: every[name] for name in weights}, rel=1e-9)
    check_loss(result)


@pytest.mark.parametrize("kind", ["probabilities", "log_probabilities"])
def test_probabilities_taken_at_a_temperature(folder: Path, kind: str) -> None:
    """Stored (log-)probabilities at 2 give what the logits that they came from give."""
    logs = np.array([reference.log_softmax(row, 2.0) for row in TEACHER.tolist()])
    saved(folder, stored=np.exp(logs) if kind == "probabilities" else logs)
    config = response(soft_loss={"temperature": 3.0})
    config["teacher"] = {"path": "stored.npy", "kind": kind, "temperature": 2.0}
    result = scored(folder, config)
    expected = scored(folder, response(soft_loss={"temperature": 3.0}))
    assert result.terms == pytest.approx(expected.terms, rel=1e-9)
    assert result.metrics == pytest.approx(expected.metrics, rel=1e-9, abs=1e-12)


def test_positions_are_rows(folder: Path) -> None:
    """[rows, positions, classes] and labels [rows, positions] read as rows * positions rows."""
    flat = scored(folder, response())
    short = {name: array[:22] for name, array in (("teacher", TEACHER), ("student", STUDENT))}
    saved(folder, labels=LABELS[:22], **short)
    plain = scored(folder, response())
    deep = {name: array.reshape(11, 2, CLASSES) for name, array in short.items()}
    saved(folder, labels=LABELS[:22].reshape(11, 2), **deep)
    result = scored(folder, response())
    assert (result.rows, flat.rows) == (22, 23)
    assert (result.loss, result.metrics) == (plain.loss, plain.metrics)


def test_one_row_has_no_standard_error(folder: Path) -> None:
    """The standard error of a single row is null; it is not counted as a number that overflowed."""
    saved(folder, teacher=TEACHER[:1], student=STUDENT[:1], labels=LABELS[:1])
    result = scored(folder, response())
    assert result.metrics["kl_stderr"] is None
    assert result.metrics["kl_mean"] == result.metrics["kl_p999"] == result.metrics["kl_max"]
    assert result.nonfinite == {}


def test_an_infinite_loss_is_null_and_counted(folder: Path) -> None:
    """A class that the student alone masks: null in the run and its batch, and how many rows."""
    student = STUDENT.copy()
    student[[3, 20], 2] = -math.inf
    saved(folder, student=student)
    result = scored(folder, {**response(), "batch_size": 10})
    assert result.loss is None
    assert result.terms["soft"] is None
    assert result.terms["hard"] is not None or LABELS[3] == 2 or LABELS[20] == 2
    assert result.nonfinite["soft"] == result.nonfinite["kl_mean"] == 2
    assert [batch.loss is None for batch in result.batches] == [True, False, True]
    assert result.metrics["kl_median"] is not None
    assert result.metrics["kl_max"] is None


def test_classes_masked_on_both_sides_are_no_classes(folder: Path) -> None:
    """-inf in teacher and student adds nothing to KL, accuracy, nll or entropy."""
    masked = np.full((ROWS, 2), -math.inf)
    wide = {"teacher": np.hstack([TEACHER, masked]), "student": np.hstack([STUDENT, masked])}
    plain = scored(folder, response())
    saved(folder, **wide)
    result = scored(folder, response())
    assert result.terms == pytest.approx(plain.terms, rel=1e-12)
    assert result.metrics == pytest.approx(plain.metrics, rel=1e-12)


# --- progressive ------------------------------------------------------------------------------

MATRIX = np.random.default_rng(9).normal(0, 1, (4, 6))
PROJECTIONS: dict[str, Any] = {
    "xavier": {"init": "xavier_uniform", "seed": 5},
    "least_squares": {"init": "least_squares", "ridge": 0.5},
    "file": {"path": "matrix.npy"},
}


def progressive(**section: Any) -> dict[str, Any]:
    return {
        "strategy": "progressive",
        "student_hidden": ["s0.npy", "s1.npy", "s2.npy"],
        "teacher_hidden": ["t0.npy", "t1.npy", "t2.npy", "t3.npy"],
        "precision": "float64",
        "progressive": section,
    }


def slow_layer(loss: str, student: int, teacher: int, matrix: Any = None) -> float:
    """The reference loss of one pair of layers."""
    ours = features(10 + student, (4, 6, 5)[student]).astype(float).tolist()
    theirs = features(20 + teacher, (6, 6, 5, 3)[teacher]).astype(float)
    projected = ours if matrix is None else reference.times(ours, matrix.tolist())
    return reference.mean(slow_rows(loss, theirs, np.array(projected)))


def slow_matrix(name: str) -> Any:
    """The matrix from student layer 0 (4 wide) to teacher layer 1 (6 wide)."""
    if name == "file":
        return MATRIX
    if name == "xavier":
        bound = math.sqrt(6 / 10)
        return np.random.RandomState(5).uniform(-bound, bound, (4, 6))
    x, y = features(10, 4).astype(float).tolist(), features(21, 6).astype(float).tolist()
    return np.array(reference.least_squares(x, y, 0.5))


@pytest.mark.parametrize("projection", PROJECTIONS)
@pytest.mark.parametrize("loss", FEATURE_LOSSES)
def test_progressive(folder: Path, loss: str, projection: str) -> None:
    """Each loss of layers, through each projection where widths differ and through none else."""
    saved(folder, matrix=MATRIX)
    section = {"layer_mapping": [[0, 1], [1, 0], [2, 2]], "projection": PROJECTIONS[projection]}
    result = scored(folder, progressive(**section, loss=loss, layer_weights=[1, 2, 5]))
    expected = [
        slow_layer(loss, 0, 1, slow_matrix(projection)),
        slow_layer(loss, 1, 0),
        slow_layer(loss, 2, 2),
    ]
    assert result.layers is not None
    assert [layer.loss for layer in result.layers] == pytest.approx(expected, rel=1e-9)
    assert [(layer.student, layer.teacher) for layer in result.layers] == [(0, 1), (1, 0), (2, 2)]
    assert [layer.weight for layer in result.layers] == [0.125, 0.25, 0.625]
    hidden = 0.125 * expected[0] + 0.25 * expected[1] + 0.625 * expected[2]
    assert result.terms == pytest.approx({"hidden": hidden}, rel=1e-9)
    assert result.weights == {"hidden": 1.0}
    check_loss(result)


def test_progressive_with_a_response(folder: Path) -> None:
    """The outer weights are multiplied into those of the terms; the metrics are all there."""
    config = progressive(
        layer_mapping=[[1, 0], [2, 2]], hidden_weight=0.25, response_weight=2.0, loss="cosine"
    )
    result = scored(folder, {**config, **ALL_LOGITS, "response": {"alpha": 0.25}})
    assert result.weights == {"soft": 0.5, "hard": 1.5, "hidden": 0.25}
    soft = reference.mean(slow_rows("kl", TEACHER, STUDENT, temperature=4.0))
    hidden = (slow_layer("cosine", 1, 0) + slow_layer("cosine", 2, 2)) / 2
    expected = {"soft": soft, "hard": slow_hard(STUDENT), "hidden": hidden}
    assert result.terms == pytest.approx(expected, rel=1e-9)
    assert result.metrics == pytest.approx(slow_metrics(4.0), rel=1e-9)
    check_loss(result)


def test_hidden_states_of_every_form(folder: Path) -> None:
    """A list of files, an HDF5 group and one array [layers, rows, dim] are the same layers."""
    layers = np.stack([features(n, 5) for n in range(4)])
    saved(folder, "float32", all=layers, **{f"layer{n}": one for n, one in enumerate(layers)})
    with h5py.File(folder / "all.h5", "w") as file:
        for n, one in enumerate(layers):
            file[f"model/hidden/layer_{n + 7}"] = one  # 10 comes after 9
    forms: list[Any] = [
        [f"layer{n}.npy" for n in range(4)],
        "all.npy",
        "all.h5::model/hidden",
    ]
    section = {"layer_mapping": [[0, 3], [1, 2]]}
    results = [
        scored(folder, {**progressive(**section), "student_hidden": s, "teacher_hidden": t})
        for s, t in zip(forms, forms[1:] + forms[:1], strict=True)
    ]
    assert len({json.dumps([result.loss, list(result.terms.items())]) for result in results}) == 1
    assert results[0].layers == results[1].layers == results[2].layers


# --- ensemble ---------------------------------------------------------------------------------


def ensemble(**section: Any) -> dict[str, Any]:
    files = [f"teacher_{n}.npy" for n in range(3)]
    return {
        "strategy": "ensemble",
        "teachers": files,
        "student": "student.npy",
        "labels": "labels.npy",
        "ensemble": {"temperature": 2.5, "alpha": 0.6, **section},
    }


def slow_accuracies() -> list[float]:
    return [
        reference.mean([float(reference.top(row) == y) for row, y in zip(t, LABELS, strict=True)])
        for t in (one.tolist() for one in TEACHERS)
    ]


def slow_weights(rule: Any) -> list[float]:
    if rule == "uniform":
        found = [1.0, 1.0, 1.0]
    elif rule == "accuracy":
        found = slow_accuracies()
    elif rule == "confidence":
        found = [reference.mean([reference.confidence(r) for r in t.tolist()]) for t in TEACHERS]
    else:
        found = rule
    return [value / math.fsum(found) for value in found]


def slow_blend(weights: list[float], combine: str, temperature: float) -> Any:
    rows = zip(*(teacher.tolist() for teacher in TEACHERS), strict=True)
    return np.array([reference.blend(list(row), weights, combine, temperature) for row in rows])


@pytest.mark.parametrize("rule", ["uniform", "accuracy", "confidence", [1, 0, 3]], ids=str)
@pytest.mark.parametrize("combine", ["logits", "probabilities", "log_probabilities"])
def test_ensemble(folder: Path, combine: str, rule: Any) -> None:
    """Each blend with each rule of weights; its metrics are those of the blend at T = 1."""
    result = scored(folder, ensemble(combine=combine, weights=rule))
    weights = slow_weights(rule)
    assert result.teachers is not None
    assert [one.weight for one in result.teachers] == pytest.approx(weights, rel=1e-9)
    assert [one.source for one in result.teachers] == [f"teacher_{n}.npy" for n in range(3)]
    assert [one.accuracy for one in result.teachers] == pytest.approx(slow_accuracies())
    nll = [slow_hard(teacher) for teacher in TEACHERS]
    assert [one.nll for one in result.teachers] == pytest.approx(nll, rel=1e-9)
    warm, plain = (slow_blend(weights, combine, temperature) for temperature in (2.5, 1.0))
    soft = reference.mean(slow_rows("kl", warm, STUDENT, temperature=2.5))
    assert result.terms == pytest.approx({"soft": soft, "hard": slow_hard(STUDENT)}, rel=1e-9)
    assert result.weights == {"soft": 0.6, "hard": 0.4}
    assert result.metrics == pytest.approx(slow_metrics(2.5, plain, warm), rel=1e-9)
    check_loss(result)


def test_an_ensemble_without_labels(folder: Path) -> None:
    """Alpha is 1, said in the facts; no figure that needs labels is made up."""
    config = ensemble()
    del config["labels"], config["ensemble"]["alpha"]
    result = scored(folder, config)
    assert result.weights == {"soft": 1.0}
    assert any("alpha is 1" in note for note in result.facts["notes"])
    assert result.teachers is not None
    assert {(one.accuracy, one.nll) for one in result.teachers} == {(None, None)}
    missing = {name for name, metric in METRICS.items() if "labels" in metric.needs}
    assert set(result.facts["unavailable"]) == missing
    assert (
        set(result.metrics)
        == {name for name, metric in METRICS.items() if not metric.costly} - missing
    )


@pytest.mark.parametrize("combine", ["logits", "log_probabilities", "probabilities"])
def test_teachers_that_mask_every_class_between_them(folder: Path, combine: str) -> None:
    """Such a row is a bad one where the blend has no class left, and none where it has."""
    first, second = TEACHERS[0].copy(), TEACHERS[1].copy()
    first[5, 3:], second[5, :3] = -math.inf, -math.inf
    saved(folder, teacher_0=first, teacher_1=second)
    if combine == "probabilities":
        assert scored(folder, ensemble(combine=combine)).nonfinite == {}
        return
    path = written(folder / "config.yaml", ensemble(combine=combine))
    done = distill("score", path)
    assert (done.code, done.out) == (2, "")
    assert done.errors[0].startswith("teachers[0] in teacher_0.npy: row 5: ")
    assert "leaves their blend no class" in done.errors[0]
    result = scored(folder, {**ensemble(combine=combine), "on_bad_rows": "skip"})
    assert (result.rows_skipped, result.nonfinite) == (1, {})


# --- known cases ------------------------------------------------------------------------------


@DTYPES
@pytest.mark.parametrize(
    ("name", "case"), [(n, c) for n in ("kl", "mse", "cosine", "combined_kl_mse") for c in CASES[n]]
)
def test_known_soft_losses(tmp_path: Path, dtype: str, name: str, case: dict[str, Any]) -> None:
    """The known values of single losses come out of whole runs."""
    saved(tmp_path, dtype, teacher=case["teacher"], student=case["student"])
    keys = ("temperature", "kl_weight", "mse_weight")
    soft_loss = {"name": name, **{key: case[key] for key in keys if key in case}}
    config = {"strategy": "response", **LOGITS, "response": {"soft_loss": soft_loss}}
    assert scored(tmp_path, config).loss == pytest.approx(case["expected"], **CLOSE[dtype])


@DTYPES
@pytest.mark.parametrize("case", CASES["response"])
def test_known_responses(tmp_path: Path, dtype: str, case: dict[str, Any]) -> None:
    """The known values of both terms together come out of whole runs."""
    saved(tmp_path, dtype, **{key: case[key] for key in ("teacher", "student", "labels")})
    section: dict[str, Any] = {key: case[key] for key in ("preset", "alpha") if key in case}
    if "temperature" in case:
        section["soft_loss"] = {"temperature": case["temperature"]}
    result = scored(tmp_path, response(**section))
    assert result.loss == pytest.approx(case["expected"], **CLOSE[dtype])


@DTYPES
@pytest.mark.parametrize("case", CASES["ensemble"])
def test_known_ensembles(tmp_path: Path, dtype: str, case: dict[str, Any]) -> None:
    """The known values come out of whole runs, and a student that is the known blend is at 0."""
    files = saved(tmp_path, dtype, **{f"t{n}": one for n, one in enumerate(case["teachers"])})
    student = case.get("student", case.get("expected_blend"))
    saved(tmp_path, dtype, student=student)
    keys = ("combine", "weights", "temperature", "alpha")
    config: dict[str, Any] = {
        "strategy": "ensemble",
        "teachers": list(files.values()),
        "student": "student.npy",
        "ensemble": {key: case[key] for key in keys if key in case},
    }
    if "labels" in case:
        config["labels"] = saved(tmp_path, labels=case["labels"])["labels"]
    expected = case.get("expected", 0.0)
    assert scored(tmp_path, config).loss == pytest.approx(expected, **CLOSE[dtype])


@DTYPES
@pytest.mark.parametrize("case", CASES["progressive"])
def test_known_layers(tmp_path: Path, dtype: str, case: dict[str, Any]) -> None:
    """The known values of hidden layers come out of whole runs."""
    config: dict[str, Any] = {"strategy": "progressive"}
    section = {key: case[key] for key in ("layer_mapping", "loss")}
    for side in ("student_hidden", "teacher_hidden"):
        layers = {f"{side}{n}": layer for n, layer in enumerate(case[side])}
        config[side] = list(saved(tmp_path, dtype, **layers).values())
    if "projection" in case:
        section["projection"] = {"path": saved(tmp_path, w=case["projection"])["w"]}
    close = CLOSE[dtype]
    if dtype == "float32" and case["loss"] == "cosine":
        close = {"rel": 2e-3, "abs": 1e-7}
    loss = scored(tmp_path, {**config, "progressive": section}).loss
    assert loss == pytest.approx(case["expected"], **close)


# --- the sample data --------------------------------------------------------------------------


def sample_accuracies() -> dict[str, float]:
    """The accuracies that the sample data's README says, by model."""
    text = (ROOT / "sample_data" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+) \|.*\| (0\.[0-9]{4}) \|$", text, re.M)
    return {name: float(value) for name, value in rows}


def test_accuracies_of_the_sample_data() -> None:
    """The reports of all three configs show the accuracies that the sample data declare."""
    says = sample_accuracies()
    assert set(says) == {"teacher_a", "teacher_b", "teacher_c", "student", "student_early"}
    for name in ("response", "progressive", "ensemble"):
        done = distill("score", ROOT / "configs" / f"{name}.yaml", "--format", "json")
        data = done.data
        assert round(data["metrics"]["student_accuracy"], 4) == says["student"]
        if name == "ensemble":
            found = {re.findall(r"::(\w+)/", one["source"])[0]: one for one in data["teachers"]}
            assert {key: round(one["accuracy"], 4) for key, one in found.items()} == {
                key: value for key, value in says.items() if key.startswith("teacher")
            }
        else:
            assert round(data["metrics"]["teacher_accuracy"], 4) == says["teacher_a"]


@pytest.mark.parametrize("name", ["response", "progressive", "ensemble"])
def test_the_configs_report(name: str) -> None:
    """The table of each config shows its accuracies and says which loss it is."""
    done = distill("score", ROOT / "configs" / f"{name}.yaml")
    assert done.code == 0
    assert f"{sample_accuracies()['student']:.4f}" in done.out
    assert done.out.startswith(f"distill score: {name}\n")


# --- the result -------------------------------------------------------------------------------

KEYS = [
    "schema",
    "command",
    "strategy",
    "rows",
    "rows_skipped",
    "rows_masked",
    "loss",
    "terms",
    "weights",
]
ENDS = ["batches", "nonfinite", "facts"]
FACTS = ["config", "config_sha256", "inputs", "conventions", "temperature", "precision", "device"]
FACTS += ["kernel", "versions", "seconds", "unavailable", "notes"]


def test_keys_of_the_result(folder: Path) -> None:
    """JSON has the documented keys in the documented order, for each strategy."""
    configs = {
        (): response(),
        ("layers",): progressive(layer_mapping=[[1, 0]]),
        ("teachers",): ensemble(),
    }
    for own, config in configs.items():
        path = written(folder / "config.yaml", {**config, "batch_size": 10})
        data = distill("score", path, "--format", "json").data
        assert list(data) == [*KEYS, "metrics", *own, *ENDS]
        assert data["schema"] == "distillcli.result/1"
        assert set(FACTS) <= set(data["facts"])
        assert [(b["index"], b["start"], b["stop"]) for b in data["batches"]] == [
            (0, 0, 10), (1, 10, 20), (2, 20, 23)
        ]  # fmt: skip
        first = data["batches"][0]
        assert list(first) == ["index", "start", "stop", "loss", "terms", "metrics"]
        for given in data["facts"]["inputs"]:
            assert {"role", "path", "shape", "dtype", "size", "fingerprint"} <= set(given)


def test_batches_hold_the_figures_of_their_rows(folder: Path) -> None:
    """Each batch says what a run over its rows alone says."""
    whole = scored(folder, {**response(), "batch_size": 9})
    for batch in whole.batches:
        rows = slice(batch.start, batch.stop)
        saved(folder, teacher=TEACHER[rows], student=STUDENT[rows], labels=LABELS[rows])
        alone = scored(folder, response())
        names = ("kl_mean", "top1_agreement", "student_accuracy", "teacher_accuracy")
        expected = {name: alone.metrics[name] for name in names}
        assert batch.loss == pytest.approx(alone.loss, rel=1e-12)
        assert batch.terms == pytest.approx(alone.terms, rel=1e-12)
        assert batch.metrics == pytest.approx(expected, rel=1e-12)


def test_too_many_batches_are_joined(tmp_path: Path) -> None:
    """Beyond 4096 batches neighbours make one entry; none is lost and none counted twice."""
    rows = 10_001
    rng = np.random.default_rng(0)
    saved(
        tmp_path, "float32", teacher=rng.normal(size=(rows, 3)), student=rng.normal(size=(rows, 3))
    )
    result = scored(tmp_path, {"strategy": "response", **LOGITS, "batch_size": 1})
    assert len(result.batches) == 3334
    assert [batch.start for batch in result.batches] == list(range(0, rows, 3))
    assert result.batches[-1].stop == rows
    assert result.facts["batches_joined"] == 3
    total = math.fsum((b.loss or 0) * (b.stop - b.start) for b in result.batches)
    assert total / rows == pytest.approx(result.loss, rel=1e-12)


def test_only_the_wanted_metrics(folder: Path) -> None:
    """A list of metrics gives those, and none gives none; the loss is the same."""
    everything = scored(folder, response())
    some = scored(folder, {**response(), "metrics": ["student_ece", "kl_p90"]})
    assert dict(some.metrics) == {
        name: everything.metrics[name] for name in ("kl_p90", "student_ece")
    }
    none = scored(folder, {**response(), "metrics": "none"})
    assert none.metrics == {}
    assert everything.loss == some.loss == none.loss
    assert none.batches[0].metrics == {}


def test_metrics_without_labels_are_named(folder: Path) -> None:
    """What cannot be had is left out and named with the reason, if it was wanted."""
    config = {"strategy": "response", **LOGITS, "metrics": ["student_nll", "kl_mean"]}
    result = scored(folder, config)
    assert list(result.metrics) == ["kl_mean"]
    assert result.facts["unavailable"] == {"student_nll": "needs labels"}


@pytest.mark.parametrize("strategy", ["response", "progressive", "ensemble"])
def test_rows_left_out_leave_the_rest_right(folder: Path, strategy: str) -> None:
    """With bad rows skipped the result is that of the good rows, and says how many are gone."""
    if strategy == "progressive":
        config = progressive(
            layer_mapping=[[0, 1], [1, 0]], projection=PROJECTIONS["least_squares"]
        )
        names = {"s0": features(10, 4), "s1": features(11, 6), "t0": features(20, 6)}
        names["t1"] = features(21, 6)
        spoilt = ("s0", "t0")
    else:
        config = ensemble(weights="accuracy") if strategy == "ensemble" else response()
        names = {"student": STUDENT, "teacher": TEACHER, "labels": LABELS}
        names |= {f"teacher_{n}": one for n, one in enumerate(TEACHERS)}
        spoilt = ("student", "teacher_1" if strategy == "ensemble" else "teacher")
    bad = [0, 7, 8, 22]
    good = [row for row in range(ROWS) if row not in bad]
    saved(folder, **{name: array[good] for name, array in names.items()})
    expected = scored(folder, config)
    first, second = (names[name].copy() for name in spoilt)
    first[0, 1], first[7, 2], second[8, 0], second[22, 3] = np.nan, np.inf, np.nan, np.inf
    saved(folder, **{**names, spoilt[0]: first, spoilt[1]: second})
    result = scored(folder, {**config, "on_bad_rows": "skip", "batch_size": 5})
    assert (result.rows, result.rows_skipped) == (19, 4)
    assert result.loss == pytest.approx(expected.loss, rel=1e-12)
    assert result.terms == pytest.approx(expected.terms, rel=1e-12)
    assert result.metrics == pytest.approx(expected.metrics, rel=1e-12)
    assert result.nonfinite == {}


def test_nothing_but_bad_rows_is_an_error(folder: Path) -> None:
    """There is no mean of no rows."""
    saved(folder, student=np.full_like(STUDENT, np.nan))
    path = written(folder / "config.yaml", {**response(), "on_bad_rows": "skip"})
    done = distill("score", path)
    assert (done.code, done.out) == (2, "")
    assert "23 rows" in done.errors[0]


def test_masked_classes_are_bad_rows_of_a_loss_on_raw_outputs(folder: Path) -> None:
    """-inf in both is a class that is not there for kl, and a row that cannot be used for mse."""
    for array, name in ((TEACHER.copy(), "teacher"), (STUDENT.copy(), "student")):
        array[4, 1] = -math.inf
        saved(folder, **{name: array})
    assert scored(folder, response()).rows_skipped == 0
    config = {**response(soft_loss={"name": "mse"}), "on_bad_rows": "skip"}
    assert scored(folder, config).rows_skipped == 1


@pytest.mark.parametrize(
    ("dtype", "element"), [("float16", "float16"), ("float32", "float32"), (">f8", "float64")]
)
def test_element_types(folder: Path, dtype: str, element: str) -> None:
    """Each type is read as what it is; the arithmetic is float64 only where an input is."""
    for name, array in (("teacher", TEACHER), ("student", STUDENT)):
        np.save(folder / f"{name}.npy", array.astype(dtype))
    result = scored(folder, response())
    assert result.facts["precision"] == ("float64" if element == "float64" else "float32")
    assert result.facts["inputs"][0]["dtype"] == element
    assert result.metrics == pytest.approx(slow_metrics(4.0), rel=1e-5)
    forced = scored(folder, {**response(), "precision": "float64"})
    assert forced.metrics == pytest.approx(slow_metrics(4.0), rel=1e-9)


def test_declared_bfloat16(folder: Path) -> None:
    """bfloat16 stored as uint16 is read as what it is when the config says so."""
    bits = (TEACHER.astype("float32").view("uint32") >> 16).astype("uint16")
    np.save(folder / "bits.npy", bits)  # halves below 128 are exact in bfloat16
    config = {**response(), "teacher": {"path": "bits.npy", "dtype": "bfloat16"}}
    result = scored(folder, config)
    assert result.facts["inputs"][0]["dtype"] == "bfloat16"
    assert result.metrics == pytest.approx(slow_metrics(4.0), rel=1e-9)


def test_quantised_scores(folder: Path) -> None:
    """Integers with a declared scale are the numbers that they stand for."""
    np.save(folder / "steps.npy", (TEACHER * 2 + 3).astype("int8"))  # they are halves
    config = {**response(), "teacher": {"path": "steps.npy", "scale": 0.5, "zero_point": 3}}
    result = scored(folder, config)
    assert result.facts["inputs"][0]["dtype"] == "int8"
    assert result.facts["config"]["teacher"] == {"path": "steps.npy", "scale": 0.5, "zero_point": 3}
    assert result.metrics == pytest.approx(slow_metrics(4.0), rel=1e-9)


@pytest.mark.parametrize("element", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_safetensors_of_few_bits(folder: Path, element: str) -> None:
    """Scores in bfloat16 and float8 are those that the file holds, rounded by its writer."""
    scores = {"teacher": TEACHER, "student": STUDENT}
    rounded = {name: each.astype(getattr(ml_dtypes, element)) for name, each in scores.items()}
    safetensors.numpy.save_file(rounded, folder / "few.safetensors")
    sources = {name: f"few.safetensors::{name}" for name in scores}
    few = scored(folder, {**response(), **sources, "precision": "float64"})
    for name, each in rounded.items():
        np.save(folder / f"{name}.npy", each.astype("float64"))
    assert few.metrics == scored(folder, response()).metrics
    assert few.facts["inputs"][0]["dtype"] == element
