"""The variables of a TensorFlow checkpoint or SavedModel, read without TensorFlow. Pure.

An index, which is a sorted table of keys with where each tensor is, lies beside shards with the bytes of all tensors.
The graph of Python objects in it is left out: it is not the same in two equal runs.
Source: TensorFlow's core/util/tensor_bundle, core/protobuf/tensor_bundle.proto and core/lib/io/table (LevelDB's).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping

from tfslurm.record.comparison.contents.archives import MOST_UNPACKED
from tfslurm.record.comparison.contents.arrays import Array, array, compare_arrays
from tfslurm.record.comparison.contents.findings import Content, Tally, Tolerance
from tfslurm.record.comparison.contents.protobuf import fields, last, text, varint, whole

RULE = "variables by value"
MAGIC = 0xDB4775248B80FB57
FOOTER = 48
MOST_VARIABLES = 100_000
GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
REPEATS = re.compile(r"_all_variables/[0-9]+/")
"""Of a model that Keras exported: the variables of its other lists again, in the order of a set, which is that of their
places in memory."""
TYPES = {
    1: "float32",
    2: "float64",
    3: "int32",
    4: "uint8",
    5: "int16",
    6: "int8",
    8: "complex64",
    9: "int64",
    10: "bool",
    14: "bfloat16",
    17: "uint16",
    18: "complex128",
    19: "float16",
    22: "uint32",
    23: "uint64",
}
"DataType -> name; of the others the bytes are compared."


def same_variables(a: Mapping[str, bytes], b: Mapping[str, bytes], tolerance: Tolerance) -> Content:
    """Two checkpoints: the index and the shards of each, by the ends of their names.

    Raises:
        ValueError: one cannot be read.
    """
    tally = Tally(tolerance)
    one, other = variables(a), variables(b)
    if has_all_twice(one) and has_all_twice(other):
        one, other = ({name: each for name, each in side.items() if not REPEATS.match(name)} for side in (one, other))
    compare_arrays(one, other, tally)
    if not one and not other:
        raise ValueError("it has no variable")
    return tally.content(RULE, f"the graph of objects; {len(one)} variables are the same")


def has_all_twice(found: Mapping[str, Array]) -> bool:
    """Whether each variable of a list in no order is also under another name, so that nothing is lost without it."""
    named, repeated = set[tuple[object, ...]](), set[tuple[object, ...]]()
    for name, each in found.items():
        (repeated if REPEATS.match(name) else named).add((each.kind, each.shape, each.open().read()))
    return repeated <= named


def variables(parts: Mapping[str, bytes]) -> dict[str, Array]:
    """Name -> tensor.

    Raises:
        ValueError: it is no checkpoint, or a shard is not there.
    """
    try:
        index = next(content for name, content in parts.items() if name.endswith(".index"))
        listed = list(table(index))
        entries = dict(listed)
        if len(entries) < len(listed):
            raise ValueError("its index has a variable twice")
        header = last(entries.pop("", b""))
        count = whole(header.get(1))
        if whole(header.get(2)):
            raise ValueError("its numbers are in big-endian order, which is not read")
        entries.pop(GRAPH, None)
        found = {name: tensor(parts, count, last(entry)) for name, entry in entries.items()}
    except (struct.error, StopIteration, UnicodeDecodeError) as error:
        raise ValueError("it is no checkpoint that can be read") from error
    if sum(each.bytes for each in found.values()) > MOST_UNPACKED:
        raise ValueError(f"its variables have more than {MOST_UNPACKED} bytes")
    return found


def tensor(parts: Mapping[str, bytes], count: int, entry: Mapping[int, int | bytes]) -> Array:
    """The tensor that an entry of the index describes."""
    if 7 in entry:
        raise ValueError("a variable in it is kept in slices, which are not read")
    end = f".data-{whole(entry.get(3)):05d}-of-{count:05d}"
    shard = next((content for name, content in parts.items() if name.endswith(end)), None)
    if shard is None:
        raise ValueError(f"it has no {end}")
    at, size, number = (whole(entry.get(key)) for key in (4, 5, 1))
    if at < 0 or size < 0 or at + size > len(shard):
        raise ValueError("a variable in it is cut off")
    shape = tuple(whole(last(text(each)).get(1)) for key, each in fields(text(entry.get(2))) if key == 2)
    if len(shape) > 254 or any(not 0 <= each < 2**48 for each in shape):
        raise ValueError("a variable in it has a shape that is not read")
    return array(TYPES.get(number, f"type {number}"), shape, memoryview(shard)[at : at + size])


def table(content: bytes) -> Iterator[tuple[str, bytes]]:
    """The keys and values of a sorted table.

    Raises:
        ValueError: it is none, or is packed.
    """
    if len(content) < FOOTER or struct.unpack("<Q", content[-8:])[0] != MAGIC:
        raise ValueError("it is no index of a checkpoint")
    _, at = varint(content, len(content) - FOOTER)
    _, at = varint(content, at)
    seen = looked = 0
    for _, handle in block(content, content[at : at + 20]):
        looked += varint(handle, varint(handle, 0)[1])[0]
        if looked > len(content):
            raise ValueError("the blocks of its index lie in one another")
        for key, value in block(content, handle):
            seen += 1
            if seen > MOST_VARIABLES:
                raise ValueError(f"it has more than {MOST_VARIABLES} variables")
            yield key.decode("utf-8"), value


def block(content: bytes, handle: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The entries of the block at a place: each has of its key what is not the beginning of that before it."""
    start, at = varint(handle, 0)
    size, _ = varint(handle, at)
    body = content[start : start + size]
    if len(body) < size or size < 4 or content[start + size : start + size + 1] != b"\0":
        raise ValueError("a block of its index is cut off, or packed")
    end = size - 4 - 4 * struct.unpack("<I", body[-4:])[0]
    at, key = 0, b""
    while at < end:
        shared, at = varint(body, at)
        more, at = varint(body, at)
        length, at = varint(body, at)
        key, value = key[:shared] + body[at : at + more], body[at + more : at + more + length]
        at += more + length
        if at > end or len(key) > 4096:
            raise ValueError("an entry of its index is cut off")
        yield key, value
