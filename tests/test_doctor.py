"""What doctor says of the machine is so, on machines with a GPU and without."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import distill

from distillcli import __version__
from distillcli.backend import Backend, Probe
from distillcli.commands import doctor as module
from distillcli.commands.doctor import GPU_CHAIN, NOT_LOOKED_AT, doctor

CHAINS = [
    Probe((("CuPy", "not installed"),), "CuPy is not installed", "install the extra"),
    Probe((("CuPy", "14.0"), ("driver", "no answer")), "no CUDA driver answers", "install it"),
    Probe((("CuPy", "14.0"), ("driver", "13000"), ("device", "0 found")), "no device", "look"),
    Probe(tuple((check, "fine") for check in GPU_CHAIN)),
]


@pytest.mark.parametrize("probe", CHAINS, ids=lambda probe: str(probe.missing))
def test_the_chain_ends_at_the_first_thing_that_is_missing(
    probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes after it was not looked at; the way to get it is told."""
    monkeypatch.setattr(module, "probe_gpu", lambda: probe)
    found = doctor()
    reached = [check for check in GPU_CHAIN if found.gpu[check] != NOT_LOOKED_AT]
    assert reached == [check for check, _ in probe.checks]
    assert found.gpu_missing == probe.missing
    assert (found.gpu_hint or "").startswith(probe.hint or "")


def test_it_says_what_auto_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """By asking what the run asks."""
    gpu = Backend("cuda:0", "cupy", to_device=id, to_host=id)
    monkeypatch.setattr(module, "choose", lambda device: {"auto": gpu}[device])
    assert doctor().auto["device"] == "cuda:0"
    cpu = Backend("cpu", "numpy", to_device=id, to_host=id, note="no GPU is used: none")
    monkeypatch.setattr(module, "choose", lambda device: {"auto": cpu}[device])
    assert doctor().auto == {"device": "cpu", "kernel": "numpy", "why": "no GPU is used: none"}


def test_the_way_to_a_gpu_depends_on_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one an extra alone is of no use."""
    monkeypatch.setattr(module, "probe_gpu", lambda: CHAINS[0])
    monkeypatch.setattr(module.platform, "system", lambda: "Linux")
    monkeypatch.setattr(module, "_nvidia_driver", lambda: None)
    assert "no driver is loaded" in str(doctor().gpu_hint)
    monkeypatch.setattr(module, "_nvidia_driver", lambda: "580.65.06")
    found = doctor()
    assert found.gpu_hint == "install the extra"
    assert found.gpu["NVIDIA driver"] == "580.65.06"


def test_the_driver_is_read_from_the_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its version is the first number with points in what the kernel says."""
    said = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27 2025\n"
    (tmp_path / "version").write_text(said)
    monkeypatch.setattr(module, "Path", lambda _: tmp_path / "version")
    assert module._nvidia_driver() == "580.65.06"


def test_both_forms_say_the_same() -> None:
    """Every value of the JSON is in the table, which says no more of anything."""
    data = distill("doctor", "--format", "json").data
    table = distill("doctor")
    assert table.code == 0
    assert data["schema"] == "distillcli.doctor/1"
    for group in ("versions", "machine", "readers", "gpu", "auto"):
        for name, value in data[group].items():
            assert re.search(rf"^  {re.escape(name)} +{re.escape(value)}$", table.out, re.M)


def test_the_facts_are_those_of_this_machine() -> None:
    """Versions, formats and filters."""
    data: dict[str, Any] = distill("doctor", "--format", "json").data
    assert data["versions"]["distillcli"] == __version__
    assert data["versions"]["numpy"] == np.__version__
    assert set(data["readers"]) == {known.name for known in module.FORMATS}
    assert "gzip" in data["readers"]["hdf5"]


def test_a_format_that_it_lacks_is_refused() -> None:
    """A checkup is no table of rows."""
    ended = distill("doctor", "--format", "csv")
    assert (ended.code, ended.out) == (2, "")
    assert "--format: no format 'csv'" in ended.err
