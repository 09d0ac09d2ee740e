"""tfslurm status --efficiency: what finished jobs asked for, and what they used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from tfslurm.cli.console import say, table, tracer
from tfslurm.errors import HostError, RecordError
from tfslurm.host import Host, open_host
from tfslurm.record import record_json
from tfslurm.record.efficiency import Efficiency, efficiency
from tfslurm.slurm import is_final
from tfslurm.submit.follow import plan_of, read_record
from tfslurm.submit.reach import known_for
from tfslurm.tracker import TrackedJob, Tracker


def efficiencies(jobs: Sequence[TrackedJob], tracker: Tracker, verbose: int) -> dict[str, Efficiency]:
    """Job -> what it used; jobs that have not ended, and those without a record, are left out and said on stderr."""
    found: dict[str, Efficiency] = {}
    with ExitStack() as stack:
        hosts: dict[str, Host | None] = {}
        for job in jobs:
            if not job.final:
                continue
            record = kept(job)
            if record is None:
                if job.cluster not in hosts:
                    hosts[job.cluster] = reached(job, tracker, stack, verbose)
                record = read(job, tracker, hosts[job.cluster])
            if record is not None:
                asked = plan_of(job, tracker).resources
                found[job.key] = efficiency(record, asked.cpus * asked.nodes)
    return found


def kept(job: TrackedJob) -> Mapping[str, Any] | None:
    """The tracker's copy, if it was read after the job's end by a version that looked at use."""
    record = job.record or {}
    state = (record.get("job") or {}).get("state")
    boxes = [task["container"] for attempt in record.get("attempts") or () for task in attempt["tasks"]]
    whole = all(box is None or "peak_memory_mib" in box for box in boxes)
    return record if state and is_final(state) and whole else None


def reached(job: TrackedJob, tracker: Tracker, stack: ExitStack, verbose: int) -> Host | None:
    """The job's cluster; None, and a line, where it does not answer."""
    try:
        return stack.enter_context(open_host(known_for(job, tracker).cluster, trace=tracer(verbose)))
    except HostError as error:
        say(f"error: {str(error).splitlines()[0]}")
        return None


def read(job: TrackedJob, tracker: Tracker, host: Host | None) -> Mapping[str, Any] | None:
    """The record as the run folder tells it now."""
    try:
        return record_json(read_record(job, tracker, host)) if host else None
    except (HostError, RecordError) as error:
        say(f"{job.key}: {str(error).splitlines()[0]}")
        return None


def show_efficiency(jobs: Sequence[TrackedJob], found: Mapping[str, Efficiency]) -> None:
    """One line for each job: used of asked."""
    rows = [row(job, found[job.key]) for job in jobs if job.key in found]
    if rows:
        table(["JOB", "NAME", "STATE", "MEMORY", "CPUS", "GPUS"], rows)
    else:
        say("no finished job with a record; name some, or add --all")


def row(job: TrackedJob, used: Efficiency) -> list[str]:
    """``41 of 256 MiB (16 %)``, ``0.9 of 4 (23 %)``, ``61 % of 2``; ? for what is not known."""
    gpus = "" if used.gpus_asked == 0 else f"{known(used.gpu_percent)} % of {known(used.gpus_asked)}"
    memory = f"{known(used.memory_used_mib)} of {known(used.memory_asked_mib)} MiB{share(used.memory_percent)}"
    cpus = f"{known(used.cpus_used)} of {known(used.cpus_asked)}{share(used.cpu_percent)}"
    return [job.key, job.name, job.state, memory, cpus, gpus]


def known(value: float | None) -> str:
    """A number as a reader writes it, ? for one that is not known."""
    return "?" if value is None else f"{value:g}"


def share(percent: int | None) -> str:
    """`` (16 %)``, nothing where it is not known."""
    return "" if percent is None else f" ({percent} %)"


def as_value(used: Efficiency | None) -> dict[str, Any] | None:
    """For --json; null for a job that has not ended or has no record."""
    return asdict(used) if used else None
