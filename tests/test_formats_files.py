"""Files that change while they are read, their fingerprints, and the widening of 16-bit values."""

import os
import pickle
import zlib
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np
import pytest
from format_files import safetensors_bytes, source

from distillcli.errors import ChangedError, FormatError
from distillcli.formats import BFLOAT16, FORMATS, Reader, open_rows, widen
from distillcli.formats.elements import element_of
from distillcli.formats.paths import natural_key

KINDS = ["npy", "npz", "safetensors", "h5"]
VALUES = np.arange(8000, dtype=np.float32).reshape(1000, 8)


def saved(folder: Path, kind: str) -> Reader:
    """An open file of one format, cut in half by nobody yet."""
    path = folder / f"a.{kind}"
    if kind == "npy":
        np.save(path, VALUES)
    elif kind == "npz":
        np.savez(path, x=VALUES)
    elif kind == "safetensors":
        path.write_bytes(safetensors_bytes({"x": VALUES}))
    else:
        with h5py.File(path, "w") as file:
            file["x"] = VALUES
    return open_rows(source(folder, path.name), role="student logits", row_dims=1)


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def _replace(path: Path) -> None:
    other = path.with_suffix(".new")
    other.write_bytes(path.read_bytes())
    other.rename(path)


def _touch(path: Path) -> None:
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1))


HINT = "; wait until its writer has finished, then run again"
CHANGES = [
    (_cut, "changed while it was read: {size:,} bytes before, {half:,} now" + HINT),
    (_append, "changed while it was read: {size:,} bytes before, {more:,} now" + HINT),
    (_replace, "was replaced by another file while it was read" + HINT),
    (_touch, "was written to while it was read" + HINT),
    (Path.unlink, "was removed while it was read"),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("change", "message"), CHANGES)
def test_any_change_of_a_file_is_noticed(tmp_path, kind, change, message):
    """A file that is cut, extended, replaced, touched or removed is told from its first state."""
    with saved(tmp_path, kind) as reader:
        reader.check_unchanged()
        path = tmp_path / f"a.{kind}"
        size = path.stat().st_size
        change(path)
        with pytest.raises(ChangedError) as caught:
            reader.check_unchanged()
    problem = message.format(size=size, half=size // 2, more=size + 4)
    assert str(caught.value) == f"student logits in a.{kind}: {problem}"


@pytest.mark.parametrize("kind", KINDS)
def test_a_read_beyond_a_cut_is_an_error(tmp_path, kind):
    """Rows that are no longer there are never made up."""
    with saved(tmp_path, kind) as reader:
        _cut(tmp_path / f"a.{kind}")
        with pytest.raises(ChangedError, match="it was cut while read"):
            reader.read(0, 1000, reader.empty(1000))


def test_a_shard_that_was_closed_is_compared_when_it_is_opened_again(tmp_path):
    """Shards beyond those held open are checked at every read."""
    for index in range(40):
        np.save(tmp_path / f"{index}.npy", VALUES[index : index + 1])
    with open_rows(source(tmp_path, "*.npy"), role="logits", row_dims=1) as reader:
        _touch(tmp_path / "0.npy")
        with pytest.raises(ChangedError, match=r"logits in 0.npy: was written to"):
            reader.read(0, 1, reader.empty(1))


def test_a_small_file_is_fingerprinted_whole(tmp_path):
    """The checksum is that of all bytes."""
    with saved(tmp_path, "npy") as reader:
        data = (tmp_path / "a.npy").read_bytes()
        assert reader.fingerprint() == {
            "size": len(data),
            "dtype": "float32",
            "shape": [1000, 8],
            "crc32": f"{zlib.crc32(data):08x}",
        }


def test_a_large_file_is_fingerprinted_by_64_blocks(tmp_path):
    """Evenly spaced blocks of 64 KiB, the first and the last bytes included."""
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(3000, 300)))
    data = (tmp_path / "a.npy").read_bytes()
    offsets = [(len(data) - 65536) * k // 63 for k in range(64)]
    expected = zlib.crc32(b"".join(data[at : at + 65536] for at in offsets))
    with open_rows(source(tmp_path, "a.npy"), role="logits", row_dims=1) as reader:
        assert reader.fingerprint()["crc32"] == f"{expected:08x}"


def test_the_fingerprint_of_shards_is_bounded(tmp_path):
    """The outermost shards are named, all of them count."""
    for index in range(50):
        np.save(tmp_path / f"{index}.npy", VALUES[index : index + 1])
    with open_rows(source(tmp_path, "*.npy"), role="logits", row_dims=1) as reader:
        before = reader.fingerprint()
    assert (before["shards"], before["shape"]) == (50, [50, 8])
    names = [file["path"] for file in before["files"]]
    assert names == ["0.npy", "1.npy", "2.npy", "47.npy", "48.npy", "49.npy"]
    np.save(tmp_path / "20.npy", -VALUES[:1])
    with open_rows(source(tmp_path, "*.npy"), role="logits", row_dims=1) as reader:
        assert reader.fingerprint()["crc32"] != before["crc32"]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="open files are not listed here")
def test_only_files_that_are_in_use_stay_open(tmp_path):
    """Refused and closed inputs leave no open file behind."""
    before = len(os.listdir("/proc/self/fd"))
    for kind in KINDS:
        saved(tmp_path, kind).close()
        (tmp_path / f"a.{kind}").write_bytes(b"nothing that can be read")
        with pytest.raises(FormatError):
            open_rows(source(tmp_path, f"a.{kind}"), role="student", row_dims=1)
    assert len(os.listdir("/proc/self/fd")) == before


def test_natural_order():
    """Numbers in names count as numbers, and equal numbers do not hide a difference."""
    names = ["b1", "a10", "a2", "a02", "a", "10", "9", "a2b10", "a2b9"]
    expected = ["9", "10", "a", "a02", "a2", "a2b9", "a2b10", "a10", "b1"]
    assert sorted(names, key=natural_key) == expected


@pytest.mark.parametrize("target", [np.float32, np.float64])
class TestWiden:
    """Stored values as numbers of the type of the arithmetic."""

    def test_every_bfloat16_is_exact(self, target):
        """All 65,536 patterns are the upper halves of float32 numbers."""
        bits = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256)
        with np.errstate(invalid="ignore"):
            expected = (bits.astype(np.uint32) << 16).view(np.float32).astype(target)
        np.testing.assert_array_equal(widen(bits, BFLOAT16, target), expected)

    def test_every_float16_is_exact(self, target):
        """All patterns, NaN and infinities included."""
        raw = np.arange(1 << 16, dtype=np.uint16).view(np.float16).reshape(256, 256)
        widened = widen(raw, element_of("f2", None, ""), target)
        assert widened.dtype == target
        np.testing.assert_array_equal(widened, raw.astype(target))

    @pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2"])
    def test_every_float8_is_exact(self, target, name):
        """All 256 patterns, by another library; NaN where it has one, infinity in e5m2 alone."""
        bits = np.arange(256, dtype=np.uint8).reshape(16, 16)
        element = element_of("u1", name, "")
        expected = bits.view(getattr(ml_dtypes, name)).astype(target)
        widened = widen(bits, element, target)
        np.testing.assert_array_equal(widened, expected)
        assert (np.signbit(widened) == (bits >= 128))[~np.isnan(widened)].all()
        assert np.isinf(widened).sum() == (2 if name == "float8_e5m2" else 0)

    @pytest.mark.parametrize(
        ("name", "bits", "value"),
        [
            ("float8_e4m3fn", 0x01, 2.0**-9),
            ("float8_e4m3fn", 0x08, 2.0**-6),
            ("float8_e4m3fn", 0x38, 1.0),
            ("float8_e4m3fn", 0x7E, 448.0),
            ("float8_e4m3fn", 0xFF, np.nan),
            ("float8_e5m2", 0x01, 2.0**-16),
            ("float8_e5m2", 0x7B, 57344.0),
            ("float8_e5m2", 0xFC, -np.inf),
        ],
    )
    def test_float8_at_its_edges(self, target, name, bits, value):
        """Smallest and largest numbers as table 1 of arXiv:2209.05433 has them."""
        raw = np.array([bits], np.uint8)
        np.testing.assert_array_equal(widen(raw, element_of("u1", name, ""), target), [value])

    @pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2", "i4", "u4", "i8"])
    def test_quantised_integers_are_rounded_once(self, target, kind):
        """(stored - zero point) * scale in float64, rounded to the type of the arithmetic."""
        edges = np.iinfo(kind)
        raw = np.random.default_rng(0).integers(edges.min, edges.max, (40, 30), kind, True)
        element = element_of(kind, None, "").quantised(0.0371, -3)
        exact = (raw.astype(np.float64) + 3) * 0.0371
        np.testing.assert_array_equal(widen(raw, element, target), exact.astype(target))

    @pytest.mark.parametrize("rows", [1, 3, 700])
    def test_large_arrays_are_widened_in_blocks(self, target, rows):
        """The cuts show nowhere, and rows that are not contiguous are right."""
        bits = np.random.default_rng(0).integers(0, 1 << 16, (rows, 333), dtype=np.uint16)
        raw = bits.view(np.float16)[:, ::2]
        widened = widen(raw, element_of("f2", None, ""), target)
        np.testing.assert_array_equal(widened, raw.astype(target))

    @pytest.mark.parametrize("code", ["f2", "f4", "f8", "bf2", "e4m3", "e5m2"])
    def test_a_buffer_is_filled(self, target, code):
        """With `out` nothing is allocated for the result, and the input stays as it is."""
        element = element_of(code, None, "")
        raw = np.arange(12).astype(element.dtype).reshape(4, 3)
        raw.flags.writeable = False
        out = np.full((4, 3), np.nan, target)
        assert widen(raw, element, target, out) is out
        np.testing.assert_array_equal(out, widen(raw, element, target))

    def test_the_result_is_c_ordered(self, target):
        """Whatever the order of the input."""
        raw = np.asfortranarray(VALUES)
        assert widen(raw, element_of("f4", None, ""), target).flags.c_contiguous


def test_values_beyond_the_range_become_infinite():
    """float64 to float32 without a warning: what is not finite is found later, by row."""
    widened = widen(np.array([[1e300]]), element_of("f8", None, ""), np.float32)
    assert np.isposinf(widened).all()


def test_values_of_the_right_type_are_not_copied():
    """float32 stays where it is for float32 arithmetic."""
    assert widen(VALUES, element_of("f4", None, ""), np.float32) is VALUES


def test_an_element_type_is_the_same_after_a_journey():
    """Between processes a type keeps its name and its scale, and float types their identity."""
    for element in (BFLOAT16, element_of("i1", None, "").quantised(0.1, 2)):
        assert pickle.loads(pickle.dumps(element)) == element
    assert pickle.loads(pickle.dumps(BFLOAT16)) is BFLOAT16


def test_every_format_has_a_suffix_and_a_signature():
    """The table is enough to tell a file's format."""
    assert all(known.suffixes and known.magic for known in FORMATS)
