"""Saved results: what was written is read back, and everything else is refused in one line."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from checks import Data, dump
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import ROOT, distill

from distillcli.checking.saved import MAX_BYTES, parse_result, read_result, result_json
from distillcli.errors import FormatError, MissingError


@pytest.mark.parametrize("name", ["response", "progressive", "ensemble"])
def test_what_was_saved_is_read_back(name: str) -> None:
    """Every field, to the last bit: writing it again gives the same text."""
    config = ROOT / "configs" / f"{name}.yaml"
    done = distill("score", config, "--format", "json", "--worst", "3", "--set", "groups=labels")
    result = parse_result(done.out.encode(), where="result")
    assert json.loads(result_json(result)) == done.data


def saved() -> Data:
    """A small saved result."""
    return {
        "schema": "distillcli.result/1", "command": "score", "strategy": "response", "rows": 2,
        "rows_skipped": 0, "loss": 1.5, "terms": {"soft": 1.5}, "weights": {"soft": 1},
        "metrics": {"kl_mean": None},
        "layers": [{"student": 0, "teacher": 1, "weight": 1.0, "loss": 2}],
        "teachers": [{"source": "a.npy", "weight": 1.0}],
        "batches": [{"index": 0, "start": 0, "stop": 2, "loss": 1.5, "terms": {}, "metrics": {}}],
        "nonfinite": {"kl_mean": 2}, "facts": {"anything": ["at", "all"]}, "of_a_later_version": 1,
    }  # fmt: skip


def parsed(data: Any) -> Any:
    return parse_result(json.dumps(data).encode(), where="base.json")


def test_a_small_result_is_read() -> None:
    """Keys that it does not know are left alone."""
    assert parsed(saved()).metrics == {"kl_mean": None}


def put(*path: str | int) -> Callable[[Data, Any], None]:
    def change(data: Any, value: Any) -> None:
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "value", "said"),
    [
        (put("schema"), "distillcli.result/2", "has schema 'distillcli.result/2'"),
        (put("schema"), 1, "schema is a whole number, not a text"),
        (put("command"), None, "command is null, not a text"),
        (put("rows"), "2", "rows is a text, not a count"),
        (put("rows"), True, "rows is true, not a count"),
        (put("rows"), -1, "rows is a whole number, not a count"),
        (put("rows"), 2.5, "rows is a number, not a count"),
        (put("rows"), 10**30, "rows is a whole number, not a count"),
        (put("loss"), "1", "loss is a text, not a number"),
        (put("loss"), [], "loss is a list, not a number"),
        (put("loss"), 10**400, "loss is not a finite number"),
        (put("terms"), [], "terms is a list, not an object"),
        (put("terms"), None, "terms is null, not an object"),
        (put("terms", "soft"), False, "terms.soft is false, not a number"),
        (put("metrics", "kl_mean"), {}, "metrics.kl_mean is an object, not a number"),
        (put("weights", "soft"), None, "soft is null, not a number"),
        (put("nonfinite", "kl_mean"), 0.5, "kl_mean is a number, not a count"),
        (put("facts"), "none", "facts is a text, not an object"),
        (put("batches"), {}, "batches is an object, not a list"),
        (put("batches", 0), 1, "batches[0]: is not a saved result: no JSON object"),
        (put("batches", 0, "stop"), None, "batches[0]: is not a saved result: stop is null"),
        (put("layers", 0, "student"), "0", "layers[0]: is not a saved result: student is a text"),
        (put("teachers", 0, "source"), 7, "teachers[0]: is not a saved result: source is a whole"),
        (put("metrics"), {str(n): 1 for n in range(10_001)}, "metrics has more than 10,000"),
    ],
)
def test_fields_of_another_type_are_refused(
    change: Callable[[Data, Any], None], value: Any, said: str
) -> None:
    data = saved()
    change(data, value)
    with pytest.raises(FormatError) as error:
        parsed(data)
    assert said in str(error.value)
    assert str(error.value).startswith("base.json: ") or "base.json: " in error.value.where


@pytest.mark.parametrize(
    "key",
    ["schema", "command", "rows", "loss", "terms", "weights", "metrics", "nonfinite", "facts"],
)
def test_missing_fields_are_named(key: str) -> None:
    data = saved()
    del data[key]
    with pytest.raises(FormatError, match=f"has no {key}"):
        parsed(data)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"{", "is not JSON: line 1, column 2"),
        (b"\xff\xfe{}", "is not UTF-8 text"),
        (b"[" * 100_000, "is nested too deeply"),
        (b'{"rows": NaN}', "NaN is no number of JSON"),
        (b'{"rows": -Infinity}', "-Infinity is no number of JSON"),
        (b'{"rows": 1, "rows": 2}', "key 'rows' is given twice"),
        (b'{"rows": ' + b"9" * 5000 + b"}", "is not JSON"),
        (b"null", "no JSON object"),
        (b"{}\n{}", "is not JSON: line 2"),
    ],
)
def test_text_that_is_no_result_is_refused(text: bytes, said: str) -> None:
    with pytest.raises(FormatError) as error:
        parse_result(text, where="base.json")
    assert said in str(error.value)


def test_a_number_beyond_all_floats_is_refused() -> None:
    text = json.dumps(saved()).replace('"loss": 1.5', '"loss": 1e999', 1)
    with pytest.raises(FormatError, match="loss is not a finite number"):
        parse_result(text.encode(), where="base.json")


def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no such file"):
        read_result(tmp_path / "none.json", role="baseline")
    with pytest.raises(FormatError, match="is not a regular file"):
        read_result(tmp_path, role="baseline")
    large = tmp_path / "large.json"
    with open(large, "wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(FormatError, match="is larger than 64 MiB"):
        read_result(large, role="baseline")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(key=st.sampled_from(sorted(saved())), value=JSON)
def test_whatever_a_field_holds_it_is_read_or_refused(key: str, value: Any) -> None:
    """Never another error, and what is read can be written."""
    data = saved() | {key: value}
    with contextlib.suppress(FormatError):
        result_json(parsed(data))


def test_hostile_facts_are_compared(tmp_path: Path) -> None:
    """Facts can be anything; a check tells what differs and goes on."""
    config = dump(tmp_path)
    base = tmp_path / "base.json"
    distill("check", config, "--baseline", base, "--update-baseline")
    data = json.loads(base.read_text())
    data["facts"]["inputs"] = [1, {"role": ["x"], "fingerprint": 3}, None]
    data["facts"]["versions"] = "none"
    data["facts"]["device"] = {"deep": [[["x"]]]}
    base.write_text(json.dumps(data))
    assert distill("check", config, "--baseline", base).code == 0
    data["facts"]["config"] = [1]
    data["facts"]["temperature"] = "\x1b[2J"
    base.write_text(json.dumps(data))
    done = distill("check", config, "--baseline", base)
    assert done.code == 2
    assert "\x1b" not in done.err
