"""The order of the rooms: imports go strictly downward, and each library is known in one place."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from runs import ROOT

PACKAGE = ROOT / "distillcli"

# Each module or room of the package, once. A line may import from the lines below it alone, so what
# stands in one line knows nothing of its neighbours. A new module goes as far down as it can.
LAYERS = [
    "__main__ pytest_plugin",
    "cli",
    "commands report",
    "ensembles",
    "planning sinks",
    "strategy",
    "checking fold",
    "fitting slabs",
    "batches kernels",
    "losses metrics targets teachers",
    "numerics",
    "backend config formats inspecting sums writing",
    "address_space result",
    "errors",
]
ORDER = {name: depth for depth, line in enumerate(LAYERS) for name in line.split()}

# Libraries, and the only place that may import each.
PLACES = {
    "typer": "cli",
    "click": None,
    "rich": "report",
    "pydantic": "config",
    "pydantic_core": "config",
    "ruamel": "config",
    "yaml": None,
    "h5py": "formats/hdf5",
    "numba": "kernels/fast",
    "llvmlite": "kernels/fast",
    "hdf5plugin": "formats/hdf5",
    "isal": "formats/inflating.py",
    "cupy": "backend",
    "pytest": "pytest_plugin.py",
}


def sources() -> Iterator[tuple[Path, ast.Module]]:
    """Every file of the package, relative to it, and its syntax tree."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE), ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> Iterator[str]:
    """The dotted names that a file imports, wherever in it, also those for types alone."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written out"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
            ("import_module", "find_spec", "__import__")
        ):
            yield from (str(one.value) for one in node.args if isinstance(one, ast.Constant))


def room(path: Path) -> str:
    return path.parts[0].removesuffix(".py")


def test_every_module_has_its_layer() -> None:
    """A module that is new, gone or listed twice is noticed."""
    listed = " ".join(LAYERS).split()
    there = {room(path) for path, _ in sources()} - {"__init__"}
    assert len(listed) == len(set(listed))
    assert there == set(listed)


def test_imports_go_downward() -> None:
    """No module imports from its own layer or one above."""
    wrong = [
        f"{path} imports {name}"
        for path, tree in sources()
        for name in imported(tree)
        if name.startswith("distillcli.") and name != "distillcli.__version__"
        if (target := name.split(".")[1]) != room(path)
        if ORDER[target] <= ORDER[room(path)]
    ]
    assert wrong == []


@pytest.mark.parametrize("library", PLACES)
def test_each_library_has_one_place(library: str) -> None:
    """Another file that imports it is in the wrong room."""
    place = PLACES[library]
    wrong = [
        str(path)
        for path, tree in sources()
        if any(name.split(".")[0] == library for name in imported(tree))
        and not (place and path.as_posix().startswith(place))
    ]
    assert wrong == []


def test_no_library_beyond_those_declared() -> None:
    """What is imported is the standard library, NumPy or one of the libraries above."""
    known = {*sys.stdlib_module_names, "distillcli", "numpy", *PLACES}
    found = {name.split(".")[0] for _, tree in sources() for name in imported(tree)}
    assert found <= known


@pytest.mark.parametrize(
    "code",
    [
        "import distillcli",
        "import distillcli.losses",
        "import distillcli.metrics",
        "import distillcli.config",
        "import distillcli.cli",
        "sys.argv = ['distill', '--help']; import distillcli.cli; distillcli.cli.main()",
        "sys.argv = ['distill', 'score', '--help']; import distillcli.cli; distillcli.cli.main()",
        "sys.argv = ['distill', '--version']; import distillcli.cli; distillcli.cli.main()",
    ],
)
def test_what_is_light_stays_light(code: str) -> None:
    """Neither NumPy nor h5py nor CuPy is loaded by what needs none of them."""
    script = f"""
import atexit, sys
def look():
    loaded = sorted({{"numpy", "h5py", "cupy"}} & set(sys.modules))
    print("loaded:", loaded, file=sys.stderr)
atexit.register(look)
{code}
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert (done.returncode, done.stderr) == (0, "loaded: []\n")
