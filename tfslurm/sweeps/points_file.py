"""The points of one cluster as the file that its tasks read: one record by its place, without Python.

    0000000000000052 000000131␊     27 bytes for each point: where its record begins in this file, its length
    0000000000000183 000000131␊
    …                               the records: words, each ended by NUL

The words of a record: the place, the id, the parameters as JSON, the number of variables, each as NAME=VALUE, the
number of arguments, the arguments. ``point::read`` in job_templates/parts/roles/points.sh reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tfslurm.document.bounded_json import read_json

LINE = 27


class Entry(NamedTuple):
    """One point as its task needs it: ``env`` holds the variables that differ between points, ``argv`` all words."""

    id: str
    text: str
    env: Mapping[str, str]
    argv: Sequence[str]


def point_json(entry: Entry) -> dict[str, Any]:
    """The point as its line in points.jsonl has it, and as its record does."""
    return {"parameters": read_json(entry.text), "command": list(entry.argv), "env": dict(entry.env)}


def encode(entries: Iterable[Entry]) -> bytes:
    """The whole file.

    Raises:
        ValueError: a word holds NUL, which no argument can.
    """
    records = [_record(place, entry) for place, entry in enumerate(entries)]
    at = LINE * len(records)
    lines = []
    for record in records:
        lines.append(b"%016d %09d\n" % (at, len(record)))
        at += len(record)
    return b"".join((*lines, *records))


def _record(place: int, entry: Entry) -> bytes:
    variables = [f"{name}={value}" for name, value in entry.env.items()]
    head = [str(place), entry.id, entry.text, str(len(variables)), *variables]
    words = [*head, str(len(entry.argv)), *entry.argv]
    if any("\0" in word for word in words):
        raise ValueError(f"point {entry.id}: a word holds NUL")
    return b"".join(word.encode("utf-8", "surrogateescape") + b"\0" for word in words)
