"""The CUDA kernels compile for the devices in use, without a warning, on machines without a GPU.

With NVRTC where a wheel of it is installed (nvidia-cuda-nvrtc), and with nvcc where that is.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from compilers import compiled, cubin, nvrtc, supported
from instructions import LOSS, USUAL, counts, disassembler, usual

from distillcli.kernels.cuda.variant import (
    ASKED,
    BLOCK,
    MOST_TEMPERATURES,
    NAMES,
    SOURCE,
    SOURCES,
    Variant,
    source_text,
)

ALL = frozenset(ASKED)
WITH_OVERLAP = USUAL | {"overlap"}
VARIANTS = [
    Variant("float32", "float32", "float32", BLOCK, ALL, 1),
    Variant("float32", "float32", "float32", BLOCK, WITH_OVERLAP, 1, 1),
    Variant("bfloat16", "bfloat16", "float32", BLOCK, WITH_OVERLAP, 1, 1),
    Variant("bfloat16", "bfloat16", "float32", BLOCK, WITH_OVERLAP, MOST_TEMPERATURES, 1),
    Variant("float16", "float32", "float32", 32, ALL, 1, 2),
    Variant("float64", "float64", "float64", 4, ALL, 1, 0),
    Variant("float32", "float32", "float32", 32, frozenset({"ones"})),
]
CODE = ["sm_80", "sm_90"]
OLDER = ["compute_70", "compute_75"]  # as PTX, which a driver makes code of
NVCC = shutil.which("nvcc")


def named(variant: Variant) -> str:
    asked = "all" if variant.asked == ALL else "-".join(sorted(variant.asked))
    types = f"{variant.teacher}-{variant.student}-{variant.real}"
    return f"{types}-{variant.lanes}-{asked}-{variant.temperatures}"


@pytest.mark.parametrize(
    ("variant", "target"),
    [
        *((variant, target) for variant in VARIANTS for target in CODE),
        *((variant, target) for variant in VARIANTS[1:3] for target in OLDER),
    ],
    ids=lambda one: named(one) if isinstance(one, Variant) else one,
)
def test_nvrtc(variant: Variant, target: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As on the user's machine; every warning is an error, and spills are told."""
    library, reason = nvrtc()
    if library is None:
        pytest.skip(reason)
    if int(target.split("_")[1]) not in supported(library):
        pytest.skip(f"this NVRTC no longer knows {target}; that of CUDA 12 does")
    options = [*variant.options, f"-arch={target}", "-Werror", "all-warnings"]
    if target in CODE:
        options.append("--ptxas-options=-v")
    status, log, code = compiled(library, source_text(), options)
    assert status == 0, log
    for name in NAMES:
        assert name.encode() in code
    with capsys.disabled():
        told = re.findall(r"[0-9]+ bytes spill stores|Used [0-9]+ registers", log)
        if told:
            print(f"\n  {target} {named(variant)}: {', '.join(told)}", end="")


def test_a_warning_is_an_error() -> None:
    """The tests above would notice."""
    library, reason = nvrtc()
    if library is None:
        pytest.skip(reason)
    source = 'extern "C" __global__ void f(int* x) { int unused; x[0] = 1; }'
    options = ["-arch=compute_80", "-Werror", "all-warnings"]
    assert compiled(library, source, options)[0] != 0
    assert compiled(library, source, options[:1])[0] == 0


@pytest.mark.parametrize("target", CODE)
@pytest.mark.skipif(NVCC is None, reason="nvcc is not installed")
@pytest.mark.parametrize("variant", VARIANTS[1:3], ids=named)
def test_nvcc(variant: Variant, target: str, tmp_path: Path) -> None:
    """The compiler of the toolkit takes them too; little is spilled."""
    assert NVCC is not None
    command = [NVCC, "-cubin", f"-arch={target}", *variant.options, "-Werror", "all-warnings"]
    command += ["-Xptxas", "-v", "-o", str(tmp_path / "rows.cubin"), str(SOURCES / SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = re.findall(r"([0-9]+) bytes spill stores|Used ([0-9]+) registers", done.stderr)
    assert len(told) == 2 * len(NAMES)
    print(f"{target} {named(variant)}: {told}")
    assert all(int(spilled or 0) <= 256 for spilled, _ in told)


@pytest.mark.parametrize(
    ("element", "asked", "most"),
    [
        ("bfloat16", LOSS, 18),
        ("bfloat16", USUAL, 21),
        ("float16", USUAL, 21),
        ("float32", LOSS, 24),
        ("float32", USUAL, 28),
    ],
    ids=lambda one: "-".join(sorted(one)) if isinstance(one, frozenset) else str(one),
)
def test_instructions_of_a_score(
    element: str, asked: frozenset[str], most: float, tmp_path: Path
) -> None:
    """What memory bandwidth leaves time for, one exponential, and no memory of a thread's own."""
    if nvrtc()[0] is None or disassembler() is None:
        pytest.skip("pip install nvidia-cuda-nvrtc nvidia-cuda-nvdisasm")
    cubin(usual(element, asked, 2.0, 1), "sm_90", tmp_path / "rows.cubin")
    found = counts(tmp_path / "rows.cubin", element)
    assert 10 < found["all"] <= most, found
    assert found["MUFU"] == 1, found
    assert found["local"] == 0, found
