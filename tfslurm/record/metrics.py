"""The metrics that a program left in its outputs, as JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any

from tfslurm.document import read
from tfslurm.document.bounded_json import read_json
from tfslurm.errors import InputError
from tfslurm.record.globs import is_meant
from tfslurm.record.model import Record
from tfslurm.spec.names import LONGEST_METRIC

METRICS = "metrics.json"
LARGEST = 2**20
MOST_FILES = 100
MOST_METRICS = 1000
"Of one run."


def metrics_of(files: Mapping[str, bytes], glob: str) -> tuple[dict[str, Any], str]:
    """The metrics of all files that fit the glob, and why some have none.

    Where it may fit several, each metric is named with its file: ``fold1/metrics:loss`` of ``fold1/metrics.json``.
    """
    if len(files) > MOST_FILES:
        return {}, f"more than {MOST_FILES} files fit {glob}"
    is_one = not set("*?[") & set(glob)
    metrics: dict[str, Any] = {}
    reasons = []
    for name in sorted(files):
        found, why = metrics_in(files[name], name)
        before = "" if is_one else f"{name.removesuffix('.json')}:"
        metrics.update({f"{before}{key}": value for key, value in found.items()})
        reasons += [why] if why else []
        if len(metrics) > MOST_METRICS:
            return {}, f"has more than {MOST_METRICS} metrics"
    return metrics, "; ".join(reasons)


def metrics_in(text: bytes, name: str) -> tuple[dict[str, Any], str]:
    """The numbers, texts, true and false in a JSON object, nested keys joined by dots; and why there are none."""
    if not text:
        return {}, f"{name} is empty, or is or lies in a link, which is not followed"
    try:
        found = read_json(text, numbers_as_text=True)
        if not isinstance(found, dict):
            return {}, f"{name} is no JSON object"
        return dict(islice(flat(found), MOST_METRICS + 1)), ""
    except ValueError as error:
        return {}, f"{name} cannot be read: {error}"


def flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """The scalars of nested objects by their dotted names; lists are left out.

    Raises:
        ValueError: a name is longer than LONGEST_METRIC; one in another, it would be many times the text's size.
    """
    for key, value in values.items():
        name = f"{before}{key}"
        if len(name) > LONGEST_METRIC:
            raise ValueError(f"the name {name[:40]!r}… is longer than {LONGEST_METRIC} characters")
        if isinstance(value, dict):
            yield from flat(value, f"{name}.")
        elif not isinstance(value, list):
            yield name, value


def metric_files(record: Record) -> tuple[list[str], str]:
    """Those of a run's outputs that its metrics are in, and the glob that names them: `sweep: {results: GLOB}`."""
    glob = glob_of(record.asked.spec or "") if record.asked else METRICS
    return [output.path for output in record.experiment.outputs or () if is_meant(output.path, glob)], glob


@lru_cache
def glob_of(spec: str) -> str:
    """The files that a text of exp.yaml says the metrics are in."""
    try:
        found = read(spec, "exp.yaml").at(("sweep", "results")) if "results" in spec else None
    except InputError:
        found = None
    return found if isinstance(found, str) and found else METRICS
