"""The types, shapes and elements of HDF5's datasets and attributes. Pure."""

from __future__ import annotations

import struct
import zlib
from itertools import product
from math import ceil, prod
from typing import NamedTuple

from tfslurm.record.comparison.contents.archives import MOST_UNPACKED
from tfslurm.record.comparison.contents.hdf5_file import NOWHERE, Hdf5

MOST_ELEMENTS = 2**48
FLOATS = {  # bytes, place and size of exponent, place and size of mantissa
    (2, 10, 5, 0, 10): "float16",
    (4, 23, 8, 0, 23): "float32",
    (8, 52, 11, 0, 52): "float64",
    (2, 7, 8, 0, 7): "bfloat16",
}
DEFLATE, SHUFFLE, CHECKSUM = 1, 2, 3


class Type(NamedTuple):
    """The type of an element: its name, its bytes, its order. ``is_text``: it is kept in a heap, with its length."""

    kind: str
    size: int
    is_little: bool = True
    is_text: bool = False


def type_of(body: bytes) -> Type:
    """A datatype message (IV.A.2.d).

    Raises:
        ValueError: elements of it are not compared.
    """
    what, bits, size = body[0] & 15, int.from_bytes(body[1:4], "little"), struct.unpack_from("<I", body, 4)[0]
    if what == 0:  # fixed-point
        offset, precision = struct.unpack_from("<HH", body, 8)
        if not offset and precision == 8 * size and size in (1, 2, 4, 8):
            return Type(f"{'' if bits & 8 else 'u'}int{8 * size}", size, not bits & 1)
    elif what == 1:  # floating-point
        offset, precision, *parts = struct.unpack_from("<HHBBBB", body, 8)
        kind = FLOATS.get((size, *parts))
        if kind and not offset and precision == 8 * size and not bits & 0x40:
            return Type(kind, size, not bits & 1)
    elif what == 3:  # text of a fixed length
        return Type(f"text of {size} bytes, {bits:x}", size)
    elif what == 8 and body[8] & 15 == 0:  # an enumeration of whole numbers; h5py's for true and false
        return Type(f"enumeration {body[8:].rstrip(bytes(1)).hex()}", size)
    elif what == 9 and bits & 15 == 1:  # text of any length
        return Type(f"text, {bits:x}", size, is_text=True)
    elif what == 6:
        return complex_of(body, size)
    raise ValueError("it holds elements of a type that is not compared")


def complex_of(body: bytes, size: int) -> Type:
    """A record of two floats that are named r and i is a complex number.

    Raises:
        ValueError: it is another record.
    """
    count = int.from_bytes(body[1:3], "little")
    version, at, members = body[0] >> 4, 8, list[tuple[bytes, int, Type | None]]()
    while count == 2 and version in (1, 3) and len(members) < 2:
        name = body[at : body.index(b"\0", at)]
        at += len(name) + 1 + (-(len(name) + 1) % 8 if version == 1 else 0)
        offset = body[at] if version == 3 else struct.unpack_from("<I", body, at)[0]
        at += 1 if version == 3 else 4 + 28
        members.append((name, offset, type_of(body[at:]) if body[at] & 15 == 1 else None))
        at += 20
    kind = {8: "float32", 16: "float64"}.get(size)
    if [(name, offset) for name, offset, _ in members] == [(b"r", 0), (b"i", size // 2)]:
        types = {each for _, _, each in members}
        if len(types) == 1 and (each := types.pop()) and each.kind == kind:
            return Type(f"complex{8 * size}", size, each.is_little)
    raise ValueError("it holds records, which are not compared")


def shape_of(body: bytes) -> tuple[int, ...] | None:
    """A dataspace message (IV.A.2.b); None: there is no element.

    Raises:
        ValueError: it has more than 32 dimensions, or more elements than are read.
    """
    version, rank = body[0], body[1]
    if version not in (1, 2) or rank > 32:
        raise ValueError("an array has a shape that is not read")
    if version == 2 and body[3] == 2:
        return None
    shape = struct.unpack_from(f"<{rank}Q", body, 8 if version == 1 else 4)
    if prod(shape) > MOST_ELEMENTS:
        raise ValueError("an array has a shape beyond what is read")
    return shape


def texts(file: Hdf5, content: bytes) -> bytes:
    """Texts of any length, one after the other with their lengths; the elements say where they are (IV.B)."""
    found = []
    for at in range(0, len(content), 16):
        length, address, index = struct.unpack_from("<IQI", content, at)
        file.unpack(length)
        text = file.heap_object(address, index, length) if length else b""
        if len(text) < length:
            raise ValueError("a text in it is cut off")
        found.append(struct.pack("<I", length) + text)
    return b"".join(found)


def stored(file: Hdf5, layout: bytes, pipeline: bytes, shape: tuple[int, ...], size: int) -> bytes:
    """The elements of a dataset by its layout message (IV.A.2.i): in the header, in one block, or in chunks.

    Raises:
        ValueError: they are stored in a way that is not read, or were never written.
    """
    total = prod(shape) * size
    if layout[0] != 3:
        raise ValueError("a dataset in it is laid out in a way that is not read")
    if layout[1] == 0:
        (length,) = struct.unpack_from("<H", layout, 2)
        content = layout[4 : 4 + length]
    elif not total:
        return b""
    elif layout[1] == 1:
        address, length = struct.unpack_from("<QQ", layout, 2)
        content = file.at(address, length) if address != NOWHERE else b""
    else:
        return chunks(file, layout, filters_of(pipeline), shape, size)
    if len(content) != total:
        raise ValueError("a dataset in it was not written, or not as a whole")
    return content


def filters_of(body: bytes) -> list[int]:
    """The filters of a pipeline message (IV.A.2.l), in the order in which they were applied.

    Raises:
        ValueError: one of them is not read.
    """
    if not body:
        return []
    version, count = body[0], body[1]
    at, found = 8 if version == 1 else 2, []
    for _ in range(count):
        number = int.from_bytes(body[at : at + 2], "little")
        if number not in (DEFLATE, SHUFFLE, CHECKSUM):
            raise ValueError("a dataset in it is packed by a filter that is not read")
        has_name = version == 1
        name = int.from_bytes(body[at + 2 : at + 4], "little") if has_name else 0
        values = int.from_bytes(body[at + 6 : at + 8] if has_name else body[at + 4 : at + 6], "little")
        at += (8 + name + -name % 8 + 4 * (values + values % 2)) if has_name else 6 + 4 * values
        found.append(number)
    return found


def chunks(file: Hdf5, layout: bytes, filters: list[int], shape: tuple[int, ...], size: int) -> bytes:
    """The elements of a dataset in chunks, each of which is there once."""
    rank, address = struct.unpack_from("<BQ", layout, 2)
    *chunk, width = struct.unpack_from(f"<{rank}I", layout, 11)
    if len(chunk) != len(shape) or width != size or not all(chunk) or address == NOWHERE:
        raise ValueError("a dataset in it was not written, or is laid out in a way that is not read")
    full = prod(chunk) * size
    if max(full, prod(shape) * size) > MOST_UNPACKED:
        raise ValueError(f"a dataset in it, or a chunk of one, has more than {MOST_UNPACKED} bytes")
    found, seen = bytearray(prod(shape) * size), set[tuple[int, ...]]()
    for entry in file.leaves(address, 1, 8 + 8 * rank + 8):
        length, mask, *start = struct.unpack(f"<II{rank}Q", entry[:-8])
        origin = tuple(start[:-1])
        inside = all(at < most and not at % each for at, most, each in zip(origin, shape, chunk, strict=True))
        if not inside or origin in seen:
            raise ValueError("a dataset in it has a chunk twice, or out of its shape")
        seen.add(origin)
        packed = file.at(struct.unpack("<Q", entry[-8:])[0], length)
        file.unpack(full)
        kept = [each for number, each in enumerate(filters) if not mask >> number & 1]
        place(found, shape, unpacked(packed, kept, full, size), tuple(chunk), origin, size)
    if len(seen) != prod(ceil(most / each) for most, each in zip(shape, chunk, strict=True)):
        raise ValueError("a dataset in it was not written as a whole")
    return bytes(found)


def unpacked(content: bytes, filters: list[int], full: int, size: int) -> bytes:
    """A chunk without its filters: so many bytes.

    Raises:
        ValueError: it has more, or fewer.
    """
    for number in reversed(filters):
        if number == CHECKSUM:
            content = content[:-4]
        elif number == DEFLATE:
            try:
                content = zlib.decompressobj().decompress(content, full + 5)
            except zlib.error as error:
                raise ValueError(f"a chunk in it cannot be unpacked: {error}") from error
        else:
            count = len(content) // size
            whole = bytearray(len(content))
            for at in range(size):
                whole[at : count * size : size] = content[at * count : (at + 1) * count]
            whole[count * size :] = content[count * size :]
            content = bytes(whole)
    if len(content) != full:
        raise ValueError("a chunk in it has another size than it says")
    return content


def place(
    into: bytearray, shape: tuple[int, ...], content: bytes, chunk: tuple[int, ...], origin: tuple[int, ...], size: int
) -> None:
    """Puts a chunk where it belongs, row by row; what of it is out of the shape is left out."""
    inside = [min(each, most - at) for each, most, at in zip(chunk, shape, origin, strict=True)]
    row = inside[-1] * size
    for index in product(*(range(each) for each in inside[:-1])):
        source = target = 0
        for at, each, most, start in zip((*index, 0), chunk, shape, origin, strict=True):
            source, target = source * each + at, target * most + start + at
        into[target * size : target * size + row] = content[source * size : source * size + row]
