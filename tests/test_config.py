"""Good configs: their values, defaults, sources, settings, and the round trip."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from catalogue_stand_in import CATALOGUE
from hypothesis import given
from hypothesis import strategies as st

from distillcli.config import (
    Config,
    FromFile,
    LeastSquares,
    LossChoice,
    Setting,
    XavierUniform,
    from_data,
    load,
    parse_set,
    parse_value,
)
from distillcli.config.build import normalised
from distillcli.config.sections import complement
from distillcli.errors import ConfigErrors, MissingError, UsageError

BASE = Path("/data/run")
RESPONSE: dict[str, Any] = {"strategy": "response", "teacher": "t.npy", "student": "s.npy"}
LABELLED: dict[str, Any] = {**RESPONSE, "labels": "l.npy"}
PROGRESSIVE: dict[str, Any] = {
    "strategy": "progressive",
    "teacher_hidden": "t.h5::hidden",
    "student_hidden": ["s0.npy", ["s1a.npy", "s1b.npy"]],
    "progressive": {"layer_mapping": [[0, 1], [1, 3]]},
}
ENSEMBLE: dict[str, Any] = {
    "strategy": "ensemble",
    "teachers": ["a.npy", ["b0.npy", "b1.npy"]],
    "student": "s.npy",
}


def made(data: dict[str, Any], *settings: Setting, **options: Any) -> Config:
    return from_data(
        data, base=BASE, catalogue=CATALOGUE, where="data", settings=settings, **options
    )


def with_section(data: dict[str, Any], **section: Any) -> dict[str, Any]:
    name = data["strategy"]
    return {**data, name: {**data.get(name, {}), **section}}


def written(folder: Path, text: str) -> Path:
    file = folder / "c.yaml"
    file.write_text(text)
    return file


# Values and defaults


def test_the_shortest_config_has_every_default() -> None:
    """Two inputs are enough; everything else has a documented default."""
    config = made(LABELLED)
    assert config.resolved() == {
        **LABELLED,
        "batch_size": "auto",
        "threads": "auto",
        "device": "auto",
        "kernel": "auto",
        "precision": "auto",
        "metrics": "all",
        "on_bad_rows": "error",
        "response": {
            "soft_loss": {"name": "kl", "temperature": 4.0, "temperature_squared": True},
            "alpha": 0.7,
        },
    }


def test_without_labels_alpha_is_one_and_said_to_be_assumed() -> None:
    """Only a config that says nothing on weights has them assumed."""
    response, ensemble = made(RESPONSE).response, made(ENSEMBLE).ensemble
    assert response is not None
    assert ensemble is not None
    for part in (response, ensemble):
        assert (part.soft_weight, part.hard_weight, part.alpha_assumed) == (1.0, 0.0, True)
    given_one = made(with_section(RESPONSE, alpha=1)).response
    assert given_one is not None
    assert not given_one.alpha_assumed


@pytest.mark.parametrize(
    ("section", "weights"),
    [
        ({}, (0.7, 0.3)),
        ({"alpha": 0.25}, (0.25, 0.75)),
        ({"alpha": 0}, (0.0, 1.0)),
        ({"alpha": None}, (0.7, 0.3)),
        ({"preset": "pure_kl"}, (1.0, 0.0)),
        ({"preset": "balanced"}, (0.5, 0.5)),
        ({"preset": "hinton"}, (0.7, 0.3)),
        ({"preset": "hinton", "soft_loss": {"temperature": 4}}, (0.7, 0.3)),
        ({"soft_label_weight": 2}, (2.0, 0.0)),
        ({"hard_label_weight": 2}, (0.0, 2.0)),
        ({"soft_label_weight": 3, "hard_label_weight": 2}, (3.0, 2.0)),
    ],
)
def test_each_form_of_the_label_weights(
    section: dict[str, Any], weights: tuple[float, float]
) -> None:
    """alpha is the soft weight; of the two weights the one left out is 0."""
    response = made(with_section(LABELLED, **section)).response
    assert response is not None
    assert (response.soft_weight, response.hard_weight) == weights


def test_pure_kl_takes_the_temperature_of_the_soft_loss() -> None:
    """The other presets are at 4; this one is at any temperature."""
    response = made(with_section(RESPONSE, preset="pure_kl", soft_loss={"temperature": 2})).response
    assert response is not None
    assert response.soft_loss.parameters["temperature"] == 2.0


@pytest.mark.parametrize(
    ("soft_loss", "parameters"),
    [
        ({"name": "kl", "temperature": 2}, {"temperature": 2.0, "temperature_squared": True}),
        ({"temperature_squared": False}, {"temperature": 4.0, "temperature_squared": False}),
        ({"name": "jsd"}, {"temperature": 4.0, "temperature_squared": True, "beta": 0.5}),
        ({"name": "mse"}, {}),
        (
            {"name": "combined_kl_mse", "kl_weight": 1},
            {"temperature": 4.0, "temperature_squared": True, "kl_weight": 1.0, "mse_weight": 0.5},
        ),
    ],
)
def test_a_soft_loss_has_all_its_parameters(
    soft_loss: dict[str, Any], parameters: dict[str, Any]
) -> None:
    """The catalogue gives the defaults; the temperature of a config is 4."""
    response = made(with_section(RESPONSE, soft_loss=soft_loss)).response
    assert response is not None
    assert response.soft_loss.name == soft_loss.get("name", "kl")
    assert response.soft_loss.parameters == parameters


def test_the_parts_of_a_progressive_config() -> None:
    """Pairs, defaults, and layers whose inner lists are shards."""
    config = made(PROGRESSIVE)
    part = config.progressive
    assert part is not None
    assert part.layer_mapping == ((0, 1), (1, 3))
    assert part.loss == LossChoice("mse", {})
    assert (part.layer_weights, part.projection) == ("uniform", None)
    assert (part.hidden_weight, part.response_weight) == (1.0, 1.0)
    assert config.response is None
    assert config.teacher_hidden is not None
    assert config.student_hidden is not None
    assert config.teacher_hidden.single
    assert not config.student_hidden.single
    assert [len(source.parts) for source in config.student_hidden.sources] == [1, 2]


@pytest.mark.parametrize(
    ("projection", "expected"),
    [
        (None, None),
        ("none", None),
        ({"init": "xavier_uniform"}, XavierUniform(0)),
        ({"init": "xavier_uniform", "seed": 7}, XavierUniform(7)),
        ({"init": "least_squares"}, LeastSquares(1e-3)),
        ({"init": "least_squares", "ridge": 0}, LeastSquares(0.0)),
    ],
)
def test_each_projection(projection: Any, expected: Any) -> None:
    """`none` and nothing mean the same."""
    part = made(with_section(PROGRESSIVE, projection=projection)).progressive
    assert part is not None
    assert part.projection == expected


def test_a_saved_projection_is_a_source() -> None:
    """It lies beside the config and may name a dataset."""
    part = made(with_section(PROGRESSIVE, projection={"path": "W.npz::w"})).progressive
    assert part is not None
    assert isinstance(part.projection, FromFile)
    (file,) = part.projection.source.parts
    assert (file.path, file.dataset) == (BASE / "W.npz", "w")


def test_weights_are_divided_by_their_sum() -> None:
    """Of layers and of teachers alike."""
    layers = made(with_section(PROGRESSIVE, layer_weights=[1, 3])).progressive
    teachers = made(with_section(ENSEMBLE, weights=[1, 1])).ensemble
    assert layers is not None
    assert teachers is not None
    assert layers.layer_weights == (0.25, 0.75)
    assert teachers.weights == (0.5, 0.5)


def test_an_ensemble_may_do_without_a_student_where_none_is_scored() -> None:
    """Blending needs teachers only."""
    data = {key: value for key, value in ENSEMBLE.items() if key != "student"}
    assert made(data, require_student=False).student is None
    with pytest.raises(ConfigErrors, match="student: is missing"):
        made(data)


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        (None, "all"),
        ("all", "all"),
        ("none", ()),
        ([], ()),
        (["kl_mean", "kl_p90"], ("kl_mean", "kl_p90")),
    ],
)
def test_metrics(metrics: Any, expected: Any) -> None:
    """All, none, or a list of names."""
    assert made({**RESPONSE, "metrics": metrics}).metrics == expected


@given(st.lists(st.floats(0, 1e308), min_size=1, max_size=9).filter(any))
def test_normalising_twice_is_normalising_once(weights: list[float]) -> None:
    """So that a resolved config read back gives the same bits."""
    once = normalised(weights)
    assert normalised(once) == once
    assert sum(once) == pytest.approx(1.0)


@given(st.floats(0, 1))
def test_the_complement_of_alpha_is_the_decimal_one(alpha: float) -> None:
    """1 - 0.7 is 0.3."""
    assert complement(0.7) == 0.3
    assert complement(alpha) == pytest.approx(1 - alpha, abs=2**-52)


# Sources


def test_paths_start_from_the_folder_of_the_config(tmp_path: Path) -> None:
    """Wherever the command is run."""
    folder = tmp_path / "configs"
    folder.mkdir()
    config = load(
        written(folder, "strategy: response\nteacher: ../t.npy\nstudent: /abs/s.npy\n"),
        catalogue=CATALOGUE,
    )
    assert config.teacher is not None
    assert config.student is not None
    assert config.teacher.parts[0].path == folder / "../t.npy"
    assert config.student.parts[0].path == Path("/abs/s.npy")


@pytest.mark.parametrize(
    ("source", "pattern", "dataset"),
    [
        ("t.npy", "t.npy", None),
        ("t.h5::a/logits", "t.h5", "a/logits"),
        ("t.h5::a::b", "t.h5", "a::b"),
        ("a:[:]b.h5::x", "a:[:]b.h5", "x"),
        ("dump-*.h5::logits", "dump-*.h5", "logits"),
        ({"path": "t.h5", "dataset": "logits"}, "t.h5", "logits"),
        ({"path": "t.h5::logits", "dtype": "bfloat16"}, "t.h5", "logits"),
        (["t.npy"], "t.npy", None),
    ],
)
def test_how_a_source_is_written(source: Any, pattern: str, dataset: str | None) -> None:
    """The first :: ends the path."""
    teacher = made({**RESPONSE, "teacher": source}).teacher
    assert teacher is not None
    (part,) = teacher.parts
    assert (part.pattern, part.dataset) == (pattern, dataset)
    assert part.path == BASE / pattern


def test_a_home_folder_is_expanded() -> None:
    """As a shell would have done."""
    teacher = made({**RESPONSE, "teacher": "~/t.npy"}).teacher
    assert teacher is not None
    assert teacher.parts[0].path == Path(os.path.expanduser("~/t.npy"))
    assert teacher.given == "~/t.npy"


def test_a_glob_is_safe_in_a_folder_with_brackets() -> None:
    """Only what the user wrote is a pattern, never the folder of the config."""
    data = {**RESPONSE, "teacher": "t-*.npy"}
    config = from_data(data, base=Path("/data/run[1]"), catalogue=CATALOGUE, where="data")
    assert config.teacher is not None
    assert config.student is not None
    assert config.teacher.parts[0].glob == "/data/run[[]1]/t-*.npy"
    assert config.student.parts[0].glob is None


def test_a_list_of_shards_is_one_source() -> None:
    """With one kind and temperature for all."""
    shard = {"kind": "probabilities", "temperature": 2}
    shards = [{"path": "a.npy", **shard}, {"path": "b.npy", **shard}]
    teacher = made({**RESPONSE, "teacher": shards}).teacher
    assert teacher is not None
    assert (teacher.kind, teacher.temperature) == ("probabilities", 2.0)
    assert teacher.given == "a.npy and 1 more"
    assert [part.pattern for part in teacher.parts] == ["a.npy", "b.npy"]


# Settings


def test_later_settings_beat_earlier_ones_and_all_beat_the_file() -> None:
    """The caller orders them: variables first, flags last."""
    data = {**RESPONSE, "threads": 1, "device": "cpu"}
    variable = Setting("DISTILL_THREADS", "threads", 2)
    config = made(data, variable, parse_set("threads=3"))
    assert (config.threads, config.device) == (3, "cpu")
    assert made(data, parse_set("threads=3"), variable).threads == 2


def test_a_setting_makes_its_section_and_null_takes_a_key_out() -> None:
    """`--set labels=null` scores without labels."""
    config = made(LABELLED, parse_set("response.soft_loss.temperature=2"), parse_set("labels=null"))
    assert config.labels is None
    assert config.response is not None
    assert config.response.soft_loss.parameters["temperature"] == 2.0


WEIGHTS: dict[str, tuple[dict[str, Any], tuple[float, float]]] = {
    "response.alpha=0.2": ({"alpha": 0.2}, (0.2, 0.8)),
    "response.preset=balanced": ({"preset": "balanced"}, (0.5, 0.5)),
    "response.soft_label_weight=2": ({"soft_label_weight": 2}, (2.0, 0.0)),
    "response.hard_label_weight=3": ({"hard_label_weight": 3}, (0.0, 3.0)),
}


@pytest.mark.parametrize("text", WEIGHTS)
@pytest.mark.parametrize("first", WEIGHTS)
@pytest.mark.parametrize("by", ["file", "setting"])
def test_a_form_of_the_label_weights_takes_the_place_of_the_others(
    first: str, text: str, by: str
) -> None:
    """Whether they stand in the file or were set before; the two weights stand together."""
    (before, _), (_, weights) = WEIGHTS[first], WEIGHTS[text]
    data = with_section(LABELLED, **before) if by == "file" else LABELLED
    settings = [parse_set(first)] if by == "setting" else []
    response = made(data, *settings, parse_set(text)).response
    assert response is not None
    if {first, text} == {"response.soft_label_weight=2", "response.hard_label_weight=3"}:
        weights = (2.0, 3.0)
    assert (response.soft_weight, response.hard_weight) == weights


def test_taking_a_form_out_leaves_the_others() -> None:
    """null sets none."""
    response = made(with_section(LABELLED, alpha=0.2), parse_set("response.preset=null")).response
    assert response is not None
    assert response.soft_weight == 0.2


def test_a_setting_may_address_an_item_of_a_list() -> None:
    """Items are counted from 0."""
    config = made(ENSEMBLE, parse_set("teachers.0=z.npy"))
    assert config.teachers[0].given == "z.npy"


def test_data_that_were_given_stay_as_they_are() -> None:
    """Settings are laid over a copy."""
    data = with_section(RESPONSE, alpha=1)
    made(data, parse_set("response.alpha=1.0"), parse_set("response.soft_loss={name: mse}"))
    assert data == {**RESPONSE, "response": {"alpha": 1}}


def test_paths_of_settings_start_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the command line a path means what the shell's completion showed."""
    monkeypatch.chdir(tmp_path)
    config = made(RESPONSE, Setting("--teacher", "teacher", "x-*.npy"))
    assert config.teacher is not None
    assert config.teacher.parts[0].path == Path.cwd() / "x-*.npy"
    assert config.resolved()["teacher"] == str(Path.cwd() / "x-*.npy")
    assert config.where("teacher") == "--teacher"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            Setting("--threads", "threads", "two"),
            '--threads: must be auto or a whole number of at least 1, not "two"',
        ),
        (
            Setting("DISTILL_DEVICE", "device", "gpu"),
            'DISTILL_DEVICE: must be auto, cpu, cuda or cuda:N, not "gpu"; did you mean cuda?',
        ),
        (
            parse_set("response.alpha=2"),
            "--set response.alpha=2: must be a number from 0 to 1, not 2",
        ),
        (
            parse_set("response={alpha: 2}"),
            "--set response={alpha: 2}: response.alpha: must be a number from 0 to 1, not 2",
        ),
        (
            parse_set("respons.alpha=1"),
            "--set respons.alpha=1: respons: unknown key; did you mean response?",
        ),
        (
            parse_set("teacher.dtype=bfloat16"),
            '--set teacher.dtype=bfloat16: cannot be set: teacher is "t.npy"; '
            "set teacher as a whole",
        ),
    ],
)
def test_a_mistake_in_a_setting_names_the_flag(setting: Setting, message: str) -> None:
    """The file is not to blame for what a flag says."""
    with pytest.raises(ConfigErrors) as caught:
        made(RESPONSE, setting)
    assert str(caught.value) == message


def test_changing_only_the_name_of_a_loss_says_what_to_do_with_the_rest() -> None:
    """The temperature that stays behind is the file's, the way out is the flag's."""
    data = with_section(RESPONSE, soft_loss={"name": "kl", "temperature": 2})
    with pytest.raises(ConfigErrors) as caught:
        made(data, parse_set("response.soft_loss.name=mse"))
    assert str(caught.value) == (
        "data: response.soft_loss.temperature: unknown key: mse has no parameters; "
        "--set response.soft_loss.name=mse keeps the other keys of soft_loss: "
        "set all of it, like response.soft_loss={name: mse}"
    )


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("threads=2", "threads", 2),
        ("a.b=1e-4", "a.b", 1e-4),
        ("a.b= no", "a.b", "no"),
        ("device=cuda:1", "device", "cuda:1"),
        ("teacher=run.h5::a=b", "teacher", "run.h5::a=b"),
        ("metrics=[kl_mean, kl_p90]", "metrics", ["kl_mean", "kl_p90"]),
        ("response.soft_loss={name: mse}", "response.soft_loss", {"name": "mse"}),
        ("labels=", "labels", None),
    ],
)
def test_an_assignment_is_read_as_yaml(text: str, key: str, value: Any) -> None:
    """The first = ends the key."""
    assert parse_set(text) == Setting(f"--set {text}", key, value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("alpha", "--set alpha: has no =; write key=value, for example response.alpha=0.5"),
        ("=1", '--set =1: "" is not a key; write key=value, for example response.alpha=0.5'),
        ("a..b=1", '--set a..b=1: "a..b" is not a key; write key=value, '),
        ("a=[1", "--set a=[1: the value is not plain YAML: expected ',' or ']'"),
        ("a={b: 1, b: 2}", "--set a={b: 1, b: 2}: b is given twice"),
        ("a=!!int 1", "--set a=!!int 1: the value is not plain YAML: tags"),
        ("a=\x1b[31m", "--set a=\\x1b[31m: the value is not plain YAML: character U+001B"),
    ],
)
def test_a_malformed_assignment_is_a_usage_error(text: str, message: str) -> None:
    """It names the flag and shows what was typed."""
    with pytest.raises(UsageError) as caught:
        parse_set(text)
    assert str(caught.value).startswith(message)


def test_a_variable_names_itself() -> None:
    """As a flag does."""
    assert parse_value("4", where="DISTILL_THREADS") == 4
    with pytest.raises(UsageError, match=r"^DISTILL_THREADS: the value is not plain YAML"):
        parse_value("[", where="DISTILL_THREADS")
    assert parse_set("threads=1", where="DISTILL_SET").where == "DISTILL_SET threads=1"


# The round trip

GOOD = [
    RESPONSE,
    LABELLED,
    with_section(LABELLED, preset="hinton"),
    with_section(LABELLED, hard_label_weight=1.1, soft_label_weight=0.3),
    with_section(RESPONSE, soft_loss={"name": "jsd", "beta": 0.1, "temperature_squared": False}),
    {**RESPONSE, "teacher": {"path": "t.h5::x", "kind": "probabilities", "temperature": 2}},
    {**RESPONSE, "teacher": [{"path": "a.npy", "dtype": "bfloat16"}, "b.npy"]},
    {**RESPONSE, "teacher": {"path": "t.npy", "scale": 0.05, "zero_point": -3}},
    {**RESPONSE, "teacher": {"path": "t.h5::q", "scale": "scales"}},
    {**RESPONSE, "teacher": [{"path": "a.npy", "scale": 2}, {"path": "b.npy", "scale": 2}]},
    {**RESPONSE, "metrics": ["kl_mean"], "batch_size": 64, "threads": 2, "device": "cuda:1"},
    {**RESPONSE, "metrics": "none", "precision": "float64", "on_bad_rows": "skip"},
    PROGRESSIVE,
    {**PROGRESSIVE, "teacher_hidden": ["t0.npy"]},
    with_section(PROGRESSIVE, layer_weights=[0.1, 0.7], projection={"init": "least_squares"}),
    with_section(PROGRESSIVE, projection={"path": "W.npz", "dataset": "w", "dtype": "float64"}),
    with_section(PROGRESSIVE, projection={"init": "xavier_uniform", "seed": 3}),
    {**PROGRESSIVE, **RESPONSE, "strategy": "progressive", "response": {"preset": "pure_kl"}},
    ENSEMBLE,
    {**ENSEMBLE, "labels": "l.npy", "ensemble": {"weights": "accuracy", "alpha": 0.1}},
    with_section(ENSEMBLE, weights=[0.1, 0.9], combine="probabilities", temperature=2),
]


@pytest.mark.parametrize("data", GOOD)
def test_a_resolved_config_read_back_is_the_same_config(data: dict[str, Any]) -> None:
    """Through JSON, with the same hash, and it stays as it is from then on."""
    config = made(data)
    again = made(json.loads(json.dumps(config.resolved(), allow_nan=False)))
    assert again == config
    assert again.resolved() == config.resolved()
    assert again.sha256() == config.sha256()


def test_the_hash_tells_meanings_apart_and_not_spellings() -> None:
    """A default that is written out changes nothing; another temperature does."""
    same = with_section(LABELLED, preset="hinton", soft_loss={"name": "kl"})
    other = with_section(LABELLED, soft_loss={"temperature": 3})
    assert made(same).sha256() == made(LABELLED).sha256()
    assert made(other).sha256() != made(LABELLED).sha256()


# Files


def test_a_key_knows_where_it_was_written(tmp_path: Path) -> None:
    """For errors that only the data can tell; what is not there has the place of its section."""
    text = "strategy: response\nteacher: t.npy\nstudent: s.npy\nresponse:\n  alpha: 1\n"
    file = written(tmp_path, text)
    config = load(file, catalogue=CATALOGUE)
    assert config.where("response", "alpha") == f"{file}:5:3: response.alpha"
    assert config.where("response", "preset") == f"{file}:4:1: response.preset"
    assert config.where("labels") == f"{file}:1:1: labels"
    assert config.where() == f"{file}:1:1"
    assert config.teacher is not None
    assert config.teacher.where == f"{file}:2:1: teacher"
    assert made(RESPONSE).where("teacher") == "data: teacher"


def test_a_missing_config_names_its_likely_neighbour(tmp_path: Path) -> None:
    """A slip of the finger is seen at once."""
    (tmp_path / "response.yaml").touch()
    with pytest.raises(MissingError, match=r"no such file; did you mean .*/response\.yaml\?"):
        load(tmp_path / "respons.yaml", catalogue=CATALOGUE)
    with pytest.raises(MissingError, match="there is no folder"):
        load(tmp_path / "nowhere" / "c.yaml", catalogue=CATALOGUE)


@pytest.mark.parametrize("file", sorted((Path(__file__).parent.parent / "configs").glob("*.yaml")))
def test_the_example_configs_are_good(file: Path) -> None:
    """And resolve to something that means the same."""
    config = load(file, catalogue=CATALOGUE)
    again = from_data(config.resolved(), base=file.parent, catalogue=CATALOGUE, where="data")
    assert again == config


def test_importing_configs_loads_no_array_library() -> None:
    """Nor the losses, nor the readers, nor YAML before there is some to read."""
    program = (
        "import sys, distillcli.config\n"
        "print([m for m in ('numpy', 'h5py', 'cupy', 'ruamel.yaml', 'distillcli.losses',"
        " 'distillcli.formats') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
