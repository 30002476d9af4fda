"""YAML 1.2: what a number, a boolean and a string is; written and read alike; nothing that runs or grows."""

import math
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from graspfleet.common.settings.plain_yaml import format_yaml, parse_yaml

VALUES: dict[str, Any] = {
    "1e1": 10.0,
    "1e-3": 0.001,
    "-1E+2": -100.0,
    "12e03": 12000.0,
    ".5": 0.5,
    "5.": 5.0,
    "2": 2,
    "-2": -2,
    "+2": 2,
    "010": 10,
    "0o17": 15,
    "0x1F": 31,
    ".inf": math.inf,
    "-.inf": -math.inf,
    "true": True,
    "False": False,
    "null": None,
    "~": None,
    "": None,
    "[1, 2e0, x]": [1, 2.0, "x"],
    "{a: 1e3}": {"a": 1000.0},
}
STRINGS = ["yes", "no", "on", "off", "y", "n", "1:30", "190:20:30", "2020-01-01", "1_000", "0b1", "nan"]
STRINGS += ["inf", "=", "<<", "tRUE", "1.2.3", "1e", "e1", "0o9", "0x"]


@pytest.mark.parametrize("text", VALUES)
def test_plain_values(text: str) -> None:
    value = parse_yaml(text)
    assert (value, type(value)) == (VALUES[text], type(VALUES[text]))


@pytest.mark.parametrize("text", STRINGS)
def test_all_else_is_a_string(text: str) -> None:
    assert parse_yaml(text) == text


@pytest.mark.parametrize("text", VALUES)
def test_what_stands_in_quotes_is_a_string(text: str) -> None:
    assert parse_yaml(f"'{text}'") == text


@pytest.mark.parametrize(
    "text",
    [
        "{a: 1, a: 2}",
        "{[1]: 2}",
        "[" * 5000,
        "*a",
        "&a [1, *a]",
        "!!timestamp 2020-01-01",
        "!!python/object:os.system {}",
        "!!bool yes",
        "!!int x",
        "!!float x",
        "9" * 5000,
        "--- 1\n--- 2",
        "[1",
        b"\xff\xfe\xfd",
    ],
    ids=lambda text: repr(text[:20]),
)
def test_what_is_no_plain_value_is_one_line(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"\Ainvalid YAML: [^\n]+\Z"):
        parse_yaml(text)


SCALAR = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
AWKWARD = st.sampled_from([*VALUES, *STRINGS])


@given(st.recursive(SCALAR | AWKWARD, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_what_is_written_is_read_back(value: Any) -> None:
    assert parse_yaml(format_yaml(value)) == value


@given(SCALAR | AWKWARD)
def test_older_readers_understand_what_is_written(value: Any) -> None:
    assert yaml.safe_load(format_yaml(value)) == value
