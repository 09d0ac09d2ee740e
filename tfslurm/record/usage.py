"""The limits of a container, by its engine, and its use, by its cgroup and nvidia-smi. Pure.

The cgroup vanishes with the container's last process, so the node looks at it every second while it runs: what came
after the last look is not in the numbers, and ``usage_until`` says when that was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from tfslurm.document.moments import parse_time
from tfslurm.record import facts
from tfslurm.record.engines import container_answer
from tfslurm.record.folder import Folder
from tfslurm.record.task_model import Gpu, GpuUse

MIB = 2**20
MOST_DIGITS = 12
USED = ("peak_memory_mib", "cpu_time_s", "usage_until")


def read_allowed(folder: Folder) -> Mapping[str, Any]:
    """memory_limit_mib and cpu_limit, as the engine was asked for; None where it has no limit."""
    found = folder.quiet().fact("", "container-inspect.json", parse_allowed)
    return found or {"memory_limit_mib": None, "cpu_limit": None}


def parse_allowed(raw: bytes) -> Mapping[str, Any]:
    """The container's limits: CPUs by a share of them, or by their numbers."""
    container = container_answer(raw)
    named = container.cpu_numbers
    cpus = float(count_cpus(named)) if named else container.cpu_share
    return {"memory_limit_mib": container.memory_bytes // MIB or None, "cpu_limit": cpus}


def count_cpus(text: str) -> int:
    """5 of ``0-3,8``."""
    ranges = [[int(end) for end in part.split("-")] for part in text.split(",")]
    return sum(each[-1] - each[0] + 1 for each in ranges)


def read_used(folder: Folder) -> Mapping[str, Any]:
    """Peak memory, CPU time, and when they were last seen."""
    scratch = folder.quiet()
    found = scratch.fact("", "container-usage.txt", parse_usage)
    if found is not None:
        return found
    for key in USED:
        folder.note(key, scratch.why(""))
    return dict.fromkeys(USED)


def parse_usage(raw: bytes) -> Mapping[str, Any]:
    """``memory_peak_bytes 4083712``, ``cpu_usage_usec 21375``, ``seen_at 2026-…Z``, each on its line."""
    lines = dict(line.split(" ", 1) for line in facts.parse_lines(raw))
    return {
        "peak_memory_mib": -(-int(lines["memory_peak_bytes"]) // MIB),
        "cpu_time_s": round(int(lines["cpu_usage_usec"]) / 1e6, 3),
        "usage_until": parse_time(lines["seen_at"]),
    }


def read_gpu_use(folder: Folder, gpus: tuple[Gpu, ...] | None) -> tuple[GpuUse, ...] | None:
    """One entry for each of the task's GPUs that nvidia-smi spoke of; () for a CPU job."""
    if gpus == ():
        return ()
    scratch = folder.quiet()
    found = scratch.fact("", "gpu-usage.csv", parse_gpu_use)
    if not found:
        short = "gpu-usage.csv was not written: the program ended before the first look, 5 s after its start"
        seen = folder.raw("gpu-usage.csv") is not None
        folder.note("gpu_utilisation", (scratch.why("") or "nvidia-smi spoke of none of its GPUs") if seen else short)
        return None
    return found


def parse_gpu_use(raw: bytes) -> tuple[GpuUse, ...]:
    """One entry for each GPU of the samples, in their order."""
    by_uuid: dict[str, list[Mapping[str, str]]] = {}
    for row in facts.parse_query(raw):
        by_uuid.setdefault(row["uuid"], []).append(row)
    return tuple(gpu_use(uuid, rows) for uuid, rows in by_uuid.items())


def gpu_use(uuid: str, rows: list[Mapping[str, str]]) -> GpuUse:
    """One GPU's samples as numbers; ``[N/A]``, as for a slice of a GPU, is not a number."""
    percents = [(int(row["seconds"]), int(row["utilization.gpu"])) for row in rows if is_number(row["utilization.gpu"])]
    memory = [int(row["memory.used"]) for row in rows if is_number(row["memory.used"])]
    return GpuUse(
        uuid=uuid,
        samples=len(rows),
        mean_percent=mean(percents),
        peak_percent=max((percent for _, percent in percents), default=None),
        peak_memory_mib=max(memory, default=None),
    )


def is_number(text: str) -> bool:
    """Whether a field of nvidia-smi's is one."""
    return text.isdecimal() and len(text) <= MOST_DIGITS


def mean(samples: Iterable[tuple[int, int]]) -> float | None:
    """The mean over time of (second, value): a value stands for the time since the one before it."""
    values = list(samples)
    if not values:
        return None
    spans = [max(after[0] - before[0], 1) for before, after in pairwise(values)]
    weights = [spans[0] if spans else 1, *spans]
    return round(sum(value * weight for (_, value), weight in zip(values, weights, strict=True)) / sum(weights), 1)
