"""JSON text of any origin -> plain values within bounds. Pure, and the only reader of JSON in the package.

Python's own reader takes more than JSON is (NaN, numbers without a bound, a key twice) and fails with other errors than
ValueError on what is nested deeply. Every later step may rely on what comes out here: it can be walked by a recursive
function, compared, printed as JSON, and each of its numbers is one that a double or a decimal text can hold.
Source: RFC 8259, 4 (names should be unique), 6 (no Infinity, no NaN), 9 (a reader may set limits).
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

MAX_DEPTH = 100
MAX_DIGITS = 300  # of a whole number: more do not fit a double, and take long to read and to print
MAX_BYTES = 64 * 2**20
MAX_PARTS = 6_000_000  # values, lists and objects: of three bytes each takes some hundred in memory


def read_json(text: str | bytes, *, most: int = MAX_BYTES, numbers_as_text: bool = False) -> Any:
    """The value that a JSON text describes: dict, list, str, int, float, bool, None. Bytes are UTF-8.

    With ``numbers_as_text`` a number that JSON or a double cannot hold (``NaN``, ``1e999``) comes out as its text;
    programs write such numbers for a loss that diverged.

    Raises:
        ValueError: no JSON; longer than ``most``, or of more than MAX_PARTS parts; nested deeper than MAX_DEPTH; a key
            twice in one object; a number that is not finite or has more than MAX_DIGITS digits.
    """
    if len(text) > most:
        raise ValueError(f"is longer than {most} bytes")
    if isinstance(text, bytes | bytearray):
        text = text.decode("utf-8")
    if len(text) > MAX_PARTS and sum(map(text.count, ",[{")) > MAX_PARTS:
        raise ValueError(f"has more than {MAX_PARTS} parts")
    try:
        value = _decoder(numbers_as_text).decode(text.removeprefix("\ufeff"))
    except RecursionError:
        raise ValueError(f"is nested deeper than {MAX_DEPTH} levels") from None
    if text.count("[") + text.count("{") > MAX_DEPTH:  # fewer cannot be nested deeper
        _refuse_deep(value)
    return value


@cache
def _decoder(numbers_as_text: bool) -> json.JSONDecoder:
    """Python's reader with our bounds; to make one takes longer than to read a short text."""
    whole, real, other = _numbers(numbers_as_text)
    return json.JSONDecoder(parse_int=whole, parse_float=real, parse_constant=other, object_pairs_hook=_object)


def _numbers(as_text: bool) -> tuple[Callable[[str], Any], Callable[[str], Any], Callable[[str], Any]]:
    """The readers of whole numbers, of other numbers, and of NaN, Infinity and -Infinity."""

    def unfit(text: str) -> str:
        if as_text:
            return text
        raise ValueError(f"{text[:40]} is not a number that JSON carries from one program to another")

    def whole(text: str) -> int | str:
        return int(text) if len(text) <= MAX_DIGITS else unfit(text)

    def real(text: str) -> float | str:
        return value if math.isfinite(value := float(text)) else unfit(text)

    return whole, real, unfit


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"has the key {twice[:40]!r} twice")
    return made


def _refuse_deep(value: Any) -> None:
    """Refuse a value deeper than MAX_DEPTH; works level by level, so that nothing recurses."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer if isinstance(outer, list) else ())
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise ValueError(f"is nested deeper than {MAX_DEPTH} levels")
