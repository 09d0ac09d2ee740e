"""What differs between two runs, the most telling first: a row for each thing, its text in A and in B. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from tfslurm.record.comparison.answers import Run
from tfslurm.record.comparison.environment import INSIDE, facts_of, package_changes
from tfslurm.record.comparison.inputs import OF_PARAMETERS, mounted, parameter_changes
from tfslurm.record.comparison.results import metrics
from tfslurm.record.model import Record
from tfslurm.record.task_model import TaskFacts

UNKNOWN, NONE = "unknown", "none"
ADDED = ("added packages", "added files")
ASKED = ("network", "gpu_check", "prepull", "shm", "outputs")
JOB = ("state", "exit_code", "signal", "elapsed_s", "restarts", "time_limit_s", "cluster", "partition", "user")


class Difference(NamedTuple):
    """One thing that is not the same: 'unknown' where it was not observed, 'none' where there is no such thing."""

    what: str
    a: str
    b: str


def differences(a: Run, b: Run) -> list[Difference]:
    """The rows that differ; what neither run knows has none."""
    one, other = a.record, b.record
    rows = [*image_rows(one, other), *asked_rows(one, other), *machine_rows(one, other)]
    rows += [*plan_rows(one, other), *result_rows(a, b), *job_rows(one, other)]
    return [row for row in rows if row.a != row.b]


def shown(value: Any, absent: str = UNKNOWN) -> str:
    """A value as a text."""
    if value is None:
        return absent
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def of_both(a: Record, b: Record, what: str, get: Callable[[Record], Any], absent: str = UNKNOWN) -> Difference:
    """The row of one thing."""
    return Difference(what, shown(get(a), absent), shown(get(b), absent))


def each_key(before: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Difference]:
    """A row for each key of two mappings."""
    for key in dict.fromkeys([*a, *b]):
        one, other = (shown(side[key]) if key in side else NONE for side in (a, b))
        yield Difference(f"{before} {key}", one, other)


def image_rows(a: Record, b: Record) -> Iterator[Difference]:
    """The image, and what it holds."""
    yield of_both(a, b, "image digest", lambda record: record.image.digest)
    yield of_both(a, b, "image", lambda record: record.image.reference)
    yield of_both(a, b, "image config", lambda record: record.image.config_digest)
    yield of_both(a, b, "platform", lambda record: record.image.platform)
    for key, name in INSIDE.items():
        yield Difference(name, *(shown(getattr(record.environment, key)) for record in (a, b)))
    if a.environment.packages is not None and b.environment.packages is not None:
        for name, old, new in package_changes(a.environment, b.environment):
            yield Difference(f"package {name}", shown(old, NONE), shown(new, NONE))
    if a.environment.layer or b.environment.layer:
        yield from layer_rows(a, b)


def layer_rows(a: Record, b: Record) -> Iterator[Difference]:
    """The packages that the experiment adds to the image."""
    for key, name in (("key", "packages layer"), ("contents_sha256", "packages layer's contents")):
        layers = (each.environment.layer for each in (a, b))
        yield Difference(name, *(shown(getattr(layer, key)) if layer else NONE for layer in layers))
    sides = [{each.name: each.version for each in record.environment.layer_packages or ()} for record in (a, b)]
    for package in dict.fromkeys([*sides[0], *sides[1]]):
        if sides[0].get(package) != sides[1].get(package):
            yield Difference(f"added package {package}", *(shown(side.get(package), NONE) for side in sides))


def asked_rows(a: Record, b: Record) -> Iterator[Difference]:
    """The code, the parameters, the command and the data."""
    yield of_both(a, b, "code", lambda record: record.code.tree if record.code else None, NONE)
    yield of_both(a, b, "commit", lambda record: record.code.commit if record.code else None, NONE)
    yield of_both(a, b, "uncommitted changes", lambda record: record.code.dirty if record.code else None, NONE)
    yield from (Difference(f"parameter {name}", one, other) for name, one, other in parameter_changes(a, b))
    yield of_both(a, b, "command", lambda record: shlex.join(record.experiment.command))
    one, other = mounted(a), mounted(b)
    for target in dict.fromkeys([*one, *other]):
        texts = [shown(side[target][0]) if target in side else NONE for side in (one, other)]
        yield Difference(f"data at {target}", *texts)
    yield from each_key("mount at", mount_texts(a), mount_texts(b))


def mount_texts(record: Record) -> dict[str, str]:
    """Where it is mounted -> the source and the mode of each mount."""
    return {
        str(each.get("target")): f"{each.get('source')} ({'read-only' if each.get('read_only') else 'writable'})"
        for each in record.experiment.mounts
    }


def machine_rows(a: Record, b: Record) -> Iterator[Difference]:
    """What decides about bits beside the image, then the experiment's other variables."""
    for one, other in zip(facts_of(a), facts_of(b), strict=True):
        if one.name in ADDED:  # rows of the layer already
            continue
        if not one.items and not other.items:
            yield Difference(one.name, shown(one.text), shown(other.text))
        else:
            yield from each_key(one.name.removesuffix("s"), as_items(one.items), as_items(other.items))
    yield from each_key("variable", own_env(a), own_env(b))


def as_items(items: Sequence[str]) -> dict[str, str]:
    """`NAME=value` by the name; a flag alone is there."""
    split = (item.partition("=") for item in items)
    return {name: value if is_pair else "there" for name, is_pair, value in split}


def own_env(record: Record) -> dict[str, str]:
    """The experiment's variables without those that are rows already."""
    decisive = record.determinism.variables if record.determinism else {}
    return {k: v for k, v in record.experiment.env.items() if k not in decisive and k != OF_PARAMETERS}


def plan_rows(a: Record, b: Record) -> Iterator[Difference]:
    """The rest of what was asked."""
    one, other = a.asked, b.asked
    if one and other:
        yield from each_key("resource", one.resources, other.resources)
        yield from each_key("option", one.options, other.options)
        yield from (Difference(key, shown(getattr(one, key), NONE), shown(getattr(other, key), NONE)) for key in ASKED)
        ends = [shown(asdict(each.checkpoint) if each.checkpoint else None, NONE) for each in (one, other)]
        yield Difference("checkpoint", *ends)
        yield Difference("entrypoint", shlex.join(one.entrypoint) or NONE, shlex.join(other.entrypoint) or NONE)
        yield Difference("secrets", " ".join(one.secrets) or NONE, " ".join(other.secrets) or NONE)
        yield Difference("template", shown(one.template.sha256), shown(other.template.sha256))
        by = [shown(asdict(each.reproduce) if each.reproduce else None, NONE) for each in (one, other)]
        yield Difference("reproduce", *by)
    yield of_both(a, b, "experiment", lambda record: record.experiment.name)


def result_rows(a: Run, b: Run) -> Iterator[Difference]:
    """The metrics, and the outputs by their hashes."""
    (one, why_a), (other, why_b) = metrics(a), metrics(b)
    for row in each_key("metric", one, other):
        texts = [UNKNOWN if why else text for text, why in ((row.a, why_a), (row.b, why_b))]
        yield Difference(row.what, *texts)
    if a.record.experiment.outputs is None or b.record.experiment.outputs is None:
        texts = [UNKNOWN if run.record.experiment.outputs is None else f"{len(run.outputs)} files" for run in (a, b)]
        yield Difference("outputs", *texts)
        return
    hashes = ({path: f"sha256:{each.sha256}" for path, each in run.outputs.items()} for run in (a, b))
    yield from each_key("output", *hashes)


def job_rows(a: Record, b: Record) -> Iterator[Difference]:
    """Where and how the job ran."""
    for key in JOB:
        yield Difference(key.replace("_", " "), *(shown(getattr(each.job, key)) for each in (a, b)))
    yield of_both(a, b, "attempts", lambda record: len(record.attempts))
    yield of_both(a, b, "node", lambda record: of_tasks(record, lambda task: task.node))
    yield of_both(a, b, "node's OS", lambda record: of_tasks(record, lambda task: task.os))
    yield of_both(a, b, "kernel", lambda record: of_tasks(record, lambda task: task.kernel))
    yield of_both(a, b, "node's memory", lambda record: of_tasks(record, lambda task: shown(task.memory_mib)))
    for link in ("image", "gpus", "driver", "tensorflow_gpu", "code"):
        yield Difference(f"verified {link}", *(getattr(each.verified, link).status for each in (a, b)))
    if a.verified.packages or b.verified.packages:
        verdicts = (each.verified.packages for each in (a, b))
        yield Difference("verified packages", *(verdict.status if verdict else NONE for verdict in verdicts))


def of_tasks(record: Record, get: Callable[[TaskFacts], str | None]) -> str | None:
    """What the tasks of the last attempt say; None: one of them does not."""
    found = [get(task) for task in record.attempts[-1].tasks] if record.attempts else []
    if not found or None in found:
        return None
    return ", ".join(sorted({text for text in found if text}))
