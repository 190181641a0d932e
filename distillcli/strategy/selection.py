"""Which rows of a dump a run takes, as `--rows A:B` and `--limit N` say."""

import re
from dataclasses import dataclass

from distillcli.errors import UsageError

_RANGE = re.compile(r"([0-9]{0,18}):([0-9]{0,18})")


@dataclass(frozen=True)
class Selection:
    """The rows `start` to `stop` (exclusive, None for the end), and at most `limit` of them.

    `where` is what messages call it, `--rows` unless a variable said it; `where_limit` is what they
    call the number.
    """

    start: int = 0
    stop: int | None = None
    limit: int | None = None
    where: str = "--rows"
    where_limit: str = "--limit"

    @classmethod
    def parse(
        cls,
        rows: str | None = None,
        limit: str | None = None,
        *,
        where_rows: str = "--rows",
        where_limit: str = "--limit",
    ) -> "Selection":
        """From `A:B`, half-open, where A or B may be left out, and a number of rows.

        Raises:
            UsageError: not of that form, or no row can be in it.
        """
        start, stop = _range(rows, where_rows) if rows is not None else (0, None)
        return cls(start, stop, _limit(limit, where_limit), where_rows, where_limit)

    def bounds(self, rows: int) -> tuple[int, int]:
        """First row and end of the rows taken of a dump that has `rows` of them.

        Raises:
            UsageError: the dump ends before.
        """
        stop = rows if self.stop is None else self.stop
        if self.start >= rows or stop > rows:
            asked = f"{self.start}:{'' if self.stop is None else self.stop}"
            raise UsageError(
                self.where, f"{asked} is outside the input, which has {rows:,} rows",
                f"rows are counted from 0; :{rows} is all of them",
            )  # fmt: skip
        return self.start, stop if self.limit is None else min(stop, self.start + self.limit)


def _range(text: str, where: str) -> tuple[int, int | None]:
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            where, f"{text!r} is not a range of rows",
            "write A:B, from row A up to and without row B, both counted from 0; 100: or :100",
        )  # fmt: skip
    start, stop = int(match[1] or 0), int(match[2]) if match[2] else None
    if stop is not None and start >= stop:
        raise UsageError(where, f"{text.strip()} holds no rows", "A must be below B")
    return start, stop


def _limit(text: str | None, where: str) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", text.strip()) or not int(text):
        raise UsageError(where, f"{text!r} is not a number of rows", "write a whole number above 0")
    return int(text)
