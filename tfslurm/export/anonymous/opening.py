"""The bytes of a file, and of what is packed in it: gzip, zlib, bzip2, xz, lzma, zip, also one in another. Pure."""

from __future__ import annotations

import bz2
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import Any

MOST = 2**28
"Bytes that are unpacked of one file."
DEEPEST = 3
TOO_LARGE = "(more than can be unpacked)"
BROKEN = "(packed, and cannot be unpacked to its end)"
ZLIB = (b"x\x01", b"x^", b"x\x9c", b"x\xda")
"How most streams of zlib begin (joblib, git); so may a text."
BEGINNING = 4096
"Bytes after which no text is taken for a stream any more."
LZMA = (b"\xfd7zXZ\0", b"]\0\0")
NOT_READ = (b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", b"LZIP", b"\x1f\x9d")
"How zstd, lz4, 7z, rar, lzip and compress begin, which Python's own library does not unpack."


def opened(data: bytes) -> Iterator[bytes | str]:
    """The file itself, then what it holds and the names of that; a text for what could not be looked into."""
    yield from _opened(data, [MOST], 0)


def _opened(data: bytes, left: list[int], depth: int) -> Iterator[bytes | str]:
    yield data
    inner = unpacked(data, left)
    if inner and depth >= DEEPEST:
        yield TOO_LARGE
        return
    for each in inner:
        if isinstance(each, str):
            yield each
        else:
            yield from _opened(each, left, depth + 1)


def unpacked(data: bytes, left: list[int]) -> list[bytes | str]:
    """The parts of a packed file; none if it is not packed, or broken from its first byte."""
    if data[:2] == b"\x1f\x8b":
        return [stream(zlib.decompressobj(31), data, left)]
    if data[:3] == b"BZh":
        return [stream(bz2.BZ2Decompressor(), data, left)]
    if data.startswith(ZLIB) and is_zlib(data):
        return [stream(zlib.decompressobj(), data, left)]
    if data.startswith(NOT_READ):
        return [BROKEN]
    if data.startswith(LZMA):
        return [stream(lzma.LZMADecompressor(memlimit=MOST), data, left)]
    if data[:4] == b"PK\x03\x04":
        return [*members(data, left)]
    return []


def is_zlib(data: bytes) -> bool:
    """Whether a file that begins like a stream of zlib is one, and no text."""
    reader = zlib.decompressobj()
    try:
        found = reader.decompress(data[:BEGINNING])
    except zlib.error:
        return False
    return reader.eof or (bool(found) and len(data) > BEGINNING)


def stream(reader: Any, data: bytes, left: list[int]) -> bytes | str:
    """What a packed stream holds."""
    try:
        found: bytes = reader.decompress(data, left[0] + 1)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError):
        return BROKEN
    left[0] -= len(found)
    if left[0] < 0:
        return TOO_LARGE
    return found if reader.eof and not reader.unused_data.strip(b"\0") else BROKEN


def members(data: bytes, left: list[int]) -> Iterator[bytes | str]:
    """The names and contents of a zip file's members."""
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            for member in archive.infolist():
                yield member.filename.encode("utf-8", "surrogatepass")
                with archive.open(member) as file:
                    found = file.read(left[0] + 1)
                left[0] -= len(found)
                if left[0] < 0:
                    yield TOO_LARGE
                    return
                yield found
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError, zlib.error, ValueError):
        yield BROKEN
