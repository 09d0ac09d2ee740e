"""The form that is hashed: RFC 8785, and for everything that was ever hashed the bytes that it was hashed as."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.test_record import CASES, case
from tfslurm.document.canonical import MOST, canonical, plain_values
from tfslurm.errors import RecordError
from tfslurm.job_plan import identity
from tfslurm.record import record_json

FACTS = Path(__file__).parent / "facts"


def first_form(value: object) -> str:
    """The canonical text as tfslurm made it by itself, before it used the library."""
    if value is None or isinstance(value, bool | str | int):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, float):
        return first_float(value)
    if isinstance(value, Mapping):
        ordered = sorted(value.items(), key=lambda item: str(item[0]).encode("utf-16-be", "surrogatepass"))
        return "{" + ",".join(f"{first_form(str(key))}:{first_form(item)}" for key, item in ordered) + "}"
    assert isinstance(value, list | tuple)
    return "[" + ",".join(first_form(item) for item in value) + "]"


def first_float(number: float) -> str:
    assert math.isfinite(number)
    if number == 0:
        return "0"
    mantissa, _, exponent = f"{Decimal(repr(abs(number))).normalize():e}".partition("e")
    text, point = mantissa.replace(".", ""), int(exponent) + 1
    minus = "-" if number < 0 else ""
    if len(text) <= point <= 21:
        return minus + text + "0" * (point - len(text))
    if 0 < point <= 21:
        return f"{minus}{text[:point]}.{text[point:]}"
    if -6 < point <= 0:
        return f"{minus}0.{'0' * -point}{text}"
    fraction = f".{text[1:]}" if len(text) > 1 else ""
    return f"{minus}{text[0]}{fraction}e{point - 1:+d}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [True, None, "é\n\x7f"]}, '{"a":[true,null,"é\\n\x7f"],"b":1}'),
        ([0.1, 1.0, -0.0, 1e-05, 1e-07, 1e21], "[0.1,1,0,0.00001,1e-7,1e+21]"),
        ([1e20, 123456.789, -2.5e-10, 5e-324], "[100000000000000000000,123456.789,-2.5e-10,5e-324]"),
        ({"\U0001f600": 1, "\ufb33": 2}, '{"\U0001f600":1,"\ufb33":2}'),
        ('\u2028</script>\\"', '"\u2028</script>\\\\\\""'),
        ([MOST, -MOST, ()], "[9007199254740991,-9007199254740991,[]]"),
    ],
)
def test_the_canonical_form_is_that_of_rfc_8785(value: object, text: str) -> None:
    assert canonical(value, "record") == text.encode()


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, b"x", {1, 2}, "\udcff", MOST + 1, -MOST - 1, {1: 2}, {"\udcff": 1}], ids=repr
)
@pytest.mark.parametrize("what", ["plan", "record"])
def test_what_json_does_not_carry_is_not_hashed_and_the_error_names_what_would_have_been(value: Any, what: str) -> None:
    with pytest.raises(RecordError, match=f"^{what}: cannot be hashed: "):
        canonical({"a": value}, what)


@pytest.mark.parametrize("name", CASES)
def test_recorded_plans_and_records_have_the_bytes_and_ids_that_they_always_had(name: str) -> None:
    plan = json.loads((FACTS / f"{name}.json").read_text())["plan"]
    for values in (plan, record_json(case(name).build())):
        assert canonical(values, "it") == first_form(values).encode()
    assert identity(plan) == (plan["plan_sha256"], plan["plan_id"])


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MOST, MOST)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_any_value_that_both_allow_has_the_same_bytes(value: object) -> None:
    assert canonical(value, "it") == first_form(value).encode()


@pytest.mark.slow
@given(VALUES)
def test_pythons_own_writer_is_used_only_where_it_writes_what_the_library_does(value: Any) -> None:
    try:
        plain = plain_values(value)
    except ValueError:
        return
    text = json.dumps(plain, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    assert text.encode() == rfc8785.dumps(value)


@pytest.mark.parametrize(
    "value", [{"é": 1}, {1: 1}, 1e-5, 2**53, 1e300, math.nan, math.inf, 5e-324, {1}, b"x", [0, {"a": 1e21}]]
)
def test_values_that_it_might_write_otherwise_are_left_to_the_library(value: Any) -> None:
    with pytest.raises(ValueError, match=r"a key|a value"):
        plain_values(value)
