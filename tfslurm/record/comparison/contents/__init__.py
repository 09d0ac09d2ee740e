"""Two outputs that are not equal byte for byte: are the values in them the same? Pure.

Files come from strangers. Every reader here is bounded in bytes, members and depth, takes nothing for granted that a
file says of itself, unpickles nothing, and refuses what it does not read, so that no value is passed over.

findings            what a comparison found, and the tolerance that it had
times               which names stand for a time
arrays              arrays, by blocks
archives            zip archives
json_values         JSON
tables              CSV and TSV
numpy_files         .npy and .npz
hdf5                .h5: the walk through a file
hdf5_file           its blocks
hdf5_types          its types and elements
keras_model         .keras
tensor_bundle       the variables of checkpoints and SavedModels
tensorboard_events  TensorBoard's event files
protobuf            what these two are written in
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from pathlib import PurePosixPath
from typing import NamedTuple

from tfslurm.record.comparison.contents import (
    hdf5,
    json_values,
    keras_model,
    numpy_files,
    tables,
    tensor_bundle,
    tensorboard_events,
)
from tfslurm.record.comparison.contents.findings import EXACT, Content, Tolerance

MOST_BYTES = 64 * 2**20
"Of a file whose content is compared."
One = Callable[[bytes, bytes, Tolerance], Content]
Several = Callable[[Mapping[str, bytes], Mapping[str, bytes], Tolerance], Content]
SHARD = re.compile(r"(.*)\.data-[0-9]{5}-of-[0-9]{5}")
EVENTS = "events.out.tfevents."
GRAPHS = ("saved_model.pb", "fingerprint.pb", "keras_metadata.pb")
"Of a SavedModel: the first is there in each, the others tell of it."


class Format(NamedTuple):
    """A kind of file that is compared by what is in it.

    ``is_exact``: two equal runs write equal bytes, so that the bytes decide where the content cannot be read.
    """

    ends: tuple[str, ...]
    compare: One
    rule: str
    is_exact: bool = False


FORMATS = (
    Format((".json",), json_values.same_json, json_values.RULE),
    Format((".csv", ".tsv"), tables.same_table, tables.RULE),
    Format((".keras",), keras_model.same_keras, keras_model.RULE),
    Format((".npz",), numpy_files.same_npz, numpy_files.RULE, is_exact=True),
    Format((".npy",), numpy_files.same_npy, numpy_files.RULE, is_exact=True),
    Format((".h5", ".hdf5"), hdf5.same_hdf5, hdf5.RULE, is_exact=True),
)
"Of single files, by the end of their names."
TOGETHER: Mapping[str, tuple[Several, str]] = {
    f"{EVENTS}*": (tensorboard_events.same_events, tensorboard_events.RULE),
    ".*": (tensor_bundle.same_variables, tensor_bundle.RULE),
}
"Of files that belong together, by the end of the name that `unit_of` gives them."


def unit_of(path: str, paths: Collection[str]) -> str:
    """What a file is compared as a part of: itself; the event files of its folder; a checkpoint, as `ckpt-1.*`."""
    file = PurePosixPath(path)
    if file.name.startswith(EVENTS):
        return str(file.with_name(f"{EVENTS}*"))
    shard = SHARD.fullmatch(path)
    if shard and f"{shard[1]}.index" in paths:
        return f"{shard[1]}.*"
    before = f"{path.removesuffix('.index')}.data-"
    is_index = path.endswith(".index") and any(each.startswith(before) and SHARD.fullmatch(each) for each in paths)
    return f"{path.removesuffix('.index')}.*" if is_index else path


def why_not_compared(unit: str, paths: Collection[str]) -> str:
    """Why neither the bytes nor the content of a file say anything, among the others of its run; '': they do."""
    file = PurePosixPath(unit)
    if file.name in GRAPHS and str(file.parent / GRAPHS[0]) in paths:
        return "the graph of a SavedModel is never written the same twice"
    return "the file `checkpoint` of TensorFlow holds times" if file.name == "checkpoint" else ""


def format_of(unit: str) -> Format | None:
    """How a single file is compared by its content; None: by its bytes alone."""
    return next((each for each in FORMATS if unit.endswith(each.ends)), None)


def is_together(unit: str) -> bool:
    """Whether a unit is several files, whose names may differ between runs and whose bytes always do."""
    return unit.endswith(tuple(TOGETHER))


def has_content(unit: str) -> bool:
    """Whether a file is looked into where its bytes differ."""
    return is_together(unit) or format_of(unit) is not None


def compare_contents(
    unit: str, a: Mapping[str, bytes], b: Mapping[str, bytes], tolerance: Tolerance = EXACT
) -> Content:
    """How the contents of a unit compare: path -> bytes of its files on each side."""
    together = next((found for end, found in TOGETHER.items() if unit.endswith(end)), None)
    kind = format_of(unit)
    rule = together[1] if together else kind.rule if kind else "bytes"
    try:
        if together:
            return together[0](a, b, tolerance)
        if kind:
            return kind.compare(next(iter(a.values())), next(iter(b.values())), tolerance)
        return Content("differs", rule, "its bytes differ")
    except (ValueError, RecursionError, MemoryError) as error:
        if kind and kind.is_exact and tolerance == EXACT:
            return Content("differs", "bytes", f"its bytes differ; its values are not compared: {error}")
        return Content("unread", rule, f"its content cannot be compared: {error}")
