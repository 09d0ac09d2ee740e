"""The chain of a record, from the tag to the record itself: the ends of each link, and whether it holds. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tfslurm.export.rows import Row
from tfslurm.record import Record, TaskFacts
from tfslurm.record.model import record_sha256

FRACTION = r"\.[0-9]+"
"Of a second, which the record has."
FEW = 4
"Nodes and kinds of GPU that are named before the rest is counted."


def chain(record: Record, values: Mapping[str, Any]) -> Iterator[Row]:
    """The rows: tag, digest, node, GPU, job, record, with the links between them.

    ``values`` are the JSON values that the record was read from.
    """
    image = record.image
    last = record.attempts[-1].tasks if record.attempts else ()
    yield Row("tag", image.reference)
    yield pinned(record)
    yield Row("digest", image.digest)
    yield link(record.verified.image.status, record.verified.image.reason)
    yield Row("node", nodes(record, last))
    yield from inside(record)
    yield Row("GPU", gpus(record, last))
    yield link(record.verified.code.status, f"code: {record.verified.code.reason}")
    if packages := record.verified.packages:
        yield link(packages.status, f"packages: {packages.reason}")
    yield Row("job", job(record))
    yield whole(record, values)
    yield Row("record", f"sha256:{record.integrity.record_sha256}")


def link(status: str, reason: str) -> Row:
    """A link that holds, does not, or is not known to."""
    return Row("", f"| {reason}", status)


def pinned(record: Record) -> Row:
    """Whether the digest is known to be what the tag stood for, and by whom."""
    image = record.image
    if not image.served_by:
        return link("unknown", "who said that the tag stands for this digest was not written down")
    moment = f" {re.sub(FRACTION, '', image.pinned_at)}" if image.pinned_at else ""
    how = "pinned" if image.tag else "asked for by its digest, found"
    return link("ok", f"{how}{moment} from {image.served_by}")


def inside(record: Record) -> Iterator[Row]:
    """The links from the node to its GPUs: driver, GPUs, TensorFlow; those with one reason are one."""
    verified = record.verified
    named = (("driver", verified.driver), ("GPUs", verified.gpus), ("TensorFlow", verified.tensorflow_gpu))
    grouped: dict[tuple[str, str], list[str]] = {}
    for name, verdict in named:
        grouped.setdefault((verdict.status, verdict.reason), []).append(name)
    for (status, reason), names in grouped.items():
        told = reason.startswith(f"{names[0]} ") and len(names) == 1
        yield link(status, reason if told else f"{', '.join(names)}: {reason}")


def nodes(record: Record, tasks: tuple[TaskFacts, ...]) -> str:
    """The nodes of the last attempt with their drivers."""
    if not record.attempts:
        return "unknown (no attempt of the job left a file)"
    if not tasks:
        return unknown(record, f"attempts[{len(record.attempts) - 1}].tasks")
    found: dict[str, str] = {}
    for index, task in enumerate(tasks):
        path = f"attempts[{len(record.attempts) - 1}].tasks[{index}]"
        driver = (
            "" if task.gpus == () else f", driver {task.driver_version or unknown(record, f'{path}.driver_version')}"
        )
        found.setdefault(task.node or unknown(record, f"{path}.node"), driver)
    return some([f"{name}{driver}" for name, driver in found.items()], "nodes")


def gpus(record: Record, tasks: tuple[TaskFacts, ...]) -> str:
    """The GPUs of the last attempt: each by its UUID if there are few, else how many of each kind."""
    path = f"attempts[{len(record.attempts) - 1}].tasks"
    if not tasks:
        return unknown(record, f"{path}[0].gpus")
    if all(task.gpus == () for task in tasks):
        return "none was asked for"
    lacking = next((index for index, task in enumerate(tasks) if task.gpus is None), None)
    if lacking is not None:
        return unknown(record, f"{path}[{lacking}].gpus")
    every = {gpu.uuid: gpu for task in tasks for gpu in task.gpus or ()}
    if len(every) <= FEW:
        return "\n".join(f"{gpu.uuid}  {gpu.name or 'of an unknown kind'}" for gpu in every.values())
    kinds = [kind(gpu.name, gpu.memory_mib) for gpu in every.values()]
    return some([f"{kinds.count(name)} × {name}" for name in dict.fromkeys(kinds)], "kinds")


def kind(name: str | None, memory_mib: int | None) -> str:
    """A kind of GPU."""
    return (name or "of an unknown kind") + (f", {memory_mib} MiB" if memory_mib else "")


def some(names: list[str], what: str) -> str:
    """The first names, and how many more there are."""
    more = len(names) - FEW
    return "; ".join(names[:FEW]) + (f"; and {more} more {what}" if more > 0 else "")


def job(record: Record) -> str:
    """The job and its end."""
    about = record.job
    end = f", signal {about.signal}" if about.signal is not None else ""
    if not end and about.exit_code is not None:
        end = f", exit {about.exit_code}"
    return f"{about.cluster}:{about.job_id}  {about.state or unknown(record, 'job.state')}{end}"


def whole(record: Record, values: Mapping[str, Any]) -> Row:
    """Whether the record's content is still what its hash is of."""
    said, now = record.integrity.record_sha256, record_sha256(values)
    if said != now:
        return link("failed", f"the record was changed: its content has the sha256 {now}, and it says")
    signed = ", which is signed" if record.integrity.signature else ""
    return link("ok", f"the record is whole: its content has the sha256 that it says{signed}")


def unknown(record: Record, path: str) -> str:
    """``unknown`` and the reason for it, by the path of a fact or of a part that contains it."""
    reason = record.unknown.get(path) or record.unknown.get(path.rpartition(".")[0]) or ""
    return f"unknown ({reason})" if reason else "unknown"
