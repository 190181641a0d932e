"""The names that CuPy has, and the parameters of its functions, as recorded in cuda/cupy.txt.

`python tests/cupy_surface.py` writes them where CuPy is installed, which needs no GPU. The stand-in
for CuPy gives nothing else, so that what runs on it asks for nothing that CuPy lacks.
"""

import inspect
from functools import cache
from pathlib import Path
from typing import Any

RECORD = Path(__file__).parent / "cuda" / "cupy.txt"
# Where names are looked up; of a module its functions with their parameters.
PLACES = (
    *("cupy", "cupy.ndarray", "cupy._core", "cupy.cuda", "cupy.cuda.runtime", "cupy.cuda.memory"),
    *("cupy.cuda.MemoryPointer", "cupy.cuda.Stream", "cupy.cuda.Device", "cupy.RawModule"),
)
ANY = "..."  # a function that does not tell its parameters, as the elementwise ones
KEPT = ("set_reduction_accelerators", "set_routine_accelerators")  # of what is not public


@cache
def recorded() -> dict[str, dict[str, list[str]]]:
    """By place and name, the parameters; none for what is no function."""
    found: dict[str, dict[str, list[str]]] = {}
    for line in RECORD.read_text(encoding="utf-8").splitlines()[1:]:
        if line.startswith("["):
            found[line[1:-1]] = place = {}
        elif line:
            name, *parameters = line.split()
            place[name] = parameters
    return found


def lines() -> list[str]:
    """The record, of the CuPy that is installed."""
    import cupy

    written = [f"CuPy {cupy.__version__}"]
    for place in PLACES:
        at: Any = cupy
        for part in place.split(".")[1:]:
            at = getattr(at, part)
        names = KEPT if place == "cupy._core" else [n for n in dir(at) if not n.startswith("_")]
        written += [f"[{place}]", *(" ".join((n, *_parameters(getattr(at, n)))) for n in names)]
    return written


def _parameters(value: Any) -> list[str]:
    if inspect.isclass(value) or not callable(value):
        return []
    try:
        found = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return [ANY]
    return [ANY if one.kind is one.VAR_POSITIONAL else one.name for one in found]


if __name__ == "__main__":
    RECORD.write_text("\n".join(lines()) + "\n", encoding="utf-8")
