"""JSON values -> the one byte form that is hashed: RFC 8785, by the library of that name. Pure.

Of nearly all values Python's own writer of JSON makes the same bytes, in a third of the time: ``plain_values``
leaves the others to the library. A test compares the two.
"""

from __future__ import annotations

import json
from typing import Any

from tfslurm.errors import RecordError

MOST = 2**53 - 1  # the largest whole number that every JSON reader holds exactly. Source: RFC 7493, 2.2


def canonical(value: object, what: str) -> bytes:
    """The bytes of a value of dict, list, tuple, str, int, float, bool and None; ``what`` names it in an error.

    Raises:
        RecordError: not such a value, a number that JSON does not carry, or a text that is not valid Unicode.
    """
    try:
        text = json.dumps(plain_values(value), ensure_ascii=False, separators=(",", ":"), sort_keys=True)
        return text.encode("utf-8")
    except (ValueError, RecursionError):
        pass  # the library takes it, or says what is wrong with it
    import rfc8785

    try:
        return rfc8785.dumps(value)  # type: ignore[arg-type]
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{what}: cannot be hashed: {error}") from error


def plain_values(value: Any) -> Any:
    """The value with whole numbers in the place of floats that are some.

    Raises:
        ValueError: it has a part that Python's writer may write otherwise than RFC 8785 asks: a key that is not ASCII,
            for the order of keys is that of UTF-16; a number that is very large or small; what is no JSON.
    """
    kind = type(value)
    if kind is str or value is None or kind is bool or (kind is int and -MOST <= value <= MOST):
        return value
    if kind is dict:
        for key in value:
            if type(key) is not str or not key.isascii():
                raise ValueError("a key")
        return {key: plain_values(item) for key, item in value.items()}
    if kind is list or kind is tuple:
        return [plain_values(item) for item in value]
    if kind is float and value.is_integer() and -MOST <= value <= MOST:
        return int(value)
    if kind is float and 1e-4 <= abs(value) <= MOST:
        return value
    raise ValueError("a value")
