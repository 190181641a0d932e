"""Hidden states of language models in the types and shards that they come in."""

from pathlib import Path
from typing import Any

import h5py
import ml_dtypes
import numpy as np
import pytest
from format_files import bfloat16_type, create_raw, safetensors_bytes
from runs import scored

SEQUENCES, POSITIONS, DIM, LAYERS = 7, 5, 6, 3
CUTS = {"teacher": (2, 3), "student": (5,)}  # each side is cut at other sequences
RNG = np.random.default_rng(0)
STATES = {
    side: RNG.normal(0, 2, (LAYERS, SEQUENCES, POSITIONS, DIM)).astype(np.float32) for side in CUTS
}
MASK = (RNG.random((SEQUENCES, POSITIONS)) < 0.7).astype(np.int8)
TYPES = ("float16", "float32", "bfloat16", "float8_e4m3fn", "float8_e5m2")


def bits_of(states: np.ndarray, kind: str) -> np.ndarray:
    """The states as a type stores them; those that NumPy does not know as their bits."""
    if kind.startswith("float") and not kind.startswith("float8"):
        return states.astype(kind)
    return states.astype(getattr(ml_dtypes, kind)).view(f"u{1 if '8_' in kind else 2}")


def values_of(states: np.ndarray, kind: str) -> np.ndarray:
    """What is left of them in float64."""
    known = kind if hasattr(np, kind) else getattr(ml_dtypes, kind)
    return states.astype(known).astype(np.float64)


def as_safetensors(folder: Path, side: str, kind: str) -> Any:
    """A group of a layer each in every shard."""
    for index, part in enumerate(np.split(STATES[side], CUTS[side], axis=1)):
        layers = {f"hidden.{at}": bits_of(layer, kind) for at, layer in enumerate(part)}
        types = {} if hasattr(np, kind) else dict.fromkeys(layers, kind)
        data = safetensors_bytes(layers, **types)
        (folder / f"{side}-{index}.safetensors").write_bytes(data)
    return f"{side}-*.safetensors::hidden"


def as_npz(folder: Path, side: str, kind: str) -> Any:
    """A source for each layer, its shards by a glob; what the files cannot say is declared."""
    for index, part in enumerate(np.split(STATES[side], CUTS[side], axis=1)):
        layers = {f"layer{at}": bits_of(layer, kind) for at, layer in enumerate(part)}
        np.savez(folder / f"{side}-{index}.npz", **layers)
    declared = {} if hasattr(np, kind) else {"dtype": kind}
    return [{"path": f"{side}-*.npz::layer{at}", **declared} for at in range(LAYERS)]


def as_hdf5(folder: Path, side: str, kind: str) -> Any:
    """A group of a dataset each in every shard; bfloat16 is a type of the file."""
    for index, part in enumerate(np.split(STATES[side], CUTS[side], axis=1)):
        with h5py.File(folder / f"{side}-{index}.h5", "w") as file:
            group = file.create_group("model/hidden")
            for at, layer in enumerate(part):
                if kind == "bfloat16":
                    create_raw(group, str(at), bits_of(layer, kind), bfloat16_type())
                else:
                    group[str(at)] = bits_of(layer, kind)
    own = hasattr(np, kind) or kind == "bfloat16"
    path = f"{side}-*.h5::model/hidden"
    return path if own else {"path": path, "dtype": kind}


STORES = {"safetensors": as_safetensors, "npz": as_npz, "hdf5": as_hdf5}


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("store", STORES)
def test_layers_of_few_bits_in_shards(tmp_path: Path, store: str, kind: str) -> None:
    """The mean over rows that the mask keeps, of what the bits mean, by the formula in float64."""
    np.save(tmp_path / "mask.npy", MASK)
    config = {
        "strategy": "progressive",
        **{f"{side}_hidden": STORES[store](tmp_path, side, kind) for side in CUTS},
        "mask": "mask.npy",
        "precision": "float64",
        "progressive": {"layer_mapping": [[0, 2], [2, 0]]},
    }
    result = scored(tmp_path, config)
    teacher, student = (values_of(STATES[side], kind) for side in CUTS)
    kept = MASK.astype(bool)
    expected = [
        ((student[one] - teacher[other])[kept] ** 2).mean(axis=1).mean()
        for one, other in ((0, 2), (2, 0))
    ]
    assert result.layers is not None
    assert [layer.loss for layer in result.layers] == pytest.approx(expected, rel=1e-12)
    assert (result.rows, result.rows_masked) == (kept.sum(), kept.size - kept.sum())
    assert {each["dtype"] for each in result.facts["inputs"] if "hidden" in each["role"]} == {kind}
