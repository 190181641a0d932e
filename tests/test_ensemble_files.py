"""What is there before, in the middle of, and after writing soft targets."""

import errno
import json
import os
import resource
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from ensembles import child, config, dumps, held, written
from runs import distill

from distillcli.targets import gathering


def run(folder: Path, output: str, *options: str) -> Any:
    return distill("ensemble", folder / "config.yaml", "--output", folder / output, *options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Dumps and a config."""
    dumps(tmp_path)
    config(tmp_path)
    return tmp_path


def listing(folder: Path) -> set[str]:
    """What is there beside the dumps and the config."""
    known = {f"{name}.npy" for name in ("t0", "t1", "t2", "student", "labels")} | {"config.yaml"}
    return set(os.listdir(folder)) - known


def test_nothing_but_the_output_is_left(folder: Path) -> None:
    """An HDF5 file alone; an NPY file and the words that belong to it."""
    assert run(folder, "a.h5").code == 0
    assert run(folder, "b.npy").code == 0
    assert listing(folder) == {"a.h5", "b.npy", "b.npy.json"}


def test_an_output_is_replaced_only_on_request(folder: Path) -> None:
    """And then as a whole."""
    (folder / "a.h5").write_bytes(b"old")
    done = run(folder, "a.h5")
    assert done.code == 2
    assert done.errors == [
        f"--output {folder / 'a.h5'}: is there already; replace it with --overwrite"
    ]
    assert (folder / "a.h5").read_bytes() == b"old"
    assert run(folder, "a.h5", "--overwrite").code == 0
    assert distill("verify", folder / "a.h5").code == 0


@pytest.mark.parametrize(
    ("output", "options", "words"),
    [
        ("no/a.h5", (), "its folder is not there; make the folder first"),
        ("t0.npy", ("--overwrite",), "is one of the inputs"),
        ("link.npy", ("--overwrite",), "is one of the inputs"),
        ("hard.npy", ("--overwrite",), "is one of the inputs"),
        ("folder.h5", ("--overwrite",), "is a folder; give the path of a file"),
        ("a.txt", (), "has no suffix of a format; end it in .h5 for HDF5 or in .npy"),
        ("a.npy", ("--top-k", "2"), "--top-k: needs three arrays"),
        ("a.npy", ("--copy-labels",), "--copy-labels: needs a second array"),
        ("a.npy", ("--compression", "gzip"), "--compression: is for HDF5 files"),
        ("a.h5", ("--top-k", "0"), "--top-k: is 0; keep at least one class"),
        ("a.h5", ("--top-k", "8"), "--top-k: is 8, and there are 7 classes"),
        ("a.h5", ("--kind", "odds"), "--kind: no kind 'odds'; one of logits"),
        ("a.h5", ("--dtype", "int8"), "--dtype: no dtype 'int8'; one of float16"),
        ("a.h5", ("--compression", "xz"), "--compression: no compression 'xz'"),
    ],
)
def test_mistakes_are_one_line(
    folder: Path, output: str, options: tuple[str, ...], words: str
) -> None:
    """With exit code 2; nothing is made, nothing changes."""
    os.symlink("t0.npy", folder / "link.npy")
    os.link(folder / "t0.npy", folder / "hard.npy")
    os.mkdir(folder / "folder.h5")
    before = listing(folder), (folder / "t0.npy").read_bytes()
    done = run(folder, output, *options)
    assert done.code == 2
    assert len(done.errors) == 1
    assert words in done.errors[0]
    assert (listing(folder), (folder / "t0.npy").read_bytes()) == before


def test_labels_that_are_not_there_cannot_be_copied(folder: Path) -> None:
    """Nor taken for weights."""
    config(folder, labels=False)
    assert "there are no labels" in run(folder, "a.h5", "--copy-labels").errors[0]


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_folder_that_cannot_be_written(
    folder: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line with what the system said."""

    def refused(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "mkdir", refused)
    done = run(folder, "a.h5")
    assert done.code == 2
    assert os.strerror(number) in done.errors[0]
    assert listing(folder) == set()


SIZES = (100, 1000, 3000, 6000, 9000, 12_000)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("output", ["a.h5", "a.npy"])
def test_a_full_disk(folder: Path, size: int, output: str) -> None:
    """One line, no crash, the old output whole; finished pieces stay and are used again."""
    whole = child(["ensemble", folder / "config.yaml", "--output", folder / f"whole-{output}"])
    assert whole.returncode == 0, whole.stderr
    (folder / output).write_bytes(b"old")

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    arguments = ["ensemble", folder / "config.yaml", "--output", folder / output, "--overwrite"]
    done = child(arguments, prepare=limited)
    if done.returncode == 0:
        assert size > 3000
        return
    assert done.returncode == 2, done.stderr
    last = done.stderr.splitlines()[-1]
    assert "File too large" in last
    assert "Traceback" not in done.stderr
    assert (folder / output).read_bytes() == b"old"
    pieces = list((folder / f"{output}.partial").glob("*.piece"))
    assert bool(pieces) == ("run again with --resume" in last)
    assert bool(pieces) == (folder / f"{output}.partial").exists()
    again = child([*arguments, "--resume"])
    assert again.returncode == 0, again.stderr
    assert (folder / output).read_bytes() == (folder / f"whole-{output}").read_bytes()


@pytest.fixture
def begun(folder: Path) -> Path:
    """A run that was killed in the middle: FILE.partial holds some pieces."""
    done = child(
        ["ensemble", folder / "config.yaml", "--output", folder / "a.h5"], names=["replace"], at=5
    )
    assert done.returncode == -9
    assert 1 < len(list((folder / "a.h5.partial").glob("*.piece"))) < 5
    assert not (folder / "a.h5").exists()
    return folder


def test_pieces_of_another_run_are_not_thrown_away_unasked(begun: Path) -> None:
    """Neither without an option, nor where the config has changed."""
    done = run(begun, "a.h5")
    assert done.code == 2
    assert "finished pieces of an interrupted run are there; continue it with --resume" in done.err
    for part, word in (
        ({"temperature": 3.0}, "config.ensemble.temperature"),
        ({"weights": [1, 1, 2]}, "config.ensemble.weights"),
        ({"student": True}, "config.student"),
    ):
        config(begun, **part)
        done = run(begun, "a.h5", "--resume")
        assert done.code == 2
        assert f"was begun with another {word}; start anew with --overwrite" in done.err
    config(begun)
    assert "another output.dtype" in run(begun, "a.h5", "--resume", "--dtype", "float64").err
    assert len(list((begun / "a.h5.partial").glob("*.piece"))) > 1
    assert run(begun, "a.h5", "--overwrite").code == 0
    assert "a.h5.partial" not in listing(begun)


def test_inputs_that_changed_are_noticed(begun: Path) -> None:
    """Their content, or only their time of change: a fingerprint does not see everything."""
    os.utime(begun / "t1.npy")
    assert "another inputs.teachers[1].changed" in run(begun, "a.h5", "--resume").err
    scores = np.load(begun / "t2.npy")
    scores[3, 3] += 1
    np.save(begun / "t2.npy", scores)
    assert "inputs.teachers[1]" in run(begun, "a.h5", "--resume").err


def test_a_damaged_piece_is_made_again(begun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And so are those that follow it."""
    monkeypatch.setattr(gathering, "PIECE_BYTES", 1 << 9)
    pieces = sorted((begun / "a.h5.partial").glob("*.piece"))
    data = bytearray(pieces[1].read_bytes())
    data[len(data) // 2] ^= 1
    pieces[1].write_bytes(data)
    done = child(["ensemble", begun / "config.yaml", "--output", begun / "a.h5", "--resume"])
    assert done.returncode == 0, done.stderr
    assert "resumed at row 16: 44 of 60 rows are left" in done.stderr
    whole = child(["ensemble", begun / "config.yaml", "--output", begun / "b.h5"])
    assert whole.returncode == 0
    assert (begun / "a.h5").read_bytes() == (begun / "b.h5").read_bytes()


def test_the_report_of_a_resumed_run_is_whole(begun: Path) -> None:
    """Every figure covers all rows, to the last bit."""
    options = ("--format", "json")
    arguments = ["ensemble", begun / "config.yaml", *options, "--output"]
    resumed = json.loads(child([*arguments, begun / "a.h5", "--resume"]).stdout)
    whole = json.loads(child([*arguments, begun / "b.h5"]).stdout)
    for data in (resumed, whole):
        del data["facts"]
        data["output"].pop("path")
    assert resumed == whole


def test_resuming_what_is_finished_gives_it_again(folder: Path) -> None:
    """So a loop that resumes until it succeeds comes to an end."""
    assert run(folder, "a.h5").code == 0
    before = (folder / "a.h5").read_bytes()
    assert run(folder, "a.h5", "--resume").code == 0
    assert (folder / "a.h5").read_bytes() == before
    config(folder, temperature=3.0)
    assert run(folder, "a.h5", "--resume").code == 2


def test_the_same_bytes_however_the_work_is_cut(begun: Path) -> None:
    """Threads, batch size and pieces; a run may be resumed with others of them."""
    arguments = ["ensemble", begun / "config.yaml", "--output"]
    resumed = child([*arguments, begun / "a.h5", "--resume", "--threads", "3"], piece=1 << 20)
    assert resumed.returncode == 0, resumed.stderr
    for name, options in (("b.h5", ("--threads", "1")), ("c.h5", ("--batch-size", "5"))):
        assert run(begun, name, *options).code == 0
    found = [held(begun / name)["targets"].tobytes() for name in ("a.h5", "b.h5", "c.h5")]
    assert found == found[:1] * 3


def test_two_runs_do_not_write_one_output(folder: Path) -> None:
    """The second one is told."""
    import fcntl

    (folder / "a.h5.partial").mkdir()
    with open(folder / "a.h5.partial" / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = run(folder, "a.h5")
    assert done.code == 2
    assert "another run is writing this output" in done.err


def test_the_file_as_other_programs_see_it(folder: Path) -> None:
    """Chunks, filters, checksums and fixed-length texts, with h5py alone."""
    for compression, name in (("none", None), ("gzip", "gzip"), ("lzf", "lzf")):
        result = written(
            folder, "a.h5", "--copy-labels", "--compression", compression, "--overwrite"
        )
        assert result["output"]["bytes"] == (folder / "a.h5").stat().st_size
        with h5py.File(folder / "a.h5") as file:
            assert set(file) == {"targets", "labels"}
            for dataset in file.values():
                assert dataset.fletcher32
                assert dataset.compression == name
            np.testing.assert_array_equal(file["labels"][:], np.load(folder / "labels.npy"))
            words = {key: value.decode() for key, value in file.attrs.items()}
            kinds = {file.attrs.get_id(key).get_type().is_variable_str() for key in file.attrs}
        assert kinds == {False}
        assert words["schema"] == "distillcli.soft_targets/1"
        assert (words["kind"], words["temperature"], words["classes"]) == ("logits", "2.0", "7")
        assert json.loads(words["weights"]) == [1 / 3] * 3
        assert json.loads(words["config"])["ensemble"]["combine"] == "probabilities"
        assert [one["role"] for one in json.loads(words["inputs"])][:2] == [
            "teachers[0]",
            "teachers[1]",
        ]


def test_chunks_are_neither_small_nor_large(tmp_path: Path) -> None:
    """0.25 to 4 MB, for narrow rows and for wide ones."""
    for index, (rows, classes) in enumerate([(40_000, 10), (300, 5000), (3, 1_500_000)]):
        folder = tmp_path / str(index)
        folder.mkdir()
        np.save(folder / "t0.npy", np.zeros((rows, classes), "float16"))
        config(folder, labels=False, combine="logits")
        data = json.loads((folder / "config.yaml").read_text()) | {"teachers": ["t0.npy"]}
        (folder / "config.yaml").write_text(json.dumps(data))
        assert run(folder, "a.h5").code == 0
        with h5py.File(folder / "a.h5") as file:
            chunk = file["targets"].chunks
        assert 250_000 <= np.prod(chunk) * 4 <= 4 << 20
        assert held(folder / "a.h5")["targets"].shape == (rows, classes)
        shutil.rmtree(folder)


def test_the_config_is_never_the_output(tmp_path: Path) -> None:
    """A config may have any name; it stays what it is."""
    dumps(tmp_path)
    named = tmp_path / "config.h5"
    named.write_bytes(config(tmp_path).read_bytes())
    before = named.read_bytes()
    done = distill("ensemble", named, "--output", named, "--overwrite")
    assert done.code == 2
    assert "is one of the inputs" in done.err
    assert named.read_bytes() == before
