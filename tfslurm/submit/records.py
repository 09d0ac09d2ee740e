"""The record of a job: read from its run folder, and kept in the tracker so that it outlives it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from tfslurm.errors import RecordError, TooLarge
from tfslurm.host import Host, get, read_from
from tfslurm.plan import JobPlan
from tfslurm.record import Record, build_record, record_from_json, record_json
from tfslurm.slurm import JobStatus
from tfslurm.submit.drivers import remember
from tfslurm.submit.follow import job_dir, plan_of
from tfslurm.tracker import TrackedJob, Tracker

# What is the program's own, and no fact.
NOT_NEEDED = ("out", *(f"attempt-*/{name}" for name in ("*.log", "home", "program", "workspace")))

# What becomes large where a program leaves millions of files, or writes there itself: in folders of older versions.
LARGE = (
    *("outputs.sha256", "outputs.sizes", "outputs.before", "foreign-files"),
    *("facts/task-*/container-diff.txt", "facts/task-*/container/*"),
)


def read_record(job: TrackedJob, tracker: Tracker, host: Host) -> Record:
    """The record as the run folder and the scheduler tell it now; kept in the tracker too.

    Where the run folder is gone, the record that was kept is given.

    Raises:
        RecordError: the job has not started, or nothing of it is left anywhere.
    """
    return keep(job, look_up(job, plan_of(job, tracker), host), tracker)


def keep(job: TrackedJob, found: Record | None, tracker: Tracker) -> Record:
    """The record as it was found, kept in the tracker; where none was, the one that was kept.

    Raises:
        RecordError: nothing of it is left anywhere.
    """
    if found is None:
        return left_of(job, plan_of(job, tracker), tracker)
    kept = record_json(found)
    tracker.keep(job, kept)
    remember(job, kept, tracker)
    return found


def look_up(job: TrackedJob, plan: JobPlan, host: Host) -> Record | None:
    """The record as the run folder tells it now; None where there is no such folder.

    Raises:
        HostError: the machine does not answer.
    """
    files = files_of(host, job_dir(plan, job.job_id))
    if not files:
        return None
    digest = plan.pin.digest.removeprefix("sha256:")
    facts = read_from(host, plan.images_dir / f"{digest}.json", 0, 4 * 2**20) or None
    point = read_point(job, plan, host) if plan.points else None
    return build_record(plan, job.job_id, files, status_of(job), image_facts=facts, point=point)


def files_of(host: Host, folder: PurePosixPath) -> Mapping[str, bytes]:
    """What a job wrote down, by path below its folder; where that is too much, without what a program can make large.

    Raises:
        HostError: the machine does not answer, or it is too much all the same.
    """
    try:
        return get(host, folder, exclude=NOT_NEEDED)
    except TooLarge:
        files = dict(get(host, folder, exclude=(*NOT_NEEDED, *(f"attempt-*/{name}" for name in LARGE))))
        for place in {name.partition("/")[0] for name in files if name.startswith("attempt-")}:
            files[f"{place}/outputs.sha256.error"] = b"not read: what the job wrote down is too much to be read here"
        return files


def read_point(job: TrackedJob, plan: JobPlan, host: Host) -> dict[str, Any]:
    """The point of a sweep that a task of an array ran, as the run folder has it.

    Raises:
        RecordError: it has not.
        HostError: the machine does not answer.
    """
    place = job.place or 0
    file = plan.run_dir / "points.jsonl"
    done = host.run(["sed", "-n", f"{place + 1}{{p;q}}", str(file)])
    try:
        point = json.loads(done.stdout)
    except ValueError:
        point = None
    if not isinstance(point, dict) or point.get("index") != place:
        why = done.stderr.strip() or f"it has no point {place}"
        raise RecordError(f"{job.key}: {file}: {why}")
    return point


def left_of(job: TrackedJob, plan: JobPlan, tracker: Tracker) -> Record:
    """The record of a job whose folder is not there.

    Raises:
        RecordError: none was kept.
    """
    if tracker.record(job):
        return kept_record(job, tracker)
    if job.final:
        where = job_dir(plan, job.job_id)
        raise RecordError(f"{job.key}: {job.state}: it left nothing in {where}; `tfslurm logs {job.key}` may say why")
    raise RecordError(f"{job.key}: has not started yet ({job.state}); its record begins when it does")


def kept_record(job: TrackedJob, tracker: Tracker) -> Record:
    """The record as it was last read.

    Raises:
        RecordError: it was never read, or the tracker's copy is not one.
    """
    try:
        return record_from_json(tracker.record(job) or {})
    except ValueError as error:
        raise RecordError(f"{job.key}: the tracker has no record of it that can be read: {error}") from error


def status_of(job: TrackedJob) -> JobStatus | None:
    """What the scheduler last said of a job, or None where it never did."""
    if "job_id" not in job.status:
        return None
    return JobStatus(**{**job.status, "nodes": tuple(job.status["nodes"])})
