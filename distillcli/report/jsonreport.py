"""A result as JSON: the documented keys, every number in full, ASCII only."""

from typing import TextIO

from distillcli.checking.saved import result_json
from distillcli.result import Result


def write_json(
    result: Result, stream: TextIO, *, color: bool | None, width: int | None, all_batches: bool
) -> None:
    """Write the result as one JSON object; colour, width and `all_batches` play no part.

    Numbers are written so that reading them gives the same double. A number that is not finite
    would be a mistake of ours and raises ValueError: results hold None instead.
    """
    stream.write(result_json(result))
