"""A new loss is one function in a file of its family: all else follows from it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from runs import ROOT

# What somebody adds at the end of a file, by file.
ADDED = {
    "outputs.py": '''

@loss(
    LOGIT_LOSSES,
    family="logits",
    formula="n * 7",
    reference="Nobody (2001)",
    laws=("nonnegative",),
)
def seventh(*, teacher: Scores, student: Scores, n: Weight = 2.0) -> Array:
    """Always the same."""
    teacher, student = pair(teacher, student)
    return 7.0 * n + 0.0 * teacher.max
''',
    "relations.py": '''

@loss(
    RELATION_LOSSES,
    family="relations",
    formula="rows of the batch",
    reference="Nobody (2002)",
    laws=("nonnegative",),
    any_width=True,
    least_batch=1,
)
def company(*, teacher: Array, student: Array) -> Array:
    """How many rows there are."""
    return 0.0 * widen(teacher[:, 0]) + teacher.shape[0]
''',
    "sequences.py": '''

@loss(
    SEQUENCE_LOSSES,
    family="sequences",
    formula="positions of the sequence",
    reference="Nobody (2003)",
    laws=("nonnegative",),
    any_width=True,
)
def length(*, teacher: Array, student: Array) -> Array:
    """How many positions there are, for each of them."""
    return 0.0 * widen(teacher[:, :, 0]) + teacher.shape[1]
''',
    "features.py": '''

@loss(
    FEATURE_LOSSES,
    family="features",
    formula="width",
    reference="Nobody (2004)",
    laws=("nonnegative",),
)
def wide(*, teacher: Array, student: Array) -> Array:
    """How many dimensions there are."""
    return 0.0 * widen(teacher[:, 0]) + teacher.shape[1]
''',
}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the package that has a loss of each family more."""
    folder = tmp_path_factory.mktemp("new")
    shutil.copytree(ROOT / "distillcli", folder / "distillcli")
    for name, text in ADDED.items():
        with open(folder / "distillcli" / "losses" / name, "a", encoding="utf-8") as file:
            file.write(text)
    return folder


def run(package: Path, *command: str) -> str:
    """What a command prints that runs on the copy."""
    done = subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "PYTHONPATH": f"{package}{os.pathsep}{ROOT / 'tests'}"},
        cwd=package,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def distill(package: Path, *arguments: str) -> str:
    return run(package, "-m", "distillcli", *arguments)


def test_it_runs_by_its_name(package: Path) -> None:
    """As the soft loss and in the list, with its parameters, and says what it is."""
    common = (
        "score",
        str(ROOT / "configs" / "response.yaml"),
        "--device",
        "cpu",
        "--format",
        "json",
    )
    loss = "response.soft_loss={name: seventh, n: 3}"
    found = json.loads(distill(package, *common, "--set", loss))
    assert found["terms"]["soft"] == 21
    assert "soft (n = 3) = n * 7; " in found["facts"]["conventions"]
    losses = "losses=[{name: company, weight: 1}]"
    found = json.loads(distill(package, *common, "--set", losses, "--batch-size", "400"))
    assert found["terms"]["company"] == pytest.approx((400**2 * 2 + 99**2) / 899)


def test_it_runs_between_layers(package: Path) -> None:
    """On whole sequences too, of which it is given the positions that count."""
    for name in ("t", "s"):
        np.save(package / f"{name}.npy", np.ones((4, 6, 3)))
    np.save(package / "mask.npy", np.arange(6) < np.array([[6], [2], [3], [0]]))
    config = {
        "strategy": "progressive",
        "teacher_hidden": ["t.npy"],
        "student_hidden": ["s.npy"],
        "mask": "mask.npy",
        "device": "cpu",
        "progressive": {"layer_mapping": [[0, 0]]},
        "losses": [{"name": "length"}, {"name": "wide"}],
    }
    (package / "c.yaml").write_text(json.dumps(config))
    found = json.loads(distill(package, "score", "c.yaml", "--format", "json"))
    assert found["rows"] == 11
    assert found["terms"] == {"length": pytest.approx((36 + 4 + 9) / 11), "wide": 3}


def test_the_schema_and_the_table_have_it(package: Path) -> None:
    """Without a word about it elsewhere."""
    schema = distill(package, "schema")
    for name in ("seventh", "company", "length", "wide"):
        assert f'"const": "{name}"' in schema
    table = run(package, "-c", "import readme; print(readme.loss_table())")
    assert "| `seventh` | logits | n * 7 | `n` 2 | Nobody (2001) |" in table
    assert "| `company` | relations | rows of the batch |  | Nobody (2002) |" in table


def test_it_is_missed_without_a_reference(package: Path) -> None:
    """The one other place that a loss must be entered in; the laws it declares need no entry."""
    script = "import test_losses as t; t.test_every_loss_has_a_reference()"
    with pytest.raises(AssertionError, match="test_every_loss_has_a_reference"):
        run(package, "-c", script)
    laws = "import test_laws as t; print([p for p in t.declaring('nonnegative').args[1]])"
    found = run(package, "-c", laws)
    assert all(f"name='{name}'" in found for name in ("seventh", "length", "wide"))
