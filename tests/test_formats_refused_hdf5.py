"""HDF5 files that cannot be read, or not safely: each is refused with one clear line."""

import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from format_files import create_raw, source
from refusals import FLOATS, READABLE, Case, refusal

from distillcli.errors import FormatError
from distillcli.formats import open_rows


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
