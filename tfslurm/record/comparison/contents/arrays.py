"""Arrays of two files beside each other, in blocks, so that no array has to fit into memory twice. Pure."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator, Mapping
from math import prod
from typing import BinaryIO, NamedTuple

from tfslurm.record.comparison.contents.findings import Tally

BLOCK = 2**16
"Bytes; of a block that is the same on both sides no number is looked at. A multiple of every element's size."
CODES = {
    "float16": ("e", 2),
    "float32": ("f", 4),
    "float64": ("d", 8),
    "int8": ("b", 1),
    "int16": ("h", 2),
    "int32": ("i", 4),
    "int64": ("q", 8),
    "uint8": ("B", 1),
    "uint16": ("H", 2),
    "uint32": ("I", 4),
    "uint64": ("Q", 8),
    "bool": ("B", 1),
    "bfloat16": ("", 2),
    "complex64": ("f", 8),
    "complex128": ("d", 16),
}
"Name of a type -> the code of its numbers in Python's struct, and the bytes of an element."


class Array(NamedTuple):
    """An array in a file. ``open`` gives its elements, row after row or, where ``is_fortran``, column after column.

    ``bytes`` is how many bytes they are. ``kind`` is one of CODES, or the name of a type that is no number and is
    compared by its bytes.
    """

    kind: str
    shape: tuple[int, ...]
    bytes: int
    open: Callable[[], BinaryIO]
    is_little: bool = True
    is_fortran: bool = False


def array(kind: str, shape: tuple[int, ...], content: bytes | memoryview, *, is_little: bool = True) -> Array:
    """An array whose elements are at hand.

    Raises:
        ValueError: they are not as many as the shape says.
    """
    if kind in CODES and len(content) != prod(shape) * CODES[kind][1]:
        raise ValueError(f"an array of the shape {shape} has {len(content)} bytes")
    return Array(kind, shape, len(content), lambda: io.BytesIO(content), is_little)


def compare_arrays(a: Mapping[str, Array], b: Mapping[str, Array], tally: Tally) -> None:
    """Arrays by their names: their types, their shapes, and each number.

    Raises:
        ValueError: one has another number of bytes than its shape says, or its elements are in another order.
    """
    for name in tally.only_in_one(a, b):
        one, other = a[name], b[name]
        if one.kind != other.kind:
            tally.unlike(name, f"{one.kind} / {other.kind}")
        elif one.shape != other.shape:
            tally.unlike(name, f"shape {shown(one.shape)} / {shown(other.shape)}")
        elif one.is_fortran != other.is_fortran:
            raise ValueError(f"{name[:120]} is stored in the order of Fortran in one file only")
        else:
            elements(name, one, other, tally)


def shown(shape: tuple[int, ...]) -> str:
    """A shape as NumPy writes it, without end."""
    return f"({', '.join(map(str, shape[:8]))}{', …' if len(shape) > 8 else ',' if len(shape) == 1 else ''})"


def elements(name: str, a: Array, b: Array, tally: Tally) -> None:
    """The elements of two arrays of one type and shape."""
    before, is_equal = tally.compared, True
    with a.open() as one, b.open() as other:
        for left, right in zip(blocks(one, a.bytes), blocks(other, b.bytes), strict=True):
            if a.kind not in CODES:
                is_equal = is_equal and left == right
            elif left == right and a.is_little == b.is_little:
                tally.compared += len(left) // CODES[a.kind][1]
            else:
                tally.numbers(name, numbers(left, a), numbers(right, b))
    if not is_equal:
        tally.unlike(name, f"its elements of the type {a.kind} differ")
    elif tally.compared == before:
        tally.compared += 1


def blocks(file: BinaryIO, size: int) -> Iterator[bytes]:
    """The bytes of an array.

    Raises:
        ValueError: they are not so many.
    """
    left = size
    while left:
        block = file.read(min(left, BLOCK))
        while len(block) < min(left, BLOCK):
            more = file.read(min(left, BLOCK) - len(block))
            if not more:
                raise ValueError("an array has fewer bytes than its shape says")
            block += more
        left -= len(block)
        yield block
    if file.read(1):
        raise ValueError("an array has more bytes than its shape says")


def numbers(block: bytes, of: Array) -> tuple[float, ...]:
    """The numbers in a block: of a complex one both parts."""
    order = "<" if of.is_little else ">"
    if of.kind == "bfloat16":  # the upper half of a float32
        wide = bytearray(2 * len(block))
        at = 2 if of.is_little else 0
        wide[at::4], wide[at + 1 :: 4] = block[0::2], block[1::2]
        return struct.unpack(f"{order}{len(block) // 2}f", wide)
    code = CODES[of.kind][0]
    return struct.unpack(f"{order}{len(block) // struct.calcsize(f'<{code}')}{code}", block)
