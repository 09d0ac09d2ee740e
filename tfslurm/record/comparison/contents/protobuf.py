"""The fields of a message of Protocol Buffers, by their numbers: no schema, no recursion. Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterator

MOST_FIELDS = 2_000_000
"Of one message."


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field: a whole number, the bytes of a text or of a message, or those of a fixed width.

    Raises:
        ValueError: it is no message.
    """
    at = count = 0
    while at < len(message):
        tag, at = varint(message, at)
        count += 1
        if count > MOST_FIELDS:
            raise ValueError("a message in it has too many fields")
        value: int | bytes
        if tag & 7 == 0:
            value, at = varint(message, at)
        else:
            length, at = varint(message, at) if tag & 7 == 2 else ({1: 8, 5: 4}.get(tag & 7, -1), at)
            value = message[at : at + length]
            at += length
            if length < 0 or len(value) < length:
                raise ValueError("a message in it is cut off, or is none")
        yield tag >> 3, value


def varint(content: bytes, at: int) -> tuple[int, int]:
    """A whole number of any length at a place, and the place behind it.

    Raises:
        ValueError: there is none.
    """
    value = shift = 0
    while at < len(content) and shift < 70:
        value |= (content[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if content[at - 1] < 0x80:
            return value & 2**64 - 1, at
    raise ValueError("a number in it is cut off")


def last(message: bytes) -> dict[int, int | bytes]:
    """Number -> value of the fields that occur once; of one that occurs several times it is the last."""
    return dict(fields(message))


def whole(value: int | bytes | None) -> int:
    """A whole number of 64 bits; absent: 0.

    Raises:
        ValueError: the field is of another type.
    """
    if isinstance(value, bytes):
        raise ValueError("a field in it has another type than it should")
    number = value or 0
    return number - 2**64 if number >> 63 else number


def text(value: int | bytes | None) -> bytes:
    """The bytes of a text or a message; absent: none.

    Raises:
        ValueError: the field is of another type.
    """
    if isinstance(value, int):
        raise ValueError("a field in it has another type than it should")
    return value or b""


def real(value: int | bytes | None) -> float:
    """A number of 4 or 8 bytes.

    Raises:
        ValueError: the field is of another type.
    """
    content = text(value)
    if len(content) not in (4, 8):
        raise ValueError("a field in it has another type than it should")
    found: tuple[float] = struct.unpack("<f" if len(content) == 4 else "<d", content)
    return found[0]
