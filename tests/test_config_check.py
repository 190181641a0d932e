"""The block `check:` of a config: defaults, order, and mistakes with their places."""

from pathlib import Path
from typing import Any

import pytest
from catalogue_stand_in import CATALOGUE

from distillcli.config import Check, Config, Tolerance, as_data, from_data, load
from distillcli.errors import ConfigErrors

HEAD = "strategy: response\nteacher: a.npy\nstudent: b.npy\n"


def made(check: Any) -> Config:
    data = {"strategy": "response", "teacher": "a.npy", "student": "b.npy", "check": check}
    return from_data(data, base=Path(), catalogue=CATALOGUE, where="data")


@pytest.mark.parametrize("check", [None, {}, {"default": None}, {"default": {}, "metrics": {}}])
def test_the_defaults_are_those_of_the_contract(check: Any) -> None:
    """Drift, a ten-thousandth or a millionth, no entries, no significance."""
    assert made(check).check == Check(
        mode="drift", default=Tolerance(rel=1e-4, abs=1e-6), tolerances=(), significant=False
    )


def test_a_block_is_read_in_its_order() -> None:
    """In an entry the part that is left out is 0; in the default it keeps its default."""
    check = made({
        "mode": "regression",
        "default": {"rel": 0.5},
        "metrics": {"loss": {"rel": 0.01}, "*_accuracy": {"abs": 0.005}, "kl_*": {}},
        "significant": True,
    }).check  # fmt: skip
    assert check.default == Tolerance(rel=0.5, abs=1e-6)
    assert check.tolerances == (
        ("loss", Tolerance(rel=0.01)),
        ("*_accuracy", Tolerance(abs=0.005)),
        ("kl_*", Tolerance()),
    )
    assert (check.mode, check.significant) == ("regression", True)
    assert made(as_data(check)).check == check


def test_limits_are_no_part_of_what_numbers_depend_on() -> None:
    """So a saved result and its hash do not change with them."""
    one, other = made(None), made({"default": {"rel": 0.5}})
    assert one.resolved() == other.resolved()
    assert one.sha256() == other.sha256()


MISTAKES = [
    ("mode: drfit", "4:9: check.mode: must be drift or regression, not \"drfit\"; did you mean"),
    ("default: {rel: -1}", "4:19: check.default.rel: must be a finite number of at least 0, not"),
    ("default: {abs: .nan}", "4:19: check.default.abs: must be a finite number of at least 0"),
    ("default: {abz: 1}", "4:19: check.default.abz: unknown key; did you mean abs?"),
    ("default: 0.1", "4:9: check.default: must be a mapping of keys to values, not 0.1"),
    ("metrics: {los: {rel: 1}}", '4:19: check.metrics.los: "los" names no number of a result; did'),
    ("metrics: {'z*': {rel: 1}}", '4:19: check.metrics.z*: "z*" names no number of a result; the'),
    ("metrics: {loss: {rell: 1}}", "4:26: check.metrics.loss.rell: unknown key; did you mean rel?"),
    ("metrics: {loss: 0.1}", "4:19: check.metrics.loss: must be a mapping of keys to values"),
    ("metrics: [loss]", "4:9: check.metrics: must be a mapping of keys to values, not a list"),
    ("significant: 1", "4:9: check.significant: must be true or false, not 1"),
    ("tolerance: 1", "4:9: check.tolerance: unknown key; the keys here are mode, default, metrics"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), MISTAKES)
def test_mistakes_are_told_where_they_stand(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"{HEAD}check: {{{text}}}\n")
    with pytest.raises(ConfigErrors) as error:
        load(path, catalogue=CATALOGUE)
    assert len(error.value.errors) == 1
    assert str(error.value).startswith(f"{path}:{said}")


def test_all_mistakes_of_the_block_are_told_at_once(tmp_path: Path) -> None:
    """Also those in several entries."""
    path = tmp_path / "c.yaml"
    block = "  metrics: {los: {rel: 1}, loss: {rell: 1}, kl_mean: 1}\n  significant: 1\n  mode: 2\n"
    path.write_text(f"{HEAD}check:\n{block}")
    with pytest.raises(ConfigErrors) as error:
        load(path, catalogue=CATALOGUE)
    assert len(error.value.errors) == 5
