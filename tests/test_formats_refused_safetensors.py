"""Safetensors files that cannot be read, or not safely: each is refused with one clear line."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from format_files import npy_bytes, safetensors_bytes, safetensors_header
from refusals import FLOATS, READABLE, Case, holding, refusal

from distillcli.errors import FormatError


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
    ("empty", holding(b""), ": the file is empty (0 bytes)"),
    ("text", holding(b"hello"), ": is not a safetensors file: it begins with b'hello'"),
    (
        "NPY inside",
        holding(npy_bytes(FLOATS)),
        r": is not a safetensors file: it begins with b'\x93NUMPY\x01\x00v'",
    ),
    (
        "length only",
        holding((8).to_bytes(8, "little")),
        r": is not a safetensors file: it begins with b'\x08\x00\x00\x00\x00\x00\x00\x00'",
    ),
    (
        "huge header",
        holding((1 << 40).to_bytes(8, "little") + b"{}"),
        ": declares a header of 1,099,511,627,776 bytes; at most 4,194,304 are accepted",
    ),
    (
        "half a header",
        holding((200).to_bytes(8, "little") + b'{"x"'),
        f": is cut short within its header{REWRITE}",
    ),
    ("no end", _text('{"x": '), f": {DAMAGED}Expecting value: line 1 column 7 (char 6)"),
    (
        "no text",
        holding((3).to_bytes(8, "little") + b'{"\xff'),
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
