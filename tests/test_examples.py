"""The example of training on soft targets does what `distill score` says it should."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from ensembles import dumps, written
from runs import ROOT, distill
from test_soft_targets_scored import response

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
EXAMPLE = ROOT / "tests" / "examples" / "soft_targets.py"


def soft_targets(path: Path) -> "torch.utils.data.Dataset":
    spec = importlib.util.spec_from_file_location("soft_targets", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SoftTargets(path)


WHOLE, TOP = (), ("--top-k", "3")


@pytest.mark.parametrize(
    ("kind", "top", "workers"),
    [
        ("logits", WHOLE, 0),
        ("probabilities", WHOLE, 0),
        ("log_probabilities", WHOLE, 0),
        ("logits", TOP, 0),
        ("probabilities", TOP, 0),
        ("log_probabilities", TOP, 0),
        ("logits", WHOLE, 2),
    ],
)
def test_its_loss_is_that_of_score(
    tmp_path: Path, kind: str, top: tuple[str, ...], workers: int
) -> None:
    """Read in batches by a loader, and differentiable."""
    dumps(tmp_path, dtype="float32")
    written(tmp_path, "soft.h5", "--kind", kind, "--copy-labels", *top)
    want = distill("score", response(tmp_path, "soft.h5"), "--format", "json").data
    data = soft_targets(tmp_path / "soft.h5")
    student = torch.tensor(np.load(tmp_path / "student.npy"), requires_grad=True)
    losses, labels = [], []
    for index, batch in enumerate(
        torch.utils.data.DataLoader(data, batch_size=16, num_workers=workers)
    ):
        rows = student[16 * index : 16 * index + 16]
        losses.append(data.loss(batch, rows))
        labels.append(batch["labels"])
    total = torch.cat(losses).mean()
    total.backward()
    assert total.item() == pytest.approx(want["terms"]["soft"], rel=1e-5)
    assert torch.isfinite(student.grad).all()
    np.testing.assert_array_equal(torch.cat(labels).numpy(), np.load(tmp_path / "labels.npy"))


def test_the_readme_shows_the_example() -> None:
    """Line by line, where it shows it."""
    shown = (ROOT / "README.md").read_text()
    code = EXAMPLE.read_text().split('"""\n', 1)[1].strip()
    assert ("class SoftTargets" in shown) == (code in shown)
