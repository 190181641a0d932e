"""Files that cannot be read, or not safely: each is refused with one clear line."""

import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np
import pytest
from format_files import (
    Layers,
    Source,
    create_raw,
    npy_bytes,
    npy_header,
    safetensors_bytes,
    safetensors_header,
    source,
    write_npz,
)

from distillcli.errors import DataError, DistillError, FormatError, MissingError
from distillcli.formats import open_layers, open_rows

FLOATS = np.arange(12, dtype=np.float32).reshape(4, 3)
READABLE = (
    "types that can be read: float16, bfloat16, float32, float64, float8, and integers for labels"
)
PLAIN = "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 3), }"

Case = tuple[str, Callable[[Path], object], str]


def refusal(folder: Path, text: str, *, row_dims: int = 1, dtype: str | None = None) -> DataError:
    """The error of opening a source, which must be an input's, on one line."""
    with pytest.raises(DataError) as caught:
        open_rows(source(folder, text, dtype=dtype), role="logits", row_dims=row_dims)
    assert "\n" not in str(caught.value)
    return caught.value


def _npy(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


def _saved(array: np.ndarray) -> Callable[[Path], object]:
    return lambda path: np.save(path, array, allow_pickle=True)


NPY: list[Case] = [
    ("empty", _npy(b""), "the file is empty (0 bytes)"),
    ("one byte", _npy(b"\x93"), r"is not an NPY file: it begins with b'\x93'"),
    (
        "HDF5 inside",
        _npy(b"\x89HDF\r\n\x1a\n"),
        r"is not an NPY file: it begins with b'\x89HDF\r\n'",
    ),
    ("magic only", _npy(b"\x93NUMPY\x01\x00"), "is cut short within its header"),
    ("half a header", _npy(npy_bytes(FLOATS)[:60]), "is cut short within its header"),
    (
        "version 9",
        _npy(npy_header(PLAIN, version=9)),
        "is NPY of version 9; versions 1 to 3 can be read",
    ),
    (
        "cut",
        _npy(npy_bytes(FLOATS)[:-5]),
        "is cut short: 4x3 elements of 4 bytes take 176 bytes, there are 171; "
        "write the file again; its writer may have been stopped",
    ),
    (
        "overlong",
        _npy(npy_bytes(FLOATS) + b"\0"),
        "is longer than it declares: 4x3 elements of 4 bytes take 176 bytes, there are 177; "
        "write the file again; its writer may have been stopped",
    ),
    (
        "huge header",
        _npy(npy_header(" " * 20_000, version=2)),
        "declares a header of 20,000 bytes; at most 10,000 are accepted",
    ),
    (
        "huge shape",
        _npy(npy_header(PLAIN.replace("(4", "(" + "4" * 40))),
        "declares more elements than any file can hold",
    ),
    ("code", _npy(npy_header("__import__('os').abort()")), "has a damaged NPY header"),
    ("nested", _npy(npy_header("(" * 5000)), "has a damaged NPY header"),
    ("minuses", _npy(npy_header("-" * 9000 + "1")), "has a damaged NPY header"),
    ("a list", _npy(npy_header("[1]")), "has an NPY header without descr, fortran_order and shape"),
    (
        "negative shape",
        _npy(npy_header(PLAIN.replace("(4", "(-4"))),
        "has an NPY header whose shape is not a tuple of sizes",
    ),
    (
        "true as a size",
        _npy(npy_header(PLAIN.replace("(4", "(True"))),
        "has an NPY header whose shape is not a tuple of sizes",
    ),
    (
        "order of its own",
        _npy(npy_header(PLAIN.replace("False", "2"))),
        "has an NPY header whose fortran_order is not True or False",
    ),
    (
        "many axes",
        _npy(npy_header(PLAIN.replace("(4, 3)", str((1,) * 33)))),
        "has 33 dimensions; at most 32 are accepted",
    ),
    (
        "odd type",
        _npy(npy_header(PLAIN.replace("<f4", "evil"))),
        "has an NPY header with an unknown type of elements",
    ),
    (
        "pickled",
        _saved(np.array([[{}, 1]], dtype=object)),
        "holds pickled Python objects, which are never loaded; save a plain numeric array",
    ),
    (
        "structured",
        _saved(np.zeros(3, [("a", "f4"), ("b", "f4")])),
        "holds records (a structured type); save each field as an array of its own",
    ),
    ("complex", _saved(FLOATS.astype(complex)), "holds complex numbers; save real numbers"),
    ("strings", _saved(np.array([["a", "bc"]])), f"holds strings; {READABLE}"),
    ("bytes", _saved(np.array([[b"a", b"bc"]])), f"holds strings; {READABLE}"),
    ("dates", _saved(np.zeros((2, 2), "M8[s]")), f"holds dates; {READABLE}"),
    ("time spans", _saved(np.zeros((2, 2), "m8[ns]")), f"holds time spans; {READABLE}"),
    (
        "booleans",
        _saved(np.zeros((2, 2), bool)),
        "holds booleans; save integers (.astype(np.int8))",
    ),
    (
        "no width",
        _npy(npy_header(PLAIN.replace("<f4", "|V0"))),
        f"holds type V0; {READABLE}",
    ),
    (
        "raw pairs",
        _saved(np.zeros((2, 2), "V2")),
        "holds raw 2-byte elements (V2) of no stated type; "
        "if they are bfloat16, say so in the source: {path: ..., dtype: bfloat16}",
    ),
    (
        "raw bytes",
        _saved(np.zeros((2, 2), ml_dtypes.float8_e4m3fn)),
        "holds raw 1-byte elements (V1) of no stated type; if they are float8, "
        "say which in the source: {path: ..., dtype: float8_e4m3fn}",
    ),
    (
        "raw bytes of 5 and 2 bits",
        _saved(np.zeros((2, 2), ml_dtypes.float8_e5m2)),
        "holds raw 1-byte elements (f1) of no stated type; if they are float8, "
        "say which in the source: {path: ..., dtype: float8_e4m3fn}",
    ),
    (
        "undeclared bits",
        _saved(np.zeros((2, 2), np.uint16)),
        "holds uint16, where floating-point numbers are needed; "
        "if they are bfloat16, say so in the source: {path: ..., dtype: bfloat16}",
    ),
    (
        "quantised",
        _saved(np.zeros((2, 2), np.int8)),
        "holds int8, where floating-point numbers are needed; if they are quantised, "
        "say how in the source: {path: ..., scale: 0.05, zero_point: 0}",
    ),
    (
        "bytes of some kind",
        _saved(np.zeros((2, 2), np.uint8)),
        "holds uint8, where floating-point numbers are needed; if they are quantised, "
        "say how in the source: {path: ..., scale: 0.05, zero_point: 0}; if they are float8, "
        "say which in the source: {path: ..., dtype: float8_e4m3fn}",
    ),
    (
        "integers as logits",
        _saved(np.zeros((2, 2), np.int64)),
        "holds int64, where floating-point numbers are needed; save it with .astype(np.float32)",
    ),
    (
        "one axis",
        _saved(FLOATS[0]),
        "is one-dimensional (3 elements), [rows, width] or [rows, positions, width] is needed; "
        "if it is a single row, save it with .reshape(1, -1)",
    ),
    (
        "no axis",
        _saved(np.float32(1)),
        "has 0 dimensions (shape []), [rows, width] or [rows, positions, width] is needed",
    ),
    (
        "four axes",
        _saved(FLOATS.reshape(1, 1, 4, 3)),
        "has 4 dimensions (shape [1, 1, 4, 3]), "
        "[rows, width] or [rows, positions, width] is needed",
    ),
    ("no rows", _saved(FLOATS[:0]), "is empty: there are no rows (shape [0, 3])"),
    ("no columns", _saved(FLOATS[:, :0]), "has rows of no elements (shape [4, 0])"),
]


@pytest.mark.parametrize(("make", "problem"), [c[1:] for c in NPY], ids=[c[0] for c in NPY])
def test_npy_files_that_are_refused(tmp_path, make, problem):
    """Every odd NPY file ends in its one line."""
    make(tmp_path / "bad.npy")
    error = refusal(tmp_path, "bad.npy")
    assert isinstance(error, FormatError)
    assert str(error) == f"logits in bad.npy: {problem}"


def test_labels_that_are_refused(tmp_path):
    """Labels are integers, one per row."""
    np.save(tmp_path / "a.npy", np.zeros(3))
    assert str(refusal(tmp_path, "a.npy", row_dims=0)) == (
        "logits in a.npy: holds float64, labels must be integers; "
        "labels are class numbers: save them with .astype(np.int64)"
    )
    np.save(tmp_path / "a.npy", np.zeros((3, 2, 2), int))
    assert str(refusal(tmp_path, "a.npy", row_dims=0)) == (
        "logits in a.npy: has 3 dimensions (shape [3, 2, 2]), "
        "integers [rows] or [rows, positions] is needed; "
        "labels are class numbers, one per row, not one-hot rows"
    )


def test_a_declared_type_must_be_the_stored_one(tmp_path):
    """A source that says float16 of float32 data is corrected, not believed."""
    np.save(tmp_path / "a.npy", FLOATS)
    assert str(refusal(tmp_path, "a.npy", dtype="bfloat16")) == (
        "logits in a.npy: holds float32, while the source declares dtype bfloat16; "
        "correct the dtype or leave it out"
    )


def test_a_scale_is_for_integers_that_are_scores(tmp_path):
    """Floating-point numbers have none, and neither have labels."""
    np.save(tmp_path / "a.npy", FLOATS)
    np.save(tmp_path / "b.npy", np.arange(3))
    for name, row_dims, problem in (
        ("a.npy", 1, "holds float32, and a scale is for integers"),
        ("b.npy", 0, "has a scale, and labels are the stored integers themselves"),
    ):
        with pytest.raises(FormatError) as caught:
            open_rows(source(tmp_path, name, scale=0.1), role="logits", row_dims=row_dims)
        hint = "leave scale and zero_point out"
        assert str(caught.value) == f"logits in {name}: {problem}; {hint}"


def test_shards_must_be_on_one_scale(tmp_path):
    """Two parts with scales of their own would be two kinds of numbers."""
    np.save(tmp_path / "a.npy", np.zeros((2, 3), np.int8))
    first, second = (source(tmp_path, "a.npy", scale=scale).parts for scale in (0.1, 0.2))
    with pytest.raises(DataError) as caught:
        open_rows(Source((*first, *second)), role="logits", row_dims=1)
    assert str(caught.value) == (
        "logits in a.npy: elements are int8 on a scale of 0.2 from 0, "
        "those of a.npy are int8 on a scale of 0.1 from 0; shards must be of one type"
    )


def test_an_npy_file_has_no_datasets(tmp_path):
    """A name after :: is answered with the way out."""
    np.save(tmp_path / "a.npy", FLOATS)
    assert str(refusal(tmp_path, "a.npy::x")) == (
        "logits in a.npy: is an NPY file, which has no datasets; leave ::x out"
    )


class TestPaths:
    """Paths that lead to no file."""

    def test_a_missing_file_is_answered_with_near_names(self, tmp_path):
        """The names in the folder that come nearest are listed."""
        np.save(tmp_path / "student.npy", FLOATS)
        error = refusal(tmp_path, "studnet.npy")
        assert isinstance(error, MissingError)
        assert str(error) == (
            "logits in studnet.npy: there is no such file; in that folder: student.npy"
        )

    def test_a_missing_folder_is_named(self, tmp_path):
        """The way breaks off at the folder."""
        assert str(refusal(tmp_path, "no/a.npy")) == (
            f"logits in no/a.npy: there is no such file; there is no folder {tmp_path}/no"
        )

    def test_a_glob_that_matches_nothing_is_missing(self, tmp_path):
        """Near names are listed for a glob too."""
        np.save(tmp_path / "dump.npy", FLOATS)
        error = refusal(tmp_path, "dump-*.npy")
        assert isinstance(error, MissingError)
        assert str(error) == (
            "logits in dump-*.npy: no file matches this pattern; in that folder: dump.npy"
        )

    def test_a_folder_is_no_file(self, tmp_path):
        """A folder is refused with the way to its files."""
        (tmp_path / "runs").mkdir()
        assert str(refusal(tmp_path, "runs")) == (
            "logits in runs: is a folder, not a file; for its files: folder/*.npy"
        )

    def test_a_pipe_is_not_waited_for(self, tmp_path):
        """A pipe without a writer does not block."""
        os.mkfifo(tmp_path / "a.npy")
        assert str(refusal(tmp_path, "a.npy")) == (
            "logits in a.npy: is not a regular file; pipes and devices cannot be read"
        )

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_a_forbidden_file_is_said_to_be_so(self, tmp_path):
        """The system's reason is given."""
        np.save(tmp_path / "a.npy", FLOATS)
        (tmp_path / "a.npy").chmod(0)
        assert str(refusal(tmp_path, "a.npy")) == (
            "logits in a.npy: cannot be opened: Permission denied"
        )

    @pytest.mark.parametrize("name", ["a\0b.npy", "x" * 300, "a.npy/b.npy", "loop"])
    def test_paths_that_cannot_exist(self, tmp_path, name):
        """NUL, too long a name, a file as a folder, a link to itself: one line each."""
        (tmp_path / "loop").symlink_to("loop")
        np.save(tmp_path / "a.npy", FLOATS)
        refusal(tmp_path, name)

    def test_a_name_that_is_no_text_can_be_read(self, tmp_path):
        """File names are bytes; one that is not UTF-8 is read like any other."""
        name = os.fsdecode(b"\xff\xfe.h5")
        with h5py.File(tmp_path / name, "w") as file:
            file["x"] = FLOATS
        with open_rows(source(tmp_path, name), role="logits", row_dims=1) as reader:
            assert reader.rows == 4

    def test_an_unknown_format_lists_the_known(self, tmp_path):
        """Neither suffix nor first bytes tell."""
        (tmp_path / "a.bin").write_bytes(b"some text")
        assert str(refusal(tmp_path, "a.bin")) == (
            "logits in a.bin: is of an unknown format; formats that can be read: "
            "npy (.npy), npz (.npz), safetensors (.safetensors), hdf5 (.h5 .hdf5 .hdf .he5), "
            "llama.cpp (.kld)"
        )


class TestNpz:
    """NPZ files that are refused."""

    def test_more_than_one_array_fits(self, tmp_path):
        """The candidates are listed, with what is wrong with the others."""
        np.savez(tmp_path / "a.npz", x=FLOATS, y=FLOATS, z=np.arange(3))
        assert str(refusal(tmp_path, "a.npz")) == (
            "logits in a.npz: holds more than one dataset of [rows, width] or [rows, positions, "
            "width]; it holds x float32 [4, 3], y float32 [4, 3], z int64 [3]"
        )

    def test_no_array_of_that_name(self, tmp_path):
        """The nearest names that fit come first."""
        np.savez(tmp_path / "a.npz", teacher=FLOATS, student=FLOATS, z=np.arange(3))
        assert str(refusal(tmp_path, "a.npz::studnt")) == (
            "logits in a.npz: holds no array 'studnt'; "
            "it holds student float32 [4, 3], teacher float32 [4, 3], z int64 [3]"
        )

    def test_pickles_are_never_loaded(self, tmp_path):
        """Objects inside are refused by name."""
        np.savez(tmp_path / "a.npz", x=np.array([{}, 1], dtype=object))
        assert str(refusal(tmp_path, "a.npz::x")) == (
            "logits in a.npz::x: holds pickled Python objects, which are never loaded; "
            "save a plain numeric array"
        )

    @pytest.mark.parametrize("deflated", [False, True])
    def test_any_cut_is_noticed(self, tmp_path, deflated):
        """A file cut anywhere is refused when it is opened."""
        write_npz(tmp_path / "whole.npz", {"x": npy_bytes(FLOATS)}, deflated=deflated)
        whole = (tmp_path / "whole.npz").read_bytes()
        for length in range(0, len(whole), 3):
            (tmp_path / "a.npz").write_bytes(whole[:length])
            assert isinstance(refusal(tmp_path, "a.npz::x"), FormatError)

    def test_a_wrong_checksum_is_noticed(self, tmp_path):
        """A deflated array is compared with its checksum when its end is read."""
        write_npz(tmp_path / "a.npz", {"x": npy_bytes(FLOATS)}, deflated=True)
        data = (tmp_path / "a.npz").read_bytes()
        crc = struct.pack("<I", zlib.crc32(npy_bytes(FLOATS)))
        (tmp_path / "a.npz").write_bytes(data.replace(crc, b"\1\2\3\4"))
        with open_rows(source(tmp_path, "a.npz"), role="logits", row_dims=1) as reader:
            reader.read(0, 2, reader.empty(2))
            with pytest.raises(FormatError) as caught:
                reader.read(2, 4, reader.empty(2))
        assert str(caught.value) == (
            "logits in a.npz::x: the packed array has a wrong checksum (176 bytes declared)"
        )

    def test_bombs_are_not_unpacked(self, tmp_path):
        """8 GiB declared by a few bytes are refused by their sizes alone."""
        write_npz(tmp_path / "a.npz", {"x": npy_bytes(FLOATS)}, deflated=True)
        data = bytearray((tmp_path / "a.npz").read_bytes())
        at = data.rindex(b"PK\x01\x02") + 24
        data[at : at + 4] = struct.pack("<I", (1 << 32) - 2)
        (tmp_path / "a.npz").write_bytes(data)
        error = refusal(tmp_path, "a.npz::x")
        assert "is cut short" in str(error) or "declare" in str(error)

    def test_a_member_without_a_name_is_no_trouble(self, tmp_path):
        """An empty name in the zip's directory is one more name."""
        write_npz(tmp_path / "a.npz", {"": npy_bytes(FLOATS), "x": npy_bytes(np.arange(3))})
        with open_rows(source(tmp_path, "a.npz"), role="logits", row_dims=1) as reader:
            assert reader.rows == 4

    def test_other_zip_methods_are_refused(self, tmp_path):
        """bzip2 and LZMA members are named as such."""
        with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_BZIP2) as archive:
            archive.writestr("x.npy", npy_bytes(FLOATS))
        assert str(refusal(tmp_path, "a.npz::x")) == (
            "logits in a.npz::x: is packed by zip method 12; "
            "save it with np.savez or np.savez_compressed"
        )

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_a_doubled_name_is_refused(self, tmp_path):
        """Which of the two is meant cannot be told."""
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.writestr("x.npy", npy_bytes(FLOATS))
            archive.writestr("x.npy", npy_bytes(FLOATS))
        assert str(refusal(tmp_path, "a.npz::x")) == "logits in a.npz: holds 'x' twice"


def _header(data: bytes = bytes(48), **changes: object) -> Callable[[Path], object]:
    """A safetensors file of one array x, [4, 3] of F32, with changes to what is said of it."""
    fields = {"dtype": "F32", "shape": [4, 3], "data_offsets": [0, 48], **changes}
    text = json.dumps({"x": {key: value for key, value in fields.items() if value is not None}})
    return _text(text, data)


def _text(text: str, data: bytes = b"") -> Callable[[Path], object]:
    return lambda path: path.write_bytes(safetensors_header(text, data))


X = '{"dtype": "F32", "shape": [4, 3], "data_offsets": [0, 48]}'
Y = '{"dtype": "F32", "shape": [1, 1], "data_offsets": [%d, %d]}'
DAMAGED = "has a damaged safetensors header: "
REWRITE = "; write the file again; its writer may have been stopped"
SIZES = DAMAGED + "its shape is not a list of at most 32 sizes"
OFFSETS = DAMAGED + "its data_offsets are not where it begins and ends"

SAFETENSORS: list[Case] = [
    ("empty", _npy(b""), ": the file is empty (0 bytes)"),
    ("text", _npy(b"hello"), ": is not a safetensors file: it begins with b'hello'"),
    (
        "NPY inside",
        _npy(npy_bytes(FLOATS)),
        r": is not a safetensors file: it begins with b'\x93NUMPY\x01\x00v'",
    ),
    (
        "length only",
        _npy((8).to_bytes(8, "little")),
        r": is not a safetensors file: it begins with b'\x08\x00\x00\x00\x00\x00\x00\x00'",
    ),
    (
        "huge header",
        _npy((1 << 40).to_bytes(8, "little") + b"{}"),
        ": declares a header of 1,099,511,627,776 bytes; at most 4,194,304 are accepted",
    ),
    (
        "half a header",
        _npy((200).to_bytes(8, "little") + b'{"x"'),
        f": is cut short within its header{REWRITE}",
    ),
    ("no end", _text('{"x": '), f": {DAMAGED}Expecting value: line 1 column 7 (char 6)"),
    (
        "no text",
        _npy((3).to_bytes(8, "little") + b'{"\xff'),
        f": {DAMAGED}'utf-8' codec can't decode byte 0xff",
    ),
    ("nested", _text('{"x": ' + "[" * 100_000), f": {DAMAGED}it is nested too deeply"),
    ("long number", _header(shape=[10**4299, 3]), f"::x: {SIZES}"),
    (
        "longer number",
        _text('{"x": 1' + "0" * 5000 + "}"),
        f": {DAMAGED}Exceeds the limit (4300 digits)",
    ),
    (
        "half a character",
        _text('{"\\ud800": ' + X + "}", bytes(48)),
        f": {DAMAGED}'utf-8' codec can't encode",
    ),
    ("not a number", _text('{"x": NaN}'), f": {DAMAGED}NaN is no size"),
    (
        "a number",
        _text('{"x": 1}'),
        f"::x: {DAMAGED}an array has a dtype, a shape and data_offsets",
    ),
    ("twice", _text(f'{{"x": {X}, "x": {X}}}', bytes(48)), f": {DAMAGED}it names 'x' twice"),
    (
        "twice inside",
        _text('{"x": ' + X.replace("}", ', "dtype": "F32"}') + "}", bytes(48)),
        f": {DAMAGED}it names 'dtype' twice",
    ),
    ("metadata", _text('{"__metadata__": 3}'), f": {DAMAGED}__metadata__ is not a table of texts"),
    ("more keys", _header(more=1), f"::x: {DAMAGED}an array has a dtype, a shape and data_offsets"),
    (
        "no dtype",
        _header(dtype=None),
        f"::x: {DAMAGED}an array has a dtype, a shape and data_offsets",
    ),
    ("dtype", _header(dtype=3), f"::x: {DAMAGED}its dtype is not a text"),
    ("shape", _header(shape="4, 3"), f"::x: {SIZES}"),
    ("negative", _header(shape=[-4, 3]), f"::x: {SIZES}"),
    ("true", _header(shape=[True, 12]), f"::x: {SIZES}"),
    ("many axes", _header(shape=[1] * 33), f"::x: {SIZES}"),
    ("huge shape", _header(shape=[1 << 30, 1 << 30]), f"::x: {SIZES}"),
    ("offsets", _header(data_offsets=[0]), f"::x: {OFFSETS}"),
    ("backwards", _header(data_offsets=[48, 0]), f"::x: {OFFSETS}"),
    ("before", _header(data_offsets=[-48, 0]), f"::x: {OFFSETS}"),
    (
        "another size",
        _header(shape=[4, 4]),
        f"::x: {DAMAGED}4x4 elements of F32 take 64 bytes, its data_offsets span 48",
    ),
    (
        "gap before",
        _header(bytes(52), data_offsets=[4, 52]),
        f"::x: {DAMAGED}its bytes leave a gap with those before it",
    ),
    (
        "gap",
        _text(f'{{"x": {X}, "y": {Y % (50, 54)}}}', bytes(54)),
        f"::y: {DAMAGED}its bytes leave a gap with those before it",
    ),
    (
        "overlap",
        _text(f'{{"x": {X}, "y": {Y % (44, 48)}}}', bytes(48)),
        f"::y: {DAMAGED}its bytes overlap with those before it",
    ),
    ("cut", _header(bytes(40)), f": is cut short: its arrays end at byte 121, it has 113{REWRITE}"),
    (
        "overlong",
        _header(bytes(50)),
        f": is longer than it declares: its arrays end at byte 121, it has 123{REWRITE}",
    ),
    ("many objects", _text('{"x": [' + "{}," * 1_390_000 + "1]}"), "::x: " + DAMAGED),
    ("many names", _text(json.dumps(dict.fromkeys(range(300000), 0))), ": holds "),
    ("no arrays", _text("{}"), ": holds no array 'x'; the file holds no datasets"),
    (
        "no rows",
        _header(b"", shape=[0, 3], data_offsets=[0, 0]),
        "::x: is empty: there are no rows (shape [0, 3])",
    ),
    (
        "booleans",
        _header(bytes(12), dtype="BOOL", data_offsets=[0, 12]),
        "::x: holds booleans; save integers (.astype(np.int8))",
    ),
    (
        "complex",
        _header(bytes(96), dtype="C64", data_offsets=[0, 96]),
        "::x: holds complex numbers; save real numbers",
    ),
    (
        "4 bits",
        _header(bytes(6), dtype="F4", data_offsets=[0, 6]),
        f"::x: holds type F4; {READABLE}",
    ),
    (
        "odd type",
        _header(dtype="\x1b[31m"),
        f"::x: holds type \x1b[31m; {READABLE}",
    ),
]


@pytest.mark.parametrize(
    ("make", "problem"), [c[1:] for c in SAFETENSORS], ids=[c[0] for c in SAFETENSORS]
)
def test_safetensors_files_that_are_refused(tmp_path, make, problem):
    """Every odd safetensors file ends in its one line."""
    make(tmp_path / "bad.safetensors")
    error = refusal(tmp_path, "bad.safetensors::x")
    assert str(error).startswith(f"logits in bad.safetensors{problem}")


def test_too_many_arrays(tmp_path):
    """A header of thousands of arrays is a model, or harm."""
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    text = json.dumps({str(index): empty for index in range(10_001)})
    _text(text)(tmp_path / "a.safetensors")
    assert str(refusal(tmp_path, "a.safetensors")) == (
        "logits in a.safetensors: holds 10,001 arrays; at most 10,000 are read"
    )


def test_a_safetensors_file_cut_anywhere_is_refused(tmp_path):
    """No cut goes unnoticed when the file is opened."""
    whole = safetensors_bytes({"x": FLOATS, "y": np.arange(3)}, {"format": "np"})
    for length in range(len(whole)):
        (tmp_path / "a.safetensors").write_bytes(whole[:length])
        assert isinstance(refusal(tmp_path, "a.safetensors::x"), FormatError)


def test_no_array_of_that_name_in_safetensors(tmp_path):
    """The nearest names that fit come first."""
    arrays = {"teacher": FLOATS, "student": FLOATS, "z": np.arange(3)}
    (tmp_path / "a.safetensors").write_bytes(safetensors_bytes(arrays))
    assert str(refusal(tmp_path, "a.safetensors::studnt")) == (
        "logits in a.safetensors: holds no array 'studnt'; "
        "it holds student float32 [4, 3], teacher float32 [4, 3], z int64 [3]"
    )


def _dataset(path: Path, **options: object) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("x", **options)


def _external_storage(path: Path) -> None:
    (path.parent / "raw").write_bytes(FLOATS.tobytes())
    _dataset(path, shape=(4, 3), dtype="<f4", external=[(str(path.parent / "raw"), 0, 48)])


def _virtual(path: Path) -> None:
    with h5py.File(path.parent / "other.h5", "w") as file:
        file["y"] = FLOATS
    layout = h5py.VirtualLayout((4, 3), "<f4")
    layout[...] = h5py.VirtualSource(path.parent / "other.h5", "y", (4, 3))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("x", layout)


def _link(link: object) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        with h5py.File(path, "w") as file:
            file["y"], file["x"] = FLOATS, link

    return make


def _killed_writer(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (100, 3), "<f4", chunks=(10, 3))[:35] = 1


def _chunk_that_grows(path: Path) -> None:
    with h5py.File(path, "w") as file:
        made = file.create_dataset("x", (4, 3), "<f4", chunks=(4, 3), compression="gzip")
        made.id.write_direct_chunk((0, 0), zlib.compress(bytes(1 << 16)))


def _chunk_that_shrinks(path: Path) -> None:
    with h5py.File(path, "w") as file:
        made = file.create_dataset("x", (4, 3), "<f4", chunks=(4, 3), compression="gzip")
        made.id.write_direct_chunk((0, 0), zlib.compress(bytes(40)))


def _filters(*numbers: int) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((4, 3))
        for number in numbers:
            plist.set_filter(number, h5py.h5z.FLAG_OPTIONAL, (1,))
        with h5py.File(path, "w") as file:
            space = h5py.h5s.create_simple((4, 3))
            made = h5py.h5d.create(file.id, b"x", h5py.h5t.IEEE_F32LE, space, plist)
            made.write_direct_chunk((0, 0), FLOATS.tobytes())

    return make


def _opaque(path: Path) -> None:
    with h5py.File(path, "w") as file:
        create_raw(file, "x", np.zeros((2, 2), np.uint16), h5py.h5t.py_create(np.dtype("V2")))


HDF5: list[Case] = [
    (
        "text",
        lambda path: path.write_text("hello"),
        "bad.h5: is not an HDF5 file: it begins with b'hello'",
    ),
    (
        "external storage",
        _external_storage,
        "bad.h5::x: keeps its values in other files; copy it into one file: h5repack",
    ),
    (
        "virtual",
        _virtual,
        "bad.h5::x: is a virtual dataset; copy it into a plain one: h5repack",
    ),
    (
        "external link",
        _link(h5py.ExternalLink("other.h5", "y")),
        "bad.h5::x: 'x' is an external link; only what the file itself holds is read; "
        "name the file and dataset that it points to",
    ),
    (
        "soft link",
        _link(h5py.SoftLink("/y")),
        "bad.h5::x: 'x' is a soft link; only what the file itself holds is read; "
        "name the dataset that it points to",
    ),
    (
        "declared only",
        lambda path: _dataset(path, shape=(4, 3), dtype="<f4"),
        "bad.h5::x: was never written; its writer may have been stopped",
    ),
    (
        "huge shape",
        lambda path: _dataset(path, shape=(1 << 40, 3), dtype="<f4"),
        "bad.h5::x: declares 13,194,139,533,312 bytes, of which 0 are stored: "
        "more than any real data would",
    ),
    (
        "huge chunks",
        lambda path: _dataset(
            path, shape=(1 << 14, 1 << 13), dtype="<f4", chunks=(1 << 14, 1 << 13)
        ),
        "bad.h5::x: has chunks of 512 MiB; at most 256 are accepted; "
        "write it in smaller chunks: h5repack -l CHUNK=...",
    ),
    (
        "killed writer",
        _killed_writer,
        "bad.h5::x: lacks 6 of its 10 chunks; its writer may have been stopped; write it again",
    ),
    (
        "unnamed filter",
        _filters(40000),
        "bad.h5::x: is packed with HDF5 filter 40000, which cannot be read; "
        'write it with compression="gzip" instead',
    ),
    (
        "doubled filter",
        _filters(1, 1),
        "bad.h5::x: is packed twice with HDF5 filter gzip; "
        'write it with compression="gzip" instead',
    ),
    (
        "null",
        lambda path: _dataset(path, data=h5py.Empty("f4")),
        "bad.h5::x: holds nothing (a null dataspace)",
    ),
    (
        "single number",
        lambda path: _dataset(path, data=1.0),
        "bad.h5::x: has 0 dimensions (shape []), "
        "[rows, width] or [rows, positions, width] is needed",
    ),
    (
        "no rows",
        lambda path: _dataset(path, shape=(0, 3), dtype="<f4"),
        "bad.h5::x: is empty: there are no rows (shape [0, 3])",
    ),
    (
        "no rows in chunks",
        lambda path: _dataset(path, shape=(0, 3), dtype="<f4", maxshape=(None, 3)),
        "bad.h5::x: is empty: there are no rows (shape [0, 3])",
    ),
    (
        "strings",
        lambda path: _dataset(path, data=["a", "b"]),
        f"bad.h5::x: holds strings; {READABLE}",
    ),
    (
        "records",
        lambda path: _dataset(path, data=np.zeros(2, [("a", "f4")])),
        "bad.h5::x: holds records (a structured type); save each field as an array of its own",
    ),
    (
        "opaque",
        _opaque,
        "bad.h5::x: holds raw 2-byte elements (V2) of no stated type; "
        "if they are bfloat16, say so in the source: {path: ..., dtype: bfloat16}",
    ),
]


@pytest.mark.parametrize(("make", "problem"), [c[1:] for c in HDF5], ids=[c[0] for c in HDF5])
def test_hdf5_files_that_are_refused(tmp_path, make, problem):
    """Every odd HDF5 file ends in its one line."""
    make(tmp_path / "bad.h5")
    error = refusal(tmp_path, "bad.h5::x")
    assert str(error) == f"logits in {problem}"


@pytest.mark.parametrize("make", [_chunk_that_grows, _chunk_that_shrinks])
def test_a_chunk_unpacks_to_what_it_declares(tmp_path, make):
    """Chunks of another size than declared are refused when they are read, never unpacked whole."""
    make(tmp_path / "bad.h5")
    reader = open_rows(source(tmp_path, "bad.h5"), role="logits", row_dims=1)
    with reader, pytest.raises(FormatError) as caught:
        reader.read(0, 4, reader.empty(4))
    grows = "unpacks to more than the 48 bytes that are declared"
    shrinks = "unpacks to 40 bytes, 48 are declared"
    assert str(caught.value) == (
        f"logits in bad.h5::x, chunk [0, 0]: {grows if make is _chunk_that_grows else shrinks}"
    )


def test_a_checksum_that_is_wrong_is_noticed(tmp_path):
    """One flipped bit in a chunk with a Fletcher-32 checksum is enough."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = file.create_dataset("x", data=FLOATS, chunks=(4, 3), fletcher32=True)
        offset = made.id.get_chunk_info(0).byte_offset
    data = bytearray((tmp_path / "a.h5").read_bytes())
    data[offset + 10] ^= 1
    (tmp_path / "a.h5").write_bytes(data)
    reader = open_rows(source(tmp_path, "a.h5"), role="logits", row_dims=1)
    with reader, pytest.raises(FormatError, match="is damaged: its checksum is wrong"):
        reader.read(0, 4, reader.empty(4))


@pytest.mark.parametrize("chunks", [None, (2, 3)])
def test_an_hdf5_file_cut_anywhere_is_refused(tmp_path, chunks):
    """No cut goes unnoticed when the file is opened."""
    with h5py.File(tmp_path / "whole.h5", "w") as file:
        file.create_dataset("deep/x", data=FLOATS, chunks=chunks)
    whole = (tmp_path / "whole.h5").read_bytes()
    for length in range(0, len(whole), 41):
        (tmp_path / "a.h5").write_bytes(whole[:length])
        refusal(tmp_path, "a.h5::deep/x")
        refusal(tmp_path, "a.h5")


def test_links_in_a_circle_are_followed_once(tmp_path):
    """A group that holds itself does not keep the search for candidates busy."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("a/b")
        group["again"], group["root"] = file["a"], file["/"]
        group["x"] = FLOATS
    with open_rows(source(tmp_path, "a.h5"), role="logits", row_dims=1) as reader:
        assert reader.name == "a.h5::a/b/x"


def test_at_most_ten_candidates_are_listed(tmp_path):
    """What fits comes first, then the nearest names; the rest is a number."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for index in range(30):
            file[f"layer_{index}"] = np.arange(3)
        file["logits"] = FLOATS
    message = str(refusal(tmp_path, "a.h5::logit"))
    assert message.startswith(
        "logits in a.h5: holds no dataset 'logit'; it holds logits float32 [4, 3], "
    )
    assert message.endswith(", and 21 more")
    assert message.count("layer_") == 9


def test_a_group_is_no_dataset(tmp_path):
    """The datasets are listed."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["g/x"] = FLOATS
    assert str(refusal(tmp_path, "a.h5::g")) == (
        "logits in a.h5::g: is a group, not a dataset; it holds g/x float32 [4, 3]"
    )


class TestLayers:
    """Hidden states that are refused."""

    def refusal(self, folder: Path, *texts: str, single: bool = True) -> str:
        """The message of opening hidden states."""
        sources = (source(folder, *texts),) if single else tuple(source(folder, t) for t in texts)
        with pytest.raises(DistillError) as caught:
            open_layers(Layers(sources, single=single), role="teacher hidden states")
        return str(caught.value)

    def test_a_group_must_hold_layers(self, tmp_path):
        """Nothing is skipped: what is no layer is named."""
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["hidden/0"], file["hidden/1"] = FLOATS, np.arange(3)
            file.create_group("none")
        assert self.refusal(tmp_path, "a.h5::hidden") == (
            "teacher hidden states in a.h5::hidden/1: holds int64, where floating-point numbers "
            "are needed; save it with .astype(np.float32)"
        )
        assert self.refusal(tmp_path, "a.h5::none") == (
            "teacher hidden states in a.h5::none: is an empty group"
        )
        assert self.refusal(tmp_path, "a.h5::hiden").startswith(
            "teacher hidden states in a.h5: holds no dataset 'hiden'; it holds hidden/0 "
        )

    def test_shards_of_arrays_with_all_layers_are_refused(self, tmp_path):
        """Their layers would be taken for rows."""
        np.save(tmp_path / "a0.npy", FLOATS[None])
        np.save(tmp_path / "a1.npy", FLOATS[None])
        assert self.refusal(tmp_path, "a*.npy") == (
            "teacher hidden states in a*.npy: is in 2 files, each with an axis of layers; "
            "list one source per layer instead; the shards of a layer are a glob or a list"
        )

    def test_a_file_of_layers_must_be_listed(self, tmp_path):
        """Each array is a source of its own; with shards, as the glob is written."""
        layers = {f"layer_{index}": FLOATS for index in range(3)}
        for shard in range(2):
            np.savez(tmp_path / f"a{shard}.npz", **layers)
        error = self.refusal(tmp_path, "a*.npz")
        assert "holds more than one dataset of [rows, dim]" in error
        assert error.endswith(
            "; list one source per layer: [a*.npz::layer_0, a*.npz::layer_1, ...]"
        )
        np.savez(tmp_path / "a.npz", labels=np.arange(3))
        assert "one source per layer" not in self.refusal(tmp_path, "a.npz")

    def test_the_layer_of_a_list_is_named(self, tmp_path):
        """A mistake in a list of layers says which."""
        np.save(tmp_path / "a.npy", FLOATS)
        np.save(tmp_path / "b.npy", FLOATS[0])
        assert self.refusal(tmp_path, "a.npy", "b.npy", single=False).startswith(
            "teacher hidden states, layer 1, in b.npy: is one-dimensional (3 elements)"
        )
