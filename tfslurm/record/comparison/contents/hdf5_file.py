"""HDF5, as h5py writes it by default: its datasets and attributes by their names, read in Python within bounds. Pure.

A file of any origin never reaches the C library. What is not read is refused, so that nothing in a file is passed over:
the newer format of `libver="latest"`, links, references, records, external files, filters beside gzip and shuffle.
Source: HDF5 File Format Specification, version 3.0; the numbers in the names are those of its sections.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from tfslurm.record.comparison.contents.archives import MOST_UNPACKED

MAGIC = b"\x89HDF\r\n\x1a\n"
NOWHERE = 2**64 - 1
MOST_OBJECTS = 100_000
MOST_DEPTH = 50
MOST_MESSAGES = 2**16
"Of one object; its attributes are among them."
MOST_PARTS = 2**21
"Messages and entries of trees in a file: a few can be named so often that nobody would live to see them all read."


class Message(NamedTuple):
    """One message in the header of an object (IV.A.1)."""

    kind: int
    body: bytes


class Entry(NamedTuple):
    """One member of a group."""

    name: str
    at: int


class Hdf5:
    """The blocks of a file, each read with its bounds checked."""

    def __init__(self, content: bytes) -> None:
        """
        Raises:
            ValueError: it is no HDF5 file of the older format, which h5py writes by default.
        """
        self.content = content
        self.heaps: dict[int, dict[int, tuple[int, int]]] = {}
        self.parts = self.unpacked = 0
        if not content.startswith(MAGIC) or len(content) < 96:
            raise ValueError("it is no HDF5 file")
        version = content[8]
        if version > 1:
            raise ValueError("it is HDF5 in the newer format, which is not read")
        (base,) = struct.unpack_from("<Q", content, 28 if version else 24)
        if content[13:15] != b"\x08\x08" or base:
            raise ValueError("it is HDF5 with other sizes of addresses, or within another file, which is not read")
        (self.root,) = struct.unpack_from("<Q", content, (28 if version else 24) + 40)

    def at(self, address: int, size: int) -> bytes:
        """So many bytes at an address.

        Raises:
            ValueError: the file does not have them.
        """
        found = self.content[address : address + size]
        if len(found) < size:
            raise ValueError("it is cut off, or names a place beyond its end")
        return found

    def count(self) -> None:
        """Notes that one more message or entry is read.

        Raises:
            ValueError: they are too many.
        """
        self.parts += 1
        if self.parts > MOST_PARTS:
            raise ValueError(f"it has more than {MOST_PARTS} parts")

    def unpack(self, size: int) -> None:
        """Notes that so many more bytes come out of its chunks, or of its texts.

        Raises:
            ValueError: they are too many.
        """
        self.unpacked += size
        if self.unpacked > 2 * MOST_UNPACKED:  # of a chunk at an edge only a part is the dataset's
            raise ValueError(f"it has more than {2 * MOST_UNPACKED} bytes in chunks and texts")

    def block(self, address: int, magic: bytes, size: int) -> bytes:
        """A block that begins with these four letters."""
        found = self.at(address, size)
        if not found.startswith(magic):
            raise ValueError(f"it has no {magic.decode()} where it says")
        return found

    def messages(self, address: int) -> Iterator[Message]:
        """The messages of an object's header, in all its blocks."""
        version, _, count, _, size = struct.unpack("<BBHII", self.at(address, 12))
        if version != 1:
            raise ValueError("an object in it has a header of the newer format, which is not read")
        blocks, seen = [(address + 16, size)], 0
        while blocks:
            start, left = blocks.pop(0)
            block, place = self.at(start, left), 0
            while place + 8 <= left:
                kind, length, flags = struct.unpack_from("<HHB", block, place)
                body = block[place + 8 : place + 8 + length]
                place, seen = place + 8 + length, seen + 1
                self.count()
                if seen > min(count, MOST_MESSAGES) or len(body) < length or flags & 2:
                    raise ValueError("an object in it has a header that is not read")
                if kind == 0x10:
                    blocks.append(struct.unpack_from("<QQ", body))
                elif kind:
                    yield Message(kind, body)
        if seen < count:
            raise ValueError("an object in it has fewer messages than it says")

    def members(self, tree: int, heap: int) -> Iterator[Entry]:
        """The members of a group, by its B-tree and its heap of names (III.A.1, III.B, III.D)."""
        _, size, _, names_at = struct.unpack("<4sxxxxQQQ", self.block(heap, b"HEAP", 32))
        if names_at + size > len(self.content):
            raise ValueError("it is cut off, or names a place beyond its end")
        for leaf in self.leaves(tree, 0, 16):
            (address,) = struct.unpack_from("<Q", leaf, 8)
            count = struct.unpack("<H", self.block(address, b"SNOD", 8)[6:])[0]
            for number in range(count):
                name_at, at, kind = struct.unpack("<QQI", self.at(address + 8 + 40 * number, 20))
                begin = names_at + name_at
                end = self.content.find(b"\0", begin, names_at + size)
                if kind == 2 or end < 0:
                    raise ValueError("a group in it has a link, which is not followed")
                yield Entry(self.content[begin:end].decode("utf-8", "surrogateescape"), at)

    def leaves(self, tree: int, kind: int, size: int, depth: int = 0) -> Iterator[bytes]:
        """The keys with the addresses behind them, of ``size`` bytes, in the lowest nodes of a B-tree (III.A.1)."""
        found, level, used = struct.unpack("<4xBBH", self.block(tree, b"TREE", 8))
        if found != kind or depth > MOST_DEPTH:
            raise ValueError("it has another tree than it says")
        for number in range(used):
            entry = self.at(tree + 24 + size * number, size)
            self.count()
            if level:
                yield from self.leaves(struct.unpack("<Q", entry[-8:])[0], kind, size, depth + 1)
            else:
                yield entry

    def heap_object(self, address: int, index: int, most: int) -> bytes:
        """The first bytes of an object in a global heap (III.E): a text of any length."""
        if address not in self.heaps:
            (size,) = struct.unpack("<Q", self.block(address, b"GCOL", 16)[8:])
            place, end, found = address + 16, address + size, dict[int, tuple[int, int]]()
            while place + 16 <= end:
                number, length = struct.unpack_from("<H6xQ", self.content, place)
                self.count()
                if not number:
                    break
                found[number] = (place + 16, min(place + 16 + length, end))
                place += 16 + length + -length % 8
            self.heaps[address] = found
        if index not in self.heaps[address]:
            raise ValueError("it has no text where it says")
        begin, end = self.heaps[address][index]
        return self.content[begin : min(end, begin + most)]
