"""The read-only mounts, and what they held when the program started. Pure.

The node writes ``inputs.json`` (job_templates/parts/observe/inputs.sh) once per attempt, before the program starts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tfslurm.document.bounded_json import read_json
from tfslurm.job_plan import JobPlan
from tfslurm.record.folder import Folder
from tfslurm.record.model import Input
from tfslurm.run_folder import paths
from tfslurm.spec import Mount

SHA256 = re.compile(r"[0-9a-f]{64}")
LONGEST_REASON = 1000
MOST_BYTES = 2**53 - 1
NOT_MEASURED = "a folder is measured only with `hash: true`"


class Seen(NamedTuple):
    """One mount as the node saw it; of ``sha256`` and ``tree_sha256`` one is None, or both."""

    bytes: int | None
    sha256: str | None
    tree_sha256: str | None
    hashed: str
    why: str


def read_inputs(plan: JobPlan, root: Folder, folders: Sequence[Folder]) -> tuple[Input, ...]:
    """The read-only mounts, in the order of the plan's, as the last attempt found them."""
    mounts = read_only(plan)
    found: Mapping[int, Seen] = {}
    missing = "no attempt of the job left a file"
    if folders and mounts:
        last = folders[-1].quiet()
        found = last.fact("inputs", paths.INPUTS, parse_inputs) or {}
        missing = last.why("inputs") or f"{paths.INPUTS} does not name it"
    inputs = []
    for index, (place, mount) in enumerate(mounts):
        one = found.get(place, Seen(None, None, None, "no", missing))
        if one.bytes is None:
            root.note(f"inputs[{index}].bytes", one.why if mount.hash or place not in found else NOT_MEASURED)
        inputs.append(Input(mount.run or mount.name, mount.source, *one))
    return tuple(inputs)


def read_only(plan: JobPlan) -> list[tuple[int, Mount]]:
    """The read-only mounts with their places among all."""
    return [(place, mount) for place, mount in enumerate(plan.mounts) if mount.read_only]


def parse_inputs(raw: bytes) -> dict[int, Seen]:
    """What the node wrote: the place of a mount among the plan's -> what it held.

    Raises:
        ValueError, KeyError, TypeError: it is not what a node writes.
    """
    return {number(each["mount"]): seen(each) for each in read_json(raw)}


def seen(value: Mapping[str, Any]) -> Seen:
    """One entry, each of its values in the form that a node writes.

    Raises:
        ValueError, KeyError, TypeError: one is not.
    """
    file, tree = (sha256(value[key]) for key in ("sha256", "tree_sha256"))
    hashed, why = value["hashed"], value["why"]
    if hashed not in ("full", "cached", "no") or not isinstance(why, str):
        raise ValueError(f"{str(hashed)[:20]!r} is no way of hashing")
    if (file is None) + (tree is None) != (2 if hashed == "no" else 1) or (hashed == "no") != bool(why):
        raise ValueError(f"hashed is {hashed!r}, which its sums and its reason do not agree with")
    size = value["bytes"]
    return Seen(None if size is None else number(size), file, tree, hashed, why[:LONGEST_REASON])


def number(value: object) -> int:
    """A count that can be one.

    Raises:
        ValueError: it is not.
    """
    if type(value) is not int or not 0 <= value <= MOST_BYTES:
        raise ValueError(f"{str(value)[:40]} is no count")
    return value


def sha256(value: object) -> str | None:
    """A sum; None where there is none.

    Raises:
        ValueError: it is something else.
    """
    if value is not None and not (isinstance(value, str) and SHA256.fullmatch(value)):
        raise ValueError(f"{str(value)[:80]!r} is no sha256")
    return value


def about_inputs(plan: JobPlan, inputs: Sequence[Input], folders: Sequence[Folder]) -> Iterator[str]:
    """Warnings: a mount that was to be hashed and was not, and one that another attempt found to be different."""
    earlier = [files.quiet().fact("", paths.INPUTS, parse_inputs) or {} for files in folders[:-1]]
    for (place, mount), one in zip(read_only(plan), inputs, strict=True):
        if mount.hash and one.hashed == "no":
            yield f"inputs: {one.path} was not hashed: {one.why}"
        sums = {(found[place].sha256, found[place].tree_sha256) for found in earlier if place in found}
        if one.hashed != "no" and sums - {(None, None), (one.sha256, one.tree_sha256)}:
            yield f"inputs: {one.path} changed between the attempts of the job"
