"""The clock: moments as texts."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from tfslurm.document.moments import datetime_of

CLOCKS_APART = timedelta(days=2)


def now() -> str:
    """This moment, RFC 3339 in UTC."""
    return stamp(datetime.now(timezone.utc))


def stamp(moment: datetime) -> str:
    """A moment in UTC as RFC 3339 to the microsecond."""
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def earlier(moment: str) -> str:
    """Some time before a moment of this machine's clock, which the cluster's may not agree with."""
    try:
        return (datetime.fromisoformat(moment.replace("Z", "+00:00")) - CLOCKS_APART).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError):
        return "1970-01-01T00:00:00Z"  # the tracker's file was changed


def local_time(text: object) -> str:
    """An RFC 3339 time as the clock on the wall of this machine shows it, ``2026-11-28 05:01``; '' where it is none."""
    try:
        return datetime_of(str(text)).astimezone().strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError):
        return ""


def seconds_until(text: object) -> float | None:
    """Seconds from now until an RFC 3339 time, by this machine's clock; None where it is none."""
    try:
        return (datetime_of(str(text)) - datetime.now(timezone.utc)).total_seconds()
    except (ValueError, OverflowError):
        return None
