"""Slurm's ways to write a moment, a duration, some nodes and some array tasks. Pure."""

from __future__ import annotations

import re
from datetime import datetime, timezone

from tfslurm.errors import SlurmParseError

UNKNOWN = ("Unknown", "None", "N/A", "NONE", "(null)", "")


def parse_moment(text: str) -> str | None:
    """RFC 3339 in UTC of seconds since 1970 (what SLURM_TIME_FORMAT=%s prints); None where Slurm does not know."""
    if text in UNKNOWN:
        return None
    if not text.isdecimal():
        raise SlurmParseError("time", text)
    return datetime.fromtimestamp(int(text), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_duration(text: str) -> int:
    """Seconds of ``[days-]hours:minutes:seconds`` or ``minutes:seconds``. Source: squeue(1), %M and %l."""
    found = re.fullmatch(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)", text)
    if not found:
        raise SlurmParseError("duration", text)
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def expand_hostlist(text: str) -> tuple[str, ...]:
    """The nodes of ``n[1-3,07],login2``: n1 n2 n3 n07 login2; zeros in front are kept, several brackets multiply."""
    return tuple(node for word in split_outside(text) for node in expand_word(word))


def expand_word(word: str) -> tuple[str, ...]:
    """The nodes of one word, its brackets multiplied."""
    head, bracket, rest = word.partition("[")
    if not bracket:
        return (word,)
    inside, closing, tail = rest.partition("]")
    if not closing:
        raise SlurmParseError("nodes", word)
    return tuple(head + number + end for number in expand_numbers(inside) for end in expand_word(tail))


def expand_numbers(text: str) -> list[str]:
    """The numbers of ``1-3,07`` as texts of the width that they are written in."""
    numbers: list[str] = []
    for part in text.split(","):
        found = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if not found:
            raise SlurmParseError("nodes", text)
        first, last = found[1], found[2] or found[1]
        numbers += [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
    return numbers


def expand_tasks(text: str) -> tuple[int, ...]:
    """The tasks of ``1-3,7,10-20:5%4``: 1 2 3 7 10 15 20. Source: sbatch(1), --array.

    Raises:
        SlurmParseError: anything else, a list that Slurm cut short (``...``) included.
    """
    tasks: list[int] = []
    for part in text.partition("%")[0].split(","):
        found = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", part)
        if not found:
            raise SlurmParseError("array tasks", text)
        first, last, step = int(found[1]), int(found[2] or found[1]), int(found[3] or 1)
        tasks += range(first, last + 1, step)
    return tuple(tasks)


def split_outside(text: str) -> list[str]:
    """The parts between those commas that are in no bracket of either kind."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "[(") - (character in "])")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part for part in parts if part]
