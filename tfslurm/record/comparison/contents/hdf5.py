"""HDF5 files, such as `.weights.h5`, by their arrays and attributes. Pure."""

from __future__ import annotations

import struct

from tfslurm.record.comparison.contents.archives import MOST_UNPACKED
from tfslurm.record.comparison.contents.arrays import Array, array, compare_arrays
from tfslurm.record.comparison.contents.findings import Content, Tally, Tolerance
from tfslurm.record.comparison.contents.hdf5_file import MOST_DEPTH, MOST_OBJECTS, Hdf5, Message
from tfslurm.record.comparison.contents.hdf5_types import shape_of, stored, texts, type_of

RULE = "arrays and attributes by value"
SPACE, TYPE, LAYOUT, PIPELINE, ATTRIBUTE, GROUP = 0x01, 0x03, 0x08, 0x0B, 0x0C, 0x11
READ = frozenset([SPACE, TYPE, LAYOUT, PIPELINE, GROUP])
"What an object is; each is there once."
PASSED_OVER = frozenset([0x04, 0x05, 0x0E, 0x12, 0x16])
"What a dataset has where nothing was written, times, and how many links lead to an object."


def same_hdf5(a: bytes, b: bytes, tolerance: Tolerance) -> Content:
    """Two files.

    Raises:
        ValueError: one is none, or has something that is not read.
    """
    tally = Tally(tolerance)
    compare_hdf5(a, b, tally)
    return tally.content(RULE, f"places in the file, of {tally.compared} values")


def compare_hdf5(a: bytes, b: bytes, tally: Tally, before: str = "") -> None:
    """Two files, whose arrays are named with ``before`` in front.

    Raises:
        ValueError: one is none, or has something that is not read.
    """
    one, other = ({f"{before}{name}": each for name, each in Reader(file).all().items()} for file in (a, b))
    compare_arrays(one, other, tally)


class Reader:
    """Walks through the groups of a file."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.found: dict[str, Array] = {}
        self.objects = 0
        self.bytes = 0

    def all(self) -> dict[str, Array]:
        """Name -> array: datasets as `group/name`, attributes as `group/name@attribute`, groups without elements.

        Raises:
            ValueError: it is no HDF5 file, or has something that is not read.
        """
        try:
            self.file = Hdf5(self.content)
            self.walk("", self.file.root, 0)
        except (struct.error, IndexError, OverflowError) as error:
            raise ValueError(f"it is HDF5 that cannot be read: {error}") from error
        return self.found

    def walk(self, name: str, address: int, depth: int) -> None:
        """An object and, of a group, those below it."""
        self.objects += 1
        if self.objects > MOST_OBJECTS or depth > MOST_DEPTH:
            raise ValueError(f"it has more than {MOST_OBJECTS} objects, or groups deeper than {MOST_DEPTH}")
        messages = list(self.file.messages(address))
        parts = {each.kind: each.body for each in messages if each.kind != ATTRIBUTE}
        if unknown := sorted(parts.keys() - PASSED_OVER - READ):
            raise ValueError(f"an object in it has a message {unknown[0]:#x}, which is not read")
        if sum(each.kind in READ for each in messages) > len(parts.keys() & READ):
            raise ValueError("an object in it says twice what it is")
        for each in messages:
            if each.kind == ATTRIBUTE:
                self.attribute(name, each)
        if GROUP in parts:
            self.keep(name or "/", array("group", (), b""))
            for entry in self.file.members(*struct.unpack_from("<QQ", parts[GROUP])):
                self.walk(f"{name}/{entry.name}" if name else entry.name, entry.at, depth + 1)
        elif {SPACE, TYPE, LAYOUT} <= parts.keys():
            kind, shape = type_of(parts[TYPE]), shape_of(parts[SPACE])
            pipeline = parts.get(PIPELINE, b"")
            content = b"" if shape is None else stored(self.file, parts[LAYOUT], pipeline, shape, kind.size)
            self.elements(name, parts[TYPE], shape, content)
        else:
            raise ValueError("an object in it is neither a group nor a dataset")

    def attribute(self, name: str, message: Message) -> None:
        """One attribute (IV.A.2.m)."""
        body = message.body
        version, flags, *sizes = struct.unpack_from("<BBHHH", body)
        if version not in (1, 2, 3) or (version > 1 and flags):
            raise ValueError("an attribute in it is not read")
        at, parts = 9 if version == 3 else 8, []
        for size in sizes:
            parts.append(body[at : at + size])
            at += size + (-size % 8 if version == 1 else 0)
        shape = shape_of(parts[2])
        count = 0 if shape is None else type_of(parts[1]).size
        for size in shape or ():
            count *= size
        content = body[at : at + count]
        if len(content) < count:
            raise ValueError("an attribute in it is cut off")
        self.elements(f"{name}@{parts[0].rstrip(bytes(1)).decode('utf-8', 'replace')}", parts[1], shape, content)

    def elements(self, name: str, kind: bytes, shape: tuple[int, ...] | None, content: bytes) -> None:
        """Elements with their type and shape."""
        found = type_of(kind)
        content = texts(self.file, content) if found.is_text else content
        told = found.kind if shape is not None else f"no {found.kind}"
        self.keep(name, array(told, shape or (), content, is_little=found.is_little))

    def keep(self, name: str, found: Array) -> None:
        """Notes an array under its name."""
        self.bytes += found.bytes + len(name)
        if name in self.found or self.bytes > MOST_UNPACKED:
            raise ValueError(f"it has two objects of one name, or more than {MOST_UNPACKED} bytes of arrays")
        self.found[name] = found
