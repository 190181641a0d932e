"""The plan of a run says what the run then does, and refuses what the run would refuse."""

import gc
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import ROOT, distill, saved, scored, silent, written

from distillcli.commands.score import score
from distillcli.commands.strategy import CATALOGUE
from distillcli.commands.validate import validate
from distillcli.config import Config, from_data
from distillcli.errors import DistillError
from distillcli.formats.npy import MAGIC
from distillcli.planning.memory import PROGRAM
from distillcli.planning.plan import Plan
from distillcli.strategy.selection import Selection

SAMPLE = {
    "teacher": "teacher_a.npy",
    "student": "student.npy",
    "labels": "labels.npy",
}
RESPONSE: dict[str, Any] = {"strategy": "response", **SAMPLE}
ENSEMBLE: dict[str, Any] = {
    "strategy": "ensemble",
    "teachers": ["teacher_a.npy", "teacher_b.npy"],
    "student": "student.npy",
    "labels": "labels.npy",
}
PROGRESSIVE: dict[str, Any] = {
    "strategy": "progressive",
    "teacher_hidden": "digits.h5::teacher_a/hidden",
    "student_hidden": "digits.h5::student/hidden",
}


def hidden(**section: Any) -> dict[str, Any]:
    return {**PROGRESSIVE, "progressive": {"layer_mapping": [[0, 1], [1, 3]], **section}}


def ensemble(**section: Any) -> dict[str, Any]:
    return {**ENSEMBLE, "ensemble": {"combine": "probabilities", **section}}


def checked(data: dict[str, Any], folder: Path = ROOT / "sample_data") -> Config:
    return from_data({"device": "cpu", **data}, base=folder, catalogue=CATALOGUE, where="test")


RUNS = {
    "response": RESPONSE,
    "no labels": {**RESPONSE, "labels": None},
    "float64 in batches": {**RESPONSE, "precision": "float64", "batch_size": 100, "threads": 3},
    "some metrics": {**RESPONSE, "labels": None, "metrics": ["kl_mean", "student_accuracy"]},
    "no metrics": {**RESPONSE, "metrics": "none"},
    "groups": {**RESPONSE, "groups": "labels"},
    "mse": {**RESPONSE, "response": {"soft_loss": {"name": "mse"}}},
    "ensemble": ensemble(),
    "by accuracy": ensemble(weights="accuracy"),
    "by accuracy on a part": ensemble(weights="accuracy", fit_rows=0.3),
    "by confidence": ensemble(weights="confidence"),
    "fitted weights": ensemble(weights="fit"),
    "chosen per row": ensemble(weights="confidence_per_row"),
    "given weights": ensemble(weights=[1, 3]),
    "drawn projection": hidden(projection={"init": "xavier_uniform"}),
    "fitted projection": hidden(projection={"init": "least_squares"}),
    "no projection needed": hidden(layer_mapping=[[1, 3]]),
}


@pytest.mark.parametrize("rows", [Selection(), Selection(start=100, stop=700, limit=500)])
@pytest.mark.parametrize("name", RUNS)
def test_the_run_does_what_the_plan_says(name: str, rows: Selection) -> None:
    """Passes with their rows and bytes, the cut, the device, terms, metrics and inputs."""
    told: list[tuple[str, int, int]] = []

    @contextmanager
    def watch(label: str, count: int, size: int) -> Iterator[Any]:
        told.append((label, count, size))
        with silent(label, count, size) as progress:
            yield progress

    config = checked(RUNS[name])
    result = score(config, progress=watch, note=lambda text: None, selection=rows)
    plan = validate(config, selection=rows)
    run, facts = plan.run, result.facts
    assert run is not None
    assert [(one.label, one.rows, one.bytes) for one in run.passes] == told
    assert (run.rows, list(run.row_range)) == (result.rows, facts["row_range"])
    assert (run.batch_size, run.batches) == (facts["batch_size"], len(result.batches))
    assert run.weights == result.weights
    assert set(run.metrics) == set(result.metrics)
    assert plan.config == facts["config"]
    assert plan.config_sha256 == facts["config_sha256"]
    same = ("device", "kernel", "precision", "threads", "classes", "losses", "conventions",
            "temperature", "unavailable", "rows_stored")  # fmt: skip
    assert {key: getattr(run, key) for key in same} == {key: facts[key] for key in same}
    for planned, used in zip(run.inputs, facts["inputs"], strict=True):
        keys = set(planned) - {"bytes"}
        assert {key: planned[key] for key in keys} == {key: used[key] for key in keys}
    if result.layers is not None:
        assert run.layers is not None
        assert [(one.student, one.teacher, one.weight) for one in run.layers] == [
            (one.student, one.teacher, one.weight) for one in result.layers
        ]


@pytest.fixture
def dumps(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    logits = random.normal(size=(40, 6))
    saved(
        tmp_path, teacher=logits, student=logits, labels=logits.argmax(axis=1), short=logits[:-1],
        narrow=logits[:, :-1], wide=random.normal(size=(40, 8)), matrix=np.eye(6),
        shares=np.full((40, 6), 1 / 6),
    )  # fmt: skip
    return tmp_path


PAIR = {"strategy": "response", "teacher": "teacher.npy", "student": "student.npy"}
LAYERS = {
    "strategy": "progressive",
    "teacher_hidden": ["wide.npy"],
    "student_hidden": ["student.npy"],
}
REFUSED = {
    "no file": {**PAIR, "student": "gone.npy"},
    "rows differ": {**PAIR, "student": "short.npy"},
    "classes differ": {**PAIR, "student": "narrow.npy"},
    "labels are no integers": {**PAIR, "labels": "student.npy"},
    "kinds differ": {
        **PAIR,
        "teacher": {"path": "shares.npy", "kind": "probabilities"},
        "response": {"soft_loss": {"name": "mse"}},
    },
    "no such layer": {**LAYERS, "progressive": {"layer_mapping": [[0, 1]]}},
    "widths differ": {**LAYERS, "progressive": {"layer_mapping": [[0, 0]]}},
    "a matrix that does not fit": {
        **LAYERS,
        "progressive": {"layer_mapping": [[0, 0]], "projection": {"path": "matrix.npy"}},
    },
    "no matrix": {
        **LAYERS,
        "progressive": {"layer_mapping": [[0, 0]], "projection": {"path": "gone.npy"}},
    },
    "no device": {**PAIR, "device": "cuda:99"},
    "two at once": {**PAIR, "student": "gone.npy", "labels": "lost.npy"},
    "three of four": {**PAIR, "teacher": "gone.npy", "student": "short.npy", "groups": "wide.npy"},
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_refuses_what_the_run_refuses_in_the_same_words(name: str, dumps: Path) -> None:
    """Whatever the headers tell."""
    with pytest.raises(DistillError) as planned:
        validate(checked(REFUSED[name], dumps))
    with pytest.raises(DistillError) as run:
        scored(dumps, REFUSED[name])
    assert str(planned.value) == str(run.value)
    assert planned.value.exit_code == run.value.exit_code


def test_all_mistakes_are_told_at_once(dumps: Path) -> None:
    """One line on stderr for each, exit code 2, and nothing on stdout."""
    config = written(
        dumps / "c.yaml",
        {**PAIR, "student": "gone.npy", "labels": "lost.npy", "groups": "short.npy"},
    )
    ended = distill("validate", config)
    assert (ended.code, ended.out) == (2, "")
    assert [line.split()[0] for line in ended.errors] == ["student", "labels", "groups"]
    assert all(
        name in line for name, line in zip(("gone", "lost", "short"), ended.errors, strict=True)
    )


def test_rows_of_a_missing_file_do_not_hide_those_that_differ(dumps: Path) -> None:
    """What can be opened is held against each other all the same."""
    with pytest.raises(DistillError, match="gone.npy") as caught:
        validate(checked({**PAIR, "labels": "gone.npy", "student": "short.npy"}, dumps))
    assert "39 rows, teacher has 40" in str(caught.value)


def test_a_dump_larger_than_any_memory_is_planned_at_once(tmp_path: Path) -> None:
    """Headers and a few rows are read, nothing more: 40 GB that take no room on the disk."""
    shape = (1_000_000, 10_000)
    header = repr({"descr": "<f4", "fortran_order": False, "shape": shape}).ljust(117) + "\n"
    for name in ("teacher.npy", "student.npy"):
        with open(tmp_path / name, "wb") as file:
            file.write(MAGIC + b"\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
            file.truncate(file.tell() + shape[0] * shape[1] * 4)
    run = validate(checked(PAIR, tmp_path)).run
    assert run is not None
    assert run.bytes_to_read == 80_000_000_000
    assert run.memory_bytes < 400_000_000


def test_probabilities_that_are_called_logits_are_remarked(dumps: Path) -> None:
    """As the run remarks it."""
    notes: list[str] = []
    data = {**PAIR, "teacher": "shares.npy"}
    scored(dumps, data, notes)
    plan = validate(checked(data, dumps))
    assert [note for note in plan.notes if "looks like probabilities" in note] == notes
    assert notes


LARGE = {
    "many rows": ((300_000, 10), {}),
    "many classes": ((600, 20_000), {}),
    "many classes, jsd": ((600, 20_000), {"response": {"soft_loss": {"name": "jsd"}}}),
    "float64": ((600, 20_000), {"precision": "float64"}),
    "threads": ((600, 20_000), {"threads": 4}),
}


def peak_of(folder: Path, data: dict[str, Any]) -> int:
    """The most memory that Python and NumPy held at once, without the help of the collector."""
    scored(folder, data)  # what is loaded at the first run is the program's
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        scored(folder, data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        gc.enable()


def planned_memory(plan: Plan) -> int:
    assert plan.run is not None
    compilers = [part.bytes for part in plan.run.memory if part.name == "compiler"]
    return plan.run.memory_bytes - PROGRAM - sum(compilers)


@pytest.mark.parametrize("name", LARGE)
def test_the_memory_planned_is_enough_and_not_far_off(name: str, tmp_path: Path) -> None:
    """What a run holds at once stays below the plan, and the plan below four times that."""
    shape, more = LARGE[name]
    random = np.random.default_rng(0)
    logits = random.normal(size=shape).astype("f4")
    saved(tmp_path, "float32", teacher=logits, student=logits + random.normal(size=shape))
    data = {**PAIR, "threads": 2, **more}
    peak, planned = peak_of(tmp_path, data), planned_memory(validate(checked(data, tmp_path)))
    assert peak < planned < 4 * peak


def test_the_memory_of_a_fit_is_planned(tmp_path: Path) -> None:
    """Its products are what takes most."""
    random = np.random.default_rng(0)
    saved(tmp_path, "float32", wide=random.normal(size=(9000, 700)),
          student=random.normal(size=(9000, 500)))  # fmt: skip
    projection = {"init": "least_squares"}
    data = {**LAYERS, "progressive": {"layer_mapping": [[0, 0]], "projection": projection}}
    peak, planned = peak_of(tmp_path, data), planned_memory(validate(checked(data, tmp_path)))
    assert peak < planned < 4 * peak


def test_the_table_and_the_json_say_the_same(dumps: Path) -> None:
    """Rows, bytes and memory, in both forms, with the options of score."""
    config = written(dumps / "c.yaml", PAIR)
    options = ("--limit", "30", "--set", "response.soft_loss.temperature=2", "--threads", "3")
    data = distill("validate", config, "--format", "json", *options).data
    assert data["schema"] == "distillcli.plan/1"
    assert (data["rows"], data["threads"], data["temperature"]) == (30, 3, 2.0)
    assert data["bytes_to_read"] == 30 * 2 * 6 * 8
    assert data["memory_bytes"] == sum(part["bytes"] for part in data["memory"])
    assert data["metrics"]
    assert set(data["unavailable"].values()) == {"needs labels"}
    table = distill("validate", config, *options)
    assert (table.code, table.err) == (0, "")
    assert "rows 0:30 of 40, 30 rows of 6 classes in 1 batch" in table.out
    assert "T = 2" in table.out
    assert "2.88 kB" in table.out
    assert "left out" in table.out


def test_the_config_alone_needs_no_input_and_no_numpy(tmp_path: Path) -> None:
    """Neither is looked at, so it works before there are dumps."""
    config = written(tmp_path / "c.yaml", {**PAIR, "batch_size": 7})
    code = (
        "import sys; from distillcli.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print([name for name in ('numpy', 'h5py', 'cupy') if name in sys.modules])"
    )
    for form in ("table", "json"):
        done = subprocess.run(
            [sys.executable, "-c", code, "validate", config, "--config-only", "--format", form],
            capture_output=True,
            text=True,
            check=True,
        )
        assert "batch_size" in done.stdout
        assert done.stdout.splitlines()[-1] == "[]"


def test_the_config_alone_shows_every_value_in_force(tmp_path: Path) -> None:
    """Under the keys that --set takes, what is set included."""
    config = written(tmp_path / "c.yaml", PAIR)
    ended = distill("validate", config, "--config-only", "--set", "response.soft_loss.name=jsd")
    lines = dict(line.split(None, 1) for line in ended.out.splitlines() if line)
    assert lines["response.soft_loss.name"] == "jsd"
    assert lines["response.soft_loss.beta"] == "0.5"
    assert lines["teacher"] == "teacher.npy"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "csv"], "--format: no format 'csv'; one of table, json"),
        (["--rows", "10:50"], "--rows: 10:50 is outside the input, which has 40 rows"),
        (["--set", "alpha"], "--set alpha: has no ="),
        (["--set", "respons.alpha=1"], "--set respons.alpha=1: respons: unknown key"),
    ],
)
def test_a_wrong_option_is_named(arguments: list[str], message: str, dumps: Path) -> None:
    """With exit code 2 and nothing on stdout."""
    ended = distill("validate", written(dumps / "c.yaml", PAIR), *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err


def test_a_device_that_is_not_there_ends_as_score_ends(dumps: Path) -> None:
    """With exit code 3."""
    assert distill("validate", written(dumps / "c.yaml", PAIR), "--device", "cuda:99").code == 3
