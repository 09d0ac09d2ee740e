"""A record -> the memory, CPUs and GPUs that its last attempt asked for, and those that it used. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfslurm.document.moments import datetime_of, seconds_between


@dataclass(frozen=True, slots=True)
class Efficiency:
    """Memory is that of the fullest container, CPUs and GPUs are those of all; None: not known, or no limit."""

    memory_asked_mib: int | None
    memory_used_mib: int | None
    memory_percent: int | None
    cpus_asked: float | None
    cpus_used: float | None  # CPU time over the time that the containers ran
    cpu_percent: int | None
    gpus_asked: int | None
    gpu_percent: float | None  # the mean of all
    kept_s: int = 0  # for which the GPUs were held beyond that, with the container of a program that failed


def efficiency(record: Mapping[str, Any], cpus_asked: int | None = None) -> Efficiency:
    """The use in a record (as JSON values); a key that an older record lacks is not known.

    ``cpus_asked`` is the plan's, of all nodes: on a node with no more CPUs than that, docker gets no limit.
    """
    tasks = record["attempts"][-1]["tasks"] if record["attempts"] else []
    kept = (record["attempts"][-1].get("kept") if record["attempts"] else None) or {}
    boxes = [task["container"] or {} for task in tasks]
    fullest = max(boxes, key=memory_share, default={})
    cpus = cpus_asked or total([box.get("cpu_limit") for box in boxes])
    used = total([cpus_used(box) for box in boxes])
    gpus = [task["gpus"] for task in tasks]
    means = [use["mean_percent"] for box in boxes for use in box.get("gpu_utilisation") or ()]
    return Efficiency(
        memory_asked_mib=fullest.get("memory_limit_mib"),
        memory_used_mib=fullest.get("peak_memory_mib"),
        memory_percent=percent(fullest.get("peak_memory_mib"), fullest.get("memory_limit_mib")),
        cpus_asked=cpus,
        cpus_used=None if used is None else round(used, 2),
        cpu_percent=percent(used, cpus),
        gpus_asked=None if not gpus or None in gpus else sum(len(each) for each in gpus),
        gpu_percent=None if not means or None in means else round(sum(means) / len(means), 1),
        kept_s=max(0, seconds_between(kept.get("began_at"), kept.get("ended_at")) or 0),
    )


def memory_share(box: Mapping[str, Any]) -> float:
    """The share of its memory that a container used; the order in which they are compared."""
    return (box.get("peak_memory_mib") or 0) / (box.get("memory_limit_mib") or 1)


def cpus_used(box: Mapping[str, Any]) -> float | None:
    """CPUs in use on the average, from the container's start to its end."""
    began, until = box.get("started_at"), box.get("ended_at")
    if box.get("cpu_time_s") is None or not began or not until:
        return None
    ran = datetime_of(until) - datetime_of(began)
    return float(box["cpu_time_s"]) / max(ran.total_seconds(), 1)


def total(values: Sequence[float | None]) -> float | None:
    """Their sum; None where one is not known, or there is none."""
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


def percent(used: float | None, asked: float | None) -> int | None:
    """Used of asked, in whole percent."""
    return round(100 * used / asked) if used is not None and asked else None
