"""JSON values -> the one byte form that is hashed. Pure.

Source: RFC 8785 (JSON Canonicalization Scheme): keys sorted by their UTF-16 code units, no spaces, UTF-8, numbers as
ECMAScript writes them. Any language's RFC 8785 library gives the same bytes for a record as it was printed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from decimal import Decimal

from tfslurm.errors import RecordError


def canonical(value: object) -> bytes:
    """The bytes.

    Raises:
        RecordError: not a JSON value, a number that JSON does not have, or a text that is not valid Unicode.
    """
    try:
        return text_of(value).encode("utf-8")
    except UnicodeEncodeError as error:
        near = error.object[max(0, error.start - 20) : error.start + 20]
        raise RecordError(f"record: {near!r} is not valid Unicode and cannot be hashed") from error


def text_of(value: object) -> str:
    """The canonical text of one value."""
    if value is None or isinstance(value, bool | str | int):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, float):
        return float_text(value)
    if isinstance(value, Mapping):
        ordered = sorted(value.items(), key=lambda item: str(item[0]).encode("utf-16-be", "surrogatepass"))
        return "{" + ",".join(f"{text_of(str(key))}:{text_of(item)}" for key, item in ordered) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(text_of(item) for item in value) + "]"
    raise RecordError(f"record: {value!r} is not a JSON value")


def float_text(number: float) -> str:
    """1e-05 as ``0.00001``, 1.0 as ``1``, 1e+21 as itself. Source: ECMA-262, Number::toString, radix 10."""
    if not math.isfinite(number):
        raise RecordError(f"record: {number!r} is not a number that JSON has")
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
