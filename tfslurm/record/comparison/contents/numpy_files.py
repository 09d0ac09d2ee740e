"""`.npy` and `.npz`: NumPy's arrays, read without NumPy and without pickle. Pure.

Source: numpy.lib.format, versions 1.0 to 3.0.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from functools import partial
from math import prod
from typing import BinaryIO, cast

from tfslurm.record.comparison.contents.archives import opened
from tfslurm.record.comparison.contents.arrays import CODES, Array, compare_arrays
from tfslurm.record.comparison.contents.findings import Content, Tally, Tolerance

RULE = "arrays by value"
MAGIC = b"\x93NUMPY"
LONGEST_HEADER = 2**16
HEADER = re.compile(
    r"\{'descr': '(?P<order>[<>|=]?)(?P<kind>[A-Za-z])(?P<size>[0-9]{0,6})(?P<unit>\[[A-Za-z0-9]{1,8}\])?', "
    r"'fortran_order': (?P<fortran>True|False), 'shape': \((?P<shape>[0-9, ]*)\),? *\}\s*"
)
KINDS = {"f": "float", "i": "int", "u": "uint", "b": "bool", "c": "complex"}
BY_BYTES = {"S": 1, "U": 4, "V": 1, "M": 1, "m": 1}
"Kinds that are no numbers -> the bytes of one unit of their size."


def same_npy(a: bytes, b: bytes, tolerance: Tolerance) -> Content:
    """Two arrays.

    Raises:
        ValueError: one is none, or is of Python objects.
    """
    tally = Tally(tolerance)
    one, other = (read_array(partial(io.BytesIO, content)) for content in (a, b))
    compare_arrays({"array": one}, {"array": other}, tally)
    return tally.content(RULE, "the layout of its header")


def same_npz(a: bytes, b: bytes, tolerance: Tolerance) -> Content:
    """Two archives of arrays, by their names.

    Raises:
        ValueError: one is none within bounds, or holds Python objects.
    """
    tally = Tally(tolerance)
    with opened(a) as one, opened(b) as other:
        compare_arrays(arrays(one), arrays(other), tally)
    return tally.content(RULE, f"the layout of the archive, of {tally.compared} values")


def arrays(archive: zipfile.ZipFile) -> dict[str, Array]:
    """The arrays of an archive.

    Raises:
        ValueError: a member is none.
    """
    members = {name.removesuffix(".npy"): name for name in archive.namelist()}
    if len(members) < len(archive.namelist()):
        raise ValueError("it has two arrays of one name")
    return {shown: read_array(partial(member, archive, name)) for shown, name in members.items()}


def member(archive: zipfile.ZipFile, name: str) -> BinaryIO:
    """A member, unpacked while it is read."""
    return cast(BinaryIO, archive.open(name))


def read_array(file: Callable[[], BinaryIO]) -> Array:
    """The array that a file is; its elements are read later.

    Raises:
        ValueError: it is none, or one of Python objects.
    """
    with file() as opened_file:
        found = header(opened_file)
        start = opened_file.tell()

    def elements() -> BinaryIO:
        data = file()
        data.seek(start)
        return data

    return found._replace(open=elements)


def header(file: BinaryIO) -> Array:
    """What the header of an array says of its elements.

    Raises:
        ValueError: it is no header that is read.
    """
    start = file.read(8)
    width = {1: 2, 2: 4, 3: 4}.get(start[6] if len(start) == 8 else 0)
    if not start.startswith(MAGIC) or width is None:
        raise ValueError("it is no array of NumPy")
    length = int.from_bytes(file.read(width), "little")
    text = file.read(length) if length <= LONGEST_HEADER else b""
    found = HEADER.fullmatch(text.decode("latin-1"))
    if not found:
        raise ValueError("an array has a header that is not read, such as one of records")
    if found["kind"] == "O":
        raise ValueError("it holds Python objects, which are never unpickled")
    shape = tuple(int(part) for part in found["shape"].replace(" ", "").split(",") if part)
    if len(shape) > 64 or any(size > 2**48 for size in shape):
        raise ValueError("an array has a shape beyond what is read")
    kind, each = element_of(found["kind"], found["size"], found["unit"] or "")
    is_fortran = found["fortran"] == "True" and len(shape) > 1
    return Array(kind, shape, prod(shape) * each, io.BytesIO, found["order"] != ">", is_fortran)


def element_of(kind: str, size: str, unit: str) -> tuple[str, int]:
    """The name of a type, and the bytes of an element.

    Raises:
        ValueError: its elements are not compared.
    """
    count = int(size or 0)
    if kind in KINDS:
        name = "bool" if kind == "b" else f"{KINDS[kind]}{8 * count}"
        if name in CODES and CODES[name][1] == count:
            return name, count
    elif kind in BY_BYTES:
        return f"{kind}{size}{unit}", count * BY_BYTES[kind]
    raise ValueError(f"it holds elements of the type {kind}{size}, which are not compared")
