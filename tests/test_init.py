"""Starter configs: they run as printed, on the sample data or on files of the user's own."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from distillcli.cli.program import app
from distillcli.commands.init import init
from distillcli.commands.score import score
from distillcli.commands.strategy import from_file
from distillcli.config.explain import SECTIONS
from distillcli.config.models import OWNERS, STRATEGIES
from distillcli.errors import UsageError
from distillcli.report import Progress

ROOT = Path(__file__).parent.parent
CONFIGS = ROOT / "configs"


def written(folder: Path, text: str) -> Path:
    path = folder / "my.yaml"
    path.write_text(text, "utf-8")
    return path


def scored(path: Path) -> Any:
    def watch(label: str, rows: int, size: int) -> Progress:
        return Progress(rows, size, False)

    return score(from_file(path), progress=watch, note=lambda text: None)


@pytest.fixture
def dumps(tmp_path: Path) -> Path:
    """A folder with the three files of a newcomer, and hidden layers of two models."""
    random = np.random.default_rng(0)
    teacher = random.normal(size=(50, 7)).astype(np.float32)
    np.save(tmp_path / "teacher.npy", teacher)
    np.save(tmp_path / "my student.npy", teacher + np.float32(0.5))
    np.save(tmp_path / "labels.npy", teacher.argmax(axis=1))
    np.save(tmp_path / "h.npy", random.normal(size=(4, 50, 6)).astype(np.float32))
    return tmp_path


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_configs_are_what_init_prints_beside_them(strategy: str) -> None:
    """`cd configs && distill init NAME > NAME.yaml` writes them: there is one source."""
    assert (CONFIGS / f"{strategy}.yaml").read_text("utf-8") == init(strategy, {}, folder=CONFIGS)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("below", ["", "a", "a/b"])
def test_it_runs_on_the_sample_data_as_it_stands(strategy: str, below: str, tmp_path: Path) -> None:
    """In the repository's folder and in any below it."""
    (tmp_path / "sample_data").symlink_to(ROOT / "sample_data")
    folder = tmp_path / below
    folder.mkdir(parents=True, exist_ok=True)
    mine = scored(written(folder, init(strategy, {}, folder=folder)))
    assert mine.loss == scored(CONFIGS / f"{strategy}.yaml").loss


def test_without_the_sample_data_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The config comes all the same, the remark goes to stderr, and --quiet leaves it out."""
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["init", "response"])
    assert done.exit_code == 0
    assert done.stdout.startswith("# One teacher")
    assert done.stderr.count("\n") == 1
    assert "--teacher FILE" in done.stderr
    assert CliRunner().invoke(app, ["init", "response", "--quiet"]).stderr == ""


def test_the_modeline_is_there_where_the_schema_is(tmp_path: Path) -> None:
    """An editor is not sent to a file that is not there."""
    assert "yaml-language-server" not in init("response", {}, folder=tmp_path)
    (tmp_path / "distill.schema.json").write_text("{}")
    assert init("response", {}, folder=tmp_path).startswith("# yaml-language-server: $schema=")


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("strategy", ["response", "ensemble"])
def test_own_files_run_as_printed(strategy: str, labels: bool, dumps: Path) -> None:
    """With labels or without: the weights of the loss fit."""
    own = {"teacher": ["teacher.npy"], "student": ["my student.npy"]}
    text = init(strategy, {**own, **({"labels": ["labels.npy"]} if labels else {})}, folder=dumps)
    result = scored(written(dumps, text))
    assert result.rows == 50
    assert set(result.terms) == ({"soft", "hard"} if labels else {"soft"})
    assert "sample" not in text


@pytest.mark.parametrize("responds", [True, False])
def test_own_hidden_layers_run_as_printed(responds: bool, dumps: Path) -> None:
    """With logits for the response term, or without it."""
    own = {"teacher_hidden": ["h.npy"], "student_hidden": ["h.npy"]}
    if responds:
        own |= {"teacher": ["teacher.npy"], "student": ["my student.npy"]}
    result = scored(written(dumps, init("progressive", own, folder=dumps)))
    assert set(result.terms) == ({"soft", "hidden"} if responds else {"hidden"})


def test_an_ensemble_takes_several_teachers(dumps: Path) -> None:
    """One a line, in the order given."""
    own = {"teacher": ["teacher.npy", "my student.npy"], "student": ["my student.npy"]}
    path = written(dumps, init("ensemble", own, folder=dumps))
    names = [source.given for source in from_file(path).teachers]
    assert names == ["teacher.npy", "my student.npy"]


@pytest.mark.parametrize(
    "name",
    ["a.h5::b/c", "part-*.npy", "a: b.npy", "x #1.npy", "true", "1e4", "[a].npy", "é.npy",
     '"q".npy',
     "~/x.npy", "a:", "- a", "a\tb.npy"],
)  # fmt: skip
def test_any_name_comes_back_as_it_was_given(name: str, tmp_path: Path) -> None:
    """What YAML would read as something else is quoted."""
    own = {"teacher": [name], "student": [name], "labels": [name]}
    config = from_file(written(tmp_path, init("response", own, folder=tmp_path)))
    assert config.teacher is not None
    assert config.labels is not None
    assert config.teacher.given == config.labels.given == name


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_key_of_the_strategy_is_shown(strategy: str) -> None:
    """As the head of each config promises; a key may stand in a comment."""
    text = (CONFIGS / f"{strategy}.yaml").read_text("utf-8")
    for section, model in SECTIONS.items():
        if section and strategy not in OWNERS.get(section[0], STRATEGIES):
            continue
        for key in model.model_fields:
            if section or strategy in OWNERS.get(key, STRATEGIES):
                assert f"{key}:" in text, ".".join((*section, key))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument"),
        (["respons"], "no strategy 'respons'; did you mean response?"),
        (["response", "--teacher", "t"], "--student: is missing; give it beside --teacher"),
        (["progressive", "--labels", "l"], "--teacher-hidden: is missing"),
        (["ensemble", "--student-hidden", "s"], "--student-hidden: is nothing that strategy"),
        (
            ["response", "--teacher", "a", "--teacher", "b", "--student", "s"],
            "--teacher: is given more than once",
        ),
    ],
)
def test_a_mistake_names_the_option(arguments: list[str], message: str) -> None:
    """On stderr, with exit code 2 and nothing on stdout."""
    done = CliRunner().invoke(app, ["init", *arguments])
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr


def test_a_strategy_that_is_not_there_is_no_file_that_is_read() -> None:
    """The name is looked up in a list, never in a folder."""
    with pytest.raises(UsageError):
        init(os.path.join("..", "templates", "response"), {}, folder=Path())
