"""A pytest plugin: saved outputs held against a baseline in a test.

It is loaded into every pytest run of an environment that has distill, so it imports pytest alone
until a test asks for its fixture.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from distillcli.checking.comparison import Comparison
    from distillcli.config import Check, Config

_UPDATE = "--distill-update-baselines"
_WRITTEN = pytest.StashKey[list[str]]()


class DistillCheck(Protocol):
    """Scores a config and fails the test if a number is outside its limit.

    Args:
        config: a YAML config; like `baseline` relative to pytest's root folder.
        baseline: a saved result of `distill score`.
        tolerances: how far numbers may move by name or pattern, as `"5%"` or `0.001`; they beat the
            config's block `check:`.

    Returns:
        What was compared, where nothing failed.
    """

    def __call__(
        self,
        config: str | Path,
        baseline: str | Path,
        tolerances: Mapping[str, str | float] | None = None,
    ) -> "Comparison": ...


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that writes baselines."""
    parser.getgroup("distill").addoption(
        _UPDATE, action="store_true", help="Write the baselines of distill_check; fail no test."
    )


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Tell which baselines were written."""
    written = config.stash.get(_WRITTEN, [])
    if written:
        terminalreporter.section("distill baselines written")
        for line in written:
            terminalreporter.write_line(line)


@pytest.fixture
def distill_check(pytestconfig: pytest.Config) -> DistillCheck:
    """Check saved outputs against a baseline; see `DistillCheck`."""

    def run(
        config: str | Path,
        baseline: str | Path,
        tolerances: Mapping[str, str | float] | None = None,
    ) -> "Comparison":
        __tracebackhide__ = True
        from distillcli.errors import DistillError

        root = pytestconfig.rootpath
        try:
            found = _found(pytestconfig, root / config, root / baseline, tolerances or {})
        except DistillError as error:
            pytest.fail(str(error), pytrace=False)
        if found.failures:
            pytest.fail(_table(found), pytrace=False)
        return found

    return run


def _found(
    pytestconfig: pytest.Config, path: Path, baseline: Path, tolerances: Mapping[str, str | float]
) -> "Comparison":
    from distillcli.commands.check import check, scored_now, update
    from distillcli.commands.strategy import from_file
    from distillcli.report import Progress

    def watch(label: str, rows: int, size: int) -> Progress:
        return Progress(rows, size, False, label=label)

    def note(text: str) -> None:
        print(f"distill: note: {text}")  # pytest shows it where the test fails

    strategy = from_file(path)
    limits = _limits(strategy, tolerances)
    current = scored_now(strategy, name=str(path), progress=watch, note=note)
    if not pytestconfig.getoption(_UPDATE):
        return check(current, baseline, limits, note=note, make=f"pytest {_UPDATE}")
    found = update(current, baseline, limits, note=note)
    pytestconfig.stash.setdefault(_WRITTEN, []).append(_table(found).rstrip())
    return found


def _limits(strategy: "Config", tolerances: Mapping[str, str | float]) -> "Check":
    from distillcli.config import demanding, fail_on
    from distillcli.metrics import METRICS

    texts = [f"{name}:{limit}" for name, limit in tolerances.items()]
    terms = [term.name for term in strategy.terms()]
    demanded = fail_on(texts, metrics=tuple(METRICS), terms=terms, where="tolerances")
    return demanding(strategy.check, demanded)


def _table(found: "Comparison") -> str:
    import io

    from distillcli.report.verdicts import render

    stream = io.StringIO()
    render(found, format="table", stream=stream, color=False, all_rows=False)
    return stream.getvalue()
