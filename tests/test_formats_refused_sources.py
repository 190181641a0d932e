"""Paths to no file, and archives and layers that will not do: each refused with one clear line."""

import os
import struct
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from format_files import Layers, npy_bytes, source, write_npz
from refusals import FLOATS, refusal

from distillcli.errors import DistillError, FormatError, MissingError
from distillcli.formats import open_layers, open_rows


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
