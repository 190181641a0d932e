"""What `distill ensemble` writes and reports, against slow references."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from ensembles import CLASSES, ROWS, TEACHERS, config, dumps, held, written
from runs import distill

CASES = json.loads((Path(__file__).parent / "cases" / "loss_cases.json").read_text())
COMBINES = ("logits", "probabilities", "log_probabilities")
TOLERANCE = {"float16": 2e-3, "float32": 2e-6, "float64": 1e-12}
T = 2.0


def row_weights(rule: Any, teachers: list[np.ndarray], labels: np.ndarray) -> np.ndarray:
    """The weights of each row, [rows, teachers], by the words of the rule."""
    scores = [[row.tolist() for row in one] for one in teachers]
    if isinstance(rule, list):
        fixed = np.array(rule) / sum(rule)
    elif rule == "uniform":
        fixed = np.full(TEACHERS, 1 / TEACHERS)
    elif rule == "accuracy":
        right = [
            np.mean([reference.top(r) == y for r, y in zip(one, labels, strict=True)])
            for one in scores
        ]
        fixed = np.array(right) / sum(right)
    elif rule == "confidence":
        sure = [np.mean([reference.confidence(row) for row in one]) for one in scores]
        fixed = np.array(sure) / sum(sure)
    elif rule == "confidence_per_row":
        spread = np.array([[reference.entropy(row) for row in one] for one in scores]).T
        return np.exp(-spread) / np.exp(-spread).sum(axis=1, keepdims=True)
    else:
        assert rule == "best_per_row"
        nll = np.array(
            [
                [
                    reference.cross_entropy(student=r, labels=int(y))
                    for r, y in zip(one, labels, strict=True)
                ]
                for one in scores
            ]
        ).T
        return np.eye(TEACHERS)[nll.argmin(axis=1)]
    return np.repeat(fixed[None], len(labels), axis=0)


def expected(teachers: list[np.ndarray], weights: np.ndarray, combine: str) -> np.ndarray:
    """The blend row by row."""
    return np.array(
        [
            reference.blend([one[i].tolist() for one in teachers], list(weights[i]), combine, T)
            for i in range(len(weights))
        ]
    )


def as_kind(blend: np.ndarray, kind: str) -> np.ndarray:
    if kind == "logits":
        return blend
    logs = np.array([reference.log_softmax(row.tolist(), T) for row in blend])
    return np.exp(logs) if kind == "probabilities" else logs


@pytest.mark.parametrize("combine", COMBINES)
@pytest.mark.parametrize(
    "rule",
    ["uniform", [1, 3, 0.5], [0, 1, 2], "accuracy", "confidence", "confidence_per_row",
     "best_per_row"],
    ids=str,
)  # fmt: skip
def test_every_rule_and_combination_against_the_reference(
    tmp_path: Path, combine: str, rule: Any
) -> None:
    """In float64, entry by entry; the report names the mean weights."""
    teachers = dumps(tmp_path)
    result = written(tmp_path, "soft.h5", "--dtype", "float64", combine=combine, weights=rule)
    weights = row_weights(rule, teachers, np.load(tmp_path / "labels.npy"))
    want = expected(teachers, weights, combine)
    np.testing.assert_allclose(held(tmp_path / "soft.h5")["targets"], want, rtol=1e-11, atol=1e-12)
    shown = [one["weight"] for one in result["teachers"]]
    np.testing.assert_allclose(shown, weights.mean(axis=0), rtol=1e-12)


@pytest.mark.parametrize("kind", COMBINES)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("source", ["float16", "float32", "float64"])
@pytest.mark.parametrize("suffix", ["h5", "npy"])
def test_every_kind_and_type(
    tmp_path: Path, kind: str, dtype: str, source: str, suffix: str
) -> None:
    """What is stored is the blend, to the precision of its type."""
    teachers = dumps(tmp_path, dtype=source)
    name = f"soft.{suffix}"
    written(tmp_path, name, "--kind", kind, "--dtype", dtype, weights=[3, 2, 1])
    weights = np.repeat([[0.5, 1 / 3, 1 / 6]], ROWS, axis=0)
    want = as_kind(expected(teachers, weights, "probabilities"), kind)
    found = held(tmp_path / name)["targets"]
    assert found.dtype == dtype
    loose = max(TOLERANCE[dtype], TOLERANCE["float32" if source != "float64" else "float64"])
    np.testing.assert_allclose(found.astype("f8"), want, rtol=4 * loose, atol=loose)


@pytest.mark.parametrize("case", [c for c in CASES["ensemble"] if "expected_blend" in c])
def test_known_blends(tmp_path: Path, case: dict[str, Any]) -> None:
    """Cases whose blend was worked out beforehand."""
    for index, teacher in enumerate(case["teachers"]):
        np.save(tmp_path / f"k{index}.npy", np.array(teacher, "float64"))
    data = {
        "strategy": "ensemble",
        "teachers": [f"k{index}.npy" for index in range(len(case["teachers"]))],
        "ensemble": {
            "weights": case["weights"],
            "combine": case["combine"],
            "temperature": case.get("temperature", 1.0),
        },
    }
    (tmp_path / "config.yaml").write_text(json.dumps(data))
    out = tmp_path / "soft.npy"
    done = distill("ensemble", tmp_path / "config.yaml", "--output", out, "--dtype", "float64")
    assert done.code == 0, done.err
    np.testing.assert_allclose(np.load(out), case["expected_blend"], rtol=1e-12)


@pytest.mark.parametrize("kind", COMBINES)
@pytest.mark.parametrize("k", [1, 3, CLASSES])
def test_the_largest_classes_and_the_mass_of_the_others(tmp_path: Path, kind: str, k: int) -> None:
    """Indices descend by value, values belong to them, and log_z tells what is left out."""
    teachers = dumps(tmp_path)
    written(tmp_path, "k.h5", "--kind", kind, "--dtype", "float64", "--top-k", str(k))
    weights = np.full((ROWS, TEACHERS), 1 / TEACHERS)
    blend = expected(teachers, weights, "probabilities")
    found = held(tmp_path / "k.h5")
    order = np.argsort(-blend, axis=1, kind="stable")[:, :k]
    assert found["indices"].dtype == "int32"
    np.testing.assert_array_equal(found["indices"], order)
    want = np.take_along_axis(as_kind(blend, kind), order, axis=1)
    np.testing.assert_allclose(found["values"], want, rtol=1e-11, atol=1e-12)
    scale = blend / T if kind == "logits" else np.log(as_kind(blend, "probabilities"))
    np.testing.assert_allclose(
        found["log_z"], np.logaddexp.reduce(scale, axis=1), rtol=1e-11, atol=1e-12
    )


def test_equal_scores_are_told_apart_by_their_class(tmp_path: Path) -> None:
    """The lowest class first, also where only some of the equals are kept."""
    scores = np.zeros((5, 40), "float32")
    scores[:, 17] = 3
    for index in range(TEACHERS):
        np.save(tmp_path / f"t{index}.npy", scores)
    where = config(tmp_path, labels=False, combine="logits")
    done = distill("ensemble", where, "--output", tmp_path / "k.h5", "--top-k", "4")
    assert done.code == 0, done.err
    np.testing.assert_array_equal(held(tmp_path / "k.h5")["indices"], [[17, 0, 1, 2]] * 5)


def test_float16_tells_what_it_loses(tmp_path: Path) -> None:
    """Probabilities that become 0 are counted; another kind keeps them."""
    for index in range(TEACHERS):
        scores = np.zeros((4, 5), "float32")
        scores[:, 0] = 100
        np.save(tmp_path / f"t{index}.npy", scores)
    where = config(tmp_path, labels=False, temperature=1.0)
    out = ("--output", tmp_path / "p.npy", "--dtype", "float16")
    done = distill("ensemble", where, *out, "--kind", "probabilities")
    assert done.code == 0
    assert "80.00% of the probabilities are too small for float16" in done.err
    assert "--kind log_probabilities or --kind logits keeps them" in done.err
    done = distill("ensemble", where, *out, "--kind", "log_probabilities", "--overwrite")
    assert "too small" not in done.err


def test_a_value_too_large_for_its_type_is_refused(tmp_path: Path) -> None:
    """Infinity would be stored in its place; nothing is left behind."""
    scores = np.zeros((4, 5), "float32")
    scores[2, 3] = 70_000
    for index in range(TEACHERS):
        np.save(tmp_path / f"t{index}.npy", scores)
    where = config(tmp_path, labels=False, combine="logits")
    done = distill("ensemble", where, "--output", tmp_path / "a.h5", "--dtype", "float16")
    assert done.code == 2
    assert done.errors == [
        "blend: row 2: 70000 is beyond the range of float16; store it as --dtype float32"
    ]
    assert not list(tmp_path.glob("a.h5*"))


def test_bad_rows_hold_nan_and_their_neighbours_stay(tmp_path: Path) -> None:
    """With on_bad_rows: skip a file keeps one row for each row of the inputs."""
    teachers = dumps(tmp_path)
    teachers[1][7, 2] = np.nan
    np.save(tmp_path / "t1.npy", teachers[1])
    where = config(tmp_path)
    out = tmp_path / "soft.h5"
    refused = distill("ensemble", where, "--output", out)
    assert refused.code == 2
    assert "row 7: NaN" in refused.err
    data = json.loads(where.read_text()) | {"on_bad_rows": "skip"}
    where.write_text(json.dumps(data))
    for options in ((), ("--top-k", "2")):
        done = distill(
            "ensemble", where, "--output", out, "--overwrite", "--copy-labels", "--format", "json",
            *options,
        )  # fmt: skip
        assert done.data["rows_skipped"] == 1
        found = held(out)
        bare = np.isnan(found["values" if options else "targets"]).all(axis=1)
        assert np.flatnonzero(bare).tolist() == [7]
        np.testing.assert_array_equal(found["labels"], np.load(tmp_path / "labels.npy"))
        assert distill("verify", out).code == 0


def side(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    rows = [row.tolist() for row in scores]
    nll = [
        reference.cross_entropy(student=r, labels=int(y)) for r, y in zip(rows, labels, strict=True)
    ]
    right = [reference.top(r) == y for r, y in zip(rows, labels, strict=True)]
    sure = np.array([reference.confidence(r) for r in rows])
    bins = np.clip(np.ceil(sure * 15).astype(int) - 1, 0, 14)
    gaps = [abs(sum(sure[bins == b]) - sum(np.array(right)[bins == b])) for b in range(15)]
    return {
        "accuracy": float(np.mean(right)),
        "nll": math.fsum(nll) / len(nll),
        "entropy": math.fsum(reference.entropy(r) for r in rows) / len(rows),
        "ece": math.fsum(gaps) / len(rows),
    }


def test_the_figures_of_the_report(tmp_path: Path) -> None:
    """Teachers, blend, equal weights and pairs, over all rows and over those held out."""
    teachers = dumps(tmp_path)
    labels = np.load(tmp_path / "labels.npy")
    result = written(tmp_path, "soft.h5", "--dtype", "float64", weights="fit", fit_rows=0.5)
    shares = [one["weight"] for one in result["teachers"]]
    half = ROWS // 2
    assert result["fit"]["rows"] == half
    assert result["held_out"]["first"] == half
    assert result["held_out"]["rows"] == half
    for figures, rows in ((result, slice(0, ROWS)), (result["held_out"], slice(half, ROWS))):
        for index, scores in enumerate(teachers):
            want = side(scores[rows], labels[rows])
            got = {name: figures["teachers"][index][name] for name in want}
            assert got == pytest.approx(want, rel=1e-9)
        for name, weights in (("blend", shares), ("uniform", [1, 1, 1])):
            blends = [
                reference.blend([t[i].tolist() for t in teachers], weights, "probabilities", 1.0)
                for i in range(ROWS)
            ]
            assert figures[name] == pytest.approx(
                side(np.array(blends)[rows], labels[rows]), rel=1e-9
            )
    assert result["fit"]["after"] > result["fit"]["before"]
    for pair in result["pairs"]:
        first, second = (teachers[pair[name]] for name in ("first", "second"))
        logs = [[reference.log_softmax(r.tolist()) for r in one] for one in (first, second)]
        kl = [reference.divergence(p, q) for p, q in zip(*logs, strict=True)]
        back = [reference.divergence(q, p) for p, q in zip(*logs, strict=True)]
        same = np.mean(first.argmax(axis=1) == second.argmax(axis=1))
        assert pair["kl"] == pytest.approx(math.fsum(kl) / ROWS, rel=1e-9)
        assert pair["kl_reversed"] == pytest.approx(math.fsum(back) / ROWS, rel=1e-9)
        assert pair["top1_agreement"] == same


def test_weights_that_come_from_labels_are_found_on_their_part_alone(tmp_path: Path) -> None:
    """What the labels of the other rows say changes nothing."""
    for rule in ("fit", "accuracy"):
        dumps(tmp_path)
        before = written(tmp_path, "a.h5", "--overwrite", weights=rule, fit_rows=0.5)
        labels = np.load(tmp_path / "labels.npy")
        labels[ROWS // 2 :] = 0
        np.save(tmp_path / "labels.npy", labels)
        after = written(tmp_path, "a.h5", "--overwrite", weights=rule, fit_rows=0.5)
        weights = [[one["weight"] for one in result["teachers"]] for result in (before, after)]
        assert weights[0] == weights[1]
        assert before["teachers"] != after["teachers"]


def test_with_a_student_its_loss_is_that_of_score(tmp_path: Path) -> None:
    """To the last bit, as are its metrics."""
    dumps(tmp_path)
    for rule in ("fit", "confidence_per_row", "best_per_row", "uniform"):
        result = written(tmp_path, "a.h5", "--overwrite", student=True, weights=rule)
        scored = distill("score", tmp_path / "config.yaml", "--format", "json", "--quiet").data
        assert result["loss"] == scored["loss"]
        assert result["terms"] == scored["terms"]
        assert {k: scored["metrics"][k] for k in result["metrics"]} == result["metrics"]


@pytest.mark.parametrize("format", ["table", "csv", "md", "jsonl"])
def test_every_format_shows_the_teachers(tmp_path: Path, format: str) -> None:
    """And the blend beside them."""
    dumps(tmp_path)
    where = config(tmp_path, weights="fit", fit_rows=0.5, student=True)
    export = tmp_path / "report.txt"
    done = distill(
        "ensemble", where, "--output", tmp_path / "a.h5", "--format", format, "--export",
        f"txt={export}",
    )  # fmt: skip
    assert done.code == 0, done.err
    for word in ("t0.npy", "t2.npy", "blend", "uniform" if format != "table" else "equal weights"):
        assert word in done.out
    assert "held out" in export.read_text()


def test_rows_and_labels_that_are_asked_for(tmp_path: Path) -> None:
    """--rows and --limit cut what is written; labels come along."""
    dumps(tmp_path)
    written(tmp_path, "all.h5", "--copy-labels")
    result = written(tmp_path, "part.h5", "--copy-labels", "--rows", "17:59", "--limit", "30")
    assert result["rows"] == 30
    whole, part = held(tmp_path / "all.h5"), held(tmp_path / "part.h5")
    for name in whole:
        np.testing.assert_array_equal(part[name], whole[name][17:47])


def test_one_teacher_is_an_ensemble_too(tmp_path: Path) -> None:
    """Its scores pass through, softened if that is asked for."""
    teachers = dumps(tmp_path)
    where = config(tmp_path, labels=False, combine="logits")
    where.write_text(json.dumps(json.loads(where.read_text()) | {"teachers": ["t0.npy"]}))
    done = distill("ensemble", where, "--output", tmp_path / "a.npy", "--dtype", "float64")
    assert done.code == 0, done.err
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), teachers[0])
