"""A `.keras`, which is a zip archive, by its members. Pure.

It holds when it was saved and the numbers of objects in memory, so that two of one model are never equal byte for byte.
"""

from __future__ import annotations

import re
import zipfile
from typing import Any

from tfslurm.document.bounded_json import read_json
from tfslurm.record.comparison.contents.archives import member, opened
from tfslurm.record.comparison.contents.arrays import BLOCK
from tfslurm.record.comparison.contents.findings import Content, Tally, Tolerance
from tfslurm.record.comparison.contents.hdf5 import compare_hdf5
from tfslurm.record.comparison.contents.json_values import MOST_JSON, text_of

RULE = "members, without times and places in memory"
MOST_WEIGHTS = 128 * 2**20
"Bytes of a file of weights in the archive whose arrays are compared."
IN_MEMORY = "shared_object_id"
"Keras's key for the number of an object in memory: the same number stands for the same object."
ADDRESS = re.compile(r" at 0x[0-9a-f]{6,16}\b")
"Of an object that Python names by its place in memory."


def same_keras(a: bytes, b: bytes, tolerance: Tolerance) -> Content:
    """Two models: the JSON by value, the weights byte for byte and, where these differ, by their arrays.

    Raises:
        ValueError: one is no archive within bounds, or a member cannot be read.
    """
    tally = Tally(tolerance)
    with opened(a) as one, opened(b) as other:
        left, right = (dict.fromkeys(archive.namelist()) for archive in (one, other))
        for name in tally.only_in_one(left, right):
            compare_members(name, one, other, tally)
    return tally.content(RULE, "the time at which it was saved")


def compare_members(name: str, a: zipfile.ZipFile, b: zipfile.ZipFile, tally: Tally) -> None:
    """One member of both."""
    if name.endswith(".json"):
        left, right = (configuration(name, member(archive, name, MOST_JSON)) for archive in (a, b))
        tally.compared += 1
        if text_of(left) != text_of(right):
            tally.unlike(name, "differs")
    elif not is_equal(name, a, b):
        compare_weights(name, a, b, tally)
    else:
        tally.compared += 1


def is_equal(name: str, a: zipfile.ZipFile, b: zipfile.ZipFile) -> bool:
    """Whether a member is the same byte for byte."""
    with a.open(name) as one, b.open(name) as other:
        while True:
            left, right = one.read(BLOCK), other.read(BLOCK)
            if left != right:
                return False
            if not left:
                return True


def compare_weights(name: str, a: zipfile.ZipFile, b: zipfile.ZipFile, tally: Tally) -> None:
    """Members that are not equal: by their arrays where these can be read, else they just differ."""
    found = Tally(tally.tolerance)
    try:
        if not name.endswith(".h5"):
            raise ValueError("its bytes differ")
        compare_hdf5(member(a, name, MOST_WEIGHTS), member(b, name, MOST_WEIGHTS), found, f"{name}: ")
    except ValueError:
        tally.unlike(name, "its bytes differ")
    else:
        if found.differing:
            tally.take(found)
        else:
            tally.unlike(name, "its bytes differ, though its arrays are equal")


def configuration(name: str, text: bytes) -> Any:
    """The value of a JSON member, without the time at which it was saved and without places in memory.

    Raises:
        ValueError: it is no JSON.
    """
    value = read_json(text, most=MOST_JSON, numbers_as_text=True)
    if name == "metadata.json" and isinstance(value, dict):
        value.pop("date_saved", None)
    return without_memory(value, {})


def without_memory(value: Any, seen: dict[str, int]) -> Any:
    """The value with the numbers of objects in memory counted from 0, in the order in which they come."""
    if isinstance(value, dict):
        return {
            key: seen.setdefault(str(item), len(seen)) if key == IN_MEMORY else without_memory(item, seen)
            for key, item in sorted(value.items())
        }
    if isinstance(value, str):
        return ADDRESS.sub(" at 0x", value)
    return [without_memory(item, seen) for item in value] if isinstance(value, list) else value
