"""Lines of `label  text`, the texts below each other."""

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

_GAP = 2
LABEL = 11  # columns that a label takes, with the gap behind it


def labelled(
    lines: Sequence[tuple[str | Text, str | Text]], *, least: int = LABEL - _GAP
) -> Iterator[RenderableType]:
    """The lines with their labels in one column; a narrow page wraps between words.

    Args:
        lines: label and text; left out where the text is empty.
        least: width of the column of labels, so that blocks below each other line up.
    """
    lines = [(label, text) for label, text in lines if text]
    if not lines:
        return
    table = Table.grid(padding=(0, _GAP, 0, 0))
    table.add_column(style="dim", no_wrap=True, min_width=least)
    table.add_column(overflow="fold")
    for label, text in lines:
        table.add_row(label, text)
    yield table
