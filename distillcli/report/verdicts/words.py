"""What every format says of a comparison, in words that are safe to print."""

from distillcli.checking.comparison import Comparison, Row
from distillcli.report.text import TIE, duration, escape
from distillcli.result import Number

MODES = {
    "drift": "drift: any move beyond its limit fails",
    "regression": "regression: a move for the worse beyond its limit fails",
}


def headline(comparison: Comparison) -> str:
    """The verdict of all in one line."""
    start = f"distill {comparison.command}"
    if comparison.command == "update" and not comparison.rows:
        return "distill check: baseline written, nothing to compare it with"
    if comparison.command == "update":
        return f"distill check: baseline written, {_moved(comparison)}"
    if comparison.command == "diff":
        return f"{start}: {_moved(comparison)}"
    count, all_of_them = len(comparison.failures), _numbers(len(comparison.rows))
    if count:
        outside = "is outside its limit" if count == 1 else "are outside their limits"
        return f"{start}: FAILED, {count} of {all_of_them} {outside}"
    near = len(comparison.counted("near"))
    return f"{start}: passed, {all_of_them}" + (f", {near} near the limit" if near else "")


def _moved(comparison: Comparison) -> str:
    moved = len(comparison.rows) - len(comparison.counted("same"))
    return f"{moved} of {_numbers(len(comparison.rows))} differ" + ("s" if moved == 1 else "")


def _numbers(count: int) -> str:
    return f"{count} number" if count == 1 else f"{count} numbers"


def remarks(comparison: Comparison) -> list[tuple[str, str]]:
    """Label and text of what there is to know beside the numbers."""
    sides = ("A", "B") if comparison.command == "diff" else ("baseline", "now")
    found = [
        (sides[0], escape(comparison.baseline)),
        (sides[1], escape(comparison.now)),
    ]
    if comparison.check is not None:
        found.append(("rule", MODES[comparison.check.mode]))
        if comparison.check.significant:
            found.append(("", "the loss fails only where its difference is also significant"))
    label = "not alike" if comparison.command != "check" else "lifted"
    found += _labelled(label, [escape(str(one)) for one in comparison.lifted])
    return found


def closing(comparison: Comparison) -> list[tuple[str, str]]:
    """Label and text of what stands below the numbers."""
    noise = [("rows", text) for text in noise_words(comparison)]
    changes = []
    for one in comparison.changes:
        if one.name == "seconds":
            changes.append(_time(one.baseline, one.now))
        else:
            changes.append(escape(str(one)))
    return [*noise, *_labelled("differs", changes)]


def _time(before: str, now: str) -> str:
    try:
        return f"time {duration(float(before))}, now {duration(float(now))}".replace(TIE, " ")
    except ValueError:
        return f"time {escape(before)}, now {escape(now)}"


def noise_words(comparison: Comparison) -> list[str]:
    """What the rows say about the loss, if they were compared."""
    noise = comparison.noise
    if noise is None:
        return []
    verdict = "significant" if noise.significant else "not significant"
    left = f", {noise.left_out:,} left out" if noise.left_out else ""
    return [
        f"loss over {noise.rows:,} rows{left}: mean difference {noise.mean:+.6g}, "
        f"95 % interval {noise.low:+.6g} to {noise.high:+.6g}: {verdict}"
    ]


def _labelled(label: str, texts: list[str]) -> list[tuple[str, str]]:
    return [(label if index == 0 else "", text) for index, text in enumerate(texts)]


def verdict(row: Row) -> str:
    """The verdict as a word; a failure is loud."""
    return "FAIL" if row.verdict == "fail" else row.verdict


def value(number: Number, digits: int | None) -> str:
    """A number of a result."""
    return "-" if number is None else f"{number + 0.0:.{digits or 6}g}"


def difference(number: Number, digits: int | None) -> str:
    """A difference with its sign; 0 without one."""
    return "-" if number is None else f"{number:+.{digits or 3}g}" if number else "0"


def limit(number: Number, digits: int | None) -> str:
    """What is allowed."""
    return "-" if number is None else f"{number:.{digits or 3}g}"


def relative(row: Row) -> str:
    """The difference in percent of the baseline."""
    if row.difference is None or not row.baseline:
        return "-" if row.difference != 0 else "0 %"
    return f"{100 * row.difference / abs(row.baseline):+.3g} %" if row.difference else "0 %"


def sentence(row: Row) -> str:
    """One row in words: what it is now, what it was, what was allowed."""
    parts = f"now {value(row.now, None)}, baseline {value(row.baseline, None)}"
    if row.allowed is not None:
        moved, allowed = difference(row.difference, None), limit(row.allowed, None)
        parts += f", difference {moved}, allowed {allowed}"
    return f"{parts} ({row.reason})" if row.reason else parts


def shown_rows(comparison: Comparison, all_rows: bool) -> tuple[Row, ...]:
    """The rows of a report; those that are the same on both sides only where all are wanted."""
    return tuple(row for row in comparison.rows if all_rows or row.verdict != "same")
