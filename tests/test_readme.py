"""What the README shows is what the product does."""

import pytest
import readme

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
