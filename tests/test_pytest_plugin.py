"""The pytest plugin: the same verdicts inside a test, and nothing loaded before it is used."""

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from checks import dump

pytest_plugins = ["pytester"]

TEST = """
def test_outputs(distill_check):
    distill_check("config.yaml", baseline="base.json"{more})
"""
REGISTERED = bool(entry_points(group="pytest11", name="distillcli"))


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    """A folder with a dump, its config, and a test that checks it."""
    dump(pytester.path)
    pytester.makepyfile(TEST.format(more=""))
    return pytester


def run(suite: pytest.Pytester, *options: str) -> pytest.RunResult:
    plugin = () if REGISTERED else ("-p", "distillcli.pytest_plugin")
    return suite.runpytest(*plugin, "-p", "no:cacheprovider", *options)


def test_without_a_baseline_the_way_to_one_is_told(suite: pytest.Pytester) -> None:
    done = run(suite)
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*there is none yet; make it with: pytest --distill-update-bas*"])


def test_a_baseline_is_written_and_told_and_then_holds(suite: pytest.Pytester) -> None:
    done = run(suite, "--distill-update-baselines")
    done.assert_outcomes(passed=1)
    done.stdout.fnmatch_lines(["*distill baselines written*", "distill check: baseline written, *"])
    run(suite).assert_outcomes(passed=1)


def test_a_failure_shows_the_table_and_no_traceback(suite: pytest.Pytester) -> None:
    run(suite, "--distill-update-baselines")
    dump(suite.path, worse=0.4)
    done = run(suite)
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(
        [
            "distill check: FAILED, *",
            "number *verdict  reason*",
            "loss * FAIL *worse, *x the limit*",
        ]
    )
    done.stdout.no_fnmatch_line("*Traceback*")
    done.stdout.no_fnmatch_line("*pytest_plugin.py*")


@pytest.mark.parametrize(
    ("tolerances", "outcome"),
    [('{"*": 1000}', "passed"), ('{"*": "100000%"}', "passed"), ('{"kl_max": "1%"}', "failed")],
)
def test_tolerances_beat_those_of_the_config(
    tolerances: str, outcome: str, suite: pytest.Pytester
) -> None:
    run(suite, "--distill-update-baselines")
    dump(suite.path, worse=0.1)
    suite.makepyfile(TEST.format(more=f", tolerances={tolerances}"))
    run(suite).assert_outcomes(**{outcome: 1})


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (', tolerances={"los": 1}', "*names no number of a result; did you mean loss?*"),
        (', tolerances={"loss": -1}', "*is not a limit of at least 0*"),
    ],
)
def test_mistakes_are_told_in_a_line(more: str, said: str, suite: pytest.Pytester) -> None:
    suite.makepyfile(TEST.format(more=more))
    done = run(suite)
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines([said])


def test_a_config_with_mistakes_fails_the_test(suite: pytest.Pytester) -> None:
    (suite.path / "config.yaml").write_text("strategy: respons")
    done = run(suite)
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*config.yaml:1:1: strategy: must be *"])


def test_the_verdict_is_returned(suite: pytest.Pytester) -> None:
    """So that a test can look closer."""
    run(suite, "--distill-update-baselines")
    suite.makepyfile(
        """
        def test_outputs(distill_check):
            found = distill_check("config.yaml", baseline="base.json")
            assert {row.verdict for row in found.rows} == {"pass"}
        """
    )
    run(suite).assert_outcomes(passed=1)


def test_loading_the_plugin_imports_nothing_but_pytest() -> None:
    """It is loaded into every pytest run of its environment."""
    code = (
        "import sys, pytest; before = set(sys.modules); import distillcli.pytest_plugin; "
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["distillcli", "distillcli.pytest_plugin"]


def test_the_plugin_is_registered_where_it_says() -> None:
    """The entry point names this module; without it users load it with -p."""
    root = Path(__file__).parent.parent
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    assert 'distillcli = "distillcli.pytest_plugin"' in text
