"""A run on a GPU, on a stand-in for CuPy: what is asked of it, and what happens when it fails."""

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_cupy
import numpy as np
import pytest
from emulation import needs_compiler
from runs import ROOT, distill, saved

from distillcli.backend import choose, cuda, probe
from distillcli.errors import BackendError
from distillcli.formats.hdf5 import process
from distillcli.kernels.cuda.variant import AT_A_TEMPERATURE, BLOCK, COLUMNS, STORED, source_text

pytestmark = needs_compiler
ROWS, CLASSES = 500, 11
ROW_BYTES = 2 * CLASSES * 4 + 8


@pytest.fixture
def gpu() -> Iterator[fake_cupy.State]:
    """There is a device."""
    with fake_cupy.installed() as state:
        yield state


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small batches, so that there are several."""
    random = np.random.default_rng(0)
    teacher = random.normal(0, 3, (ROWS, CLASSES))
    student = teacher + random.normal(0, 1, teacher.shape)
    saved(tmp_path, "float32", teacher=teacher, student=student)
    np.save(tmp_path / "labels.npy", random.integers(0, CLASSES, ROWS))
    monkeypatch.setattr(cuda, "LEAST_BATCH", 1)
    monkeypatch.setattr(cuda, "BATCH_BYTES", 128 * ROW_BYTES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


PAIR = ("--teacher", "teacher.npy", "--student", "student.npy", "--labels", "labels.npy")


def score(*arguments: str, device: str = "cuda") -> Any:
    done = distill("score", *PAIR, "--device", device, "--format", "json", *arguments)
    assert done.code == 0, done.errors
    return json.loads(done.out)


def without_time(result: dict[str, Any]) -> dict[str, Any]:
    facts = {key: value for key, value in result["facts"].items() if key != "seconds"}
    return {**result, "facts": facts}


def test_one_wait_per_batch(gpu: fake_cupy.State, folder: Path) -> None:
    """Each input is copied once, one kernel runs, the results come back at once."""
    score()
    assert gpu.log.count("launch pair") == 4
    assert gpu.log.count("copy to host") == 4
    assert gpu.log.count("copy to device") == 3 * 4
    # Two more are the element and the product that the probe looks at.
    assert gpu.log.count("wait") == 4 + 2


def test_one_kernel_for_several_temperatures(gpu: fake_cupy.State, folder: Path) -> None:
    """And for all default metrics; from five temperatures on it takes two."""
    config = folder / "config.json"
    for number, launches in ((3, 4), (4, 8)):
        losses = [{"name": "kl", "as": f"kl_{at}", "temperature": 2.0 + at} for at in range(number)]
        soft = {"name": "reverse_kl", "temperature": 9.0}
        data = {
            "strategy": "response",
            "teacher": "teacher.npy",
            "student": "student.npy",
            "response": {"alpha": 1.0, "soft_loss": soft},
            "losses": losses,
        }
        config.write_text(json.dumps(data))
        gpu.log.clear()
        results = []
        for device in ("cuda", "cpu"):
            done = distill("score", str(config), "--device", device, "--format", "json")
            assert done.code == 0, done.errors
            results.append(json.loads(done.out))
        assert gpu.log.count("launch pair") == launches
        found, right = results
        for kind in ("terms", "metrics"):
            assert found[kind].keys() == right[kind].keys()
            for name, value in right[kind].items():
                assert found[kind][name] == pytest.approx(value, rel=1e-5, abs=1e-7), name


def test_numbers_are_those_of_the_cpu(gpu: fake_cupy.State, folder: Path) -> None:
    """To what float32 leaves open, and the exact same wherever they are counts."""
    found, right = score("--temperature", "3"), score("--temperature", "3", device="cpu")
    assert (found["facts"]["device"], found["facts"]["kernel"]) == ("cuda:0", "cuda")
    assert found["loss"] == pytest.approx(right["loss"], rel=1e-6)
    assert found["metrics"].keys() == right["metrics"].keys()
    for name, value in right["metrics"].items():
        assert found["metrics"][name] == pytest.approx(value, rel=1e-5, abs=1e-7), name


def test_same_bits_for_every_batch(
    gpu: fake_cupy.State, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is copied at once, and whatever memory is free."""
    whole = without_time(score())
    monkeypatch.setattr(cuda, "BATCH_BYTES", 16 * ROW_BYTES)
    assert without_time(score()) == whole


def test_out_of_memory(gpu: fake_cupy.State, folder: Path) -> None:
    """The batch is halved until it fits, with the same numbers and one note."""
    right = without_time(score())
    gpu.largest = 128 * 18 * 8 - 1  # the columns of a kernel take more
    done = distill("score", *PAIR, "--device", "cuda", "--format", "json")
    assert done.code == 0, done.errors
    assert without_time(json.loads(done.out)) == right
    notes = [note for note in done.notes if "memory" in note]
    assert notes == [
        "cuda:0: 128 rows at once do not fit into its memory; going on with 64 at once, "
        "which changes no number"
    ]
    assert "clear" in gpu.log


def test_sequences_are_whole_at_once(
    gpu: fake_cupy.State, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However little fits, and with positions that are left out; half a sequence is not tried."""
    positions, sequences = 6, 90
    sides = np.random.default_rng(0).normal(size=(2, sequences, positions, positions))
    saved(folder, t=sides[0], s=sides[1])
    np.save("mask.npy", np.random.default_rng(1).random((sequences, positions)) < 0.8)
    config = {
        "strategy": "progressive",
        "teacher_hidden": ["t.npy"],
        "student_hidden": ["s.npy"],
        "progressive": {"layer_mapping": [[0, 0]]},
        "mask": "mask.npy",
        "losses": [{"name": "attention"}, {"name": "minilm_relation", "heads": 2}, {"name": "mse"}],
    }
    (folder / "config.yaml").write_text(json.dumps(config))

    def run(device: str) -> Any:
        return distill("score", "config.yaml", "--device", device, "--format", "json")

    right = run("cpu").data
    found = run("cuda").data
    assert found["terms"] == pytest.approx(right["terms"], rel=1e-12)
    monkeypatch.setattr(cuda, "BATCH_BYTES", 16 * 2 * positions * 8)
    assert run("cuda").data["terms"] == found["terms"]
    monkeypatch.setattr(cuda, "BATCH_BYTES", 2**16)
    gpu.largest = 50 * positions * 8
    assert run("cuda").data["terms"] == found["terms"]
    assert "full" in gpu.log
    gpu.largest = positions * positions * 8 - 1
    assert "no room for a single sequence of 6 positions" in run("cuda").err


def test_the_cka_of_layers_is_that_of_the_cpu(
    gpu: fake_cupy.State, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last bit, whatever memory is free: it is summed on the host, of the same rows."""
    random = np.random.default_rng(0)
    width, rows = 6, 1800
    teacher = random.normal(size=(rows, width))
    saved(folder, s=teacher + random.normal(size=(rows, width)), t=teacher)
    config = {
        "strategy": "progressive",
        "teacher_hidden": ["t.npy"],
        "student_hidden": ["s.npy"],
        "progressive": {"layer_mapping": [[0, 0]]},
        "metrics": ["cka", "cka_unbiased"],
    }
    (folder / "config.yaml").write_text(json.dumps(config))

    def metrics(device: str) -> Any:
        done = distill("score", "config.yaml", "--device", device, "--format", "json")
        assert done.code == 0, done.errors
        return done.data["metrics"]

    right = metrics("cpu")
    for rows_at_once in (64, 256, 1024):
        monkeypatch.setattr(cuda, "BATCH_BYTES", rows_at_once * 2 * width * 8)
        assert metrics("cuda") == right
    gpu.largest = 100 * width * 8
    assert metrics("cuda") == right
    assert "full" in gpu.log


def test_a_pool_that_is_full(gpu: fake_cupy.State, folder: Path) -> None:
    """What it keeps for later is given back before a batch is halved, which then need not be."""
    right = without_time(score())
    gpu.kept = 128 * 18 * 8 - 1  # the columns of a kernel take more
    done = distill("score", *PAIR, "--device", "cuda", "--format", "json")
    assert done.code == 0, done.errors
    assert without_time(json.loads(done.out)) == right
    assert [note for note in done.notes if "memory" in note] == []
    assert "full" in gpu.log
    assert "clear" in gpu.log


def test_no_room_for_a_row(gpu: fake_cupy.State, folder: Path) -> None:
    """That is the device's failure."""
    gpu.largest = 16
    done = distill("score", *PAIR, "--device", "cuda")
    assert (done.code, done.out) == (3, "")
    assert "no room for a single row" in done.errors[-1]


def test_a_batch_that_must_stay_whole(gpu: fake_cupy.State, folder: Path) -> None:
    """A loss that relates the rows of a batch is refused, not computed on half of them."""
    config = folder / "config.yaml"
    data = {
        "strategy": "response",
        "teacher": "teacher.npy",
        "student": "student.npy",
        "batch_size": 100,
        "response": {"alpha": 1.0, "soft_loss": {"name": "dist"}},
    }
    config.write_text(json.dumps(data))
    done = distill("score", str(config), "--device", "cuda", "--format", "json")
    assert done.code == 0, done.errors
    gpu.largest = 50 * CLASSES * 4
    done = distill("score", str(config), "--device", "cuda")
    assert (done.code, done.out) == (3, "")
    assert "no room for a batch of 100 rows" in done.errors[-1]
    assert "set a smaller batch_size" in done.errors[-1]


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("format", ["table", "json", "jsonl"])
def test_a_device_that_fails(gpu: fake_cupy.State, folder: Path, after: int, format: str) -> None:
    """Exit 3, one line that names it, and nothing that looks like a result."""
    gpu.launches_left = after
    done = distill("score", *PAIR, "--device", "cuda", "--format", format, "--batch-size", "100")
    assert done.code == 3
    assert "device cuda:0: failed: CUDARuntimeError" in done.errors[-1]
    if format == "jsonl":
        assert "error" in json.loads(done.out.splitlines()[-1])
        assert '"loss"' not in done.out.splitlines()[-1]
    else:
        assert done.out == ""


def test_bad_rows_on_the_device(gpu: fake_cupy.State, folder: Path) -> None:
    """They are found in what the kernel has left, and told by number."""
    scores = np.load(folder / "student.npy")
    scores[333, 4] = math.nan
    np.save(folder / "student.npy", scores)
    done = distill("score", *PAIR, "--device", "cuda")
    assert done.code == 2
    assert "row 333: " in done.errors[-1]


def test_the_process_of_hdf5_is_forked_before_a_gpu_is_touched(
    gpu: fake_cupy.State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fork of a process that uses CUDA is not safe; every command opens its files first."""
    real = process._forked

    def noted(work: Any) -> int:
        gpu.happened("fork")
        return real(work)

    monkeypatch.setattr(process, "_forked", noted)
    for command, strategy in (
        ("score", "response"),
        ("score", "ensemble"),
        ("score", "progressive"),
        ("validate", "response"),
    ):
        gpu.log.clear()
        config = ROOT / "configs" / f"{strategy}.yaml"
        assert distill(command, config, "--device", "cuda").code == 0
        touched = next(at for at, what in enumerate(gpu.log) if what != "fork")
        assert "fork" not in gpu.log[touched:]
        assert len(gpu.log) > touched


def test_options_name_one_kernel_for_each_use(gpu: fake_cupy.State, folder: Path) -> None:
    """What is not wanted is not compiled in."""
    score("--temperature", "1", "--set", "metrics=none", "--set", "response.alpha=1")
    (options,) = set(gpu.compiled)
    assert "-DDISTILL_FORWARD=1" in options
    assert "-DDISTILL_REVERSE=0" in options
    assert "-DDISTILL_SQUARINGS=0" in options
    assert "-DDISTILL_ONES=0" in options


@pytest.mark.parametrize("element", ["float16", "float32", "float64"])
def test_scores_go_to_the_device_as_they_are_stored(
    gpu: fake_cupy.State, folder: Path, element: str
) -> None:
    """No wider than in the file: the bus is what limits."""
    for name in ("teacher", "student"):
        np.save(folder / f"{name}.npy", np.load(folder / f"{name}.npy").astype(element))
    score()
    (options,) = set(gpu.compiled)
    assert f"-DDISTILL_TEACHER=distill::{element.capitalize()}" in options
    real = "double" if element == "float64" else "float"
    assert f"-DDISTILL_REAL={real}" in options


@pytest.mark.parametrize("command", ["score", "ensemble"])
@pytest.mark.parametrize("strategy", ["response", "progressive", "ensemble"])
def test_the_sample_data(gpu: fake_cupy.State, strategy: str, command: str, tmp_path: Path) -> None:
    """All three strategies, and soft targets, as on the CPU."""
    if command == "ensemble" and strategy != "ensemble":
        pytest.skip("only an ensemble is blended")
    results = []
    for device in ("cuda", "cpu"):
        more = ("--output", str(tmp_path / f"{device}.h5")) if command == "ensemble" else ()
        done = distill(
            command,
            ROOT / "configs" / f"{strategy}.yaml",
            "--device",
            device,
            "--format",
            "json",
            *more,
        )
        assert done.code == 0, done.errors
        results.append(json.loads(done.out))
    found, right = results
    if command == "score":
        assert found["loss"] == pytest.approx(right["loss"], rel=1e-6)
        for name, value in right["metrics"].items():
            assert found["metrics"][name] == pytest.approx(value, rel=1e-5, abs=1e-7), name


@pytest.fixture
def without_driver(gpu: fake_cupy.State, monkeypatch: pytest.MonkeyPatch) -> fake_cupy.State:
    """CuPy is installed, and there is no driver."""
    monkeypatch.setattr(probe, "driver_library", lambda: None)
    return gpu


def test_cupy_is_not_loaded_without_a_driver(
    without_driver: fake_cupy.State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`auto` looks for one first; asked for by name, the device is what is missing."""

    def loaded(name: str) -> Any:
        raise AssertionError(f"{name} is loaded")

    monkeypatch.setattr(probe.importlib, "import_module", loaded)
    assert choose("auto").note == "no GPU is used: there is no CUDA driver; computing on the CPU"
    with pytest.raises(BackendError, match=r"device cuda: there is no CUDA driver; install the"):
        choose("cuda")
    assert without_driver.log == []


def test_the_probe_goes_on_in_order(gpu: fake_cupy.State, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step is named where it is the first that is missing."""
    found = probe.probe_gpu()
    assert [check for check, _ in found.checks] == ["CuPy", "driver", "device", "kernel"]
    assert found.missing is None
    assert str(probe.probe_gpu(3).missing) == "there is no device cuda:3"
    gpu.largest = 0
    assert str(probe.probe_gpu().missing) == "a one-element kernel does not run"
    gpu.largest = 8
    assert str(probe.probe_gpu().missing) == "a matrix product does not run"
    monkeypatch.setattr(sys.modules["cupy"], "__version__", "13.6.0")
    assert str(probe.probe_gpu().missing) == "CuPy 13.6.0 is too old"
    monkeypatch.setattr(probe.importlib.util, "find_spec", lambda name: None)
    assert str(probe.probe_gpu().missing) == "CuPy is not installed"


def test_sums_are_left_to_no_accelerator(gpu: fake_cupy.State) -> None:
    """The bits of a row would depend on the rows that come with it."""
    choose("cuda")
    assert gpu.accelerators == {"reduction": [], "routine": []}


def test_tf32_is_told(gpu: fake_cupy.State, monkeypatch: pytest.MonkeyPatch) -> None:
    """Products are full float32 unless CuPy's own switch asks for less, and then a note says so."""
    monkeypatch.delenv("CUPY_TF32", raising=False)
    told: list[str] = []
    choose("cuda", told.append)
    monkeypatch.setenv("CUPY_TF32", "0")
    choose("cuda", told.append)
    assert told == []
    monkeypatch.setenv("CUPY_TF32", "1")
    choose("cuda", told.append)
    assert [note.partition(":")[0] for note in told] == ["CUPY_TF32 is set"]


def test_batches_fill_the_chip_and_fit(gpu: fake_cupy.State) -> None:
    """128 MiB where there is room, less where there is not."""

    def bytes_at_once(free: int) -> int:
        gpu.free = free
        backend = choose("cuda")
        assert backend.gpu is not None
        return backend.gpu.batch_bytes

    assert bytes_at_once(80 * 2**30) == 128 * 2**20
    assert bytes_at_once(2 * 2**30) == 32 * 2**20
    assert bytes_at_once(2**20) == 2**20


def test_the_host_and_the_kernels_agree() -> None:
    """On the types that are read as they are stored, on the threads of a block, on the columns."""
    text = source_text()
    assert frozenset(STORED) == cuda.STORED
    assert cuda.BLOCK == BLOCK
    assert f"constexpr int BLOCK = {BLOCK};" in text
    written = text.partition("enum Column {")[2].partition("}")[0]
    names = [name.strip().lower() for name in written.split(",")]
    assert names == [*COLUMNS, *AT_A_TEMPERATURE]
