"""Two outputs that are not equal byte for byte: are they the same but for the time at which they were written? Pure.

A `.keras` holds when it was saved and the number of an object in memory, a metrics.json often how long training took.
SavedModels, checkpoints of TensorFlow and TensorBoard's events differ from run to run in ways that nothing here reads.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
import zlib
from collections.abc import Collection, Iterator
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Any

from tfslurm.document.bounded_json import read_json

MOST_BYTES = 64 * 2**20
"Of a file whose content is compared."
MOST_MEMBERS = 1000
MOST_UNPACKED = 512 * 2**20
"Bytes of all members of a .keras."
PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"Those that unpack in little memory."
BLOCK = 2**20
MOST_JSON = 8 * 2**20
"Of a JSON file, also within a .keras."

TIMES = frozenset(
    [
        "time",
        "times",
        "timestamp",
        "timestamps",
        "date",
        "datetime",
        "duration",
        "durations",
        "elapsed",
        "runtime",
        "walltime",
        "clock",
        "seconds",
        "second",
        "secs",
        "sec",
        "minutes",
        "hours",
    ]
)
"The last word of a key whose value is a time."
DONE = frozenset(["started", "ended", "begun", "created", "saved", "finished", "updated", "written", "submitted"])
"In front of `at`."
UNITS = frozenset(("s", "ms", "us", "ns"))
WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
IN_MEMORY = "shared_object_id"
"Keras's key for the number of an object in memory: the same number stands for the same object."
ADDRESS = re.compile(r" at 0x[0-9a-f]{6,16}\b")
"Of an object that Python names by its place in memory."


def why_never_equal(path: str, paths: Collection[str]) -> str:
    """Why the bytes of a file say nothing, among the others of its run; '': they do."""
    file = PurePosixPath(path)
    if file.name.startswith("events.out.tfevents."):
        return "TensorBoard events hold times"
    for folder in (file.parent, file.parent.parent):
        if str(folder / "saved_model.pb") in paths and file.parent.name in (folder.name, "variables"):
            return "a SavedModel is never equal by bytes"
    if re.search(r"\.data-[0-9]{5}-of-[0-9]{5}$", path):
        return "a checkpoint of TensorFlow is never equal by bytes"
    if path.endswith(".index") and any(each.startswith(f"{path.removesuffix('.index')}.data-") for each in paths):
        return "a checkpoint of TensorFlow is never equal by bytes"
    return "the file `checkpoint` of TensorFlow holds times" if file.name == "checkpoint" else ""


def holds_time(path: str) -> bool:
    """Whether files of this kind may differ by the time alone, so that their contents are looked at."""
    return path.endswith((".keras", ".json"))


def same_but_for_time(path: str, a: bytes, b: bytes) -> tuple[bool | None, str]:
    """Whether two contents are the same without what holds time, and what that was, or how they differ.

    None: one of them cannot be read.
    """
    try:
        return same_keras(a, b) if path.endswith(".keras") else same_json(a, b)
    except (ValueError, RecursionError) as error:
        return None, f"its content cannot be read: {error}"


def same_json(a: bytes, b: bytes) -> tuple[bool, str]:
    """Two JSON texts without their time fields; the order of keys means nothing.

    Raises:
        ValueError: one is no JSON.
    """
    one, other = (read_json(text, most=MOST_JSON, numbers_as_text=True) for text in (a, b))
    left, right = without_times(one), without_times(other)
    if text_of(left) == text_of(right):
        fields = ", ".join(dict.fromkeys(differing_times(one, other)))
        return True, fields or "the layout of its text"
    return False, "its content differs"


def text_of(value: Any) -> str:
    """One text for one value."""
    return json.dumps(value, sort_keys=True)


def is_time(key: str) -> bool:
    """Whether a key names a time: its last word does (`train_seconds`, `trainTime`), or it is `saved_at`, `time_ms`,
    `seconds_per_epoch`, `images_per_second`. `time_steps` does not."""
    words = [word.lower() for word in WORDS.findall(key)]
    if not words:
        return False
    if words[-1] in TIMES:
        return True
    if words[-1] == "at" and len(words) > 1:
        return words[-2] in DONE
    return bool(TIMES.intersection(words)) and (words[-1] in UNITS or "per" in words)


def without_times(value: Any) -> Any:
    """The value without its time fields."""
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if not is_time(key)}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def differing_times(a: Any, b: Any, before: str = "") -> Iterator[str]:
    """The names of the time fields that differ, in two values that are the same without them."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in dict.fromkeys([*a, *b]):
            if is_time(key):
                if key not in a or key not in b or text_of(a[key]) != text_of(b[key]):
                    yield f"{before}{key}"
            else:
                yield from differing_times(a[key], b[key], f"{before}{key}.")
    elif isinstance(a, list) and isinstance(b, list):
        for one, other in zip(a, b, strict=True):
            yield from differing_times(one, other, before)


def same_keras(a: bytes, b: bytes) -> tuple[bool, str]:
    """Two models by their members: the weights byte for byte, the JSON without places in memory and `date_saved`.

    Raises:
        ValueError: one is no archive within bounds.
    """
    one, other = members(a), members(b)
    if one.keys() != other.keys():
        return False, f"only one of them has {', '.join(sorted(one.keys() ^ other.keys())[:5])}"
    differ = [name for name in sorted(one) if one[name] != other[name]]
    if differ:
        return False, f"{', '.join(differ[:5])} differ{'s' if len(differ) == 1 else ''}"
    return True, "the time at which it was saved"


def members(archive: bytes) -> dict[str, str]:
    """Name -> what identifies the content of each member: a sha256, of JSON that of its value.

    Raises:
        ValueError: it is no zip archive, or has too many members, too many bytes, or two of one name.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            listed = opened.infolist()
            names = [each.filename for each in listed]
            if len(listed) > MOST_MEMBERS or len(set(names)) < len(names):
                raise ValueError(f"it has more than {MOST_MEMBERS} members, or two of one name")
            if any(each.compress_type not in PACKINGS for each in listed):
                raise ValueError("its members are packed in another way than Keras does")
            left, found = MOST_UNPACKED, {}
            for each in listed:
                found[each.filename], size = identity(opened, each, left)
                left -= size
            return found
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise ValueError(f"it is no archive that can be read: {error}") from error


def identity(archive: zipfile.ZipFile, member: zipfile.ZipInfo, most: int) -> tuple[str, int]:
    """What identifies a member's content, and its bytes, which are counted while it is unpacked."""
    digest, size, text = sha256(), 0, b""
    is_json = member.filename.endswith(".json")
    with archive.open(member) as opened:
        while block := opened.read(BLOCK):
            size += len(block)
            if size > most or (is_json and size > MOST_JSON):
                raise ValueError("it holds more bytes than are read")
            digest.update(block)
            text += block if is_json else b""
    if not is_json:
        return digest.hexdigest(), size
    value = read_json(text, most=MOST_JSON, numbers_as_text=True)
    if member.filename == "metadata.json" and isinstance(value, dict):
        value.pop("date_saved", None)
    return sha256(text_of(without_memory(value, {})).encode()).hexdigest(), size


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
