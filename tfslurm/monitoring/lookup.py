"""Jobs and sweeps by the names that a user gives them."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any

from tfslurm.document.bounded_json import read_json
from tfslurm.errors import RecordError, refuse
from tfslurm.job_plan import JobPlan
from tfslurm.job_plan.folders import job_folder
from tfslurm.tracker import TrackedJob, TrackedSweep, Tracker

JOB = re.compile(r"(?:(?P<cluster>[a-z0-9][a-z0-9._-]*):)?(?P<id>[0-9]+(?:_[0-9]+(?:\.[0-9]+)?)?)")


def find_job(tracker: Tracker, text: str) -> TrackedJob:
    """The job that a user names: ``1234``, ``1234_7``, ``1234_7.59``, ``alpha:1234_7`` or ``SWEEP:POINT``; the latest
    where an id was used again.

    Raises:
        InputError: not a job's name, not one of this tracker's jobs, several jobs, or an id that two clusters have.
    """
    found = find_jobs(tracker, text)
    if len(found) > 1:
        fix = f"name one, such as {found[0].key}; `tfslurm status {text}` lists them"
        raise refuse(f"job {text!r}", f"is {len(found)} jobs", fix)
    return found[0]


def find_jobs(tracker: Tracker, text: str) -> list[TrackedJob]:
    """The jobs that a user names: one, all points of an array or of one of its tasks, or the last job of every point of
    a sweep that was sent.

    Raises:
        InputError: as find_job, and a sweep of which nothing was sent.
    """
    sweep, _, point = text.partition(":")
    if tracker.sweeps.named(sweep):
        return jobs_of_sweep(tracker, find_sweep(tracker, sweep), point)
    match = JOB.fullmatch(text)
    if not match:
        raise refuse(f"job {text!r}", "is not a job", "write 1234, 1234_7 or alpha:1234_7, or a sweep's name")
    ids = tracker.jobs(cluster=match["cluster"], job_id=match["id"])
    found = {job.cluster: [job] for job in ids} or tasks_of(tracker, match["cluster"], match["id"])
    if not found:
        fix = "`tfslurm status --all` lists those that are; `tfslurm tracker rebuild` reads the run folders again"
        raise refuse(f"job {text!r}", "is not in the tracker", fix)
    if len(found) > 1:
        keys = ", ".join(f"{cluster}:{match['id']}" for cluster in found)
        raise refuse(f"job {text!r}", f"exists on several clusters: {keys}", "name the cluster too")
    return next(iter(found.values()))


def tasks_of(tracker: Tracker, cluster: str | None, array: str) -> dict[str, list[TrackedJob]]:
    """Cluster -> the points of the latest array, or of the latest task of one, with this id there."""
    found: dict[str, list[TrackedJob]] = {}
    for job in tracker.jobs(cluster=cluster, array=array):
        before = found.get(job.cluster)
        if before and before[0].plan_id == job.plan_id:
            before.append(job)
        else:
            found[job.cluster] = [job]
    return found


def find_sweep(tracker: Tracker, text: str) -> TrackedSweep:
    """The sweep with this id, or the only one with this name.

    Raises:
        InputError: there is none, or several have the name.
    """
    found = tracker.sweeps.named(text)
    if not found:
        known = ", ".join(sweep.sweep_id for sweep in tracker.sweeps.all()[-5:]) or "none"
        fix = "`tfslurm status --all` lists those that are; `tfslurm tracker rebuild` reads the run folders again"
        raise refuse(f"sweep {text!r}", f"is not in the tracker (the last are: {known})", fix)
    if len(found) > 1:
        last = ", ".join(sweep.sweep_id for sweep in found[-5:])
        raise refuse(f"sweep {text!r}", f"is the name of {len(found)}: {last}", "name one of them")
    return found[0]


def jobs_of_sweep(tracker: Tracker, sweep: TrackedSweep, point: str) -> list[TrackedJob]:
    """The last job of each point of a sweep that was sent, or of the one whose id begins with ``point``.

    Raises:
        InputError: no point's id begins so, or several do; or nothing of it was sent.
    """
    points = [each for each in tracker.sweeps.points(sweep.sweep_id) if each.entry.id.startswith(point)]
    if point and len(points) != 1:
        why = f"is {len(points)} points" if points else "is no point of it"
        raise refuse(f"{sweep.sweep_id}:{point}", why, f"`tfslurm status {sweep.sweep_id} --all` lists them")
    jobs = [each.job for each in points if each.job]
    if not jobs:
        raise refuse(f"{sweep.sweep_id}{':' if point else ''}{point}", "was not sent yet", "the next `submit` sends it")
    return jobs


def job_dir(plan: JobPlan, job_id: str) -> PurePosixPath:
    """The folder of one job of a plan, on the cluster."""
    return job_folder(plan.run_dir, job_id)


def parameters_of(job: TrackedJob, tracker: Tracker) -> dict[str, Any]:
    """The values of a job's parameters: those of its point, if it is one of a sweep.

    Raises:
        RecordError: the tracker lost its plan.
    """
    entries = tracker.sweeps.entries(job.plan_id) if job.place is not None else ()
    if job.place is not None and job.place < len(entries):
        values: dict[str, Any] = read_json(entries[job.place].text)
        return values
    return dict(plan_of(job, tracker).parameters)


def plan_of(job: TrackedJob, tracker: Tracker) -> JobPlan:
    """The plan that a job was submitted from.

    Raises:
        RecordError: the tracker lost it.
    """
    found = tracker.plans(plan_id=job.plan_id)
    if not found:
        raise RecordError(f"{job.key}: its plan {job.plan_id} is not in the tracker; run `tfslurm tracker rebuild`")
    return found[0].plan
