"""Layers that are sequences: losses that keep their positions together, alone and beside others."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from runs import distill, saved, scored, written

from distillcli.backend import choose
from distillcli.batches import grid
from distillcli.batches.grid import Grid
from distillcli.batches.tiles import Tile
from distillcli.losses import LAYER_LOSSES

SEQUENCES, POSITIONS, CLASSES = 7, 5, 3
LENGTHS = np.array([5, 2, 4, 1, 5, 0, 3])  # how many positions of each sequence are no padding
REAL = np.arange(POSITIONS) < LENGTHS[:, None]
ROWS, SIZE = 20, 6
STACKED = {"teacher_hidden": "teacher.npy", "student_hidden": "student.npy"}
HIDDEN = {"teacher_hidden": ["teacher.npy"], "student_hidden": ["student.npy"]}
LAYERS = {"strategy": "progressive", **HIDDEN, "progressive": {"layer_mapping": [[0, 0]]}}
TERMS = [
    {"name": "attention", "weight": 0.1},
    {"name": "minilm_relation", "heads": 5, "weight": 2.0},
    {"name": "mse", "on": "hidden"},
]
OF_SEQUENCES = ("attention", "minilm_relation")
LOGITS = {"teacher": "t.npy", "student": "s.npy"}

Config = dict[str, Any]


def normal(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).normal(size=shape)


def features(folder: Path, shape: tuple[int, ...], other: tuple[int, ...] | None = None) -> Any:
    """Hidden states of a teacher and a student, saved and returned."""
    sides = {"teacher": normal(1, *shape), "student": normal(2, *(other or shape))}
    saved(folder, **sides)
    return sides


def result(path: Path, config: Config, *flags: str) -> Any:
    done = distill("score", written(path, config), "--device", "cpu", "--format", "json", *flags)
    assert done.code == 0, done.err
    return done.data


def refused(path: Path, config: Config, *flags: str) -> str:
    """The one line, which `score` and `validate` tell alike."""
    errors = [distill(command, written(path, config), *flags) for command in ("score", "validate")]
    assert [done.code for done in errors] == [2, 2], errors[0].err
    assert errors[0].errors == errors[1].errors
    (error,) = errors[0].errors
    return error


def of_sequence(name: str, teacher: Any, student: Any) -> float:
    """The loss of a sequence, of its positions that count."""
    more = {"heads": 5} if name == "minilm_relation" else {}
    slow: float = getattr(reference, name)(
        teacher=teacher.tolist(), student=student.tolist(), **more
    )
    return slow


def expected(name: str, sides: dict[str, Any], keep: Any) -> float:
    """The mean over the positions that count, of sequences without the others."""
    found = []
    for teacher, student, kept in zip(sides["teacher"], sides["student"], keep, strict=True):
        teacher, student = teacher[kept], student[kept]
        if name == "mse":
            found += [
                reference.mse(teacher=t.tolist(), student=s.tolist())
                for t, s in zip(teacher, student, strict=True)
            ]
        elif kept.any():
            if name == "attention":
                teacher, student = teacher[:, kept], student[:, kept]
            found += [of_sequence(name, teacher, student)] * int(kept.sum())
    return reference.mean(found)


def test_a_sequence_is_a_row(tmp_path: Path) -> None:
    """Where a loss keeps positions together, in each form that layers are saved in."""
    features(tmp_path, (3, ROWS, 4, SIZE))
    loss = {"name": "minilm_relation", "heads": 3}
    config = {"strategy": "progressive", **STACKED}
    config["progressive"] = {"layer_mapping": [[0, 0], [2, 1]], "loss": loss}
    stacked = result(tmp_path / "c.yaml", config)
    assert stacked["rows"] == ROWS
    layers = np.load(tmp_path / "teacher.npy"), np.load(tmp_path / "student.npy")
    saved(tmp_path, **{f"t{n}": x for n, x in enumerate(layers[0])})
    saved(tmp_path, **{f"s{n}": x for n, x in enumerate(layers[1])})
    listed = {
        f"{side}_hidden": [f"{side[0]}{n}.npy" for n in range(3)] for side in ("teacher", "student")
    }
    assert result(tmp_path / "c.yaml", config | listed)["loss"] == stacked["loss"]
    saved(tmp_path, flat=layers[0][0, :, 0])
    config |= {"teacher_hidden": ["flat.npy"], "student_hidden": ["s0.npy"]}
    config["progressive"]["layer_mapping"] = [[0, 0]]
    told = refused(tmp_path / "c.yaml", config)
    assert "flat.npy: has no positions, and minilm_relation compares sequences; save it" in told


@pytest.mark.parametrize("command", ["score", "validate"])
def test_sequences_that_do_not_fit_each_other(tmp_path: Path, command: str) -> None:
    """Told from their shapes, with a projection or without; so are heads, by their line."""

    def ended(shape: tuple[int, ...], loss: Any, **more: Any) -> str:
        features(tmp_path, (5, 4, 6), shape)
        progressive = {"layer_mapping": [[0, 0]], "loss": loss, **more}
        config = {"strategy": "progressive", **HIDDEN, "progressive": progressive}
        done = distill(command, written(tmp_path / "c.yaml", config))
        assert done.code == 2, done.err
        return done.err

    for more in ({}, {"projection": {"init": "xavier_uniform", "seed": 0}}):
        error = ended((5, 4, 4), "attention", **more)
        assert "student.npy: is 4 x 4 a sequence, teacher layer 0 4 x 6; attention needs" in error
        assert "the same positions and width; no projection goes with maps" in error
        heads = {"name": "minilm_relation", "heads": 2}
        assert "minilm_relation needs the same positions; " in ended((5, 3, 6), heads, **more)
    heads["heads"] = 4
    error = ended((5, 4, 8), heads)
    assert "progressive.loss.heads: teacher_hidden[0] is 6 wide, which 4 heads do not" in error
    assert f"{tmp_path}/c.yaml:" in error


def test_terms_by_sequence_and_by_position_in_one_pass(tmp_path: Path) -> None:
    """Each is what it is alone; without rows left out that is the mean over the sequences."""
    sides = features(tmp_path, (SEQUENCES, POSITIONS, POSITIONS))
    t, s = normal(3, 2, SEQUENCES, POSITIONS, CLASSES)
    labels = np.random.default_rng(4).integers(0, CLASSES, (SEQUENCES, POSITIONS))
    saved(tmp_path, t=t, s=s, labels=labels)
    config = {**LAYERS, **LOGITS, "labels": "labels.npy", "losses": [*TERMS, {"name": "kl"}]}
    found = scored(tmp_path, config)
    assert found.rows == SEQUENCES * POSITIONS
    for term in TERMS:
        name = term["name"]
        right = expected(name, sides, np.ones((SEQUENCES, POSITIONS), bool))
        assert found.terms[name] == pytest.approx(right, rel=1e-12)
        alone = scored(tmp_path, {**LAYERS, "losses": [{**term, "weight": 1}]})
        assert alone.loss == pytest.approx(right, rel=1e-12)
        assert alone.rows == (SEQUENCES if name in OF_SEQUENCES else SEQUENCES * POSITIONS)
    rows = {"t": t.reshape(-1, CLASSES), "s": s.reshape(-1, CLASSES)}
    saved(tmp_path, **rows)
    alone = scored(tmp_path, {"strategy": "response", **LOGITS, "losses": [{"name": "kl"}]})
    assert found.terms["kl"] == alone.loss
    total = sum(found.weights[name] * value for name, value in found.terms.items())
    assert found.loss == pytest.approx(total, rel=1e-12)
    told = found.facts["conventions"].split("; ")
    names = "attention, minilm_relation"
    assert f"{names} within sequences, which weigh as many positions as count" in told


@pytest.mark.parametrize("by", ["mask", "skip_first", "labels", "bad rows"])
def test_positions_that_do_not_count_are_left_out(tmp_path: Path, by: str) -> None:
    """As if the sequences had been saved without them, whatever leaves them out."""
    sides = features(tmp_path, (SEQUENCES, POSITIONS, POSITIONS))
    keep, more = REAL, {}
    if by == "skip_first":
        keep, more = (
            np.broadcast_to(np.arange(POSITIONS) >= 2, REAL.shape),
            {"positions": {"skip_first": 2}},
        )
    else:
        spoiled = {side: np.where(REAL[:, :, None], x, np.nan) for side, x in sides.items()}
        saved(tmp_path, **spoiled, labels=np.where(REAL, 1, -100))
        np.save(tmp_path / "mask.npy", REAL)
        more = {
            "mask": {"mask": "mask.npy"},
            "labels": {"labels": "labels.npy"},
            "bad rows": {"on_bad_rows": "skip"},
        }[by]
    found = scored(tmp_path, {**LAYERS, **more, "losses": TERMS})
    left_out = found.rows_skipped if by == "bad rows" else found.rows_masked
    assert (found.rows, left_out) == (keep.sum(), (~keep).sum())
    for name in found.terms:
        assert found.terms[name] == pytest.approx(expected(name, sides, keep), rel=1e-12)
    assert not found.nonfinite


def test_a_mask_of_positions_and_one_of_sequences(tmp_path: Path) -> None:
    """Beside losses on whole sequences alone, one makes rows of positions, the other of those."""
    sides = features(tmp_path, (SEQUENCES, POSITIONS, POSITIONS))
    whole = np.arange(SEQUENCES) % 3 > 0
    for name in OF_SEQUENCES:
        more = {"heads": 5} if name == "minilm_relation" else {}
        config = {**LAYERS, "losses": [{"name": name, **more}], "mask": "mask.npy"}
        for mask, rows in ((whole, whole.sum()), (REAL, REAL.sum())):
            np.save(tmp_path / "mask.npy", mask)
            found = scored(tmp_path, config)
            keep = np.broadcast_to(mask.reshape(SEQUENCES, -1), REAL.shape)
            assert found.rows == rows
            assert found.loss == pytest.approx(expected(name, sides, keep), rel=1e-12)


@pytest.mark.parametrize("projection", [None, "drawn", "fitted"])
def test_a_row_for_each_sequence(tmp_path: Path, projection: str | None) -> None:
    """Logits of whole sequences make rows of these: losses of positions have their mean there."""
    width = POSITIONS if projection is None else 4
    sides = features(tmp_path, (SEQUENCES, POSITIONS, POSITIONS), (SEQUENCES, POSITIONS, width))
    t, s = normal(3, 2, SEQUENCES, CLASSES)
    saved(tmp_path, t=t, s=s)
    losses = [{"name": "minilm_relation", "heads": 1}, {"name": "mse", "on": "hidden"}]
    chosen = {"drawn": {"init": "xavier_uniform", "seed": 3}, "fitted": {"init": "least_squares"}}
    layers = {
        "layer_mapping": [[0, 0]],
        **({"projection": chosen[projection]} if projection else {}),
    }
    config = {**LAYERS, "progressive": layers, "losses": losses}
    by_position = scored(tmp_path, config)
    found = scored(tmp_path, {**config, **LOGITS, "losses": [*losses, {"name": "kl"}]})
    assert (by_position.rows, found.rows) == (SEQUENCES * POSITIONS, SEQUENCES)
    for name in ("minilm_relation", "mse"):
        assert found.terms[name] == pytest.approx(by_position.terms[name], rel=1e-12)
    alone = scored(tmp_path, {"strategy": "response", **LOGITS, "losses": [{"name": "kl"}]})
    assert found.terms["kl"] == alone.loss
    told = found.facts["conventions"].split("; ")
    assert "mse averaged over the positions of a sequence" in told
    if projection is None:
        whole = np.ones(REAL.shape, bool)
        assert found.terms["mse"] == pytest.approx(expected("mse", sides, whole), rel=1e-12)


@pytest.mark.parametrize("projection", [None, "fitted"])
def test_padding_beside_logits_of_whole_sequences(tmp_path: Path, projection: str | None) -> None:
    """A mask of positions leaves these out of what is compared of layers; a row is a sequence."""
    width = POSITIONS if projection is None else 4
    sides = features(tmp_path, (SEQUENCES, POSITIONS, POSITIONS), (SEQUENCES, POSITIONS, width))
    saved(tmp_path, t=normal(3, SEQUENCES, CLASSES), s=normal(4, SEQUENCES, CLASSES))
    np.save(tmp_path / "mask.npy", REAL)
    layers = {"layer_mapping": [[0, 0]], "projection": {"init": "least_squares"}}
    losses = [
        {"name": "minilm_relation", "heads": 1},
        {"name": "mse", "on": "hidden"},
        {"name": "kl"},
    ]
    losses += [] if projection else [{"name": "attention"}]
    config = {**LAYERS, **LOGITS, "progressive": layers, "losses": losses, "mask": "mask.npy"}
    clean = scored(tmp_path, config)
    spoiled = {side: np.where(REAL[:, :, None], x, np.nan) for side, x in sides.items()}
    saved(tmp_path, **spoiled)
    found = scored(tmp_path, config)
    assert found.terms == clean.terms
    assert (found.rows, found.rows_masked) == (6, 1)
    kept = LENGTHS > 0
    np.save(tmp_path / "m.npy", kept)
    response = {"strategy": "response", **LOGITS, "mask": "m.npy"}
    alone = scored(tmp_path, {**response, "losses": [{"name": "kl"}]})
    assert found.terms["kl"] == alone.loss
    pairs = zip(spoiled["teacher"][kept], spoiled["student"][kept], REAL[kept], strict=True)
    one: dict[str, list[float]] = {"minilm_relation": [], "attention": [], "mse": []}
    for teacher, student, real in pairs:
        t, s = teacher[real], student[real]
        relation = {"teacher": t.tolist(), "student": s.tolist(), "heads": 1}
        one["minilm_relation"].append(reference.minilm_relation(**relation))
        if projection is None:
            one["attention"].append(of_sequence("attention", t[:, real], s[:, real]))
            one["mse"].append(float(((t - s) ** 2).mean()))
    if projection is not None:
        x, y = spoiled["student"][REAL], spoiled["teacher"][REAL]
        matrix = np.linalg.solve(x.T @ x + 1e-3 * np.eye(width), x.T @ y)
        for n in np.flatnonzero(kept):
            t, s = (spoiled[side][n][REAL[n]] for side in ("teacher", "student"))
            one["mse"].append(float(((s @ matrix - t) ** 2).mean()))
    for name in found.terms:
        if name != "kl":
            assert found.terms[name] == pytest.approx(np.mean(one[name]), rel=1e-10)
    skipped = scored(tmp_path, {**config, "mask": "m.npy", "on_bad_rows": "skip"})
    assert (skipped.rows, skipped.rows_skipped) == (2, 4)
    np.save(tmp_path / "mask.npy", REAL * 2)
    done = distill("score", written(tmp_path / "c.yaml", config), "--device", "cpu")
    assert "row 0: 2 is neither 0 nor 1" in done.err
    np.save(tmp_path / "mask.npy", REAL[:, :-1])
    told = distill("score", written(tmp_path / "c.yaml", config)).err
    assert "mask in" in told
    assert "28 rows (7 x 4)" in told


def test_pooled_layers_beside_sequences(tmp_path: Path) -> None:
    """A layer [rows, dim] has rows of its own, which are those of the sequences."""
    features(tmp_path, (SEQUENCES, POSITIONS, POSITIONS))
    t, s = normal(3, SEQUENCES, 4), normal(4, SEQUENCES, 4)
    saved(tmp_path, t=t, s=s)
    both = {side: [f"{side}.npy", f"{side[0]}.npy"] for side in ("teacher", "student")}
    config = {**LAYERS, "teacher_hidden": both["teacher"], "student_hidden": both["student"]}
    own = {"layer_mapping": [[1, 1]]}
    losses = [{"name": "attention"}, {"name": "mse", **own}, {"name": "nst", **own}]
    found = scored(tmp_path, {**config, "batch_size": SEQUENCES, "losses": losses})
    assert found.rows == SEQUENCES
    assert found.terms["mse"] == pytest.approx(((t - s) ** 2).mean(), rel=1e-12)
    right = reference.nst(teacher=t.tolist(), student=s.tolist())
    assert found.terms["nst"] == pytest.approx(right, rel=1e-9)
    assert "averaged" not in found.facts["conventions"]
    path = tmp_path / "c.yaml"
    told = refused(path, {**config, "losses": [{"name": "attention", **own}]})
    assert (
        "s.npy: has no positions, and attention compares sequences; save it as [rows, pos" in told
    )
    told = refused(
        path, {**config, "losses": [{"name": "mse", "layer_mapping": [[0, 1]]}, losses[0]]}
    )
    assert "is 5 x 5 a sequence, teacher layer 1 4; mse needs the same positions" in told


def test_what_is_by_position_beside_logits_of_whole_sequences(tmp_path: Path) -> None:
    """The way out is told."""
    features(tmp_path, (SEQUENCES, POSITIONS, POSITIONS))
    saved(tmp_path, t=normal(3, SEQUENCES, CLASSES), s=normal(4, SEQUENCES, CLASSES))
    config = {**LAYERS, **LOGITS, "losses": [{"name": "attention"}], "positions": {"skip_first": 1}}
    done = distill("score", written(tmp_path / "c.yaml", config))
    assert done.code == 2
    assert "a row of teacher is a whole sequence: save it by position, or leave out" in done.err


def test_layers_of_a_term_of_its_own(tmp_path: Path) -> None:
    """Attention maps and hidden states in one pass, each loss on those that it is for."""
    maps = {
        side: normal(seed, SEQUENCES, POSITIONS, POSITIONS) for side, seed in (("t", 1), ("s", 2))
    }
    states = {
        "t": normal(3, 2, SEQUENCES, POSITIONS, 4),
        "s": normal(4, 2, SEQUENCES, POSITIONS, 6),
    }
    files: dict[str, list[str]] = {}
    for side in "ts":
        layers = [*states[side], maps[side]]
        files[side] = [f"{side}{n}.npy" for n in range(3)]
        saved(tmp_path, **{f"{side}{n}": x for n, x in enumerate(layers)})
    layers = {"layer_mapping": [[0, 1], [1, 0]], "layer_weights": [3, 1]}
    layers["projection"] = {"init": "xavier_uniform", "seed": 1}
    config = {"strategy": "progressive", "teacher_hidden": files["t"], "student_hidden": files["s"]}
    config |= {"progressive": layers, "metrics": ["cka"]}
    own = {"name": "attention", "layer_mapping": [[2, 2]]}
    found = scored(tmp_path, {**config, "losses": [{"name": "mse"}, own]})
    hidden = scored(tmp_path, {**config, "losses": [{"name": "mse"}]})
    assert found.terms["mse"] == hidden.loss
    assert found.metrics == hidden.metrics
    right = expected("attention", {"teacher": maps["t"], "student": maps["s"]}, np.ones_like(REAL))
    assert found.terms["attention"] == pytest.approx(right, rel=1e-12)
    assert found.layers is not None
    pairs = [(one.term, one.student, one.teacher, one.weight) for one in found.layers]
    assert pairs == [("mse", 0, 1, 0.75), ("mse", 1, 0, 0.25), ("attention", 2, 2, 1.0)]
    again = scored(tmp_path, found.facts["config"])
    assert again.terms == found.terms
    path = written(tmp_path / "c.yaml", {**config, "losses": [{"name": "mse"}, own]})
    plan = distill("validate", path, "--format", "json").data["layers"]
    assert [(one["term"], one["student"], one["teacher"], one["weight"]) for one in plan] == pairs
    assert "attention        2        2  1.0000        5        5" in distill("validate", path).out
    told = refused(tmp_path / "c.yaml", {**config, "losses": [{**own, "layer_mapping": [[2, 3]]}]})
    assert "losses[0].layer_mapping[0]: there is no layer 3 in teacher_hidden" in told
    del layers["projection"]
    more = {"name": "mse", "layer_mapping": [[2, 2], [0, 0]]}
    told = refused(tmp_path / "c.yaml", {**config, "losses": [own, more]})
    assert "losses[1].layer_mapping[1]: student layer 0 is 6 wide and teacher layer 0 is 4" in told


def test_pairs_of_the_strategy_are_needed_by_those_without_their_own(tmp_path: Path) -> None:
    """Terms, weights of layers, or nothing; CKA, which is of those pairs, is then not to be had."""
    sides = features(tmp_path, (ROWS, SIZE))
    own = {"name": "mse", "layer_mapping": [[0, 0]]}
    config = {"strategy": "progressive", **HIDDEN, "losses": [own], "metrics": ["cka"]}
    found = scored(tmp_path, config)
    assert found.loss == pytest.approx(((sides["teacher"] - sides["student"]) ** 2).mean())
    assert (found.metrics, list(found.facts["unavailable"])) == ({}, ["cka"])
    assert "needs a layer_mapping of progressive" in found.facts["unavailable"]["cka"]
    plan = distill("validate", written(tmp_path / "c.yaml", config), "--format", "json").data
    assert [(one["term"], one["student"], one["teacher"]) for one in plan["layers"]] == [
        ("mse", 0, 0)
    ]
    again = scored(tmp_path, found.facts["config"])
    assert (again.terms, again.facts["config_sha256"]) == (
        found.terms,
        found.facts["config_sha256"],
    )
    for more in (
        {"losses": [own, {"name": "l1"}]},
        {"progressive": {"loss": "mse"}},
        {"progressive": {"hidden_weight": 1}},
        {"progressive": {"layer_weights": [1]}},
        {"losses": None},
    ):
        assert "progressive.layer_mapping: is missing; write pairs [stu" in refused(
            tmp_path / "c.yaml", config | more
        )


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"name": "mse", "layer_mapping": [0, 1]}, "layer_mapping[0]: must be a pair [student lay"),
        ({"name": "mse", "layer_mapping": "all"}, "must be a list of pairs [student layer, teache"),
        ({"name": "mse", "wheight": 2}, "mse has sum; did you mean weight?"),
        ({"name": "mse", "layer_mapping": []}, "must be a list of pairs [student layer, teacher"),
        ({"name": "kl", "layer_mapping": [[0, 0]]}, "kl compares logits here, which have no layer"),
        (
            {"name": "mse", "layer_maping": [[0, 0]]},
            "mse has sum; did you mean layer_mapping?",
        ),
    ],
)
def test_layers_that_are_none(tmp_path: Path, entry: Config, message: str) -> None:
    """Each mistake is told with its line."""
    features(tmp_path, (SEQUENCES, POSITIONS, POSITIONS))
    saved(tmp_path, t=normal(1, 35, 3), s=normal(2, 35, 3))
    done = distill("score", written(tmp_path / "c.yaml", {**LAYERS, **LOGITS, "losses": [entry]}))
    assert done.code == 2
    assert any(message in line for line in done.errors), done.err


def test_no_cut_changes_a_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither batches nor threads, nor where tiles end; with rows that are left out."""
    sequences, positions = 400, 6
    sides = features(tmp_path, (sequences, positions, positions))
    keep = np.random.default_rng(8).random((sequences, positions)) < 0.8
    np.save(tmp_path / "mask.npy", keep)
    losses = [TERMS[0], {"name": "minilm_relation", "heads": 2}, TERMS[2]]
    config = {**LAYERS, "mask": "mask.npy", "losses": losses}
    path = tmp_path / "rows.npy"
    values = []
    for size, threads, rows in (("auto", 1, 16384), (7, 3, 16384), (1, 2, 100), (1000, 2, 7)):
        monkeypatch.setattr(grid, "TILE_ROWS", rows)
        config |= {"batch_size": size, "threads": threads}
        result(tmp_path / "c.yaml", config, "--per-row", str(path))
        values.append(np.load(path))
    for other in values[1:]:
        np.testing.assert_array_equal(values[0], other)
    np.testing.assert_array_equal(np.isnan(values[0]).reshape(keep.shape), ~keep)
    part = result(tmp_path / "c.yaml", config, "--rows", "600:1200", "--per-row", str(path))
    np.testing.assert_array_equal(np.load(path), values[0][600:1200])
    assert part["rows"] == keep[100:200].sum()
    weights = {"attention": 0.1, "minilm_relation": 1.0, "mse": 1.0}
    for row in (0, 7, 399):
        sides_of_it = {side: x[row : row + 1] for side, x in sides.items()}
        kept = keep[row]
        right = sum(
            weight * np.mean(
                LAYER_LOSSES[name].function(
                    **{
                        side: x[0][kept][:, kept][None] if name == "attention"
                        else x[:, kept] if name == "minilm_relation" else x[0][kept]
                        for side, x in sides_of_it.items()
                    },
                    **({"heads": 2} if name == "minilm_relation" else {}),
                )
            )
            for name, weight in weights.items()
        )  # fmt: skip
        own = values[0].reshape(keep.shape)[row]
        assert np.nanmean(own) == pytest.approx(right, rel=1e-12)


def test_what_is_told_of_rows(tmp_path: Path) -> None:
    """The worst rows and the groups are those of positions; groups may be one for a sequence."""
    sides = features(tmp_path, (SEQUENCES, POSITIONS, POSITIONS))
    sides["student"][3, 2] *= 50
    saved(tmp_path, **sides)
    np.save(tmp_path / "groups.npy", np.arange(SEQUENCES) // 4)
    config = {**LAYERS, "groups": "groups.npy", "losses": TERMS}
    found = result(tmp_path / "c.yaml", config, "--worst", "1")
    assert found["worst"][0]["row"] == 3 * POSITIONS + 2
    assert {one["group"]: one["rows"] for one in found["groups"]} == {0: 20, 1: 15}
    weighted = sum(one["loss"] * one["rows"] for one in found["groups"]) / 35
    assert found["loss"] == pytest.approx(weighted, rel=1e-12)


def test_rows_are_not_cut_inside_of_a_sequence(tmp_path: Path) -> None:
    """Each is told with what was asked, and with the nearest places to cut at."""
    features(tmp_path, (SEQUENCES, POSITIONS, POSITIONS))
    config = {**LAYERS, "losses": TERMS}
    path = tmp_path / "c.yaml"
    told = refused(path, config, "--rows", "3:10")
    assert told.startswith("--rows: row 3 is inside a sequence of 5 positions, which attention ")
    assert told.endswith("needs whole; cut at 0 or 5")
    assert "--rows: row 14 is inside a sequence" in refused(path, config, "--rows", "5:14")
    assert "--limit: row 12 is inside a sequence" in refused(path, config, "--limit", "12")
    assert result(path, config, "--rows", "5:", "--limit", "10")["rows"] == 10
    related = {**config, "losses": [*TERMS, {"name": "pkt"}], "batch_size": 12}
    told = refused(path, related)
    assert "batch_size: cuts sequences of 5 positions, which attention needs whole; take" in told
    assert told.endswith("a multiple of 5, like 10")
    assert len(result(path, related, "--batch-size", "15")["batches"]) == 3
    assert result(path, config, "--batch-size", "12")["rows"] == 35


def test_relations_of_whole_sequences_are_refused(tmp_path: Path) -> None:
    """Which rows they would relate is not clear."""
    features(tmp_path, (SEQUENCES, POSITIONS, POSITIONS))
    saved(tmp_path, t=normal(3, SEQUENCES, CLASSES), s=normal(4, SEQUENCES, CLASSES))
    config = {**LAYERS, **LOGITS, "batch_size": SEQUENCES}
    losses = [{"name": "attention"}, {"name": "rkd_distance", "on": "hidden"}]
    told = refused(tmp_path / "c.yaml", {**config, "losses": losses})
    assert "losses[1]: rkd_distance relates rows, and a row is a whole sequence" in told
    losses[1]["on"] = "logits"
    assert result(tmp_path / "c.yaml", {**config, "losses": losses})["rows"] == SEQUENCES


def test_maps_that_are_not_square(tmp_path: Path) -> None:
    """Hidden states have positions too, but no column for each; the way out is a pair of maps."""
    features(tmp_path, (SEQUENCES, POSITIONS, SIZE))
    attention: Config = {"name": "attention"}
    config = {**LAYERS, "losses": [attention, {"name": "mse"}]}
    told = refused(tmp_path / "c.yaml", config)
    assert "student.npy: is 5 x 6 a sequence, and attention compares maps, [rows, pos" in told
    assert told.endswith(
        "name layers that are maps; an entry of losses may have a layer_mapping of its own"
    )
    saved(tmp_path, maps=normal(3, SEQUENCES, POSITIONS, POSITIONS))
    config |= {f"{side}_hidden": [f"{side}.npy", "maps.npy"] for side in ("teacher", "student")}
    attention["layer_mapping"] = [[1, 1]]
    assert scored(tmp_path, config).terms["attention"] == 0


def test_tiles_hold_whole_sequences() -> None:
    """Of any length, on a CPU and on a GPU; halves too."""
    for together in (1, 3, 16, 1000):
        stop = 5000 - 5000 % together
        for device in (None, 4000):
            made = Grid.of(
                [_input(8)], first=0, stop=stop, itemsize=8, products=False,
                device_bytes=device, together=together,
            )  # fmt: skip
            cuts = [start for slab in made.slabs() for start, _ in made.tiles(*slab)]
            assert all(start % together == 0 for start in cuts)
            assert made.tile_rows % together == 0
    tile = Tile(48, 96, {}, lambda *_: np.zeros(0), "float64", choose("cpu"), 48)
    assert [(x.start, x.stop) for x in tile.halves(16)] == [(48, 64), (64, 96)]
    assert [(x.start, x.stop) for x in tile.halves()] == [(48, 72), (72, 96)]


def _input(width: int) -> Any:
    class Reader:
        row_bytes = 8 * width
        row_shape = (width,)

    class Item:
        reader = Reader()

    Item.width = width  # type: ignore[attr-defined]
    return Item()
