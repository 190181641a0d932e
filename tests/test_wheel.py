"""What is installed holds more than Python files."""

import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from runs import ROOT

from distillcli.kernels.cuda.variant import SOURCES

NO_BUILDER = importlib.util.find_spec("hatchling") is None


@pytest.mark.skipif(NO_BUILDER, reason="hatchling is not installed, which builds the wheel")
def test_the_wheel_holds_the_sources_of_the_kernels(tmp_path: Path) -> None:
    """They are compiled on the machine that has the GPU."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if "/cuda/" in name}
    sources = {path.name for path in SOURCES.iterdir() if path.suffix in (".cu", ".cuh")}
    assert len(sources) == 9
    assert {f"distillcli/kernels/cuda/{name}" for name in sources} <= held
