"""Completion of configs, files and datasets, as each shell asks for it and in the shells proper."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from format_files import npy_bytes, write_npz

from distillcli.cli.completion import complete_config, complete_source, mend_words

PROGRAM = Path(sys.executable).parent / "distill"
VALUES = np.zeros((4, 3), np.float32)
DATASETS = ["student/logits", "teacher/logits", "teacher/soft"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with files of every kind."""
    monkeypatch.chdir(tmp_path)
    with h5py.File("run.h5", "w") as file:
        for name in DATASETS:
            file[name] = VALUES
    np.save("a.npy", VALUES)
    write_npz(tmp_path / "pair.npz", {"x": npy_bytes(VALUES), "y": npy_bytes(VALUES)})
    for name in ("configs/one.yaml", "configs/two.yml", "configs/deep/three.yaml", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def asked(shell: str, *words: str, line: str | None = None) -> list[str]:
    """What the program answers a shell; `words` end with the one that is completed."""
    line = " ".join(words) if line is None else line
    variables = {
        "bash": {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)},
        "zsh": {"_TYPER_COMPLETE_ARGS": line},
        "fish": {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }[shell]
    done = subprocess.run(
        [PROGRAM],
        env={**os.environ, **variables, "_DISTILL_COMPLETE": f"complete_{shell}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.splitlines() if done.stdout.strip() else []


def names(found: list[tuple[str, str]]) -> list[str]:
    return [name for name, _ in found]


class TestSources:
    """Datasets of the file that is meant."""

    def test_behind_the_colons(self) -> None:
        """Those that begin as typed, with type and shape."""
        assert complete_source("run.h5::teacher/l") == [("run.h5::teacher/logits", "float32 4 x 3")]
        assert names(complete_source("run.h5::")) == [f"run.h5::{name}" for name in DATASETS]
        assert names(complete_source("pair.npz::")) == ["pair.npz::x", "pair.npz::y"]

    def test_the_only_file_that_begins_so(self) -> None:
        """Its datasets come at once; a choice of files is left to the shell."""
        assert names(complete_source("ru")) == [f"run.h5::{name}" for name in DATASETS]
        Path("run2.h5").touch()
        assert complete_source("ru") == []
        assert names(complete_source("run.h5")) == [f"run.h5::{name}" for name in DATASETS]

    @pytest.mark.parametrize(
        "text",
        ["", "a.npy", "a.npy::", "configs", "gone.h5::", "gone/x", "notes.txt::", "::", "\0"],
    )
    def test_nothing_to_offer(self, text: str) -> None:
        """No file of datasets, a broken one or none: nothing, and no failure."""
        assert complete_source(text) == []

    def test_a_damaged_file(self) -> None:
        """Nothing is offered and nothing is printed."""
        Path("cut.h5").write_bytes(Path("run.h5").read_bytes()[:600])
        assert complete_source("cut.h5::") == []
        assert asked("bash", "distill", "inspect", "cut.h5", "::") == []

    @pytest.mark.parametrize(
        "name", ["$(id)", "`id`", "a b", 'a"b', "a'b", "a;b", "a*", "a\nb", "\\"]
    )
    def test_names_that_a_shell_might_run(self, name: str) -> None:
        """They are never offered: completion scripts evaluate what they are given."""
        with h5py.File("bad.h5", "w") as file:
            file[name] = VALUES
            file["good"] = VALUES
        Path(f"x{name}.yaml".replace("/", "")).touch()
        assert names(complete_source("bad.h5::")) == ["bad.h5::good"]
        assert complete_config("x") == []

    def test_what_stands_in_the_way_is_not_quoted(self) -> None:
        """Descriptions are evaluated too, and a message may quote the file."""
        write_npz(Path("bad.npz"), {"x": b"`id` $(id)"})
        assert complete_source("bad.npz::") == [("bad.npz::x", "cannot be read")]


class TestConfigs:
    """YAML files and the folders on the way to them."""

    def test_files_and_folders(self) -> None:
        """A folder without a choice is entered."""
        within = ["configs/deep/", "configs/one.yaml", "configs/two.yml"]
        assert names(complete_config("con")) == within
        assert names(complete_config("configs/")) == within
        assert names(complete_config("configs/o")) == ["configs/one.yaml"]
        assert names(complete_config("configs/d")) == ["configs/deep/three.yaml"]

    def test_nothing_to_offer(self) -> None:
        """Other files are left to the shell."""
        assert complete_config("notes") == []
        assert complete_config("gone/") == []


class TestShells:
    """What each shell sends and gets."""

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            (("inspect", "run.h5", "::", "tea"), ["teacher/logits", "teacher/soft"]),
            (("inspect", "run.h5", "::"), DATASETS),
            (("inspect", "run.h5::tea"), ["run.h5::teacher/logits", "run.h5::teacher/soft"]),
            (("score", "--student", "run.h5", "::", "s"), ["student/logits"]),
            (("score", "--student", "=", "run.h5", "::", "s"), ["student/logits"]),
            (("score", "--teacher", "a.npy", "--labels", "pair"), ["pair.npz::x", "pair.npz::y"]),
            (
                ("score", "--teacher", "run.h5", "::", "x", "--student", "run.h5", "::", "st"),
                ["student/logits"],
            ),
            (("score", "configs/o"), ["configs/one.yaml"]),
            (("check", "configs/o"), ["configs/one.yaml"]),
            (("validate", "configs/o"), ["configs/one.yaml"]),
            (("ensemble", "configs/o"), ["configs/one.yaml"]),
            (("init", "response", "--teacher", "run.h5", "::", "s"), ["student/logits"]),
        ],
    )
    def test_bash(self, words: tuple[str, ...], expected: list[str]) -> None:
        """bash cuts words at colons, and replaces the last piece alone."""
        assert asked("bash", "distill", *words) == expected

    def test_zsh(self) -> None:
        """zsh sends whole words, and evaluates what it gets."""
        found = "".join(asked("zsh", line="distill inspect run.h5::st"))
        assert found.startswith("_arguments")
        assert "run.h5" in found
        assert "student/logits" in found
        assert asked("zsh", line="distill inspect gone") == ["_files"]

    def test_fish(self) -> None:
        """fish gets descriptions behind tabs."""
        found = asked("fish", line="distill score --student run.h5::st")
        assert found == ["run.h5::student/logits\tfloat32 4 x 3"]

    @pytest.mark.parametrize("words", ["'open", "distill inspect 'my file", ""])
    def test_words_that_cannot_be_mended(self, words: str) -> None:
        """They stay as they are."""
        variables = {"_DISTILL_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": "x"}
        before = dict(variables)
        mend_words(variables)
        assert variables == before

    @pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
    def test_in_bash_itself(self) -> None:
        """The script that `--show-completion` prints does it."""
        script = f"""
            PATH={shlex.quote(str(PROGRAM.parent))}:$PATH
            eval "$(_DISTILL_COMPLETE=source_bash distill)"
            COMP_WORDS=(distill score --teacher run.h5 :: tea) COMP_CWORD=5
            _distill_completion distill tea
            printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["teacher/logits", "teacher/soft"]

    @pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
    def test_in_fish_itself(self, tmp_path: Path) -> None:
        """The same."""
        script = "_DISTILL_COMPLETE=source_fish distill | source; complete -C $argv[1]"
        done = subprocess.run(
            ["fish", "-N", "-c", script, "distill score --teacher run.h5::tea"],
            env={
                **os.environ,
                "HOME": str(tmp_path),
                "PATH": f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}",
            },
            capture_output=True,
            text=True,
            check=True,
        )
        found = [line.partition("\t")[0] for line in done.stdout.splitlines()]
        assert found == ["run.h5::teacher/logits", "run.h5::teacher/soft"]
