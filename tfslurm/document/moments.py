"""Moments as texts: RFC 3339 in UTC."""

from __future__ import annotations

import re
from datetime import datetime, timezone


def parse_time(value: object) -> str | None:
    """RFC 3339 in UTC with whole seconds; None of the year 1, by which docker means never.

    ``2026-11-23T07:59:04.123456789Z``
    """
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)", str(value))
    if not found:
        raise ValueError(f"no time in {value!r}")
    if found[1].startswith("0001-"):
        return None
    moment = datetime.fromisoformat(found[1] + found[2].replace("Z", "+00:00"))
    try:
        return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    except OverflowError as error:
        raise ValueError(f"no time in {value!r}") from error


def datetime_of(text: str) -> datetime:
    """The moment of an RFC 3339 time in UTC.

    Raises:
        ValueError: it is none.
    """
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def seconds_between(began_at: object, ended_at: object) -> int | None:
    """The whole seconds between two moments (RFC 3339 in UTC); None where one of them is none."""
    try:
        return int((datetime_of(str(ended_at)) - datetime_of(str(began_at))).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None
