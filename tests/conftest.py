"""What all tests rest on: no settings from outside, and products on one thread, as in `distill`."""

import os

import pytest

from distillcli.backend import one_blas_thread

one_blas_thread()


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that change what distill does or shows are those that a test sets itself."""
    for name in os.environ:
        if name.startswith("DISTILL_") or name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
            monkeypatch.delenv(name)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run long loops in full")


@pytest.fixture
def full(request: pytest.FixtureRequest) -> bool:
    """Whether long loops are run in full."""
    return bool(request.config.getoption("--full"))
