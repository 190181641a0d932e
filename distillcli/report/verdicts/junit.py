"""Comparisons as JUnit XML: one test case per number."""

from typing import TextIO
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from distillcli.checking.comparison import Comparison, Row
from distillcli.errors import DistillError, NoBaselineError
from distillcli.report.text import escape
from distillcli.report.verdicts import words


def write_junit(
    comparison: Comparison,
    stream: TextIO,
    *,
    color: bool | None,
    all_rows: bool,
    digits: int | None,
) -> None:
    """Write one suite; the options of tables play no part."""
    name = f"distill {comparison.command}"
    suite = _suite(name, tests=len(comparison.rows), failures=len(comparison.failures))
    properties = SubElement(suite, "properties")
    for label, text in words.remarks(comparison):
        SubElement(properties, "property", name=label or "rule", value=text)
    for row in comparison.rows:
        case = _case(suite, row.name)
        if row.verdict == "fail":
            failure = SubElement(case, "failure", type="limit", message=_message(row))
            failure.text = _details(row)
    lines = [words.headline(comparison), *(text for _, text in words.closing(comparison))]
    SubElement(suite, "system-out").text = "\n".join(lines)
    _write(suite, stream)


def write_failure(error: DistillError, stream: TextIO) -> None:
    """Write one case: skipped where there is no baseline yet, else an error."""
    missing = isinstance(error, NoBaselineError)
    suite = _suite("distill check", tests=1, errors=int(not missing), skipped=int(missing))
    case = _case(suite, "baseline" if missing else "comparison")
    # All mistakes of a config have a line each.
    message = "\n".join(map(escape, str(error).split("\n")))
    if missing:
        SubElement(case, "skipped", message=message)
    else:
        SubElement(case, "error", type=type(error).__name__, message=message).text = message
    _write(suite, stream)


def _suite(
    name: str, *, tests: int, failures: int = 0, errors: int = 0, skipped: int = 0
) -> Element:
    counts = {"tests": tests, "failures": failures, "errors": errors, "skipped": skipped}
    return Element(
        "testsuite",
        {"name": name, **{key: str(count) for key, count in counts.items()}, "time": "0"},
    )


def _case(suite: Element, name: str) -> Element:
    return SubElement(suite, "testcase", classname="distill.check", name=escape(name), time="0")


def _message(row: Row) -> str:
    return escape(f"{row.name}: {words.sentence(row)}")


def _details(row: Row) -> str:
    """Every number in full."""
    lines = {
        "value": row.now,
        "baseline": row.baseline,
        "difference": row.difference,
        "limit": row.allowed,
        "margin": _margin(row),
    }
    texts = [
        f"{name}: {'none' if number is None else repr(number)}" for name, number in lines.items()
    ]
    return "\n".join([*texts, f"reason: {escape(row.reason)}"])


def _margin(row: Row) -> float | None:
    """What is left of the limit; negative beyond it."""
    if row.allowed is None or row.difference is None:
        return None
    return row.allowed - abs(row.difference)


def _write(suite: Element, stream: TextIO) -> None:
    top = ("tests", "failures", "errors")
    root = Element("testsuites", {key: str(suite.get(key)) for key in top})
    root.append(suite)
    ElementTree.indent(root)
    body = ElementTree.tostring(root, encoding="us-ascii").decode("ascii")
    # ElementTree names the encoding in its own way; ASCII is UTF-8 too.
    body = body.partition("?>\n")[2] if body.startswith("<?xml") else body
    stream.write(f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n')
