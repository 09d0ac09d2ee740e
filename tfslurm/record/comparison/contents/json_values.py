"""JSON by its values, without the keys that name a time. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tfslurm.document.bounded_json import read_json
from tfslurm.record.comparison.contents.findings import Content, Tally, Tolerance
from tfslurm.record.comparison.contents.times import is_time

RULE = "JSON by value, without times"
MOST_JSON = 8 * 2**20
"Of a JSON file, also within an archive."


def same_json(a: bytes, b: bytes, tolerance: Tolerance) -> Content:
    """Two JSON texts; the order of keys means nothing.

    Raises:
        ValueError: one is no JSON.
    """
    one, other = (read_json(text, most=MOST_JSON, numbers_as_text=True) for text in (a, b))
    tally = Tally(tolerance)
    compare_values("", one, other, tally)
    times = ", ".join(dict.fromkeys(differing_times(one, other))) if not tally.differing else ""
    return tally.content(RULE, times or "the layout of its text")


def compare_values(name: str, a: Any, b: Any, tally: Tally) -> None:
    """Two values, and those in them."""
    if isinstance(a, dict) and isinstance(b, dict):
        one, other = ({key: item for key, item in each.items() if not is_time(key)} for each in (a, b))
        for key in tally.only_in_one(one, other):
            compare_values(f"{name}.{key}" if name else key, one[key], other[key], tally)
    elif isinstance(a, list) and isinstance(b, list):
        if len(a) != len(b):
            tally.unlike(name, f"{len(a)} / {len(b)} elements")
        for left, right in zip(a, b, strict=False):
            compare_values(name, left, right, tally)
    elif is_number(a) and is_number(b):
        if type(a) is not type(b) and a == b:  # 1 and 1.0
            tally.unlike(name, f"{a!r} / {b!r}")
        else:
            tally.numbers(name, (a,), (b,))
    elif type(a) is not type(b) or a != b:
        tally.unlike(name, f"{text_of(a)[:40]} / {text_of(b)[:40]}")
    else:
        tally.compared += 1


def is_number(value: Any) -> bool:
    """Whether a value is a number that can be reckoned with; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def text_of(value: Any) -> str:
    """One text for one value."""
    return json.dumps(value, sort_keys=True)


def differing_times(a: Any, b: Any, before: str = "") -> Iterator[str]:
    """The names of the time fields that differ, in two values that are the same without them."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in dict.fromkeys([*a, *b]):
            if is_time(key):
                if key not in a or key not in b or text_of(a[key]) != text_of(b[key]):
                    yield f"{before}{key}"
            else:
                yield from differing_times(a[key], b[key], f"{before}{key}.")
    elif isinstance(a, list) and isinstance(b, list):
        for one, other in zip(a, b, strict=True):
            yield from differing_times(one, other, before)
