"""`distill inspect`: what is in a file, told from its headers and a few rows."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from format_files import bfloat16_type, create_raw, npy_bytes, npy_header, write_npz
from runs import ROOT, distill

from distillcli.commands.inspect import inspect
from distillcli.formats.files import InputFile
from distillcli.formats.hdf5 import remote
from distillcli.formats.hdf5.file import OpenFile
from distillcli.formats.hdf5.process import Process
from distillcli.inspecting.inspection import ArrayFound
from distillcli.report import write_inspection

ROWS, CLASSES = 300, 10
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 3, (ROWS, CLASSES)).astype(np.float32)
LABELS = RNG.integers(0, CLASSES, ROWS)
BITS = (LOGITS.view(np.uint32) >> 16).astype(np.uint16)  # of bfloat16


def softmax(values: np.ndarray) -> np.ndarray:
    exponents = np.exp(values - values.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)


def huge(path: Path, *, fortran: bool = False, rows: int = 781_250, classes: int = 32_000) -> None:
    """An NPY file of 100 GB of which nothing is on the disk."""
    shape = f"{{'descr': '<f4', 'fortran_order': {fortran}, 'shape': ({rows}, {classes})}}"
    path.write_bytes(npy_header(shape))
    os.truncate(path, path.stat().st_size + rows * classes * 4)


def huge_hdf5(path: Path, chunk: tuple[int, int] | None) -> None:
    """The same in HDF5; chunks are given their places, without values."""
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    if chunk is not None:
        plist.set_chunk(chunk)
    with h5py.File(path, "w") as file:
        space = h5py.h5s.create_simple((781_250, 32_000))
        h5py.h5d.create(file.id, b"logits", h5py.h5t.IEEE_F32LE, space, plist)


def only(path: Path | str) -> ArrayFound:
    """The only array that is found."""
    found = inspect([str(path)])
    assert found.errors == ()
    ((array,),) = (file.arrays for file in found.files)
    return array


def looks(folder: Path, values: np.ndarray, name: str = "x") -> ArrayFound:
    """What an array of that name is taken for."""
    np.save(folder / f"{name}.npy", values)
    return only(folder / f"{name}.npy")


class TestStorage:
    """How an array lies in its file."""

    def test_npy(self, tmp_path: Path) -> None:
        """Shape, type, order of axes and of bytes come from the header."""
        (tmp_path / "c.npy").write_bytes(npy_bytes(LOGITS))
        (tmp_path / "f.npy").write_bytes(npy_bytes(LOGITS.astype(">f8"), fortran=True))
        c, f = only(tmp_path / "c.npy"), only(tmp_path / "f.npy")
        assert (c.name, c.shape, c.type) == (None, (ROWS, CLASSES), "float32")
        assert (c.layout, c.fortran, c.big_endian) == ("contiguous", False, False)
        assert (f.type, f.fortran, f.big_endian) == ("float64", True, True)
        assert c.logical == c.stored == LOGITS.nbytes
        assert c.sample is not None
        assert f.sample is not None
        assert (c.sample.low, c.sample.high) == (LOGITS.min(), LOGITS.max())
        assert (f.sample.low, f.sample.high) == (LOGITS.min(), LOGITS.max())

    @pytest.mark.parametrize("deflated", [False, True])
    def test_npz(self, tmp_path: Path, deflated: bool) -> None:
        """A packed member is one stream; what it takes in the file is told."""
        members = {"logits": npy_bytes(LOGITS), "labels": npy_bytes(LABELS)}
        write_npz(tmp_path / "a.npz", members, deflated=deflated)
        (file,) = inspect([str(tmp_path / "a.npz")]).files
        labels, logits = file.arrays
        assert [labels.name, logits.name] == ["labels", "logits"]
        assert logits.source == f"{tmp_path}/a.npz::logits"
        assert logits.layout == ("stream" if deflated else "contiguous")
        assert logits.filters == (("deflate",) if deflated else ())
        assert labels.stored is not None
        assert labels.logical == LABELS.nbytes
        assert (labels.stored < labels.logical) == deflated

    def test_hdf5(self, tmp_path: Path) -> None:
        """Layout, chunks, filters, true types and attributes come from the header."""
        with h5py.File(tmp_path / "a.h5", "w") as file:
            packed = {"compression": "gzip", "shuffle": True, "fletcher32": True}
            file.create_dataset("chunked", data=LOGITS, chunks=(64, 5), **packed)
            create_raw(
                file, "bfloat", BITS.byteswap(), bfloat16_type(big_endian=True), chunks=(64, 5)
            )
            file["chunked"].attrs["kind"] = "logits"
            file["chunked"].attrs["temperature"] = 4.0
            file["chunked"].attrs["many"] = [1, 2, 3]
            file.attrs["made_by"] = np.bytes_(b"a test")
            plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plist.set_layout(h5py.h5d.COMPACT)
            space = h5py.h5s.create_simple((4, 3))
            h5py.h5d.create(file.id, b"compact", h5py.h5t.IEEE_F32LE, space, plist)
        (found,) = inspect([str(tmp_path / "a.h5")]).files
        bfloat, chunked, compact = found.arrays
        assert (bfloat.type, bfloat.big_endian, bfloat.looks) == ("bfloat16", True, "logits")
        assert bfloat.sample is not None
        assert bfloat.sample.high == pytest.approx(LOGITS.max(), rel=2**-7)
        assert chunked.chunk == (64, 5)
        assert chunked.filters == ("shuffle", "gzip", "fletcher32")
        assert chunked.logical == LOGITS.nbytes
        assert chunked.stored != chunked.logical
        assert chunked.attributes == {"kind": "logits", "temperature": 4.0}
        assert (compact.layout, compact.chunk) == ("compact", None)
        assert found.attributes == {"made_by": "a test"}

    def test_a_group_or_dataset_can_be_named(self, tmp_path: Path) -> None:
        """Only what is below the name is looked at."""
        with h5py.File(tmp_path / "a.h5", "w") as file:
            for name in ("a/x", "a/y", "ab/x"):
                file[name] = LOGITS
        (group,) = inspect([f"{tmp_path}/a.h5::a"]).files
        assert [array.name for array in group.arrays] == ["a/x", "a/y"]
        assert only(f"{tmp_path}/a.h5::ab/x").name == "ab/x"

    def test_a_file_whose_name_holds_colons(self, tmp_path: Path) -> None:
        """It is meant literally, and its source is written so that it can be used."""
        np.save(tmp_path / "a::b.npy", LOGITS)
        assert only(tmp_path / "a::b.npy").source == f"{tmp_path}/a:[:]b.npy"


class TestLooks:
    """What numbers look like."""

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    def test_scores(self, tmp_path: Path, dtype: type) -> None:
        """Logits, probabilities and their logarithms are told apart in every precision."""
        probabilities = softmax(LOGITS)
        with np.errstate(divide="ignore"):
            logarithms = np.log(probabilities)
        logits = looks(tmp_path, LOGITS.astype(dtype))
        soft = looks(tmp_path, probabilities.astype(dtype))
        assert logits.looks == "logits"
        assert soft.looks == "probabilities"
        assert looks(tmp_path, logarithms.astype(dtype)).looks == "log_probabilities"
        assert logits.sample is not None
        assert soft.sample is not None
        assert (logits.sample.sums_to_one, soft.sample.sums_to_one) == (False, True)

    def test_integers(self, tmp_path: Path) -> None:
        """Labels have a range and a number of classes; names tell masks and tokens."""
        labels = looks(tmp_path, LABELS)
        assert labels.looks == "labels"
        assert labels.sample is not None
        assert (labels.sample.low, labels.sample.high, labels.sample.distinct) == (0, 9, 10)
        assert looks(tmp_path, np.where(LABELS == 3, -100, LABELS)).looks == "labels"
        assert looks(tmp_path, LABELS - 5).looks == "integers"
        assert looks(tmp_path, LABELS % 2, "attention_mask").looks == "mask"
        assert looks(tmp_path, LABELS, "input_ids").looks == "token_ids"

    def test_bfloat16_without_a_declaration(self, tmp_path: Path) -> None:
        """Its bits are recognised, and the line to add is shown."""
        integers = looks(tmp_path, BITS)
        raw = looks(tmp_path, BITS.view("V2"), "raw")
        assert integers.looks == "bfloat16"
        assert integers.remark == (
            f"looks like bfloat16: {{path: {tmp_path}/x.npy, dtype: bfloat16}}"
        )
        assert raw.refusal is not None
        assert "dtype: bfloat16" in (raw.remark or "")
        assert looks(tmp_path, RNG.integers(0, 50, (40, 8), np.uint16)).looks == "labels"

    def test_not_finite_values_are_counted(self, tmp_path: Path) -> None:
        """By kind; the range is that of the finite ones."""
        values = LOGITS.copy()
        values[0, :3], values[5, 1], values[:, 9] = np.nan, np.inf, -np.inf
        found = looks(tmp_path, values)
        assert found.sample is not None
        assert (found.sample.nan, found.sample.inf, found.sample.neg_inf) == (3, 1, ROWS)
        assert found.sample.high == values[np.isfinite(values)].max()

    def test_nothing_finite(self, tmp_path: Path) -> None:
        """There is no range then, and no guess."""
        found = looks(tmp_path, np.full((4, 3), np.nan))
        assert found.sample is not None
        assert (found.sample.low, found.sample.high, found.looks) == (None, None, None)

    def test_one_value_everywhere(self, tmp_path: Path) -> None:
        """It is told: a writer that was stopped leaves zeros."""
        assert looks(tmp_path, np.zeros((5, 4))).remark == "every value looked at is 0"

    def test_layers_in_a_group(self, tmp_path: Path) -> None:
        """One dataset a layer, in natural order, is one source; logits beside them are not."""
        with h5py.File(tmp_path / "a.h5", "w") as file:
            for index in range(11):
                file[f"model/hidden/layer_{index}"] = LOGITS[:, : index + 2]
            file["model/logits"] = LOGITS
        (found,) = inspect([str(tmp_path / "a.h5")]).files
        (group,) = found.layers
        assert group.source == f"{tmp_path}/a.h5::model/hidden"
        assert (group.layers, group.widths) == (11, (*range(2, 11), 10, 10))
        assert found.arrays[0].looks == "hidden_states"
        assert found.arrays[-1].looks == "logits"

    def test_layers_on_an_axis(self, tmp_path: Path) -> None:
        """Names decide; without one both readings are told."""
        values = RNG.normal(size=(4, 30, 6)).astype(np.float32)
        assert looks(tmp_path, values, "hidden_states").layers == 4
        plain = looks(tmp_path, values)
        assert (plain.looks, plain.layers) == ("logits", None)
        assert plain.remark == "or hidden states of 4 layers"
        assert looks(tmp_path, values, "logits").remark is None
        assert looks(tmp_path, values[:1]).remark is None
        wide = RNG.normal(size=(4, 2, 20_001)).astype(np.float32)
        assert looks(tmp_path, wide).remark is None
        assert looks(tmp_path, np.stack([values] * 5)).layers == 5

    def test_top_k(self, tmp_path: Path) -> None:
        """Values, indices and log_z beside each other are one dump; alone they are not."""
        with h5py.File(tmp_path / "a.h5", "w") as file:
            for folder in ("run", "half"):
                file[f"{folder}/values"] = -np.sort(-LOGITS)[:, :3]
                file[f"{folder}/log_z"] = LOGITS[:, 0]
            file["run/indices"] = np.argsort(-LOGITS)[:, :3]
        arrays = inspect([str(tmp_path / "a.h5")]).files[0].arrays
        assert {array.name: array.looks for array in arrays} == {
            "half/log_z": None,
            "half/values": "logits",
            "run/indices": "top_k_indices",
            "run/log_z": "log_z",
            "run/values": "top_k_values",
        }
        refused = [array.name for array in arrays if array.refusal is not None]
        assert refused == ["half/log_z"]

    @pytest.mark.parametrize("name", ["soft.h5", "soft.npy"])
    def test_what_ensemble_writes(self, tmp_path: Path, name: str) -> None:
        """The file says itself what its numbers are, so it is a source as it stands."""
        path = str(tmp_path / name)
        config = str(ROOT / "configs/ensemble.yaml")
        assert distill("ensemble", config, "--output", path, "--kind", "probabilities").code == 0
        found = inspect([path])
        (file,) = found.files
        assert file.attributes["kind"] == "probabilities"
        assert float(file.attributes["temperature"]) == 4
        assert file.arrays[0].looks == "probabilities"
        assert found.use == (f"as a source: {path}",)


class TestManyDatasets:
    """The HDF5 library is asked for many headers at once."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        with h5py.File(tmp_path / "many.h5", "w") as file:
            for index in range(200):
                file[f"x{index}"] = LOGITS[:3]
        return tmp_path / "many.h5"

    def test_few_questions(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = []
        ask = Process.ask

        def counted(process: Process, where: str, limits: Any, method: str, *rest: Any) -> Any:
            asked.append(method)
            return ask(process, where, limits, method, *rest)

        monkeypatch.setattr(Process, "ask", counted)
        arrays = inspect([str(path)]).files[0].arrays
        assert [array.name for array in arrays] == [f"x{index}" for index in range(200)]
        assert all(array.shape == (3, CLASSES) and array.sample for array in arrays)
        assert sorted(asked) == ["attributes", "close", *["headers"] * 4, "names", "open"]

    @pytest.mark.parametrize(
        ("fails", "problem"),
        [
            (
                lambda: os.kill(os.getpid(), signal.SIGSEGV),
                "makes the HDF5 library crash (SIGSEGV)",
            ),
            (lambda: bytearray(1 << 40), "takes more memory to look at than a file of its size "),
        ],
    )
    def test_what_fails_is_told_by_name(
        self,
        path: Path,
        monkeypatch: pytest.MonkeyPatch,
        fails: Callable[[], object],
        problem: str,
    ) -> None:
        """One dataset that brings the library down does not take those before it along."""
        array = OpenFile.array

        def failing(file: OpenFile, name: str, declared: str | None) -> Any:
            if name == "x70":
                fails()
            return array(file, name, declared)

        monkeypatch.setattr(OpenFile, "array", failing)
        monkeypatch.setattr(remote, "_current", remote._Current())
        arrays = inspect([str(path)]).files[0].arrays
        assert all(array.sample and array.refusal is None for array in arrays[:70])
        assert arrays[70].refusal is not None
        assert arrays[70].refusal.problem.startswith(problem)
        later = {array.refusal.problem if array.refusal else "" for array in arrays[71:]}
        assert later == {"the HDF5 library has failed on it" if "crash" in problem else ""}
        remote._current.close()


class TestRefused:
    """What score would refuse is shown with the reason, and is no failure."""

    def test_datasets(self, tmp_path: Path) -> None:
        """Each with its own reason, beside what can be used."""
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["good"] = LOGITS
            file["one"] = LOGITS[:, 0]
            file["empty"] = LOGITS[:0]
            file["scalar"] = 1.0
            file["text"] = ["a", "b"]
            file["complex"] = LOGITS.astype(complex)
            file["null"] = h5py.Empty("f4")
            file.create_dataset("missing", (300, 10), "f4", chunks=(100, 10))[:100] = 1
            file.create_dataset("external", (4, 3), "f4", external=[("x.bin", 0, 48)])
            layout = h5py.VirtualLayout((4, 3), "f4")
            layout[:] = h5py.VirtualSource("other.h5", "x", (4, 3))
            file.create_virtual_dataset("virtual", layout)
            plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plist.set_chunk((4, 3))
            plist.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, ())
            space = h5py.h5s.create_simple((4, 3))
            h5py.h5d.create(file.id, b"zstd", h5py.h5t.IEEE_F32LE, space, plist)
        found = inspect([str(tmp_path / "a.h5")])
        assert found.errors == ()
        arrays = {array.name: array for array in found.files[0].arrays}
        problems = {name: array.refusal.problem for name, array in arrays.items() if array.refusal}
        assert problems == {
            "one": "is one-dimensional (300 elements), "
            "[rows, width] or [rows, positions, width] is needed",
            "empty": "is empty: there are no rows (shape [0, 10])",
            "scalar": "has 0 dimensions (shape []), "
            "[rows, width] or [rows, positions, width] is needed",
            "text": "holds strings",
            "complex": "holds records (a structured type)",
            "null": "holds nothing (a null dataspace)",
            "missing": "lacks 2 of its 3 chunks",
            "external": "keeps its values in other files",
            "virtual": "is a virtual dataset",
            "zstd": "lacks 1 of its 1 chunks",
        }
        assert arrays["external"].layout == "external"
        assert arrays["virtual"].layout == "virtual"
        assert arrays["zstd"].filters == ("zstd (32015)",)

    def test_damaged_values(self, tmp_path: Path) -> None:
        """Found where the sample meets them."""
        path = tmp_path / "a.h5"
        with h5py.File(path, "w") as file:
            data = file.create_dataset("x", data=LOGITS, chunks=(300, 10), compression="gzip")
            at = data.id.get_chunk_info(0).byte_offset
        with path.open("r+b") as raw:
            raw.seek(at + 50)
            raw.write(b"\xff" * 200)
        refusal = only(path).refusal
        assert refusal is not None
        assert "damaged" in refusal.problem

    def test_a_cut_file_and_a_pickle(self, tmp_path: Path) -> None:
        """The header is told, and why it is of no use."""
        (tmp_path / "cut.npy").write_bytes(npy_bytes(LOGITS)[:-4])
        cut = only(tmp_path / "cut.npy")
        assert cut.shape == LOGITS.shape
        assert cut.refusal is not None
        assert cut.refusal.problem.startswith("is cut short")
        write_npz(tmp_path / "a.npz", {"x": b"no npy", "y": npy_bytes(LOGITS)})
        broken, good = inspect([str(tmp_path / "a.npz")]).files[0].arrays
        assert (broken.shape, broken.type, good.refusal) == (None, None, None)
        assert broken.refusal is not None

    def test_files_that_cannot_be_opened(self, tmp_path: Path) -> None:
        """The others are shown all the same, then there is an error for each, and exit code 2."""
        np.save(tmp_path / "good.npy", LOGITS)
        (tmp_path / "bad.npy").write_bytes(b"nothing")
        names = ["bad.npy", "gone.npy", "none-*.npy", "good.npy", "good.npy::x", "."]
        done = distill("inspect", *(str(tmp_path / name) for name in names))
        assert done.code == 2
        assert "good.npy" in done.out
        problems = [line.partition(": ")[2].partition(";")[0] for line in done.errors]
        assert problems == [
            "is not an NPY file: it begins with b'nothin'",
            "there is no such file",
            "no file matches this pattern",
            "is an NPY file, which has no datasets",
            "is a folder, not a file",
        ]
        data = distill("inspect", *(str(tmp_path / n) for n in names), "--format", "json").data
        assert [file["error"] is None for file in data["files"]] == [n == "good.npy" for n in names]


class TestShards:
    """A glob of files."""

    def test_joined(self, tmp_path: Path) -> None:
        """Shards that fit are told as one array."""
        for index in (1, 2, 10):
            np.save(tmp_path / f"d-{index}.npy", LOGITS[: 10 * index])
        found = inspect([f"{tmp_path}/d-*.npy"])
        assert [Path(file.path).name for file in found.files] == ["d-1.npy", "d-2.npy", "d-10.npy"]
        (shards,) = found.shards
        assert (shards.files, shards.shape, shards.problem) == (3, (130, CLASSES), None)
        assert found.use == (f"as a source: {tmp_path}/d-*.npy",)

    def test_that_do_not_fit(self, tmp_path: Path) -> None:
        """The first odd one is named."""
        np.save(tmp_path / "d-1.npy", LOGITS)
        np.save(tmp_path / "d-2.npy", LOGITS[:, 1:])
        (shards,) = inspect([f"{tmp_path}/d-*.npy"]).shards
        assert shards.problem == (
            f"{tmp_path}/d-2.npy: shape is [300, 9], that of the first is [300, 10]"
        )


class TestSample:
    """Headers and a few rows, whatever the size."""

    @pytest.fixture
    def count(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """The bytes that are read, read by read."""
        counts: list[int] = []
        read = InputFile.read_into

        def counted(self: InputFile, buffer: Any, offset: int) -> None:
            counts.append(memoryview(buffer).nbytes)
            read(self, buffer, offset)

        monkeypatch.setattr(InputFile, "read_into", counted)
        return counts

    def test_first_middle_and_last_rows(self, tmp_path: Path) -> None:
        """What stands there is found in a large array, and what stands between is not."""
        values = np.zeros((40_000, 64), np.float32)
        values[0], values[20_000], values[-1], values[10_000] = 1, 2, 3, 9
        found = looks(tmp_path, values)
        assert found.sample is not None
        assert found.sample.of == 40_000
        assert found.sample.rows == 3 * (4 << 20) // 3 // 256 // 3 * 3
        assert (found.sample.low, found.sample.high) == (0, 3)

    @pytest.mark.parametrize("fortran", [False, True])
    def test_npy_of_100_gb(self, tmp_path: Path, count: list[int], fortran: bool) -> None:
        """At most 5 MB of it are read."""
        huge(tmp_path / "a.npy", fortran=fortran)
        found = only(tmp_path / "a.npy")
        assert found.logical == 100_000_000_000
        assert found.sample is not None
        assert 3 <= found.sample.rows <= 32
        assert sum(count) < 5 << 20

    @pytest.mark.parametrize("chunk", [None, (64, 32_000)])
    def test_hdf5_of_100_gb(
        self, tmp_path: Path, count: list[int], chunk: tuple[int, int] | None
    ) -> None:
        """At most 5 MB of it are read."""
        huge_hdf5(tmp_path / "a.h5", chunk)
        found = only(tmp_path / "a.h5")
        assert found.stored is not None
        assert found.stored >= 100_000_000_000
        assert found.refusal is None
        assert found.sample is not None
        assert sum(count) < 5 << 20

    def test_a_packed_npz_is_read_from_its_beginning(
        self, tmp_path: Path, count: list[int]
    ) -> None:
        """As the rest would have to be unpacked on the way to its end."""
        values = np.repeat(RNG.normal(size=(1000, 64)), 40, axis=0)
        write_npz(tmp_path / "a.npz", {"x": npy_bytes(values)}, deflated=True)
        found = only(tmp_path / "a.npz")
        assert found.sample is not None
        assert found.sample.rows == (4 << 20) // 512
        assert found.sample.high == values[: found.sample.rows].max()

    def test_large_chunks_are_unpacked_at_one_place(self, tmp_path: Path, count: list[int]) -> None:
        """One of 48 MiB is; of 3 that would be too much."""
        with h5py.File(tmp_path / "a.h5", "w") as file:
            zeros = np.zeros((3 * 12_288, 1024), np.float32)
            file.create_dataset(
                "x", data=zeros, chunks=(12_288, 1024), compression="gzip", compression_opts=1
            )
            one = file["x"].id.get_chunk_info(0).size
        found = only(tmp_path / "a.h5")
        assert found.sample is not None
        assert found.sample.rows == 1024
        assert sum(count) < one + (1 << 20)

    def test_rows_that_are_too_long(self, tmp_path: Path, count: list[int]) -> None:
        """They are not looked into, and it is told."""
        huge(tmp_path / "a.npy", rows=2, classes=12_500_000_000)
        found = only(tmp_path / "a.npy")
        assert (found.sample, found.refusal) == (None, None)
        assert sum(count) < 1 << 20
        assert "not looked into" in distill("inspect", str(tmp_path / "a.npy")).out

    def test_many_arrays_share_what_is_read(self, tmp_path: Path, count: list[int]) -> None:
        """Hundreds of arrays of 2 MB are looked into less deeply than one."""
        with h5py.File(tmp_path / "a.h5", "w") as file:
            zeros = np.zeros((5000, 100), np.float32)
            for index in range(200):
                file.create_dataset(f"x{index}", data=zeros, chunks=zeros.shape, compression="gzip")
        (found,) = inspect([str(tmp_path / "a.h5")]).files
        rows = [array.sample.rows for array in found.arrays if array.sample]
        assert len(rows) == 200
        assert sum(rows) * 400 <= 256 << 20
        assert max(rows) < 5000

    @pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
    @pytest.mark.parametrize("make", [huge, lambda path: huge_hdf5(path, (64, 32_000))])
    def test_memory(self, tmp_path: Path, make: Any) -> None:
        """The process stays small."""
        path = tmp_path / ("a.npy" if make is huge else "a.h5")
        make(path)
        code = (
            "from distillcli.commands.inspect import inspect;"
            f"found = inspect([{str(path)!r}]); assert not found.errors;"
            # Not ru_maxrss: that of a child starts from the peak of the process that made it.
            "print(next(line.split()[1] for line in open('/proc/self/status') if 'VmHWM' in line))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
        )
        assert int(done.stdout) * 1024 < 200 << 20


class TestReport:
    """What a user sees."""

    def test_sample_data(self) -> None:
        """The command that it ends with is one that runs."""
        done = distill("inspect", str(ROOT / "sample_data/digits.h5"))
        assert (done.code, done.err) == (0, "")
        command = next(line for line in done.out.splitlines() if line.startswith("use"))
        words = command.removeprefix("use").split()
        assert words[:2] == ["distill", "score"]
        assert distill(*words[1:], "--format", "json").data["rows"] == 899

    def test_json(self) -> None:
        """All of it as data."""
        data = distill("inspect", str(ROOT / "sample_data/digits.h5"), "--format", "json").data
        assert data["schema"] == "distillcli.inspect/1"
        (file,) = data["files"]
        labels = next(array for array in file["arrays"] if array["name"] == "labels")
        assert labels["shape"] == [899]
        assert (labels["looks"], labels["sample"]["distinct"]) == ("labels", 10)
        assert [group["layers"] for group in file["layers"]] == [2, 4]

    def test_hostile_names(self, tmp_path: Path) -> None:
        """Nothing that a terminal would obey is written, in the table or in JSON."""
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["\x1b[31mred\u202e"] = LOGITS
            file["[bold]markup[/bold]"] = LOGITS
            file.attrs["\x1b]0;title\x07"] = "\x1b[2J"
            file["\x1b[31mred\u202e"].attrs["kind\n"] = "log\x9bits"
        for format in ("table", "json"):
            out = distill("inspect", str(tmp_path / "a.h5"), "--format", format).out
            assert set(out) & set("\x1b\u202e\x07\x9b") == set()
            assert "[bold]markup[/bold]" in out
        assert r"\x1b[31mred\u202e" in distill("inspect", str(tmp_path / "a.h5")).out

    def test_probabilities_have_to_be_declared(self, tmp_path: Path) -> None:
        """The line says how, with the temperature that the file tells."""
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["p"] = softmax(LOGITS)
            file.attrs["temperature"] = 4.0
        (line,) = inspect([str(tmp_path / "a.h5")]).use
        source = f"{tmp_path}/a.h5::p"
        assert line == (f"in a config: {{path: {source}, kind: probabilities, temperature: 4.0}}")

    @pytest.mark.parametrize("width", [40, 60, 80, 200])
    def test_every_width(self, width: int) -> None:
        """No number is shortened; no line is too long but those to be copied, which are whole."""
        found = inspect([str(ROOT / "sample_data/digits.h5")])
        stream = StringIO()
        write_inspection(found, stream, width=width)
        body, use = stream.getvalue().split("\nuse ")
        assert all(len(line) <= width for line in body.splitlines())
        assert "-17.7163" in body
        assert [line.strip() for line in use.splitlines()] == list(found.use)

    def test_long_lists_are_cut(self, tmp_path: Path) -> None:
        """Hundreds of remarks are not read by anybody."""
        write_npz(tmp_path / "a.npz", {f"x{i}": npy_bytes(LOGITS[:, 0]) for i in range(60)})
        out = distill("inspect", str(tmp_path / "a.npz")).out
        assert out.count("is one-dimensional") == 40
        assert "and 20 more; --format json tells all" in out

    def test_unknown_format(self, tmp_path: Path) -> None:
        """The flag or the variable is named."""
        np.save(tmp_path / "a.npy", LOGITS)
        path = str(tmp_path / "a.npy")
        (typed,) = distill("inspect", path, "--format", "csv").errors
        (from_variable,) = distill("inspect", path, variables={"DISTILL_FORMAT": "md"}).errors
        assert typed == "--format: no format 'csv'; one of table, json"
        assert from_variable == "DISTILL_FORMAT: no format 'md'; one of table, json"
