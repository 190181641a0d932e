"""The stand-in for CuPy offers nothing that CuPy does not have."""

import importlib.util
from types import ModuleType, SimpleNamespace
from typing import Any

import cupy_surface
import fake_cupy
import pytest

OWN = {"ptr", "index", "options"}  # attributes that a class of CuPy sets on its objects


def offered(place: str, value: Any) -> set[str]:
    """What a test may use of the stand-in at a place, by name."""
    return {name for name in vars(value) if not name.startswith("_")} - OWN


@pytest.mark.parametrize(
    ("place", "find"),
    [
        ("cupy", lambda cupy: cupy),
        ("cupy._core", lambda cupy: cupy._core),
        ("cupy.cuda", lambda cupy: cupy.cuda),
        ("cupy.cuda.runtime", lambda cupy: cupy.cuda.runtime),
        ("cupy.cuda.memory", lambda cupy: cupy.cuda.memory),
        ("cupy.cuda.MemoryPointer", lambda cupy: fake_cupy._Pointer),
        ("cupy.cuda.Stream", lambda cupy: cupy.cuda.Stream),
        ("cupy.cuda.Device", lambda cupy: cupy.cuda.Device),
        ("cupy.RawModule", lambda cupy: cupy.RawModule),
        ("cupy.ndarray", lambda cupy: cupy.ndarray),
    ],
)
def test_the_stand_in_has_no_names_of_its_own(place: str, find: Any) -> None:
    """Whatever runs on it could ask the real one."""
    names = offered(place, find(fake_cupy.module()))
    assert names <= cupy_surface.recorded()[place].keys()


def test_what_cupy_lacks_is_refused() -> None:
    """A function, a parameter and a method that NumPy has and CuPy does not."""
    with fake_cupy.installed():
        import cupy

        array = cupy.asarray([1.0, 2.0])
        with pytest.raises(AttributeError, match="CuPy has no vecdot"):
            cupy.vecdot(array, array)
        with pytest.raises(AssertionError, match="clip of CuPy has no"):
            cupy.clip(array, min=1.0, max=2.0)
        with pytest.raises(AttributeError, match="arrays of CuPy have no setflags"):
            array.setflags(write=False)


@pytest.mark.skipif(
    importlib.util.find_spec("cupy") is None,
    reason="CuPy is not installed: pip install cupy-cuda13x",
)
def test_the_record_is_that_of_cupy() -> None:
    """It needs no GPU. A later version may have more."""
    installed: dict[str, set[str]] = {}
    for line in cupy_surface.lines()[1:]:
        if line.startswith("["):
            place = installed.setdefault(line[1:-1], set())
        else:
            place.add(line.split()[0])
    for at, names in cupy_surface.recorded().items():
        assert names.keys() <= installed[at], at


def test_places_are_those_of_the_stand_in() -> None:
    """None is forgotten."""
    module = fake_cupy.module()
    parts = [
        name for name, value in vars(module.cuda).items() if isinstance(value, SimpleNamespace)
    ]
    assert isinstance(module, ModuleType)
    assert {f"cupy.cuda.{name}" for name in parts} <= cupy_surface.recorded().keys()
