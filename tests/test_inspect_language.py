"""`distill inspect` on dumps of language models: few bits, shards, ids, masks, top-k and floors."""

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from format_files import kld_bytes, safetensors_bytes
from runs import distill

from distillcli.commands.inspect import inspect
from distillcli.inspecting.inspection import ArrayFound, FileFound

RNG = np.random.default_rng(0)
SHAPE = (4, 6, 50)
LOGITS = RNG.normal(0, 3, SHAPE).astype(np.float32)
IDS = RNG.integers(0, 50, SHAPE[:2])
ROWS = LOGITS.reshape(-1, 50)
LOG_Z = np.log(np.exp(ROWS).sum(1))
TOP = np.argsort(-ROWS, 1)[:, :5]
VALUES = np.take_along_axis(ROWS, TOP, 1)


def file(path: Path) -> FileFound:
    found = inspect([str(path)])
    assert found.errors == ()
    return found.files[0]


def by_name(path: Path) -> dict[str | None, ArrayFound]:
    return {array.name: array for array in file(path).arrays}


def dump(folder: Path, name: str = "dump.safetensors") -> Path:
    """Everything that a dump of a language model may hold."""
    bits = (LOGITS.view(np.uint32) >> 16).astype(np.uint16)
    arrays = {
        "student.logits": bits,
        "teacher.logits": bits,
        "small": LOGITS.astype(ml_dtypes.float8_e4m3fn).view(np.uint8),
        "input_ids": IDS,
        "labels": IDS,
        "attention_mask": np.ones(SHAPE[:2], np.int64),
        "flags": np.ones(SHAPE[:2], bool),
        "hidden.0": LOGITS,
        "hidden.1": LOGITS,
        "steps": (LOGITS * 10).clip(-128, 127).astype(np.int8),
    }
    types = {"student.logits": "bfloat16", "teacher.logits": "bfloat16", "small": "float8_e4m3fn"}
    (folder / name).write_bytes(safetensors_bytes(arrays, {"format": "pt"}, **types))
    return folder / name


def test_true_types_and_looks(tmp_path: Path) -> None:
    """What each array of a safetensors file is, and what it looks like."""
    found = by_name(dump(tmp_path))
    assert {name: (array.type, array.looks) for name, array in found.items()} == {
        "student.logits": ("bfloat16", "logits"),
        "teacher.logits": ("bfloat16", "logits"),
        "small": ("float8_e4m3fn", "logits"),
        "input_ids": ("int64", "token_ids"),
        "labels": ("int64", "labels"),
        "attention_mask": ("int64", "mask"),
        "flags": ("bool", "mask"),
        "hidden.0": ("float32", "hidden_states"),
        "hidden.1": ("float32", "hidden_states"),
        "steps": ("int8", "integers"),
    }
    assert [name for name, array in found.items() if array.refusal is not None] == ["steps"]
    assert "scale: 0.05" in str(found["steps"].refusal)
    assert found["steps"].remark == (
        f"or quantised scores: {{path: {tmp_path}/dump.safetensors::steps, scale: ..., "
        "zero_point: 0}"
    )


def test_layers_and_attributes_of_safetensors(tmp_path: Path) -> None:
    """Names with a dot form groups, and the texts of the header are told."""
    found = file(dump(tmp_path))
    assert [(group.source, group.layers) for group in found.layers] == [
        (f"{tmp_path}/dump.safetensors::hidden", 2)
    ]
    assert (found.format, dict(found.attributes)) == ("safetensors", {"format": "pt"})


def test_shards_are_scored_as_one(tmp_path: Path) -> None:
    """The command that is proposed names the glob, logits and labels of the same rows, and runs."""
    for index in (1, 2):
        dump(tmp_path, f"model-{index:05}-of-00002.safetensors")
    pattern = f"{tmp_path}/model-*.safetensors"
    found = inspect([pattern])
    joined = {each.source: each for each in found.shards}
    assert joined[f"{pattern}::student.logits"].shape == (8, 6, 50)
    assert joined[f"{pattern}::student.logits"].type == "bfloat16"
    (command,) = (line for line in found.use if line.startswith("distill"))
    assert command == (
        f"distill score --teacher '{pattern}::teacher.logits' "
        f"--student '{pattern}::student.logits' --labels '{pattern}::labels'"
    )
    words = [word.strip("'") for word in command.split()[1:]]
    assert distill(*words, "--format", "json").data["rows"] == 48


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2"])
@pytest.mark.parametrize("raw", [True, False])
def test_bytes_that_look_like_float8(tmp_path: Path, name: str, raw: bool) -> None:
    """The line to add is shown; which of both types it is nobody can tell."""
    values = ROWS.astype(getattr(ml_dtypes, name))
    np.save(tmp_path / "a.npy", values if raw else values.view(np.uint8))
    (array,) = file(tmp_path / "a.npy").arrays
    assert array.type == ("raw 1-byte" if raw else "uint8")
    assert array.remark == (
        f"looks like float8: {{path: {tmp_path}/a.npy, dtype: float8_e4m3fn}}, or float8_e5m2"
    )


@pytest.mark.parametrize(
    "values",
    [
        RNG.integers(0, 256, (60, 50)),
        RNG.integers(0, 100, (60, 50)),
        (RNG.normal(128, 20, (60, 50))).clip(0, 255),
        np.zeros((60, 50)),
    ],
    ids=["any", "labels", "quantised", "zeros"],
)
def test_bytes_that_do_not(tmp_path: Path, values: np.ndarray) -> None:
    """Small integers and noise are none."""
    np.save(tmp_path / "a.npy", values.astype(np.uint8))
    (array,) = file(tmp_path / "a.npy").arrays
    assert array.looks == "labels"


class TestMass:
    """The share of the probability that is held."""

    def held(self, folder: Path, **arrays: np.ndarray) -> ArrayFound:
        np.savez(folder / "top.npz", **arrays)
        return by_name(folder / "top.npz")["values"]

    def test_of_logits_with_log_z(self, tmp_path: Path) -> None:
        """exp(value - log_z), the mean over the rows."""
        found = self.held(tmp_path, values=VALUES, indices=TOP, log_z=LOG_Z)
        mass = np.exp(VALUES - LOG_Z[:, None]).sum(1)
        assert found.mass == pytest.approx(mass.mean(), rel=1e-6)
        assert found.remark == (
            f"the 5 largest classes hold {mass.mean():.4f} of the probability, "
            f"at least {mass.min():.4f}"
        )

    def test_of_log_probabilities(self, tmp_path: Path) -> None:
        """They tell it alone."""
        found = self.held(tmp_path, values=VALUES - LOG_Z[:, None], indices=TOP)
        assert found.mass == pytest.approx(np.exp(VALUES - LOG_Z[:, None]).sum(1).mean(), rel=1e-6)
        (line,) = inspect([str(tmp_path / "top.npz")]).use
        assert line.startswith(
            f"in a config: {{path: {tmp_path}/top.npz, classes: N, kind: log_probabilities}}"
        )

    @pytest.mark.parametrize("kind", ["logits", "probabilities", "log_probabilities"])
    def test_of_soft_targets(self, tmp_path: Path, kind: str) -> None:
        """What `distill ensemble --top-k` writes tells the temperature of its mass."""
        np.save(tmp_path / "t.npy", ROWS)
        (tmp_path / "c.yaml").write_text(
            "strategy: ensemble\nteachers: [t.npy]\nensemble: {temperature: 3}\n"
        )
        written = tmp_path / "soft.h5"
        options = ("--output", written, "--kind", kind, "--top-k", "5", "--quiet")
        assert distill("ensemble", tmp_path / "c.yaml", *options).code == 0
        p = np.exp(ROWS / 3)
        mass = np.take_along_axis(p, TOP, 1).sum(1) / p.sum(1)
        assert by_name(written)["values"].mass == pytest.approx(mass.mean(), rel=1e-5)

    @pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf, -1e300])
    def test_of_a_log_z_that_is_none(self, tmp_path: Path, odd: float) -> None:
        """Told in words, without a warning of NumPy and without a number."""
        found = self.held(tmp_path, values=VALUES, indices=TOP, log_z=np.where(LOG_Z > 6, odd, 6))
        if odd == np.inf:
            assert found.mass is not None
        else:
            assert (found.mass, found.remark) == (
                None,
                "the 5 largest classes; log_z does not fit them",
            )

    def test_of_logits_alone(self, tmp_path: Path) -> None:
        """Nobody knows what the others hold, and that is said."""
        found = self.held(tmp_path, values=VALUES, indices=TOP)
        assert found.mass is None
        assert found.remark == ("the 5 largest classes; what the others hold is not told: no log_z")

    def test_above_a_floor(self, tmp_path: Path) -> None:
        """Of a base of llama.cpp, where classes at the floor do not count."""
        logits = RNG.normal(0, 4, (2, 4, 3000))
        logits[..., 0] = 14
        (tmp_path / "base.kld").write_bytes(kld_bytes(logits, np.zeros((2, 9), int)))
        found = by_name(tmp_path / "base.kld")
        p = np.exp(logits - logits.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        kept = np.where(logits > logits.max(-1, keepdims=True) - 16, p, 0).sum(-1).mean()
        assert found["log_probabilities"].mass == pytest.approx(kept, abs=2e-4)
        assert {name: array.looks for name, array in found.items()} == {
            "context_tokens": "token_ids",
            "labels": "labels",
            "log_probabilities": "log_probabilities",
            "tokens": "token_ids",
        }
        assert inspect([str(tmp_path / "base.kld")]).use == (
            f"distill score --teacher {tmp_path}/base.kld --student STUDENT "
            f"--labels {tmp_path}/base.kld::labels --temperature 1",
        )

    def test_in_the_report(self, tmp_path: Path) -> None:
        """A column of its own where something has it."""
        self.held(tmp_path, values=VALUES, indices=TOP, log_z=LOG_Z)
        out = distill("inspect", tmp_path / "top.npz").out
        assert "held" in out
        assert out.count(f"{np.exp(VALUES - LOG_Z[:, None]).sum(1).mean():.4f}") == 2
