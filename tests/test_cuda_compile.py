"""The CUDA kernels compile for the devices in use, without a warning, on machines without a GPU.

With NVRTC where a wheel of it is installed (nvidia-cuda-nvrtc), and with nvcc where that is.
"""

import ctypes
import importlib.util
import re
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

import pytest

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
USUAL = frozenset({"forward", "ones", "above", "overlap"})
VARIANTS = [
    Variant("float32", "float32", "float32", BLOCK, ALL, 1),
    Variant("float32", "float32", "float32", BLOCK, USUAL, 1, 1),
    Variant("bfloat16", "bfloat16", "float32", BLOCK, USUAL, 1, 1),
    Variant("bfloat16", "bfloat16", "float32", BLOCK, USUAL, MOST_TEMPERATURES, 1),
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


@lru_cache(maxsize=1)
def nvrtc() -> tuple[ctypes.CDLL | None, str]:
    """The library from the CUDA wheels, or why there is none."""
    found = importlib.util.find_spec("nvidia")
    folders = list(found.submodule_search_locations or ()) if found else []
    files = [file for folder in folders for file in Path(folder).rglob("libnvrtc.so.*")]
    if not files:
        return None, "NVRTC is not installed: pip install nvidia-cuda-nvrtc"
    return ctypes.CDLL(str(sorted(files)[-1])), ""


def compiled(library: ctypes.CDLL, source: str, options: list[str]) -> tuple[int, str, bytes]:
    """NVRTC's status, its log, and the PTX or machine code."""
    program = ctypes.c_void_p()
    made = library.nvrtcCreateProgram(
        ctypes.byref(program), source.encode(), SOURCE.encode(), 0, None, None
    )
    assert made == 0
    texts = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    status = library.nvrtcCompileProgram(program, len(options), texts)

    def fetched(size_of: str, get: str) -> bytes:
        size = ctypes.c_size_t()
        assert getattr(library, size_of)(program, ctypes.byref(size)) == 0
        buffer = ctypes.create_string_buffer(size.value)
        assert getattr(library, get)(program, buffer) == 0
        return buffer.raw

    log = fetched("nvrtcGetProgramLogSize", "nvrtcGetProgramLog").rstrip(b"\0").decode()
    code = b""
    if status == 0:
        kind = "CUBIN" if any("=sm_" in option for option in options) else "PTX"
        code = fetched(f"nvrtcGet{kind}Size", f"nvrtcGet{kind}")
    library.nvrtcDestroyProgram(ctypes.byref(program))
    return status, log, code


def supported(library: ctypes.CDLL) -> set[int]:
    count = ctypes.c_int()
    assert library.nvrtcGetNumSupportedArchs(ctypes.byref(count)) == 0
    found = (ctypes.c_int * count.value)()
    assert library.nvrtcGetSupportedArchs(found) == 0
    return set(found)


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
