"""What every format must do alike: hand out the rows that were stored, however they lie."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import h5py
import hdf5plugin
import ml_dtypes
import numpy as np
import pytest
from format_files import (
    Layers,
    Source,
    bfloat16_type,
    create_raw,
    npy_bytes,
    safetensors_bytes,
    source,
    write_npz,
)

from distillcli.errors import MismatchError
from distillcli.formats import (
    FORMATS,
    Reader,
    chunks,
    describe,
    open_layers,
    open_rows,
    pieces,
    widen,
)

LITTLE = ("<f2", "<f4", "<f8", "bfloat16")
SHAPES = ((1, 1), (7, 3), (61, 19), (257, 130), (5, 11, 4), (3, 40, 17), (1, 50, 6))


def numbers(shape: tuple[int, ...], kind: str) -> np.ndarray:
    """Random values; bfloat16 as its bits, in uint16."""
    rng = np.random.default_rng(sum(shape))
    if kind == "bfloat16":
        return rng.integers(0, 1 << 16, shape, dtype=np.uint16)
    if kind[1] == "f":
        return rng.normal(size=shape).astype(kind)
    return rng.integers(0, 100, shape).astype(kind)


def ranges(rows: int) -> list[tuple[int, int]]:
    """Row ranges with the edges, in no order."""
    rng = np.random.default_rng(rows)
    pairs = [tuple(sorted(map(int, rng.integers(0, rows + 1, 2)))) for _ in range(25)]
    return [(0, rows), (0, 1), (rows - 1, rows), (rows, rows), (0, 0), *pairs]


def rows_of(reader: Reader, start: int, stop: int) -> np.ndarray:
    """Rows in a buffer that is full of other values before."""
    out = reader.empty(stop - start)
    out.view(np.uint8)[...] = 0xAB
    return reader.read(start, stop, out)


def assert_same_bits(got: np.ndarray, expected: np.ndarray) -> None:
    """Equal to the last bit, NaN included."""
    assert got.shape == expected.shape
    assert got.tobytes() == np.ascontiguousarray(expected, got.dtype).tobytes()


class ReaderContract:
    """A format inherits this and says how an array becomes a source."""

    bfloat16_swaps = True  # whether bfloat16 can be stored in the other byte order

    def _save(self, folder: Path, raw: np.ndarray, dtype: str | None) -> Source:
        """Store `raw` (its byte order included); `dtype` is "bfloat16" for such bits."""
        raise NotImplementedError

    def _open(self, folder: Path, raw: np.ndarray, kind: str, row_dims: int = 1) -> Reader:
        declared = "bfloat16" if kind == "bfloat16" else None
        saved = self._save(folder, raw, declared)
        return open_rows(saved, role="logits", row_dims=row_dims)

    @pytest.mark.parametrize("kind", LITTLE)
    @pytest.mark.parametrize("shape", SHAPES)
    def test_rows_are_those_that_were_stored(self, tmp_path, shape, kind):
        """Any range of rows equals that of the array, with leading axes flattened."""
        raw = numbers(shape, kind)
        flat = raw.reshape(-1, shape[-1])
        with self._open(tmp_path, raw, kind) as reader:
            assert reader.shape == shape
            assert (reader.rows, reader.width, reader.row_shape) == (*flat.shape, flat.shape[1:])
            assert reader.itemsize == raw.itemsize
            for start, stop in ranges(reader.rows):
                assert_same_bits(rows_of(reader, start, stop), flat[start:stop])

    @pytest.mark.parametrize("kind", LITTLE)
    def test_the_element_type_is_named(self, tmp_path, kind):
        """The name is that of the stored type; bfloat16 is handed out as its bits."""
        names = {"<f2": "float16", "<f4": "float32", "<f8": "float64", "bfloat16": "bfloat16"}
        with self._open(tmp_path, numbers((4, 3), kind), kind) as reader:
            assert reader.element.name == names[kind]
            assert reader.element.floating
            assert reader.empty(2).dtype == numbers((1,), kind).dtype

    @pytest.mark.parametrize("kind", [">f2", ">f4", ">f8"])
    def test_the_other_byte_order_is_turned(self, tmp_path, kind):
        """Big-endian values come out as native ones."""
        raw = numbers((23, 9), kind)
        with self._open(tmp_path, raw, kind) as reader:
            assert reader.element.dtype.isnative
            for start, stop in ranges(23):
                assert_same_bits(rows_of(reader, start, stop), raw[start:stop])

    @pytest.mark.parametrize("kind", ["<i1", "<u1", "<i2", ">i4", "<u4", "<i8", ">u8"])
    @pytest.mark.parametrize("shape", [(41,), (6, 7)])
    def test_labels_are_flat_integers(self, tmp_path, shape, kind):
        """Labels per row, or per row and position, come out as one axis."""
        raw = numbers(shape, kind)
        with self._open(tmp_path, raw, kind, row_dims=0) as reader:
            assert (reader.rows, reader.width, reader.row_shape) == (raw.size, 1, ())
            assert not reader.element.floating
            for start, stop in ranges(raw.size):
                assert_same_bits(rows_of(reader, start, stop), raw.reshape(-1)[start:stop])

    def test_threads_may_read_at_once(self, tmp_path):
        """Reads on several threads, in any order, do not disturb each other."""
        raw = numbers((300, 20), "<f4")
        with self._open(tmp_path, raw, "<f4") as reader, ThreadPoolExecutor(4) as pool:
            wanted = ranges(300) * 4
            for (start, stop), got in zip(
                wanted, pool.map(lambda pair: rows_of(reader, *pair), wanted), strict=True
            ):
                assert_same_bits(got, raw[start:stop])

    def test_a_buffer_that_does_not_fit_is_refused(self, tmp_path):
        """Nothing is written past a buffer, and rows that are not there cannot be asked for."""
        with self._open(tmp_path, numbers((5, 4), "<f4"), "<f4") as reader:
            with pytest.raises(ValueError, match="out is"):
                reader.read(0, 2, np.empty((3, 4), np.float32))
            with pytest.raises(ValueError, match="C-ordered"):
                reader.read(0, 2, np.empty((4, 2), np.float32).T)
            with pytest.raises(IndexError):
                reader.read(4, 6, np.empty((2, 4), np.float32))

    def test_an_input_is_described(self, tmp_path):
        """The result names shape, type, size and fingerprint, the same every time."""
        with self._open(tmp_path, numbers((6, 4), "<f4"), "<f4") as reader:
            facts = describe(reader)
            assert facts == describe(reader)
        assert facts["shape"] == [6, 4]
        assert facts["dtype"] == "float32"
        assert (
            facts["size"]
            == facts["fingerprint"]["size"]
            == sum(file.size for file in reader.files())
        )
        assert len(facts["fingerprint"]["crc32"]) == 8

    def test_closing_twice_does_nothing(self, tmp_path):
        """A reader can be closed again, and checks of its files still work."""
        reader = self._open(tmp_path, numbers((6, 4), "<f4"), "<f4")
        reader.close()
        reader.close()
        reader.check_unchanged()


class TestNpy(ReaderContract):
    """NPY in C order."""

    fortran = False

    def _save(self, folder, raw, dtype):
        stored = raw.view("V2") if dtype else raw
        (folder / "a.npy").write_bytes(npy_bytes(stored, fortran=self.fortran))
        return source(folder, "a.npy", dtype=dtype)


class TestNpyFortran(TestNpy):
    """NPY in Fortran order."""

    fortran = True


class TestNpyUint16(ReaderContract):
    """NPY whose uint16 elements are declared to be bfloat16, in the other byte order."""

    def _save(self, folder, raw, dtype):
        (folder / "a.npy").write_bytes(npy_bytes(raw.astype(">u2") if dtype else raw))
        return source(folder, "a.npy", dtype=dtype)


class TestNpzStored(ReaderContract):
    """NPZ as np.savez writes it."""

    deflated, fortran = False, False

    def _save(self, folder, raw, dtype):
        stored = raw.view("V2") if dtype else raw
        data = npy_bytes(stored, fortran=self.fortran)
        write_npz(folder / "a.npz", {"x": b"", "deep/er": data}, deflated=self.deflated)
        return source(folder, "a.npz::deep/er", dtype=dtype)


class TestNpzStoredFortran(TestNpzStored):
    """NPZ in Fortran order."""

    fortran = True


class TestNpzDeflated(TestNpzStored):
    """NPZ as np.savez_compressed writes it."""

    deflated = True


class TestNpzDeflatedFortran(TestNpzStored):
    """Compressed NPZ in Fortran order."""

    deflated, fortran = True, True


class Float8:
    """The types of 8 bits, in the files that can hold them; some say themselves what they are."""

    def _stored(self, folder: Path, bits: np.ndarray, name: str) -> Source:
        raise NotImplementedError

    @pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2"])
    def test_bits_come_out_as_they_are(self, tmp_path, name):
        """Under the name of the type, in bytes."""
        bits = np.random.default_rng(0).integers(0, 256, (9, 7), dtype=np.uint8)
        stored = self._stored(tmp_path, bits, name)
        with open_rows(stored, role="logits", row_dims=1) as reader:
            assert (reader.element.name, reader.element.floating) == (name, True)
            assert_same_bits(rows_of(reader, 2, 9), bits[2:])


class TestFloat8Safetensors(Float8):
    """safetensors, which knows both."""

    def _stored(self, folder, bits, name):
        (folder / "a.safetensors").write_bytes(safetensors_bytes({"x": bits}, x=name))
        return source(folder, "a.safetensors")


class TestFloat8Npy(Float8):
    """NPY as ml_dtypes saves it, which does not say what it is."""

    def _stored(self, folder, bits, name):
        np.save(folder / "a.npy", bits.view(getattr(ml_dtypes, name)))
        return source(folder, "a.npy", dtype=name)


class TestFloat8Bytes(Float8):
    """Unsigned bytes that are declared to be float8, in NPZ."""

    def _stored(self, folder, bits, name):
        np.savez(folder / "a.npz", x=bits)
        return source(folder, "a.npz", dtype=name)


class TestFloat8Hdf5(Float8):
    """Unsigned bytes that are declared to be float8, in HDF5, whose library lives elsewhere."""

    def _stored(self, folder, bits, name):
        with h5py.File(folder / "a.h5", "w") as file:
            file["x"] = bits
        return source(folder, "a.h5", dtype=name)


class Quantised:
    """Integers with a declared scale, in every format."""

    def _stored(self, folder: Path, raw: np.ndarray) -> str:
        raise NotImplementedError

    @pytest.mark.parametrize("kind", ["<i1", "<u1", "<i2", "<u2", "<i4"])
    @pytest.mark.parametrize("shape", [(9, 7), (3, 5, 4)])
    def test_integers_are_numbers_on_their_scale(self, tmp_path, kind, shape):
        """Stored values come out as they are; the element type knows what they mean."""
        raw = numbers(shape, kind)
        text = self._stored(tmp_path, raw)
        stored = source(tmp_path, text, scale=0.25, zero_point=7)
        with open_rows(stored, role="logits", row_dims=1) as reader:
            got = rows_of(reader, 1, reader.rows)
            assert_same_bits(got, raw.reshape(-1, shape[-1])[1:])
            assert reader.element.floating
            widened = widen(got, reader.element, np.float64)
        expected = (raw.reshape(-1, shape[-1])[1:].astype(np.float64) - 7) * 0.25
        np.testing.assert_array_equal(widened, expected)

    def test_layers_may_be_quantised(self, tmp_path):
        """An array of all layers keeps its scale in each of them."""
        raw = numbers((3, 5, 4), "<i1")
        stored = source(tmp_path, self._stored(tmp_path, raw), scale=0.5)
        layers = open_layers(Layers((stored,), single=True), role="hidden states")
        for reader, array in zip(layers, raw, strict=True):
            with reader:
                assert (reader.element.scale, reader.element.floating) == (0.5, True)
                assert_same_bits(rows_of(reader, 0, 5), array)


class TestQuantisedNpy(Quantised):
    """NPY."""

    def _stored(self, folder, raw):
        np.save(folder / "a.npy", raw)
        return "a.npy"


class TestQuantisedSafetensors(Quantised):
    """safetensors; the only integers of fitting rank need not be named."""

    def _stored(self, folder, raw):
        data = safetensors_bytes({"x": raw, "y": np.ones((2, 2), np.float32)})
        (folder / "a.safetensors").write_bytes(data)
        return "a.safetensors"


class TestQuantisedNpz(Quantised):
    """NPZ."""

    def _stored(self, folder, raw):
        np.savez(folder / "a.npz", x=raw)
        return "a.npz::x"


class TestQuantisedHdf5(Quantised):
    """HDF5."""

    def _stored(self, folder, raw):
        with h5py.File(folder / "a.h5", "w") as file:
            file.create_dataset("x", data=raw, chunks=True, compression="gzip")
        return "a.h5"


class TestSafetensors(ReaderContract):
    """safetensors as its own library writes it."""

    def _save(self, folder, raw, dtype):
        types = {"deep.er": dtype} if dtype else {}
        arrays = {"a": np.ones((3, 5), np.float32), "deep.er": raw, "z": np.arange(3)}
        (folder / "a.safetensors").write_bytes(safetensors_bytes(arrays, **types))
        return source(folder, "a.safetensors::deep.er")


class TestHdf5(ReaderContract):
    """HDF5 in one piece."""

    options = ()
    chunk = None
    user_block = 0

    def _save(self, folder, raw, dtype):
        options = dict(self.options)
        if self.chunk:
            options["chunks"] = tuple(
                min(n, c) for n, c in zip(raw.shape, self.chunk, strict=False)
            )
        with h5py.File(folder / "a.h5", "w", userblock_size=self.user_block) as file:
            group = file.create_group("some/group")
            if dtype:
                create_raw(group, "x", raw, bfloat16_type(), **options)
            else:
                group.create_dataset("x", data=raw, **options)
        return source(folder, "a.h5::some/group/x")


class TestHdf5UserBlock(TestHdf5):
    """HDF5 behind a user block."""

    user_block = 1024


class TestHdf5Chunked(TestHdf5):
    """HDF5 in chunks that do not divide the shape."""

    chunk = (4, 9, 5)
    user_block = 512


class TestHdf5ChunksByPieces(TestHdf5Chunked):
    """The same, every part of a row read straight to its place, over gaps of some of them."""

    @pytest.fixture(autouse=True)
    def _always(self, monkeypatch):
        monkeypatch.setattr(chunks, "LINE", 0)
        monkeypatch.setattr(pieces, "GAP", 24)


class TestHdf5ChunksOneByOne(TestHdf5ChunksByPieces):
    """The same where the system's own call is not found."""

    @pytest.fixture(autouse=True)
    def _without(self, monkeypatch):
        monkeypatch.setattr(pieces, "_preadv", None)
        monkeypatch.setattr(pieces, "MOST", 3)


class TestHdf5RowChunks(TestHdf5):
    """HDF5 in chunks of whole rows, as most writers make them."""

    chunk = (16, 1000, 1000)


class TestHdf5Gzip(TestHdf5):
    """HDF5 in gzip chunks."""

    chunk, options = (4, 9, 5), (("compression", "gzip"),)


class TestHdf5AllFilters(TestHdf5):
    """HDF5 shuffled, compressed and with checksums."""

    chunk = (5, 8, 7)
    options = (("compression", "gzip"), ("shuffle", True), ("fletcher32", True))


class TestHdf5Checksums(TestHdf5):
    """HDF5 with checksums only."""

    chunk, options = (3, 3, 3), (("fletcher32", True),)


class TestHdf5Library(TestHdf5):
    """HDF5 with a filter that only the library undoes."""

    chunk, options = (4, 9, 5), (("shuffle", True),)


class TestHdf5Lzf(TestHdf5):
    """HDF5 in LZF chunks."""

    def _save(self, folder, raw, dtype):
        self.options = () if dtype else (("compression", "lzf"),)
        return super()._save(folder, raw, dtype)


class TestHdf5Zstd(TestHdf5):
    """HDF5 in chunks of zstd, which takes the extra hdf5plugin."""

    chunk, options = (4, 9, 5), tuple(hdf5plugin.Zstd().items())

    def _save(self, folder, raw, dtype):
        if not dtype:
            return super()._save(folder, raw, dtype)
        with h5py.File(folder / "a.h5", "w") as file:
            # Other than create_raw: a filter is set by its number.
            plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plist.set_chunk(tuple(min(n, c) for n, c in zip(raw.shape, self.chunk, strict=False)))
            plist.set_filter(dict(self.options)["compression"], 0, ())
            space = h5py.h5s.create_simple(raw.shape)
            made = h5py.h5d.create(file.id, b"x", bfloat16_type(), space, plist)
            made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ascontiguousarray(raw), bfloat16_type())
        return source(folder, "a.h5::x")


@pytest.mark.parametrize(
    "options",
    [
        hdf5plugin.Blosc(cname="lz4"),
        hdf5plugin.Blosc2(cname="zstd"),
        hdf5plugin.LZ4(),
        hdf5plugin.Bitshuffle(),
        hdf5plugin.Bitshuffle(cname="zstd"),
        hdf5plugin.BZip2(),
        hdf5plugin.Zfp(reversible=True),
        hdf5plugin.Zstd(),
    ],
    ids=lambda options: f"{options.filter_name}{options.filter_options[-1:]}",
)
def test_filters_of_the_extra(tmp_path, options):
    """Every filter that can be read comes out as it went in, also behind shuffle and a checksum."""
    raw = numbers((70, 33), "<f4")
    shuffled = {} if options.filter_name == "zfp" else {"shuffle": True}
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=raw, chunks=(16, 33), fletcher32=True, **shuffled, **options)
    with open_rows(source(tmp_path, "a.h5"), role="logits", row_dims=1) as reader:
        for start, stop in ranges(70):
            assert_same_bits(rows_of(reader, start, stop), raw[start:stop])


class TestHdf5Opaque(TestHdf5):
    """HDF5 whose opaque elements are declared to be bfloat16."""

    def _save(self, folder, raw, dtype):
        if not dtype:
            return super()._save(folder, raw, dtype)
        with h5py.File(folder / "a.h5", "w") as file:
            create_raw(file, "x", raw, h5py.h5t.py_create(np.dtype("V2")))
        return source(folder, "a.h5::x", dtype=dtype)


class TestShards(ReaderContract):
    """One array over files of all formats and of different sizes, cut along its first axis."""

    def _save(self, folder, raw, dtype):
        edges = sorted({0, 1, len(raw) // 3, len(raw) // 2, len(raw)} & set(range(len(raw) + 1)))
        texts = []
        for index, (start, stop) in enumerate(pairwise(edges)):
            texts.append(self._save_part(folder, index, raw[start:stop], dtype))
        return source(folder, *texts, dtype=dtype)

    def _save_part(self, folder, index, part, dtype):
        stored = part.view("V2") if dtype else part
        name = f"{index}.{('npy', 'npz', 'safetensors', 'h5')[index % 4]}"
        if index % 4 == 0:
            (folder / name).write_bytes(npy_bytes(stored, fortran=True))
        elif index % 4 == 1:
            write_npz(folder / name, {"x": npy_bytes(stored)}, deflated=True)
        elif index % 4 == 2:
            types = {"x": dtype} if dtype else {}
            (folder / name).write_bytes(safetensors_bytes({"x": part}, **types))
        else:
            with h5py.File(folder / name, "w") as file:
                if dtype:
                    create_raw(file, "x", part, bfloat16_type())
                else:
                    file.create_dataset("x", data=part, chunks=True)
        return name


class TestManyShards(ReaderContract):
    """More shards than are held open, by a glob, a row each."""

    def _save(self, folder, raw, dtype):
        for index, row in enumerate(raw):
            stored = row[None].view("V2") if dtype else row[None]
            (folder / f"dump-{index}.npy").write_bytes(npy_bytes(stored))
        return source(folder, "dump-*.npy", dtype=dtype)


def test_no_format_is_left_out():
    """Every format in the table has its contract tests."""
    assert [known.name for known in FORMATS] == ["npy", "npz", "safetensors", "hdf5", "llama.cpp"]


def test_shards_come_in_natural_order(tmp_path):
    """dump-2 stands before dump-10."""
    for number in (10, 2, 1):
        np.save(tmp_path / f"dump-{number}.npy", np.full((1, 2), number, np.float32))
    with open_rows(source(tmp_path, "dump-*.npy"), role="logits", row_dims=1) as reader:
        assert rows_of(reader, 0, 3)[:, 0].tolist() == [1, 2, 10]


def test_a_glob_is_expanded_in_its_pattern_only(tmp_path):
    """Glob characters in the config's folder, or in a file that is there, mean themselves."""
    folder = tmp_path / "a[1]*"
    folder.mkdir()
    for name in ("x-1.npy", "x-2.npy", "x-*.npy"):
        np.save(folder / name, np.full((1, 2), len(name), np.float32))
    with open_rows(source(folder, "x-?.npy"), role="logits", row_dims=1) as reader:
        assert reader.rows == 3
    with open_rows(source(folder, "x-*.npy"), role="logits", row_dims=1) as reader:
        assert (reader.rows, reader.name) == (1, "x-*.npy")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            np.zeros((2, 4), np.float32),
            "logits in b.npy: shape is [2, 4], that of a.npy [2, 3]; "
            "shards may differ in their first axis only",
        ),
        (
            np.zeros((2, 3), np.float64),
            "logits in b.npy: elements are float64, those of a.npy are float32; "
            "shards must be of one type",
        ),
        (
            np.zeros((2, 2, 3), np.float32),
            "logits in b.npy: shape is [2, 2, 3], that of a.npy [2, 3]; "
            "shards may differ in their first axis only",
        ),
    ],
)
def test_shards_must_fit_each_other(tmp_path, other, message):
    """The shard that differs is named."""
    np.save(tmp_path / "a.npy", np.zeros((2, 3), np.float32))
    np.save(tmp_path / "b.npy", other)
    with pytest.raises(MismatchError) as caught:
        open_rows(source(tmp_path, "a.npy", "b.npy"), role="logits", row_dims=1)
    assert str(caught.value) == message


def test_the_only_fitting_dataset_need_not_be_named(tmp_path):
    """Logits and labels in one file are told apart by rank and kind."""
    logits, labels = np.ones((3, 2), np.float32), np.arange(3)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["deep/logits"], file["labels"], file["note"] = logits, labels, "text"
    np.savez(tmp_path / "a.npz", scores=logits, classes=labels)
    saved = safetensors_bytes({"scores": logits, "classes": labels})
    (tmp_path / "a.safetensors").write_bytes(saved)
    for name, scores, classes in (
        ("a.safetensors", "scores", "classes"),
        ("a.h5", "deep/logits", "labels"),
        ("a.npz", "scores", "classes"),
    ):
        with open_rows(source(tmp_path, name), role="logits", row_dims=1) as reader:
            assert (reader.dataset, reader.name) == (scores, f"{name}::{scores}")
        with open_rows(source(tmp_path, name), role="labels", row_dims=0) as reader:
            assert reader.dataset == classes
            assert rows_of(reader, 0, 3).tolist() == [0, 1, 2]


def test_the_first_bytes_tell_where_the_suffix_does_not(tmp_path):
    """A file may have any name."""
    np.save(tmp_path / "a.npy", np.ones((3, 2), np.float32))
    np.savez(tmp_path / "a.npz", x=np.ones((3, 2), np.float32))
    ones = safetensors_bytes({"x": np.ones((3, 2), np.float32)})
    (tmp_path / "a.safetensors").write_bytes(ones)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.ones((3, 2), np.float32)
    for name in ("a.npy", "a.npz", "a.h5", "a.safetensors"):
        (tmp_path / name).rename(tmp_path / "dump")
        with open_rows(source(tmp_path, "dump"), role="logits", row_dims=1) as reader:
            assert reader.rows == 3


LAYERS = [numbers((6, 3 + k % 2), "<f4") for k in range(12)]


class TestLayers:
    """Hidden states in the forms that they come in."""

    def _check(self, layers: Layers, arrays: list[np.ndarray]) -> None:
        readers = open_layers(layers, role="student hidden states")
        assert len(readers) == len(arrays)
        for reader, array in zip(readers, arrays, strict=True):
            with reader:
                flat = array.reshape(-1, array.shape[-1])
                for start, stop in ranges(len(flat)):
                    assert_same_bits(rows_of(reader, start, stop), flat[start:stop])

    def test_a_group_holds_a_dataset_per_layer(self, tmp_path):
        """Layers come in the natural order of their names."""
        with h5py.File(tmp_path / "a.h5", "w") as file:
            for index, array in reversed(list(enumerate(LAYERS))):
                file[f"model/hidden/layer_{index}"] = array
        layers = Layers((source(tmp_path, "a.h5::model/hidden"),), single=True)
        self._check(layers, LAYERS)

    def test_a_group_may_be_in_shards(self, tmp_path):
        """Each layer is joined over the files."""
        for shard in range(3):
            with h5py.File(tmp_path / f"s{shard}.h5", "w") as file:
                for index, array in enumerate(LAYERS):
                    file[f"hidden/{index}"] = array[2 * shard : 2 * shard + 2]
        self._check(Layers((source(tmp_path, "s*.h5::hidden"),), single=True), LAYERS)

    def test_a_list_has_a_source_per_layer(self, tmp_path):
        """The shards of a layer are a list of their own."""
        np.save(tmp_path / "a.npy", LAYERS[0])
        np.save(tmp_path / "b0.npy", LAYERS[1][:2])
        np.save(tmp_path / "b1.npy", LAYERS[1][2:])
        sources = source(tmp_path, "a.npy"), source(tmp_path, "b0.npy", "b1.npy")
        self._check(Layers(sources, single=False), LAYERS[:2])

    @pytest.mark.parametrize("mark", [".", "/"])
    def test_names_of_safetensors_form_groups(self, tmp_path, mark):
        """What goes on after the name of the group and a dot or slash is a layer, in shards too."""
        for shard in range(3):
            layers = {
                f"hidden{mark}{index}": array[2 * shard : 2 * shard + 2]
                for index, array in enumerate(LAYERS)
            }
            data = safetensors_bytes({**layers, "hiddenness": LAYERS[0], "logits": LAYERS[0]})
            (tmp_path / f"model-{shard + 1:05}-of-00003.safetensors").write_bytes(data)
        group = source(tmp_path, "model-*.safetensors::hidden")
        self._check(Layers((group,), single=True), LAYERS)

    @pytest.mark.parametrize("shape", [(4, 9, 5), (3, 2, 7, 5)])
    @pytest.mark.parametrize(
        "form", ["C", "F", "npz", "deflated", "safetensors", "h5", "chunked", "gzip", "lzf"]
    )
    def test_one_array_holds_all_layers(self, tmp_path, shape, form):
        """[layers, rows, dim] and [layers, rows, positions, dim], however they lie."""
        raw = numbers(shape, "<f4")
        text = self._save(tmp_path, raw, form)
        self._check(Layers((source(tmp_path, text),), single=True), list(raw))

    def _save(self, folder: Path, raw: np.ndarray, form: str) -> str:
        if form in ("C", "F"):
            (folder / "a.npy").write_bytes(npy_bytes(raw, fortran=form == "F"))
            return "a.npy"
        if form in ("npz", "deflated"):
            write_npz(folder / "a.npz", {"x": npy_bytes(raw)}, deflated=form == "deflated")
            return "a.npz"
        if form == "safetensors":
            (folder / "a.safetensors").write_bytes(safetensors_bytes({"x": raw}))
            return "a.safetensors"
        chunks = {"h5": None}.get(form, tuple(-(-n // 2) for n in raw.shape))
        options = {"compression": form} if form in ("gzip", "lzf") else {}
        with h5py.File(folder / "a.h5", "w") as file:
            file.create_dataset("x", data=raw, chunks=chunks, **options)
        return "a.h5"

    def test_a_lone_two_dimensional_array_is_one_layer(self, tmp_path):
        """[rows, dim], in one file or in shards."""
        np.save(tmp_path / "a0.npy", LAYERS[0][:4])
        np.save(tmp_path / "a1.npy", LAYERS[0][4:])
        self._check(Layers((source(tmp_path, "a0.npy"),), single=True), [LAYERS[0][:4]])
        self._check(Layers((source(tmp_path, "a*.npy"),), single=True), LAYERS[:1])
