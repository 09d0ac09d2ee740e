"""tfslurm status --efficiency: what finished jobs asked for, and what they used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tfslurm.cli.console import say, table
from tfslurm.record.efficiency import Efficiency
from tfslurm.tracker import TrackedJob

SAMPLED_S = 5
"When the node side looks at the GPUs first: usage.sh."


def show_efficiency(jobs: Sequence[TrackedJob], found: Mapping[str, Efficiency]) -> None:
    """One line for each job: used of asked."""
    rows = [row(job, found[job.key]) for job in jobs if job.key in found]
    if rows:
        table(["JOB", "NAME", "STATE", "MEMORY", "CPUS", "GPUS"], rows, drops=("NAME", "STATE"))
        say(*(kept(job.key, found[job.key]) for job in jobs if job.key in found and found[job.key].kept_s))
    else:
        say("no finished job with a record; name some, or add --all")


def row(job: TrackedJob, used: Efficiency) -> list[str]:
    """``41 of 256 MiB (16 %)``, ``0.9 of 4 (23 %)``, ``61 % of 2``; ? for what is not known."""
    memory = f"{known(used.memory_used_mib)} of {known(used.memory_asked_mib)} MiB{share(used.memory_percent)}"
    cpus = f"{known(used.cpus_used)} of {known(used.cpus_asked)}{share(used.cpu_percent)}"
    return [job.key, job.name, job.state, memory, cpus, gpus(job, used)]


def kept(job: str, used: Efficiency) -> str:
    """What the container of a program that failed cost beyond its run."""
    hours = used.kept_s * (used.gpus_asked or 0) / 3600
    clock = f"{used.kept_s // 3600}:{used.kept_s % 3600 // 60:02d}:{used.kept_s % 60:02d}"
    return f"{job}: its container was kept for {clock} after the failure{f': {hours:.3f} GPU hours' if hours else ''}"


def gpus(job: TrackedJob, used: Efficiency) -> str:
    """The mean use of the GPUs, or why there is none; empty for a job without GPUs."""
    if used.gpus_asked == 0:
        return ""
    if used.gpu_percent is not None:
        return f"{known(used.gpu_percent)} % of {known(used.gpus_asked)}"
    elapsed_s = job.status.get("elapsed_s")
    is_short = elapsed_s is not None and elapsed_s < SAMPLED_S
    return f"not sampled ({'ended within' if is_short else 'first seen after'} {SAMPLED_S} s)"


def known(value: float | None) -> str:
    """A number as a reader writes it, ? for one that is not known."""
    return "?" if value is None else f"{value:g}"


def share(percent: int | None) -> str:
    """`` (16 %)``, nothing where it is not known."""
    return "" if percent is None else f" ({percent} %)"


def as_value(used: Efficiency | None) -> dict[str, Any] | None:
    """For --json; null for a job that has not ended or has no record."""
    return asdict(used) if used else None
