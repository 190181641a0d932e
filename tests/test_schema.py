"""The JSON Schema of the config: what is committed, what it takes and what it refuses."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from distillcli.cli.program import app
from distillcli.commands.schema import schema
from distillcli.commands.strategy import CATALOGUE
from distillcli.config import from_data
from distillcli.config.about import ABOUT
from distillcli.config.tree import parse
from distillcli.errors import ConfigErrors

CONFIGS = Path(__file__).parent.parent / "configs"
SCHEMA = schema()
VALIDATOR = Draft202012Validator(SCHEMA)
MODELINE = "# yaml-language-server: $schema=distill.schema.json"

RESPONSE: dict[str, Any] = {"strategy": "response", "teacher": "t.npy", "student": "s.npy"}
LABELLED = {**RESPONSE, "labels": "l.npy"}
PROGRESSIVE: dict[str, Any] = {
    "strategy": "progressive",
    "teacher_hidden": "t.h5::hidden",
    "student_hidden": ["s0.npy", ["s1a.npy", {"path": "s1b.npy", "dtype": "bfloat16"}]],
    "progressive": {"layer_mapping": [[0, 1], [1, 3]]},
}
ENSEMBLE: dict[str, Any] = {"strategy": "ensemble", "teachers": ["a.npy", "b.npy"], "student": "s"}


def soft(**keys: Any) -> dict[str, Any]:
    return {**RESPONSE, "response": {"soft_loss": keys}}


def hidden(**keys: Any) -> dict[str, Any]:
    return {**PROGRESSIVE, "progressive": {**PROGRESSIVE["progressive"], **keys}}


GOOD = [
    RESPONSE,
    {**RESPONSE, "labels": None, "response": None},
    {**LABELLED, "response": {"alpha": 0.5, "preset": None}},
    {**LABELLED, "response": {"preset": "hinton"}},
    {**LABELLED, "response": {"soft_label_weight": 2, "hard_label_weight": 1}},
    {**RESPONSE, "teacher": {"path": "t.h5", "dataset": "p", "kind": "probabilities"}},
    {**RESPONSE, "teacher": ["a.npy", "b.npy"], "batch_size": 7, "threads": "auto"},
    {**RESPONSE, "device": "cuda:1", "precision": "float64", "on_bad_rows": "skip"},
    {**RESPONSE, "metrics": "none"},
    {**RESPONSE, "metrics": ["kl_mean", "top1_agreement"]},
    soft(),
    soft(temperature=2),
    soft(name="jsd", beta=0.3, temperature_squared=False),
    soft(name="mse"),
    soft(name="combined_kl_mse", kl_weight=1, mse_weight=0, temperature=None),
    PROGRESSIVE,
    {**PROGRESSIVE, "progressive": {}, "losses": [{"name": "mse", "layer_mapping": [[0, 1]]}]},
    hidden(loss="normalized_mse", layer_weights=[1, 3], projection="none"),
    hidden(projection={"init": "least_squares", "ridge": 0.1}),
    hidden(projection={"path": "W.npy"}),
    {**PROGRESSIVE, "teacher": "t.npy", "student": "s.npy", "response": {"alpha": 1}},
    ENSEMBLE,
    {**ENSEMBLE, "ensemble": {"weights": [2, 1], "combine": "probabilities", "alpha": 1.0}},
]
BAD = [
    {},
    {"strategy": "respose"},
    {"strategy": "response", "student": "s.npy"},
    {**RESPONSE, "temperatur": 4},
    {**RESPONSE, "teachers": ["a.npy"]},
    {**RESPONSE, "teacher": {"dataset": "p"}},
    {**RESPONSE, "teacher": 3},
    {**RESPONSE, "batch_size": 0},
    {**RESPONSE, "device": "gpu"},
    {**RESPONSE, "metrics": ["kl"]},
    {**LABELLED, "response": {"alpha": 1.5}},
    {**LABELLED, "response": {"alpha": 0.5, "preset": "hinton"}},
    {**LABELLED, "response": {"alpha": 0.5, "hard_label_weight": 0.5}},
    soft(name="lk"),
    soft(name="kl", temperature=0),
    soft(name="mse", temperature=2),
    soft(name="jsd", beta=2),
    soft(beta=0.5),
    hidden(layer_mapping=[[0]]),
    {**PROGRESSIVE, "progressive": {"loss": "mse"}},
    {**PROGRESSIVE, "progressive": {}, "losses": None},
    hidden(loss="kl"),
    hidden(projection={"init": "orthogonal"}),
    {key: PROGRESSIVE[key] for key in PROGRESSIVE if key != "progressive"},
    {**PROGRESSIVE, "response": {}},
    {**ENSEMBLE, "teacher": "t.npy"},
    {**ENSEMBLE, "ensemble": {"weights": "best"}},
]


def taken(data: dict[str, Any]) -> bool:
    try:
        from_data(data, base=Path("/"), catalogue=CATALOGUE, where="data")
    except ConfigErrors:
        return False
    return True


def test_the_schema_is_a_schema() -> None:
    """It holds to its own draft."""
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == Draft202012Validator.META_SCHEMA["$id"]


def test_the_committed_schema_is_that_of_the_code() -> None:
    """`distill schema > configs/distill.schema.json` writes it."""
    printed = CliRunner().invoke(app, ["schema"])
    assert printed.exit_code == 0
    committed = (CONFIGS / "distill.schema.json").read_text("ascii")
    assert printed.stdout == committed
    assert json.loads(committed) == SCHEMA


@pytest.mark.parametrize("name", ["response", "progressive", "ensemble"])
def test_the_configs_follow_it_and_say_so(name: str) -> None:
    """Each begins with the line by which editors find the schema, and is valid under it."""
    text = (CONFIGS / f"{name}.yaml").read_text("utf-8")
    assert text.splitlines()[0] == MODELINE
    VALIDATOR.validate(parse(text, name).data)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_config_is_valid_under_it(path: Path) -> None:
    """Also those that are no starter config."""
    VALIDATOR.validate(parse(path.read_text("utf-8"), path.name).data)


@pytest.mark.parametrize("data", GOOD, ids=str)
def test_what_the_loader_takes_the_schema_takes(data: dict[str, Any]) -> None:
    """An editor marks nothing that distill would run."""
    assert taken(data)
    VALIDATOR.validate(data)


@pytest.mark.parametrize("data", BAD, ids=str)
def test_mistakes_of_form_are_seen_by_both(data: dict[str, Any]) -> None:
    """An unknown key, a value out of range, keys that do not go together."""
    assert not taken(data)
    assert not VALIDATOR.is_valid(data)


def test_every_resolved_config_is_valid() -> None:
    """What a result says of its config, with every value in force, can stand in a file."""
    for data in GOOD:
        config = from_data(data, base=Path("/"), catalogue=CATALOGUE, where="data")
        VALIDATOR.validate(config.resolved())


def test_every_loss_and_its_ranges_are_there() -> None:
    """One alternative for each loss of the table, with each of its parameters."""
    properties = SCHEMA["$defs"]["ResponseSection"]["properties"]
    losses = properties["soft_loss"]["anyOf"][0]["oneOf"]
    assert [loss["title"] for loss in losses] == list(CATALOGUE.logit_losses)
    for schema_of_loss, loss in zip(losses, CATALOGUE.logit_losses.values(), strict=True):
        names = {parameter.name for parameter in loss.parameters}
        assert set(schema_of_loss["properties"]) == {"name", *names}
    beta = next(loss for loss in losses if loss["title"] == "jsd")["properties"]["beta"]
    assert beta["anyOf"][0] == {"type": "number", "minimum": 0.0, "maximum": 1.0}


def test_every_key_is_explained() -> None:
    """No key without a line for editors to show, and no line without a key."""
    sections = {"": SCHEMA, **SCHEMA["$defs"]}
    assert set(ABOUT) == set(sections)
    for name, section in sections.items():
        assert set(ABOUT[name]) == set(section["properties"])
        assert all(one.get("description") for one in section["properties"].values())


def test_each_call_makes_a_schema_of_its_own() -> None:
    """Changing one leaves the next as it was."""
    first = schema()
    before = copy.deepcopy(first)
    first["properties"].clear()
    assert schema() == before
