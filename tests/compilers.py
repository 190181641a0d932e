"""The compilers of CUDA that a machine without a GPU may have."""

import ctypes
import importlib.util
from functools import lru_cache
from pathlib import Path

from distillcli.kernels.cuda.variant import SOURCE, Variant, source_text


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


def cubin(variant: Variant, target: str, path: Path) -> str:
    """Machine code written to a file; what the assembler says of it, warnings being errors."""
    library, reason = nvrtc()
    assert library is not None, reason
    options = [*variant.options, f"-arch={target}", "-Werror", "all-warnings"]
    status, log, code = compiled(library, source_text(), [*options, "--ptxas-options=-v"])
    assert status == 0, log
    path.write_bytes(code)
    return log
