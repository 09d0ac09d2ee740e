"""Slurm's ways to write a number, a moment, a duration, some nodes and some array tasks. Pure.

What a cluster prints is not to be trusted with this machine's memory or time: every number has a most, every list too,
and no list is made before it is known to be short enough.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from typing import TypeVar

from tfslurm.errors import SlurmParseError

T = TypeVar("T")
UNKNOWN = ("Unknown", "None", "N/A", "NONE", "(null)", "")
# Names and comments are anybody's text; these characters are in none that a keyboard makes.
FIELD = "\x1f"
ROW = "\x1e"
GROUP = "\x1d"
GPU = re.compile(r"gpu(?::[^:,()]+)?:([0-9]{1,9})")
MOST_DIGITS = 18
MOST_NODES = 100_000  # of one job; the largest machines under Slurm have some ten thousand
MOST_JOBS = 200_000  # in one answer, each task of an array being one
MOST_ROWS = 100_000  # of what a site has: its partitions, nodes, accounts
MOST_BRACKETS = 8  # of one node's name; Slurm's own limit is 4 dimensions
LONGEST_NODES = 20 * MOST_NODES  # characters of all their names together
LONGEST_NODE = 255  # characters of one node's name; source: RFC 1123, 2.1
LAST_MOMENT = 32_503_679_999  # the end of the year 2999
MOST_SECONDS = 60 * 2**32  # Slurm counts minutes in 32 bits


def lines_of(text: str, end: str = "\n") -> Iterator[str]:
    """The rows of a text one by one: a list of all would be many times its size."""
    start = 0
    while start < len(text):
        stop = text.find(end, start)
        stop = len(text) if stop < 0 else stop
        yield text[start:stop]
        start = stop + len(end)


def at_most(most: int, items: Iterable[T], what: str) -> Iterator[T]:
    """The items one by one.

    Raises:
        SlurmParseError: there are more than so many.
    """
    for count, item in enumerate(items):
        if count == most:
            raise SlurmParseError(what, "", why=f"there are more than {most}; look at what the command prints there")
        yield item


def rows_of(text: str, what: str) -> Iterator[str]:
    """The lines of what a site has; empty ones are left out.

    Raises:
        SlurmParseError: they are more than a site has.
    """
    return (line.removesuffix("\r") for line in at_most(MOST_ROWS, lines_of(text), what) if line.strip())


def fields_of(row: str, count: int, separator: str, what: str) -> list[str]:
    """The fields of a row.

    Raises:
        SlurmParseError: it has more or fewer than ``count``.
    """
    fields = row.split(separator)
    if len(fields) != count:
        raise SlurmParseError(what, row)
    return fields


def parse_number(text: str, what: str) -> int:
    """A whole number that is not negative.

    Raises:
        SlurmParseError: anything else, and more digits than Slurm has numbers.
    """
    if not (text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS):
        raise SlurmParseError(what, text)
    return int(text)


def number_or_none(text: str) -> int | None:
    """The same; None for anything else."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS else None


def gpus_in(gres: str) -> int:
    """The number of GPUs in a list of generic resources: 6 of ``gpu:a100:4(S:0-1),gpu:2,nvme:1``."""
    words = re.sub(r"\([^()]*\)", "", gres).split(",")
    return sum(int(found[1]) for word in words if (found := GPU.fullmatch(word)))


def is_name(text: str) -> bool:
    """Whether it can be the name of a node or a partition, which become words of commands: no control characters."""
    return 0 < len(text) <= 1024 and text.isprintable()


def parse_moment(text: str) -> str | None:
    """RFC 3339 in UTC of seconds since 1970 (what SLURM_TIME_FORMAT=%s prints); None where Slurm does not know."""
    if text in UNKNOWN:
        return None
    seconds = parse_number(text, "time")
    if seconds > LAST_MOMENT:
        raise SlurmParseError("time", text)
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_duration(text: str) -> int:
    """Seconds of ``[days-]hours:minutes:seconds`` or ``minutes:seconds``. Source: squeue(1), %M and %l."""
    found = re.fullmatch(r"(?:(?:([0-9]{1,9})-)?([0-9]{1,9}):)?([0-9]{1,9}):([0-9]{1,9})", text)
    if not found:
        raise SlurmParseError("duration", text)
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return in_seconds(((days * 24 + hours) * 60 + minutes) * 60 + seconds, text)


def in_seconds(seconds: int, text: str) -> int:
    """So many seconds, if Slurm can count them."""
    if seconds > MOST_SECONDS:
        raise SlurmParseError("duration", text)
    return seconds


def expand_hostlist(text: str) -> tuple[str, ...]:
    """The nodes of ``n[1-3,07],login2``: n1 n2 n3 n07 login2; zeros in front are kept, several brackets multiply.

    Raises:
        SlurmParseError: anything else, a name that no node can have, and more than MOST_NODES of them.
    """
    if text and not (text.isascii() and text.isprintable()):
        raise SlurmParseError("nodes", text)
    found: list[str] = []
    length = 0
    for node in at_most(MOST_NODES, (node for word in split_outside(text) for node in expand_word(word)), "nodes"):
        length += len(node)
        if len(node) > LONGEST_NODE or length > LONGEST_NODES:
            raise SlurmParseError("nodes", text)
        found.append(node)
    return tuple(found)


def expand_word(word: str) -> Iterator[str]:
    """The nodes of one word, its brackets multiplied."""
    if word.count("[") > MOST_BRACKETS:
        raise SlurmParseError("nodes", word)
    head, bracket, rest = word.partition("[")
    if not bracket:
        yield word
        return
    inside, closing, tail = rest.partition("]")
    if not closing:
        raise SlurmParseError("nodes", word)
    for number in expand_numbers(inside):
        for end in expand_word(tail):
            yield head + number + end


def expand_numbers(text: str) -> Iterator[str]:
    """The numbers of ``1-3,07`` as texts of the width that they are written in."""
    for part in lines_of(text, ","):
        found = re.fullmatch(r"([0-9]{1,18})(?:-([0-9]{1,18}))?", part)
        if not found:
            raise SlurmParseError("nodes", text)
        first, last = found[1], found[2] or found[1]
        if int(last) < int(first):  # of nothing at all there could be any number beside it
            raise SlurmParseError("nodes", text)
        for number in range(int(first), int(last) + 1):
            yield str(number).zfill(len(first))


def expand_tasks(text: str) -> Iterator[int]:
    """The tasks of ``1-3,7,10-20:5%4``: 1 2 3 7 10 15 20. Source: sbatch(1), --array.

    Raises:
        SlurmParseError: anything else, a list that Slurm cut short (``...``) included.
    """
    for part in lines_of(text.partition("%")[0], ","):
        found = re.fullmatch(r"([0-9]{1,10})(?:-([0-9]{1,10})(?::([1-9][0-9]{0,9}))?)?", part)
        if not found or int(found[2] or found[1]) < int(found[1]):
            raise SlurmParseError("array tasks", text)
        yield from range(int(found[1]), int(found[2] or found[1]) + 1, int(found[3] or 1))


def split_outside(text: str) -> Iterator[str]:
    """The parts between those commas that are in no bracket of either kind."""
    start = depth = 0
    for found in re.finditer(r"[][(),]", text):
        depth += (found[0] in "[(") - (found[0] in "])")
        if found[0] == "," and not depth:
            if start < found.start():
                yield text[start : found.start()]
            start = found.end()
    if start < len(text):
        yield text[start:]
