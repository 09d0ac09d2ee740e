"""The Slurm jobs of experiments with what they were granted and took, from the tracker and their records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tfslurm.document.moments import datetime_of
from tfslurm.export.compute import Run
from tfslurm.monitoring.lookup import plan_of
from tfslurm.monitoring.refresh import refresh_all
from tfslurm.monitoring.wait import clusters_to_ask
from tfslurm.retrieval.evidence import tracked_jobs
from tfslurm.retrieval.records_of_jobs import records_of
from tfslurm.tracker import TrackedJob
from tfslurm.workspace.session import Session


def runs_of(session: Session, names: Sequence[str]) -> list[Run]:
    """The jobs that are named, then every other job of the experiments with their names that this tracker knows.

    Points that share a Slurm job are one run. Jobs that never began are left out.

    Raises:
        InputError: a name stands for no job of this tracker.
    """
    tracker = session.tracker
    asked = [job for name in names for job in tracked_jobs(session, name)]
    for line in refresh_all(session, clusters_to_ask(tracker, asked)).values():
        session.say(f"error: {line}")
    keys, experiments = {job.key for job in asked}, dict.fromkeys(job.name for job in asked)
    jobs = [job for name in experiments for job in tracker.jobs(name=name)]
    began = [job for job in jobs if job.state != "PENDING" and job.status.get("elapsed_s") is not None]
    records = records_of(session, [job for job in began if job.key in keys])
    made = [run_of(session, job, records.get(job.key) or tracker.record(job) or {}, job.key in keys) for job in began]
    alone = {(job.cluster, job.slurm_id, job.plan_id): run for job, run in zip(began, made, strict=True)}
    return sorted(alone.values(), key=lambda run: not run.is_named)


def run_of(session: Session, job: TrackedJob, record: Mapping[str, Any], is_named: bool) -> Run:
    """One job as a run."""
    plan = plan_of(job, session.tracker)
    asked = plan.resources
    tasks = [task for attempt in (record.get("attempts") or ())[-1:] for task in attempt["tasks"]]
    return Run(
        job=f"{job.cluster}:{job.slurm_id}",
        is_named=is_named,
        state=job.state,
        seconds=seconds_of(job, record),
        nodes=asked.nodes,
        gpus=asked.gpus * asked.nodes,
        cpus=asked.cpus * asked.nodes,
        memory_mib=asked.memory_mib * asked.nodes if asked.memory_mib else None,
        gpu_names=() if not asked.gpus else names(gpu_name(gpu) for task in tasks for gpu in task["gpus"] or ()),
        cpu_names=names(task["cpu_model"] for task in tasks),
        joules=(record.get("energy") or {}).get("joules"),
        image=f"{plan.pin.reference}@{plan.pin.digest}" if "@" not in plan.pin.reference else plan.pin.reference,
    )


def names(found: Iterator[str | None]) -> tuple[str, ...] | None:
    """Each name once; None: none was observed."""
    return tuple(sorted({name for name in found if name})) or None


def gpu_name(gpu: Mapping[str, Any]) -> str | None:
    """Its kind and memory."""
    memory = gpu.get("memory_mib")
    return f"{gpu['name']} ({memory} MiB)" if gpu.get("name") and memory else gpu.get("name")


def seconds_of(job: TrackedJob, record: Mapping[str, Any]) -> int | None:
    """The time of all attempts; Slurm's own word is about the last one."""
    last: int | None = job.status.get("elapsed_s")
    earlier = [
        datetime_of(attempt["ended_at"]) - datetime_of(attempt["started_at"])
        for attempt in (record.get("attempts") or ())[:-1]
        if attempt.get("started_at") and attempt.get("ended_at")
    ]
    return None if last is None else last + sum(int(each.total_seconds()) for each in earlier)
