"""JSON of any origin: within bounds it comes out as it is, everything else is a ValueError and nothing worse."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfslurm.document.bounded_json import MAX_DEPTH, MAX_DIGITS, MAX_PARTS, read_json

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


@pytest.mark.slow
@given(st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_what_json_can_say_comes_out_as_it_is(value: object) -> None:
    text = json.dumps(value)
    assert read_json(text) == value
    assert read_json(text.encode()) == value


def nested(depth: int, opens: str = "[", closes: str = "]") -> str:
    return opens * depth + "1" + closes * depth


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "Expecting value"),
        ("{}{}", "Extra data"),
        (nested(MAX_DEPTH + 1), "nested deeper"),
        (nested(MAX_DEPTH + 1, '{"a":', "}"), "nested deeper"),
        (nested(MAX_DEPTH // 2 + 1, '[{"a":', "}]"), "nested deeper"),
        (nested(900), "nested deeper"),
        (nested(100_000), "nested deeper"),
        ("[" * 1_000_000, "nested deeper"),
        ('{"a":' * 1_000_000, "nested deeper"),
        ("NaN", "NaN is not a number"),
        ("[Infinity]", "not a number"),
        ("-Infinity", "not a number"),
        ("1e999", "not a number"),
        ("-1e999", "not a number"),
        ("9" * (MAX_DIGITS + 1), "not a number"),
        ("-" + "9" * 100_000, "not a number"),
        ("1" + "0" * 5_000_000 + ".0", "not a number"),
        ('{"a": 1, "a": 2}', "has the key 'a' twice"),
        ('[{"b": {"\\u0061": 1, "a": 2}}]', "has the key 'a' twice"),
        ("{" + ",".join(f'"{n}": 1' for n in (*range(200_000), 199_999)) + "}", "has the key '199999' twice"),
        (b"\xff\xfe{\x00}\x00", "utf-8"),
        (b'"\xed\xa0\x80"', "utf-8"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_everything_else_is_a_value_error(text: str | bytes, why: str) -> None:
    began = time.monotonic()
    with pytest.raises(ValueError, match=why):
        read_json(text)
    assert time.monotonic() - began < 5


def test_a_text_that_is_too_long_is_not_parsed() -> None:
    with pytest.raises(ValueError, match="longer than 3 bytes"):
        read_json("[1,2]", most=3)


@pytest.mark.parametrize("part", ["[],", "1,", "{},", "[[[]]],"])
def test_a_text_of_too_many_parts_is_not_parsed(part: str) -> None:
    text = f"[{part * (MAX_PARTS // sum(map(part.count, ',[{')))}0]"
    with pytest.raises(ValueError, match="more than 6000000 parts"):
        read_json(text)
    assert len(read_json(f"[{part * 1000}0]")) == 1001


def test_brackets_in_texts_and_beside_each_other_are_no_depth() -> None:
    assert read_json(json.dumps(["[{" * 200])) == ["[{" * 200]
    assert read_json(json.dumps([[]] * 1000)) == [[]] * 1000
    assert read_json(nested(MAX_DEPTH)) is not None


def test_numbers_that_json_lacks_can_come_out_as_their_texts() -> None:
    text = '{"a": NaN, "b": -Infinity, "c": 1e999, "d": -0.5, "e": 7, "f": ' + "9" * 400 + "}"
    found = read_json(text, numbers_as_text=True)
    assert found == {"a": "NaN", "b": "-Infinity", "c": "1e999", "d": -0.5, "e": 7, "f": "9" * 400}
    assert json.dumps(found, allow_nan=False)
