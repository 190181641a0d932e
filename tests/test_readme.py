"""What the README shows is what the product does."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import readme
from format_files import kld_bytes

TEXT = readme.README.read_text(encoding="utf-8")
SECTIONS = list(readme.sections(TEXT))


@pytest.mark.parametrize(("heading", "blocks"), SECTIONS, ids=[name for name, _ in SECTIONS])
def test_console_blocks(heading: str, blocks: list[readme.Block]) -> None:
    """Each command prints what stands below it."""
    items = [item for block in blocks for item in block.commands]
    for item, printed in zip(items, readme.run(items), strict=True):
        assert readme.matches(item.output, printed), f"$ {item.text}\n{printed}"


def test_the_table_of_losses_is_that_of_the_code() -> None:
    """Every loss is listed, with its formula, parameters and source."""
    match = readme.TABLE.search(TEXT)
    assert match is not None
    assert readme.loss_table() in match.group(0)


def test_a_wrong_output_would_be_found() -> None:
    """The comparison tells a changed number from a changed time."""
    assert readme.matches("loss 1\ntime  3 ms\n", "loss 1\ntime  4 ms\n")
    assert readme.matches("...\nloss 1\n", "a\nb\nloss 1\n")
    assert not readme.matches("loss 1\n", "loss 2\n")
    assert not readme.matches("loss 1\n", "loss 1\nloss 1\n")


def block(language: str, start: str) -> str:
    """The one block of a language that has this text in it."""
    (found,) = [text for text in fenced(language) if start in text]
    return found


def fenced(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.M | re.S)


def shell(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command in a folder with the configs and the sample data."""
    for name in ("configs", "sample_data"):
        shutil.copytree(readme.ROOT / name, folder / name, dirs_exist_ok=True)
    return subprocess.run(
        ["bash", "-c", text],
        cwd=folder,
        env=readme.environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_errors_are_those_of_the_command(tmp_path: Path) -> None:
    """The words on stderr stand below the command that gives them."""
    command = next(
        item.text
        for _, blocks in SECTIONS
        for shown in blocks
        for item in shown.commands
        if "nowhere.npy" in item.text
    )
    assert shell(command, tmp_path).stderr == block("text", "nowhere.npy")


def test_doctor_has_the_lines_that_are_shown(tmp_path: Path) -> None:
    """What doctor finds differs from machine to machine; what it looks at does not."""
    printed = shell("distill doctor", tmp_path).stdout
    command, *lines = block("text", "$ distill doctor").splitlines()
    assert command == "$ distill doctor"
    # A machine that has a GPU misses nothing.
    labels = {re.split(r"  +", line.strip())[0] for line in lines} - {
        "",
        "...",
        "missing",
        "to get it",
    }
    assert all(re.search(rf"^ *{re.escape(label)}", printed, re.M) for label in labels)


def test_the_dump_from_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ten lines write files that score reads."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    monkeypatch.chdir(tmp_path)
    batches = [(torch.randn(4, 3), torch.tensor([0, 1, 2, 1])) for _ in range(3)]
    exec(block("python", "student/logits"), {"loader": batches, "model": torch.nn.Linear(3, 5)})
    command = "distill score --teacher student.npy --student run.h5::student/logits"
    assert shell(f"{command} --labels run.h5::labels", tmp_path).returncode == 0


def test_a_student_for_a_base_of_llama_cpp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the lines save fits the file, row by row: a student that is the base is found to be."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    monkeypatch.chdir(tmp_path)
    table = torch.randn(12, 15)  # the logits of a model that looks at the last token alone
    tokens = np.random.default_rng(0).integers(0, 12, (3, 9))
    (tmp_path / "base.kld").write_bytes(kld_bytes(table.numpy()[tokens[:, 4:-1], :12], tokens))
    given = {"bos": 1, "model": lambda ids: SimpleNamespace(logits=table[ids])}
    exec(block("python", "base.kld"), given)
    done = shell(block("sh", "base.kld").strip() + " --format json --device cpu", tmp_path)
    found = json.loads(done.stdout)
    assert (found["rows"], found["metrics"]["top1_agreement"]) == (12, 1)
    assert found["metrics"]["kl_max"] < 1e-6
    assert found["metrics"]["perplexity_ratio"] == pytest.approx(1, abs=1e-4)
    rows = TEXT.split("| Mean KLD")[1].split("\n\n")[0]
    names = re.findall(r"`([a-z0-9_]+)`", rows)
    assert set(names) <= set(found["metrics"])


def test_the_dump_of_a_language_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the lines save goes with the config: 16 bits, padding, tokens and shards."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    monkeypatch.chdir(tmp_path)
    tokens = torch.randint(0, 12, (3, 2, 8))
    mask = (torch.arange(8) < torch.tensor([[8, 5], [1, 8], [7, 2]])[..., None]).long()
    loader = [{"input_ids": a, "attention_mask": b} for a, b in zip(tokens, mask, strict=True)]
    for name in ("teacher", "student"):
        table = torch.randn(12, 15)  # a model that looks at the last token alone

        def model(input_ids: Any, attention_mask: Any, table: Any = table) -> Any:
            return SimpleNamespace(logits=table[input_ids])

        given = {"loader": loader, "model": model, "name_of_the_model": name}
        exec(block("python", "attention_mask"), given)
    (tmp_path / "lm.yaml").write_text(block("yaml", "shift_labels: true"))
    done = shell("distill score lm.yaml --format json --device cpu", tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["rows"], found["rows_masked"]) == (7 + 4 + 0 + 7 + 6 + 1, 48 - 25)
    assert found["facts"]["inputs"][0]["dtype"] == "bfloat16"
    assert found["facts"]["alignment"]["tokens"] == "the same"
    assert 0 < found["metrics"]["kl_mean"] < 10


def test_the_dump_of_vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines on a stand-in that answers as vLLM documents, with the label beside the largest."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    classes, lengths = 151_936, (5, 3)
    scores = [np.log(random.dirichlet(np.full(classes, 0.01), n) + 1e-30) for n in lengths]

    def answer(rows: Any) -> Any:
        tokens = [int(token) for token in random.integers(0, classes, len(rows))]
        told: list[Any] = [None]
        for token, row in zip(tokens[1:], rows[:-1], strict=True):
            order = np.argsort(-row)
            ranks = {int(one): place + 1 for place, one in enumerate(order[:20])}
            ranks.setdefault(token, 5000)
            told.append(
                {one: SimpleNamespace(logprob=row[one], rank=rank) for one, rank in ranks.items()}
            )
        return SimpleNamespace(prompt_token_ids=tokens, prompt_logprobs=told)

    engine = SimpleNamespace(generate=lambda prompts, asked: [answer(rows) for rows in scores])
    stand_in = SimpleNamespace(LLM=lambda model: engine, SamplingParams=SimpleNamespace)
    monkeypatch.setitem(sys.modules, "vllm", stand_in)
    exec(block("python", "prompt_logprobs"), {"model": "a model", "prompts": []})
    whole = np.concatenate([rows[:-1] for rows in scores])
    np.save(tmp_path / "student.npy", whole)
    (tmp_path / "config.yaml").write_text(
        "strategy: response\nstudent: student.npy\nlabels: top.npz::labels\n"
        "response: {alpha: 1, soft_loss: {name: kl, temperature: 1}}\n" + block("yaml", "top.npz")
    )
    done = shell("distill score config.yaml --format json --device cpu", tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["rows"], found["metrics"]["top1_agreement"]) == (6, 1)
    assert abs(found["metrics"]["kl_mean"]) < 1e-6
    assert found["facts"]["tail"]["stored"] == {"teacher": 20}


def test_the_example_of_training_is_the_file() -> None:
    """The class that is shown is the one that the tests use."""
    file = readme.ROOT / "tests" / "examples" / "soft_targets.py"
    shown = block("python", "class SoftTargets")
    assert shown[shown.index("class SoftTargets") :] in file.read_text(encoding="utf-8")


def test_the_block_of_limits_is_a_config(tmp_path: Path) -> None:
    """It can be put below a config as it is."""
    (tmp_path / "limits.yaml").write_text(block("yaml", "mode: drift"))
    both = "cat configs/response.yaml limits.yaml > configs/mine.yaml"
    done = shell(f"{both} && distill validate configs/mine.yaml", tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_example_of_pytest(tmp_path: Path) -> None:
    """The fixture is there, and the test passes on the sample data."""
    (tmp_path / "test_student.py").write_text(block("python", "distill_check"))
    done = shell(f"{sys.executable} -m pytest -q -p no:cacheprovider test_student.py", tmp_path)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
