"""`losses:`, and every loss of the table in a whole run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from kernels import KERNELS
from runs import ROOT, distill, saved, scored, written

from distillcli.losses import LABEL_LOSSES, LAYER_LOSSES, LOSSES, SCORE_LOSSES, Loss
from distillcli.numerics import scores

SAMPLE = f"{ROOT}/sample_data/digits.h5::"
ROWS, SIZE = 20, 6
LOGITS = {
    "teacher": f"{SAMPLE}teacher_a/logits",
    "student": f"{SAMPLE}student/logits",
    "labels": f"{SAMPLE}labels",
}
LOSSES_BY_NAME = {**LABEL_LOSSES, **SCORE_LOSSES}
HIDDEN = {"teacher_hidden": "teacher.npy", "student_hidden": "student.npy"}


def entry(loss: Loss, **more: Any) -> dict[str, Any]:
    """An entry of `losses`, with the parameters that it cannot do without."""
    needed = {one.name: 2 for one in loss.parameters if one.default is None}
    return {"name": loss.name, **needed, **more}


def result(path: Path, config: dict[str, Any], *flags: str) -> Any:
    done = distill("score", written(path, config), "--device", "cpu", "--format", "json", *flags)
    assert done.code == 0, done.err
    return done.data


def features(folder: Path, shape: tuple[int, ...], other: tuple[int, ...] | None = None) -> Any:
    """Hidden states of a teacher and a student, saved and returned."""
    chance = np.random.default_rng(0)
    sides = {"teacher": chance.normal(size=shape), "student": chance.normal(size=other or shape)}
    saved(folder, **sides)
    return sides


@pytest.mark.parametrize(
    "loss", [*LABEL_LOSSES.values(), *SCORE_LOSSES.values()], ids=lambda x: x.name
)
def test_every_loss_of_logits_runs_on_the_sample(tmp_path: Path, loss: Loss) -> None:
    """By its name alone; the term is there under that name, finite and above 0."""
    config = {"strategy": "response", **LOGITS, "batch_size": 100, "losses": [entry(loss)]}
    found = result(tmp_path / "c.yaml", config)
    assert list(found["terms"]) == [loss.name]
    assert found["loss"] == found["terms"][loss.name] > 0
    assert found["facts"]["losses"] == {loss.name: loss.name}
    assert ("related_rows" in found["facts"]) == (loss.least_batch is not None)


@pytest.mark.parametrize("loss", LAYER_LOSSES.values(), ids=lambda x: x.name)
def test_every_loss_of_layers_runs(tmp_path: Path, loss: Loss) -> None:
    """On features, or on sequences whose positions stay together, against the reference."""
    shape = (ROWS, SIZE, SIZE) if loss.family == "sequences" else (ROWS, SIZE)
    sides = features(tmp_path, shape)
    config = {
        "strategy": "progressive",
        **HIDDEN,
        "batch_size": ROWS,
        "progressive": {"layer_mapping": [[0, 0]]},
        "losses": [entry(loss)],
    }
    found = result(tmp_path / "c.yaml", config)
    needed = {key: value for key, value in entry(loss).items() if key != "name"}
    slow = getattr(reference, loss.name)
    if loss.least_batch is None:
        pairs = zip(sides["teacher"].tolist(), sides["student"].tolist(), strict=True)
        right = reference.mean([slow(teacher=t, student=s, **needed) for t, s in pairs])
    else:
        right = slow(**{side: rows.tolist() for side, rows in sides.items()}, **needed)
    assert found["terms"] == {loss.name: pytest.approx(right, rel=1e-9)}
    assert found["layers"][0] == {
        "student": 0,
        "teacher": 0,
        "weight": 1.0,
        "loss": found["loss"],
        "term": loss.name,
    }


def test_no_loss_is_forgotten() -> None:
    """Each is in a run above."""
    run = {*map(id, LABEL_LOSSES.values()), *map(id, SCORE_LOSSES.values())}
    run |= set(map(id, LAYER_LOSSES.values()))
    assert run == set(map(id, LOSSES))


def test_widths_may_differ_where_rows_are_related(tmp_path: Path) -> None:
    """No projection is needed, and none is used."""
    sides = features(tmp_path, (ROWS, SIZE), (ROWS, SIZE - 2))
    config = {"strategy": "progressive", **HIDDEN, "batch_size": ROWS}
    config["progressive"] = {"layer_mapping": [[0, 0]], "loss": "linear_cka"}
    found = result(tmp_path / "c.yaml", config)
    rows = {side: x.tolist() for side, x in sides.items()}
    assert found["terms"]["hidden"] == pytest.approx(reference.linear_cka(**rows), rel=1e-9)
    config["losses"] = [{"name": "mse"}]
    assert "add a projection" in distill("score", written(tmp_path / "c.yaml", config)).err


def test_terms_are_those_of_the_short_forms(tmp_path: Path) -> None:
    """A list gives what the strategy's own keys give, and more in the same pass."""
    short = {"strategy": "response", **LOGITS, "response": {"alpha": 0.6}}
    own = result(tmp_path / "c.yaml", short)
    losses = [
        {"name": "kl", "as": "soft", "weight": 0.6},
        {"name": "cross_entropy", "as": "hard", "weight": 0.4},
        {"name": "kl", "as": "cold", "temperature": 0.5, "weight": 0},
        {"name": "mse", "weight": 0, "standardize": True},
    ]
    long = result(tmp_path / "c.yaml", {"strategy": "response", **LOGITS, "losses": losses})
    assert long["loss"] == own["loss"]
    assert {name: long["terms"][name] for name in ("soft", "hard")} == own["terms"]
    assert list(long["terms"]) == ["soft", "hard", "cold", "mse"]
    assert long["weights"] == {"soft": 0.6, "hard": 0.4, "cold": 0, "mse": 0}
    assert long["metrics"] == own["metrics"]
    both = result(tmp_path / "c.yaml", {**short, "losses": losses[2:]})
    assert both["terms"] == long["terms"]
    again = result(tmp_path / "d.yaml", long["facts"]["config"])
    assert again["terms"] == long["terms"]
    assert again["facts"]["config_sha256"] == long["facts"]["config_sha256"]


@pytest.mark.parametrize("combine", ["logits", "probabilities"])
def test_terms_of_an_ensemble(tmp_path: Path, combine: str) -> None:
    """Against the blend, at its temperature unless they say another."""
    config = {
        "strategy": "ensemble",
        "teachers": [f"{SAMPLE}teacher_{n}/logits" for n in "abc"],
        "student": LOGITS["student"],
        "labels": LOGITS["labels"],
        "ensemble": {"combine": combine, "temperature": 2.0},
    }
    own = result(tmp_path / "c.yaml", config)
    losses = [{"name": "kl", "weight": 0.7}, {"name": "cross_entropy", "weight": 0.3}]
    listed = result(
        tmp_path / "c.yaml", {**config, "losses": [*losses, {"name": "uld", "weight": 0}]}
    )
    assert listed["loss"] == own["loss"]
    assert list(listed["terms"]) == ["kl", "cross_entropy", "uld"]
    again = result(tmp_path / "d.yaml", listed["facts"]["config"])
    assert again["terms"] == listed["terms"]


RESPONSE = {"strategy": "response", **LOGITS}
BLEND = {
    "strategy": "ensemble",
    "teachers": [LOGITS["teacher"]],
    "student": LOGITS["student"],
    "labels": LOGITS["labels"],
}


@pytest.mark.parametrize(
    ("config", "temperature"),
    [
        (RESPONSE, 4),
        ({**RESPONSE, "response": {"alpha": 0.5}}, 4),
        ({**RESPONSE, "response": {"soft_loss": {"temperature": 2}}}, 2),
        ({**RESPONSE, "response": {"preset": "hinton"}}, 4),
        (BLEND, 4),
        ({**BLEND, "ensemble": {"temperature": 2}}, 2),
    ],
)
def test_a_term_has_the_temperature_of_the_strategy(
    tmp_path: Path, config: dict[str, Any], temperature: float
) -> None:
    """Where it says no other; the metrics' is the same."""
    losses = [{"name": "reverse_kl"}]
    losses += [{"name": "kl", "as": "cold", "temperature": 0.5, "weight": 0.5}]
    found = scored(tmp_path, {**config, "losses": losses})
    losses[0]["temperature"] = temperature
    assert scored(tmp_path, {**config, "losses": losses}).terms == found.terms
    assert found.facts["temperature"] == temperature
    assert found.facts["config"]["losses"][0]["temperature"] == temperature


@pytest.mark.parametrize(
    ("weights", "temperature"),
    [
        ((1, 2, 3), 3),
        ((0, 0.6, 1), 1),
        ((0.5, 0.2, 0.1), 2),
        ((1, 0, 1), 2),
        ((1, 1, 0), 1),
        ((0, 0, 0), 1),
    ],
)
def test_the_order_of_terms_changes_nothing(
    tmp_path: Path, weights: tuple[float, ...], temperature: float
) -> None:
    """Nor do the metrics, whose KL is at the temperature of the largest weight, or the lowest.

    A temperature that several terms have weighs as they do together.
    """
    losses: list[dict[str, Any]] = [
        {"name": "kl", "as": f"at_{t}", "temperature": t, "weight": weight}
        for t, weight in zip((2, 1, 3), weights, strict=True)
    ]
    losses.append({"name": "mse", "weight": 4})
    if weights == (0, 0.6, 1):
        losses.append({"name": "jsd", "temperature": 1, "weight": 0.6})
    base = tmp_path / "base.json"
    orders = [losses, losses[::-1], [*losses[2:], *losses[:2]]]
    results = [scored(tmp_path, {**RESPONSE, "losses": order}) for order in orders]
    for order, found in zip(orders, results, strict=True):
        assert found.facts["temperature"] == temperature
        assert (found.metrics, found.terms) == (results[0].metrics, results[0].terms)
        assert found.loss == pytest.approx(results[0].loss, rel=1e-14)
        path = written(tmp_path / "c.yaml", {**RESPONSE, "losses": order})
        update = () if base.exists() else ("--update-baseline",)
        done = distill("check", path, "--baseline", base, *update, "--format", "json")
        assert done.code == 0, done.err
    assert done.data["verdict"] == "pass"


def test_a_temperature_alone_is_that_of_the_list(tmp_path: Path) -> None:
    """With a name or weights, or nothing of logits in the list, the strategy's terms are there."""
    losses: list[dict[str, Any]] = [{"name": "reverse_kl"}, {"name": "mse", "weight": 0}]

    def names(response: dict[str, Any]) -> list[str]:
        return list(scored(tmp_path, {**RESPONSE, "losses": losses, "response": response}).terms)

    config = {**RESPONSE, "losses": losses, "response": {"soft_loss": {"temperature": 2}}}
    found = scored(tmp_path, config)
    assert list(found.terms) == ["reverse_kl", "mse"]
    told = found.facts
    assert (told["temperature"], told["config"]["losses"][0]["temperature"]) == (2, 2)
    assert told["config"]["response"] == {"soft_loss": {"temperature": 2}}
    again = scored(tmp_path, told["config"])
    assert (again.terms, again.facts["config_sha256"]) == (found.terms, told["config_sha256"])
    set_so = distill(
        *("score", written(tmp_path / "c.yaml", {**RESPONSE, "losses": losses})),
        *("--set", "response.soft_loss.temperature=2", "--format", "json", "--device", "cpu"),
    )
    assert set_so.data["terms"] == found.terms
    own = ["soft", "hard", "reverse_kl", "mse"]
    assert names({"soft_loss": {"temperature": 2, "name": "kl"}}) == own
    assert names({"soft_loss": {"temperature": 2}, "alpha": 0.7}) == own
    assert names({"soft_loss": {"temperature": 2}, "preset": "pure_kl"}) == [own[0], *own[2:]]
    hidden = {
        "strategy": "progressive",
        **LOGITS,
        "teacher_hidden": f"{SAMPLE}teacher_a/hidden",
        "student_hidden": f"{SAMPLE}student/hidden",
        "progressive": {"layer_mapping": [[1, 3]]},
        "response": config["response"],
        "losses": [{"name": "mse"}],
    }
    assert list(scored(tmp_path, hidden).terms) == ["soft", "hard", "mse"]
    hidden["losses"].append({"name": "kl"})
    assert list(scored(tmp_path, hidden).terms) == ["mse", "kl"]


@pytest.mark.parametrize(("name", "most"), [("tvd", 1.0), ("uld", 2.0)])
def test_distances_keep_their_bound(tmp_path: Path, name: str, most: float) -> None:
    """The factor T^2 is there only where it is asked for, and the report says so."""
    saved(tmp_path, t=[[9.0, 0.0], [0.0, 99.0]], s=[[0.0, 0.0], [99.0, 0.0]])
    config = {"strategy": "response", "teacher": "t.npy", "student": "s.npy"}
    entry = {"name": name, "temperature": 3.0}
    found = scored(tmp_path, {**config, "losses": [entry]})
    assert found.loss is not None
    assert 0 < found.loss <= most
    squared = scored(tmp_path, {**config, "losses": [{**entry, "temperature_squared": True}]})
    assert squared.loss == pytest.approx(9 * found.loss, rel=1e-14)
    told = [one.facts["conventions"].split(", ")[0] for one in (found, squared)]
    assert told[0].startswith(f"{name} = sum |")
    assert told[1].startswith(f"{name} = T^2 * sum |")


def test_weights_that_no_number_holds(tmp_path: Path) -> None:
    """A total beyond all numbers is told of as one that is not finite."""
    saved(tmp_path, t=np.ones((3, 2)) * 1e3, s=np.zeros((3, 2)))
    config = {"strategy": "response", "teacher": "t.npy", "student": "s.npy"}
    found = scored(tmp_path, {**config, "losses": [{"name": "mse", "weight": 1e308}]})
    assert (found.loss, found.terms, found.nonfinite) == (None, {"mse": 1e6}, {"loss": 3})


@pytest.mark.parametrize("name", ["mse", "huber", "rkd_distance"])
def test_raw_outputs_are_not_held_against_blended_probabilities(tmp_path: Path, name: str) -> None:
    """The blend of logits may be; that of probabilities is of another kind, on whatever side."""
    student, *others = np.random.default_rng(5).normal(size=(3, 30, 4))
    saved(tmp_path, s=student, a=others[0], b=others[1])
    config = {"strategy": "ensemble", "teachers": ["a.npy", "b.npy"], "student": "s.npy"}
    config |= {"batch_size": 10, "losses": [{"name": name}]}

    def ended(combine: str, **more: Any) -> Any:
        path = written(tmp_path / "c.yaml", {**config, **more, "ensemble": {"combine": combine}})
        return distill("score", path, "--device", "cpu", "--format", "json")

    mean = np.mean(others, axis=0)
    found = ended("logits")
    assert found.code == 0
    if name == "mse":
        assert found.data["loss"] == pytest.approx(((student - mean) ** 2).mean(), rel=1e-12)
    for combine in ("probabilities", "log_probabilities"):
        done = ended(combine)
        assert done.code == 2
        assert f"the blend with combine: {combine} holds log_probabilities: {name} ne" in done.err
        assert "take combine: logits" in done.err
    done = ended("logits", student={"path": "s.npy", "kind": "log_probabilities"})
    assert (done.code, f"holds log_probabilities: {name} needs logits of" in done.err) == (2, True)


def test_terms_of_a_progressive_run(tmp_path: Path) -> None:
    """Layers and logits; the same name on both has two names in the report."""
    config = {
        "strategy": "progressive",
        **LOGITS,
        "teacher_hidden": f"{SAMPLE}teacher_a/hidden",
        "student_hidden": f"{SAMPLE}student/hidden",
        "batch_size": 300,
        "progressive": {
            "layer_mapping": [[1, 3], [1, 3]],
            "loss": {"name": "smooth_l1", "beta": 0.5},
        },
        "losses": [
            {"name": "mse", "weight": 2},
            {"name": "mse", "as": "mse_of_logits", "on": "logits"},
            {"name": "linear_cka", "weight": 0.1},
            {"name": "dkd", "weight": 0},
        ],
    }
    found = result(tmp_path / "c.yaml", config)
    names = ["hidden", "mse", "mse_of_logits", "linear_cka", "dkd"]
    assert list(found["terms"]) == names
    assert [layer.get("term", "hidden") for layer in found["layers"]] == [
        name for name in (names[0], names[1], names[3]) for _ in range(2)
    ]
    total = sum(found["weights"][name] * found["terms"][name] for name in names)
    assert found["loss"] == pytest.approx(total, rel=1e-12)
    table = distill("score", tmp_path / "c.yaml", "--device", "cpu").out
    assert "mse_of_logits" in table


@pytest.mark.parametrize("command", ["score", "validate"])
def test_a_report_begins_with_all_temperatures(tmp_path: Path, command: str) -> None:
    """That of the metrics first, then those of the terms, each once and in order."""
    losses = [{"name": "kl", "temperature": t, "as": f"at_{t}"} for t in (4, 1, 2)]
    losses += [{"name": "mse"}, {"name": "jsd", "temperature": 1}]
    config = {"strategy": "response", **LOGITS, "losses": losses}
    path = written(tmp_path / "c.yaml", config)
    flags = ("--device", "cpu") if command == "score" else ()
    told = " ".join(distill(command, path, *flags).out.replace("\u00a0", " ").split())
    assert "T = 1, 4, 2 " in told
    config["losses"] = losses[:1]
    one = " ".join(distill(command, written(path, config), *flags).out.split())
    assert "T = 4" in one
    assert "T = 4, 1" not in one


def test_a_batch_is_computed_at_once(tmp_path: Path) -> None:
    """One value for each batch of the stated size, the total weighted by rows."""
    config = {"strategy": "response", **LOGITS, "batch_size": 200, "losses": [{"name": "pkt"}]}
    one, more = (result(tmp_path / "c.yaml", {**config, "threads": n}) for n in (1, 3))
    assert (one["loss"], one["batches"]) == (more["loss"], more["batches"])
    starts = [(batch["start"], batch["stop"]) for batch in one["batches"]]
    assert starts[-1] == (800, 899)
    alone = [
        result(tmp_path / "c.yaml", config, "--rows", f"{start}:{stop}") for start, stop in starts
    ]
    assert [x["loss"] for x in alone] == [batch["loss"] for batch in one["batches"]]
    weighted = sum(x["loss"] * x["rows"] for x in alone) / 899
    assert one["loss"] == pytest.approx(weighted, rel=1e-14)
    assert one["facts"]["related_rows"] == 200
    assert "in batches of 200 rows" in one["facts"]["conventions"]
    other = result(tmp_path / "c.yaml", {**config, "batch_size": 100})
    assert other["loss"] != one["loss"]


@pytest.mark.parametrize("name", ["rkd_distance", "rkd_angle", "nst", "linear_cka", "dist"])
def test_rows_that_do_not_count_relate_to_none(tmp_path: Path, name: str) -> None:
    """A batch with bad and masked rows has the loss of a batch without them."""
    chance = np.random.default_rng(1)
    teacher, student = chance.normal(size=(2, 12, 5))
    mask = np.ones(12, int)
    mask[[3, 7]] = 0
    keep = mask == 1
    keep[9] = False
    saved(tmp_path, t=teacher[keep], s=student[keep])
    config = {"strategy": "response", "teacher": "t.npy", "student": "s.npy", "batch_size": 12}
    config["losses"] = [{"name": name}]
    right = result(tmp_path / "c.yaml", config)
    teacher[9, 2] = student[3, 1] = np.nan
    saved(tmp_path, t=teacher, s=student)
    np.save(tmp_path / "m.npy", mask)
    found = result(tmp_path / "c.yaml", {**config, "mask": "m.npy", "on_bad_rows": "skip"})
    assert (found["rows"], found["rows_skipped"], found["rows_masked"]) == (9, 1, 2)
    assert found["loss"] == pytest.approx(right["loss"], rel=1e-14)


@pytest.mark.parametrize("command", ["score", "validate"])
@pytest.mark.parametrize("name", ["dist", "linear_cka", "rkd_angle", "pkt"])
def test_a_batch_with_too_few_rows_is_refused(tmp_path: Path, name: str, command: str) -> None:
    """Also one that is left over, before any work."""
    config = {"strategy": "response", **LOGITS, "losses": [{"name": name}]}
    least = LOSSES_BY_NAME[name].least_batch
    done = distill(command, written(tmp_path / "c.yaml", {**config, "batch_size": 1}))
    assert (done.code, f"too small for {name}, which needs {least}" in done.err) == (2, True)
    path = written(tmp_path / "c.yaml", {**config, "batch_size": 449})
    done = distill(command, path)
    problem = f"batch_size: leaves 1 for the last batch, and {name} needs {least} rows; "
    assert (done.code, problem in done.err) == (2, True)
    assert done.err.rstrip().endswith("--limit 898")
    assert "needs" in distill(command, path, "--limit", "1").err
    assert "; score more rows" in distill(command, path, "--limit", "1").err
    assert distill(command, path, "--limit", "898").code == 0


@pytest.mark.parametrize("name", ["dist", "linear_cka"])
def test_a_batch_of_which_too_few_rows_count_is_told(tmp_path: Path, name: str) -> None:
    """By its rows, where rows are masked or left out; none at all is as good as no batch."""
    teacher, student = np.random.default_rng(2).normal(size=(2, 12, 5))
    config = {"strategy": "response", "teacher": "t.npy", "student": "s.npy", "batch_size": 4}
    config |= {"losses": [{"name": name}], "mask": "m.npy", "on_bad_rows": "skip"}
    path = written(tmp_path / "c.yaml", config)

    def ended(mask: list[int], bad: list[int], *flags: str) -> Any:
        spoiled = student.copy()
        spoiled[bad] = np.nan
        saved(tmp_path, t=teacher, s=spoiled)
        np.save(tmp_path / "m.npy", mask)
        return distill("score", path, "--device", "cpu", *flags)

    least = LOSSES_BY_NAME[name].least_batch
    told = f"batch of rows 4 to 7: rows that count: 1 of 4, and {name} needs {least}; "
    for mask, bad in (([1] * 4 + [0, 0, 1, 0] + [1] * 4, []), ([1] * 12, [4, 5, 7])):
        done = ended(mask, bad)
        assert (done.code, told in done.err) == (2, True), done.err
    assert ended([1] * 4 + [0] * 4 + [1] * 4, []).code == 0
    assert ended([1] * 12, [4, 5, 6, 7]).code == 0
    done = ended([1] * 12, [4, 5, 7], "--set", "on_bad_rows=error")
    assert "row 4 and 2 more" in done.err


def test_check_refuses_another_batch_size(tmp_path: Path) -> None:
    """Where a loss relates the rows of a batch; it may be allowed. Elsewhere no figure changes."""
    config = {"strategy": "response", **LOGITS, "batch_size": 200}
    config["losses"] = [{"name": "pkt"}, {"name": "kl", "temperature": 1.0}]
    path, baseline = written(tmp_path / "c.yaml", config), tmp_path / "b.json"
    flags = ("check", path, "--baseline", baseline)
    assert distill(*flags, "--update-baseline").code == 0
    assert distill(*flags, "--fail-on", "pkt:0.1%").code == 0
    done = distill(*flags, "--batch-size", "100")
    assert done.code == 2
    assert "rows of a batch that losses relate 200, now 100" in done.err
    assert "--allow batch" in done.err
    assert distill(*flags, "--batch-size", "100", "--allow", "batch").code == 1
    done = distill(*flags, "--set", "losses.1.temperature=2.0")
    assert done.code == 2
    assert "losses.kl.temperature 1.0, now 2.0" in done.err


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_diff_calls_no_other_batches_better(tmp_path: Path, weight: float) -> None:
    """A relation of other batches has only changed, and with it the loss that it counts in."""
    config = {"strategy": "response", **LOGITS}
    config["losses"] = [{"name": "pkt", "weight": weight}, {"name": "kl", "temperature": 1.0}]

    def verdicts(size: int, student: str) -> dict[str, str]:
        for name, more in (("a", {"batch_size": 200}), ("b", {"batch_size": size})):
            side = LOGITS["student"] if name == "a" else student
            found = result(tmp_path / "c.yaml", {**config, **more, "student": side})
            (tmp_path / f"{name}.json").write_text(json.dumps(found))
        flags = ("--all", "--format", "json")
        done = distill("diff", tmp_path / "a.json", tmp_path / "b.json", *flags)
        assert done.code == 0, done.err
        return {row["name"]: row["verdict"] for row in done.data["numbers"]}

    other = f"{SAMPLE}teacher_b/logits"
    alike, apart = verdicts(200, other), verdicts(100, other)
    assert (alike["pkt"], alike["kl"], alike["loss"]) == ("better", "better", "better")
    assert (apart["pkt"], apart["kl"]) == ("reported", "better")
    assert apart["loss"] == ("reported" if weight else "better")


def test_a_batch_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    """Before any work, with the line of the batch size."""
    rows = 300_000
    saved(tmp_path, x=np.zeros((rows, 2), np.float32))
    config = {"strategy": "response", "teacher": "x.npy", "student": "x.npy", "batch_size": rows}
    config["losses"] = [{"name": "pkt"}]
    done = distill("score", written(tmp_path / "c.yaml", config))
    assert done.code == 2
    assert "batch_size: batches of 300,000 rows take about" in done.err
    assert "take a smaller batch_size" in done.err


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ([], "losses: must not be empty"),
        ([{"weight": 1}], "losses[0]: name is missing"),
        ([{"name": "kll"}], "losses[0].name: must be cross_entropy, kl, "),
        ([{"name": "rkd"}], "did you mean rkd_distance?"),
        ([{"name": "linear-cka"}], "did you mean linear_cka?"),
        ([{"name": "l1"}], "l1 compares hidden layers, and strategy response has none"),
        ([{"name": "kl", "on": "hidden"}], "losses[0].on: strategy response has no hidden layers"),
        ([{"name": "kl", "weight": -1}], "losses[0].weight: must be a finite number of at least 0"),
        ([{"name": "kl", "beta": 1}], "losses[0].beta: unknown key: kl has temperature, "),
        ([{"name": "kl"}, {"name": "kl"}], "losses[1].name: two terms are called kl; tell them"),
        ([{"name": "kl"}] * 3, "apart with as, like {name: kl, as: kl_3}"),
        ([{"name": "cka"}], "did you mean linear_cka?"),
        ([{"name": "kl", "as": "kl_mean"}], "losses[0].as: kl_mean is what another number"),
        ([{"name": "kl", "as": "a b"}], 'losses[0].as: "a b" is no name of a term'),
        ([{"name": "kl", "weight": 0}], "losses: all weights are 0"),
        ([{"name": "pkt"}], "losses[0]: pkt relates the rows of a batch, and batch_size is not"),
        ([{"name": "kl", "temperature": 0}], "losses[0].temperature: must be a number from 0.0001"),
    ],
)  # fmt: skip
def test_mistakes(tmp_path: Path, losses: list[dict[str, Any]], message: str) -> None:
    """Each is told with its line."""
    config = {"strategy": "response", **LOGITS, "losses": losses}
    done = distill("score", written(tmp_path / "c.yaml", config))
    assert done.code == 2
    assert any(message in line for line in done.errors), done.err
    assert done.errors[0].startswith(f"{tmp_path}/c.yaml:")


def test_mistakes_of_layers_and_labels(tmp_path: Path) -> None:
    """What a loss needs and the config does not have."""
    sides = features(tmp_path, (ROWS, SIZE))
    assert sides
    config = {"strategy": "progressive", **HIDDEN, "progressive": {"layer_mapping": [[0, 0]]}}

    def errors(losses: list[dict[str, Any]], **more: Any) -> str:
        path = written(tmp_path / "c.yaml", {**config, **more, "losses": losses})
        done = distill("score", path)
        assert done.code == 2
        return done.err

    assert "kl needs logits of teacher and student" in errors([{"name": "kl"}])
    assert "heads: is missing: minilm_relation needs it" in errors([{"name": "minilm_relation"}])
    logits = {"teacher": "teacher.npy", "student": "student.npy"}
    assert "dkd needs labels" in errors([{"name": "dkd"}], **logits)
    four = [{"name": "linear_cka_unbiased"}]
    assert "is too small for linear_cka_unbiased, which needs 4" in errors(four, batch_size=3)
    assert "leaves 2 for the last batch" in errors(four, batch_size=6)
    assert "--limit 18" in errors(four, batch_size=6)


def test_the_unbiased_one_may_pass_one(tmp_path: Path) -> None:
    """CKA below 0 is a loss above 1, in a report as in the data."""
    peers = json.loads((ROOT / "tests" / "cases" / "peer_vectors.json").read_text())
    saved(tmp_path, t=np.array(peers["teacher"]), s=np.array(peers["student"]))
    config = {"strategy": "response", "teacher": "t.npy", "student": "s.npy", "batch_size": 8}
    config["losses"] = [{"name": "linear_cka_unbiased"}]
    found = result(tmp_path / "c.yaml", config)
    assert found["loss"] == pytest.approx(1.43856648807733)
    assert found["nonfinite"] == {}


def test_soft_targets_take_no_relations(tmp_path: Path) -> None:
    """`ensemble` blends row by row."""
    config = {
        "strategy": "ensemble",
        "teachers": [f"{SAMPLE}teacher_{n}/logits" for n in "ab"],
        "student": LOGITS["student"],
        "batch_size": 100,
        "losses": [{"name": "pkt"}],
    }
    path = written(tmp_path / "c.yaml", config)
    done = distill("ensemble", path, "--output", tmp_path / "soft.h5")
    assert done.code == 2
    assert "pkt relates the rows of a batch, which is left to distill score" in done.err


@pytest.mark.parametrize("kernel", KERNELS)
def test_terms_at_several_temperatures_are_those_of_runs_of_their_own(
    tmp_path: Path, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel finds each at its own temperature; the plain functions have nothing left to do."""
    random = np.random.default_rng(0)
    for name in ("teacher", "student"):
        np.save(tmp_path / f"{name}.npy", random.standard_normal((300, 70)).astype(np.float32) * 3)
    config = {
        "strategy": "response",
        "kernel": kernel,
        "teacher": "teacher.npy",
        "student": "student.npy",
    }
    losses = [
        {"name": "kl", "temperature": 1.0, "as": "one"},
        {"name": "kl", "temperature": 4.0, "as": "four"},
        {"name": "reverse_kl", "temperature": 2.0},
        {"name": "mse"},
    ]
    apart = [scored(tmp_path, {**config, "losses": [loss]}) for loss in losses]

    def called(*arguments: object) -> None:
        pytest.fail("a divergence that no kernel has left")

    monkeypatch.setattr(scores, "kl", called)
    together = scored(tmp_path, {**config, "losses": losses})
    assert list(together.terms.values()) == [value for one in apart for value in one.terms.values()]
