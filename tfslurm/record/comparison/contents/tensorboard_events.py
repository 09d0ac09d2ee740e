"""TensorBoard's event files by their scalars; they hold the time of each, and their names the time and the node. Pure.

Graphs are left out: TensorFlow does not write the attributes of a node in one order.
Source: TensorFlow's core/lib/io/record_writer, core/util/event.proto, core/framework/summary.proto and tensor.proto.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from hashlib import sha256
from typing import NamedTuple

from tfslurm.record.comparison.contents.findings import Content, Tally, Tolerance
from tfslurm.record.comparison.contents.protobuf import fields, last, real, text, whole
from tfslurm.record.comparison.contents.times import is_time

RULE = "TensorBoard's scalars by value"
MOST_EVENTS = 1_000_000
STEP, SUMMARY = 2, 5
"Fields of an event."
HALF = 19
NUMBERS = {1: (5, "f"), 2: (6, "d"), 19: (13, ""), 3: (7, ""), 9: (10, ""), 4: (7, ""), 5: (7, ""), 6: (7, "")}
"DataType of a tensor -> the field with its numbers, and their code in Python's struct; '': whole numbers."
RAW = {1: "<f", 2: "<d", 19: "<e", 3: "<i", 9: "<q", 4: "<B", 5: "<h", 6: "<b"}
"The same for a tensor that has its bytes alone."


class Events(NamedTuple):
    """What the event files of one folder hold: (tag, step) -> numbers, and what identifies the rest of it."""

    scalars: dict[tuple[str, int], list[float]]
    others: Counter[str]


def same_events(a: Mapping[str, bytes], b: Mapping[str, bytes], tolerance: Tolerance) -> Content:
    """The event files of one folder, of each run all of them.

    Raises:
        ValueError: one is no event file, they have no scalar, or only their histograms, texts or pictures differ, which
            are not compared by value.
    """
    one, other = events(a), events(b)
    tally = Tally(tolerance)
    left, right = (by_name(side.scalars) for side in (one, other))
    for name in tally.only_in_one(left, right):
        if len(left[name]) != len(right[name]):
            tally.unlike(name, f"{len(left[name])} / {len(right[name])} values")
        else:
            tally.numbers(name, left[name], right[name])
    if not tally.differing and one.others != other.others:
        more = max((one.others - other.others).total(), (other.others - one.others).total())
        why = f"its {tally.compared} scalars are the same; of its histograms, texts and pictures {more} differ"
        raise ValueError(why)
    if not tally.compared:
        raise ValueError("it has no scalar")
    return tally.content(RULE, f"times; {tally.compared} scalars are the same")


def by_name(scalars: Mapping[tuple[str, int], list[float]]) -> dict[str, list[float]]:
    """The scalars by a name for a reader."""
    return {f"{tag} at step {step}": numbers for (tag, step), numbers in scalars.items()}


def events(files: Mapping[str, bytes]) -> Events:
    """The events of several files, in the order of their names."""
    found, seen = Events({}, Counter()), 0
    for name in sorted(files):
        for record in records(files[name]):
            seen += 1
            if seen > MOST_EVENTS:
                raise ValueError(f"it has more than {MOST_EVENTS} events")
            step = 0
            for number, value in fields(record):
                step = whole(value) if number == STEP else step
                if number == SUMMARY:
                    for _, each in fields(text(value)):
                        note(found, step, text(each))
    return found


def note(found: Events, step: int, value: bytes) -> None:
    """One value of a summary; a rate or a time is left out."""
    parts = last(value)
    tag = text(parts.get(1)).decode("utf-8", "replace")
    if is_time(tag.rpartition("/")[2]):
        return
    number = real(parts[2]) if 2 in parts else scalar(text(parts[8])) if 8 in parts else None
    if number is None:
        found.others[sha256(struct.pack("<q", step) + value).hexdigest()] += 1
    else:
        found.scalars.setdefault((tag, step), []).append(number)


def scalar(tensor: bytes) -> float | None:
    """The number that a tensor without dimensions is; None: it is another tensor."""
    parts = last(tensor)
    kind = whole(parts.get(1))
    if kind not in NUMBERS or any(number == 2 for number, _ in fields(text(parts.get(2)))):
        return None
    if content := text(parts.get(4)):
        return unpack(RAW[kind], content)
    field, code = NUMBERS[kind]
    value = parts.get(field)
    if code:
        return unpack(f"<{code}", text(value)) if value else 0.0
    return None if isinstance(value, bytes) or kind == HALF else float(whole(value))


def unpack(code: str, content: bytes) -> float | None:
    """The only number in these bytes; None: there is none, or more."""
    return float(struct.unpack(code, content)[0]) if len(content) == struct.calcsize(code) else None


def records(content: bytes) -> Iterator[bytes]:
    """The records of a file. The sum over each length is checked; what is in them has the sha256 of the run's record.

    Raises:
        ValueError: it is no such file, or is cut off.
    """
    at = 0
    while at < len(content):
        length, check = struct.unpack("<QI", content[at : at + 12]) if len(content) - at >= 16 else (0, -1)
        if check != masked(content[at : at + 8]) or length > len(content) - at - 16:
            raise ValueError("it is no event file, or is cut off")
        yield content[at + 12 : at + 12 + length]
        at += 16 + length


def masked(content: bytes) -> int:
    """CRC-32C, turned as TensorFlow writes it."""
    found = 0xFFFFFFFF
    for byte in content:
        found = found >> 8 ^ polynomials()[(found ^ byte) & 0xFF]
    found ^= 0xFFFFFFFF
    return (found >> 15 | found << 17) + 0xA282EAD8 & 0xFFFFFFFF


@cache
def polynomials() -> tuple[int, ...]:
    """What each byte adds to a CRC-32C."""
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)
