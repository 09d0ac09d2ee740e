"""Which names stand for a time: keys of JSON, columns of tables, tags of TensorBoard. Pure."""

from __future__ import annotations

import re

TIMES = frozenset(
    (
        *("time", "times", "timestamp", "timestamps", "date", "datetime", "duration", "durations", "elapsed"),
        *("runtime", "walltime", "clock", "seconds", "secs", "sec", "minutes", "hours"),
    )
)
"The last word of a name whose value is a time."
ACROSS = frozenset(("over", "by", "vs", "versus", "against"))
"In front of a time: `loss_over_time` is a loss."
DONE = frozenset(["started", "ended", "begun", "created", "saved", "finished", "updated", "written", "submitted"])
"In front of `at`."
RATES = TIMES | {"second"}
"Beside `per`; `second` alone is what comes after `first`."
UNITS = frozenset(("s", "ms", "us", "ns"))
WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")


def is_time(name: str) -> bool:
    """Whether a name is that of a time: its last word is (`train_seconds`, `trainTime`), or it is `saved_at`,
    `time_ms`, `seconds_per_epoch`, `images_per_second`. `time_steps` is none."""
    words = [word.lower() for word in WORDS.findall(name)]
    if not words:
        return False
    if words[-1] in TIMES:
        return not ACROSS.intersection(words[-2:-1])
    if words[-1] == "at" and len(words) > 1:
        return words[-2] in DONE
    return bool(RATES.intersection(words)) and (words[-1] in UNITS or "per" in words)
