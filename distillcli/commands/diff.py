"""`distill diff`: two saved results side by side."""

from pathlib import Path

from distillcli.checking.comparison import Comparison, side_by_side
from distillcli.checking.conditions import differing_conditions, other_differences
from distillcli.checking.saved import read_result


def diff(first: Path, second: Path) -> Comparison:
    """Two saved results side by side; nothing is demanded, also not that they are alike.

    Raises:
        MissingError, FormatError: a file is not there, or is no saved result.
    """
    one = read_result(first, role="A", any_schema=True)
    other = read_result(second, role="B", any_schema=True)
    return Comparison(
        command="diff",
        baseline=str(first),
        now=str(second),
        rows=side_by_side(one, other),
        lifted=differing_conditions(one, other),
        changes=other_differences(one, other),
    )
