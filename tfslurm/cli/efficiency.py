"""tfslurm status --efficiency: what finished jobs asked for, and what they used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from tfslurm.cli.console import say, table, tracer
from tfslurm.errors import HostError, RecordError
from tfslurm.host import Host, open_host
from tfslurm.monitoring.lookup import plan_of
from tfslurm.plan import JobPlan
from tfslurm.record import Record, record_json
from tfslurm.record.efficiency import Efficiency, efficiency
from tfslurm.retrieval.records import keep, look_up
from tfslurm.slurm import is_final
from tfslurm.tracker import TrackedJob, Tracker
from tfslurm.workspace.config import Known
from tfslurm.workspace.connections import clusters_for
from tfslurm.workspace.threads import at_once


def efficiencies(jobs: Sequence[TrackedJob], tracker: Tracker, verbose: int) -> dict[str, Efficiency]:
    """Job -> what it used; jobs that have not ended, and those without a record, are left out and said on stderr."""
    ended = [job for job in jobs if job.final]
    records = {job.key: record for job in ended if (record := kept(job, tracker))}
    records |= read([job for job in ended if job.key not in records], tracker, verbose)
    found = {}
    for job in ended:
        if job.key in records:
            asked = plan_of(job, tracker).resources
            found[job.key] = efficiency(records[job.key], asked.cpus * asked.nodes)
    return found


def kept(job: TrackedJob, tracker: Tracker) -> Mapping[str, Any] | None:
    """The tracker's copy, if it was read after the job's end by a version that looked at use."""
    record = tracker.record(job) or {}
    state = (record.get("job") or {}).get("state")
    boxes = [task["container"] for attempt in record.get("attempts") or () for task in attempt["tasks"]]
    whole = all(box is None or "peak_memory_mib" in box for box in boxes)
    return record if state and is_final(state) and whole else None


def read(jobs: Sequence[TrackedJob], tracker: Tracker, verbose: int) -> dict[str, Mapping[str, Any]]:
    """The records as the run folders tell them now, all clusters read at once; what cannot be read is a line."""
    plans = {job.plan_id: plan_of(job, tracker) for job in jobs}
    clusters = clusters_for(jobs, tracker)
    works = [
        partial(look_there, known, [job for job in jobs if job.cluster == known.cluster.name], plans, tracer(verbose))
        for known in clusters
    ]
    found: dict[str, Mapping[str, Any]] = {}
    for answer in at_once(works):
        try:
            looks = answer()
        except HostError as error:
            say(f"error: {str(error).splitlines()[0]}")
            continue
        for job, seen in looks:
            try:
                found[job.key] = record_json(seen(tracker))
            except (HostError, RecordError) as error:
                say(f"{job.key}: {str(error).splitlines()[0]}")
    return found


def look_there(
    known: Known, jobs: Sequence[TrackedJob], plans: Mapping[str, JobPlan], trace: Callable[[str], None] | None
) -> list[tuple[TrackedJob, Callable[[Tracker], Record]]]:
    """Each job of a cluster with what gives its record when it is kept, or raises what kept it from being read."""
    with open_host(known.cluster, trace=trace) as host:
        return [(job, looked_up(job, plans[job.plan_id], host)) for job in jobs]


def looked_up(job: TrackedJob, plan: JobPlan, host: Host) -> Callable[[Tracker], Record]:
    """The record of one job, to be kept by who has the tracker."""
    try:
        found = look_up(job, plan, host)
    except (HostError, RecordError) as error:
        return partial(fail, error)
    return partial(keep, job, found)


def fail(error: Exception, tracker: Tracker) -> Record:
    """Raise the error."""
    raise error


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
