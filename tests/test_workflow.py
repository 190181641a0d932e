"""The README's example workflow, its own lines run one after the other in a fresh folder."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import readme
from ruamel.yaml import YAML

WORKFLOW = re.compile(r"```yaml\n(name: outputs\n.*?)```", re.S)


def lines() -> list[str]:
    """What the steps run, without the installation."""
    found = WORKFLOW.search(readme.README.read_text(encoding="utf-8"))
    assert found is not None
    steps = YAML(typ="safe").load(found[1])["jobs"]["outputs"]["steps"]
    return [step["run"] for step in steps if "run" in step and "pip install" not in step["run"]]


@pytest.mark.parametrize(("student", "code"), [("student", 0), ("student_early", 1)])
def test_the_workflow_passes_and_fails_as_it_says(student: str, code: int, tmp_path: Path) -> None:
    """Unchanged outputs pass; those of the student stopped early fail, with a readable table."""
    for name in ("configs", "sample_data"):
        shutil.copytree(readme.ROOT / name, tmp_path / name)
    config = tmp_path / "configs" / "check.yaml"
    config.write_text(config.read_text().replace("::student/", f"::{student}/"))
    summary = tmp_path / "summary.md"
    environment = {**readme.environment(), "GITHUB_STEP_SUMMARY": str(summary)}
    codes = [
        subprocess.run(["bash", "-e", "-c", line], cwd=tmp_path, env=environment).returncode
        for line in lines()
    ]
    assert codes == [0, 0, code]
    table = (tmp_path / "reports" / "check.txt").read_text(encoding="utf-8")
    assert table.startswith("distill check: FAILED, " if code else "distill check: passed, ")
    assert summary.read_text(encoding="utf-8").startswith("### distill check: ")
    assert (tmp_path / "reports" / "check.xml").exists()
