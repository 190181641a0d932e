"""Names and numbers as text that is safe and complete; nothing here knows the terminal."""

import math
import re
from collections.abc import Iterable, Sequence

from distillcli.result import Number

# Stands for a space at which no line is broken; `escape` lets none of these through from outside.
TIE = "\ue000"

NOT_FINITE = f"not{TIE}finite"

# Shown as nothing although Python calls them printable: joiners, fillers, variation selectors.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def escape(text: str) -> str:
    r"""The text with every character that a terminal would obey or hide written as an escape.

    Control characters (C0, C1, line and paragraph separators), bidirectional controls, zero-width
    characters, unusual blanks and undecodable bytes become `\x1b`, `\u202e`, `\U000e0100`.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape_character(character) for character in text)


def _escape_character(character: str) -> str:
    if character.isprintable() and not _INVISIBLE.match(character):
        return character
    code = ord(character)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def losses(values: Iterable[Number]) -> list[str]:
    """A column of losses: the same decimals, 6 significant digits for the largest of them."""
    return _column(values, significant=6, least=4, floor=0)


def metrics(values: Iterable[Number]) -> list[str]:
    """A column of metrics: the same decimals, 4 of them unless some value needs more."""
    return _column(values, significant=1, least=3, floor=4)


def shares(values: Iterable[Number]) -> list[str]:
    """A column of shares of 1: 4 decimals unless one would read as zero without being zero."""
    return _column(values, significant=1, least=1, floor=4)


def loss(value: Number) -> str:
    """One loss, 6 significant digits."""
    return losses([value])[0]


def metric(value: Number) -> str:
    """One metric, 4 decimals unless it needs more."""
    return metrics([value])[0]


def share(value: Number) -> str:
    """One share of 1, 4 decimals."""
    return shares([value])[0]


def weight(value: float) -> str:
    """A weight, as short as it can be written with 6 significant digits."""
    return f"{value:.6g}"


def _column(values: Iterable[Number], *, significant: int, least: int, floor: int) -> list[str]:
    """Numbers with the same decimals: `significant` digits of the largest, `least` of the smallest.

    Where that takes too many, the whole column is in scientific notation, so it still lines up.
    """
    numbers = list(values)
    decimals = _decimals(numbers, significant, least, floor)
    form = ".5e" if decimals is None else f".{decimals}f"
    # Adding 0.0 turns the negative zero into zero.
    return [NOT_FINITE if number is None else format(number + 0.0, form) for number in numbers]


def _decimals(numbers: Sequence[Number], significant: int, least: int, floor: int) -> int | None:
    sizes = [abs(number) for number in numbers if number]
    if not sizes:
        return floor
    high, low = (math.floor(math.log10(size)) for size in (max(sizes), min(sizes)))
    decimals = max(significant - 1 - high, least - 1 - low, floor)
    return None if decimals > 9 or high > 8 else decimals


def mean_and_error(mean: Number, error: Number, sign: str) -> str:
    """`0.1235 ± 0.0012`: as many decimals as show two digits of the error; one word to a wrapper.

    Without an error (there is none for a single row) the mean alone.
    """
    if mean is None or error is None:
        return metric(mean)
    parts = _column([mean, error], significant=4, least=2, floor=4)
    return tied(f"{parts[0]} {sign} {parts[1]}")


def tied(words: str) -> str:
    """The words as one that no wrapping tears apart."""
    return words.replace(" ", TIE)


def count(number: int, noun: str) -> str:
    """`1 row`, `1,234 rows`, `2 batches`."""
    ending = "" if number == 1 else "es" if noun.endswith(("ch", "s")) else "s"
    return f"{number:,}{TIE}{noun}{ending}"


def duration(seconds: float) -> str:
    """`35 ms`, `1.24 s`, `2 min 05 s`, `1 h 02 min`."""
    if seconds < 0.9995:
        return tied(f"{seconds * 1000:.0f} ms")
    if seconds < 59.995:
        return tied(f"{seconds:.2f} s")
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return tied(f"{minutes} min {rest:02d} s")
    hours, minutes = divmod(minutes, 60)
    return tied(f"{hours} h {minutes:02d} min")


def size(number: float) -> str:
    """Bytes in decimal units: `512 B`, `72.0 kB`, `1.25 GB`, `120 TB`."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while number >= 999.5 and len(units) > 1:
        number /= 1000
        units.pop(0)
    digits = 0 if units[0] == "B" or number >= 99.95 else 1 if number >= 9.995 else 2
    return tied(f"{number:.{digits}f} {units[0]}")


def speed(rows: int, read: int, seconds: float) -> str:
    """`812,345 rows/s, 1.25 GB/s`; empty where no time has passed."""
    if seconds <= 0:
        return ""
    rate = tied(f"{rows / seconds:,.0f} rows/s")
    return f"{rate}, {size(read / seconds)}/s" if read else rate


def clock(seconds: float) -> str:
    """Time left as on a clock: `0:07`, `12:05`, `1:02:05`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
