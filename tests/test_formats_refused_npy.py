"""NPY files that cannot be read, or not as they are declared: each with one clear line."""

from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from format_files import Source, npy_bytes, npy_header, source
from refusals import FLOATS, READABLE, Case, holding, refusal

from distillcli.errors import DataError, FormatError
from distillcli.formats import open_rows

PLAIN = "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 3), }"


def _saved(array: np.ndarray) -> Callable[[Path], object]:
    return lambda path: np.save(path, array, allow_pickle=True)


NPY: list[Case] = [
    ("empty", holding(b""), "the file is empty (0 bytes)"),
    ("one byte", holding(b"\x93"), r"is not an NPY file: it begins with b'\x93'"),
    (
        "HDF5 inside",
        holding(b"\x89HDF\r\n\x1a\n"),
        r"is not an NPY file: it begins with b'\x89HDF\r\n'",
    ),
    ("magic only", holding(b"\x93NUMPY\x01\x00"), "is cut short within its header"),
    ("half a header", holding(npy_bytes(FLOATS)[:60]), "is cut short within its header"),
    (
        "version 9",
        holding(npy_header(PLAIN, version=9)),
        "is NPY of version 9; versions 1 to 3 can be read",
    ),
    (
        "cut",
        holding(npy_bytes(FLOATS)[:-5]),
        "is cut short: 4x3 elements of 4 bytes take 176 bytes, there are 171; "
        "write the file again; its writer may have been stopped",
    ),
    (
        "overlong",
        holding(npy_bytes(FLOATS) + b"\0"),
        "is longer than it declares: 4x3 elements of 4 bytes take 176 bytes, there are 177; "
        "write the file again; its writer may have been stopped",
    ),
    (
        "huge header",
        holding(npy_header(" " * 20_000, version=2)),
        "declares a header of 20,000 bytes; at most 10,000 are accepted",
    ),
    (
        "huge shape",
        holding(npy_header(PLAIN.replace("(4", "(" + "4" * 40))),
        "declares more elements than any file can hold",
    ),
    ("code", holding(npy_header("__import__('os').abort()")), "has a damaged NPY header"),
    ("nested", holding(npy_header("(" * 5000)), "has a damaged NPY header"),
    ("minuses", holding(npy_header("-" * 9000 + "1")), "has a damaged NPY header"),
    (
        "a list",
        holding(npy_header("[1]")),
        "has an NPY header without descr, fortran_order and shape",
    ),
    (
        "negative shape",
        holding(npy_header(PLAIN.replace("(4", "(-4"))),
        "has an NPY header whose shape is not a tuple of sizes",
    ),
    (
        "true as a size",
        holding(npy_header(PLAIN.replace("(4", "(True"))),
        "has an NPY header whose shape is not a tuple of sizes",
    ),
    (
        "order of its own",
        holding(npy_header(PLAIN.replace("False", "2"))),
        "has an NPY header whose fortran_order is not True or False",
    ),
    (
        "many axes",
        holding(npy_header(PLAIN.replace("(4, 3)", str((1,) * 33)))),
        "has 33 dimensions; at most 32 are accepted",
    ),
    (
        "odd type",
        holding(npy_header(PLAIN.replace("<f4", "evil"))),
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
        holding(npy_header(PLAIN.replace("<f4", "|V0"))),
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
