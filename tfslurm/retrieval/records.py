"""The record of a job: read from its run folder, and kept in the tracker so that it outlives it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from tfslurm.document.bounded_json import read_json
from tfslurm.errors import HostError, RecordError, last_words
from tfslurm.host import Host, get, read_from
from tfslurm.job_plan import JobPlan
from tfslurm.job_plan.folders import job_folder
from tfslurm.monitoring.lookup import find_job, job_dir, plan_of
from tfslurm.monitoring.reasons import NO_FOLDER
from tfslurm.monitoring.refresh import refresh
from tfslurm.record import Record, build_record, record_from_json, record_json
from tfslurm.remote_programs import program
from tfslurm.run_folder import paths
from tfslurm.slurm import JobStatus
from tfslurm.tracker import SeenDriver, TrackedJob, Tracker
from tfslurm.tracker.images import KEPT, note_image
from tfslurm.workspace.clusters_of_jobs import known_for
from tfslurm.workspace.session import Session

# What is the program's own, and no fact.
NOT_NEEDED = (
    paths.OUTPUTS,
    *(f"attempt-*/{name}" for name in ("*.log", "home", "program", "workspace", paths.INPUT_LISTS)),
)
AT_ONCE = 500
"Records that are chained in one step: other commands wait for it, up to 30 s."


def latest_record(session: Session, job: TrackedJob) -> Record:
    """The record of a job as it is now, kept in the tracker too; the one last read if its cluster does not answer.

    Raises:
        RecordError: the job has not started, or nothing of it is left anywhere.
        HostError: the cluster does not answer, and no record was read before.
    """
    tracker = session.tracker
    known = known_for(job, tracker)
    try:
        host = session.reach(known)
        refresh(known, tracker, host, [job])
        job = find_job(tracker, job.key)
        return keep(job, read_folder(job, plan_of(job, tracker), host), tracker)
    except HostError as error:
        if not tracker.record(job):
            raise
        session.say(f"{str(error).splitlines()[0]}; this is the record as last read")
        return kept_record(job, tracker)


def keep(job: TrackedJob, found: Record | None, tracker: Tracker) -> Record:
    """The record as it was found, kept in the tracker; where none was, the one that was kept.

    Raises:
        RecordError: nothing of it is left anywhere.
    """
    if found is None:
        return left_of(job, plan_of(job, tracker), tracker)
    (kept,) = keep_all([(job, found)], tracker)
    return kept


def keep_all(found: Sequence[tuple[TrackedJob, Record]], tracker: Tracker) -> list[Record]:
    """The records as the tracker keeps them: those of jobs that have ended are entries of its chain."""
    final = [(job, record) for job, record in found if job.final]
    steps = (final[at : at + AT_ONCE] for at in range(0, len(final), AT_ONCE))
    chained = iter([kept for step in steps for kept in tracker.chain.keep(step)])
    for job, record in found:
        if not job.final:
            tracker.keep(job, record_json(record))
        libraries = {key: getattr(record.environment, key) for key in KEPT}
        note_image(tracker, record.image.digest, libraries)
    if drivers := [driver for job, record in found for driver in drivers_of(job, record)]:
        tracker.note_drivers(drivers)
    return [next(chained) if job.final else record for job, record in found]


def read_folder(
    job: TrackedJob,
    plan: JobPlan,
    host: Host,
    folder: PurePosixPath | None = None,
    point: Mapping[str, Any] | None = None,
) -> Record | None:
    """The record by the run folder as it is now; None if there is no such folder.

    ``folder`` is the run folder where it is not in its place, because it is a copy; ``point`` the point that a task of
    an array ran, where it was read before.

    Raises:
        HostError: the machine does not answer.
    """
    folder = folder or plan.run_dir
    files = get(host, job_folder(folder, job.job_id), exclude=NOT_NEEDED)
    if not files:
        return None
    digest = plan.pin.digest.removeprefix("sha256:")
    facts = read_from(host, folder.parent.parent / "images" / f"{digest}.json", 0, 4 * 2**20) or None
    if plan.points and point is None:
        point = read_point(job, folder, host)
    return build_record(plan, job.job_id, files, status_of(job), image_facts=facts, point=point)


def read_point(job: TrackedJob, folder: PurePosixPath, host: Host) -> dict[str, Any]:
    """The point of a sweep that a task of an array ran, as the run folder has it.

    Raises:
        RecordError: it has not.
        HostError: the machine does not answer.
    """
    place = job.place or 0
    done = host.run(program("point", str(folder.parent), folder.name, str(place + 1)))
    try:
        point = read_json(done.stdout)
    except ValueError:
        point = None
    if not isinstance(point, dict) or point.get("index") != place:
        why = last_words(done) if done.exit_code else f"it has no point {place}"
        raise RecordError(f"{job.key}: {folder / paths.POINTS}: {why}")
    return point


def left_of(job: TrackedJob, plan: JobPlan, tracker: Tracker) -> Record:
    """The record of a job whose folder is not there.

    Raises:
        RecordError: none was kept.
    """
    if tracker.record(job):
        return kept_record(job, tracker)
    if job.status.get("reason") == NO_FOLDER:
        raise RecordError(f"{job.key}: {job.state}: {NO_FOLDER} ({plan.run_dir}); no record of it was read before that")
    where = job_dir(plan, job.job_id)
    if job.final and job.status.get("started_at"):
        made = "" if job.state == "COMPLETED" else ", or the job could not make it"
        why = f"it was removed, or the file system is not mounted{made}"
        raise RecordError(
            f"{job.key}: {job.state}: its folder {where} is not there: {why}; no record was read before that"
        )
    if job.final:
        raise RecordError(f"{job.key}: {job.state}: it left nothing in {where}; `tfslurm logs {job.key}` may say why")
    raise RecordError(f"{job.key}: the program has not started yet ({job.state}); its record begins when it does")


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
    """The scheduler's last word on a job, without the job's own beside it; None if the scheduler never knew it."""
    if "job_id" not in job.status:
        return None
    slurms = {each: job.status[each] for each in JobStatus._fields if each in job.status}
    return JobStatus(**{**slurms, "nodes": tuple(job.status["nodes"])})


def drivers_of(job: TrackedJob, record: Record) -> Iterator[SeenDriver]:
    """The driver of each node of a job's last attempt."""
    about = record.job
    moment = about.ended_at or about.started_at or job.submitted_at
    for task in (task for attempt in record.attempts[-1:] for task in attempt.tasks):
        if about.partition and task.node and task.driver_version:
            yield SeenDriver(job.cluster, about.partition, task.node, task.driver_version, moment, f"job {job.key}")
