"""Values and keys as messages show them: short, on one line, without control characters."""

import difflib
from collections.abc import Iterable
from typing import Any

_LONGEST = 60


def escaped(text: str) -> str:
    """The text with control, bidi and other unprintable characters as escapes."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )


def shown(value: Any, *, quote: bool = True) -> str:
    """A value as a message shows it; lists and mappings by their kind only."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    text = escaped(value) if isinstance(value, str) else _number(value)
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    return f'"{text}"' if quote and isinstance(value, str) else text


def _number(value: Any) -> str:
    if isinstance(value, int) and abs(value) >= 10**_LONGEST:
        return f"a number of {len(hex(value)) * 12 // 10} digits"
    return repr(value)


def plain(value: float) -> str:
    """A bound as people write it: 0, 0.0001, 10000."""
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e16 else f"{value:g}"


def dotted(path: Iterable[str | int]) -> str:
    """A key as messages name it: `progressive.layer_mapping[1]`."""
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else f".{escaped(key)}" if text else escaped(key)
    return text


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant: the first that it begins, else the most alike.

    Where none is alike, the first that it is a later word of.
    """
    folded = {one.lower(): one for one in known}
    written = name.lower().replace("-", "_")
    begun = [one for one in folded if one == written or one.startswith(f"{written}_")]
    close = sorted(begun, key=lambda one: one != written)
    close = close or difflib.get_close_matches(written, folded, n=1, cutoff=0.6)
    close = close or [one for one in folded if f"_{written}" in one]
    return folded[close[0]] if close else None


def suggestion(name: str, known: Iterable[str]) -> str:
    """`did you mean kl?`, or the list of what there is."""
    names = list(known)
    close = nearest(name, names)
    return f"did you mean {close}?" if close else f"one of: {', '.join(names)}"
