"""The records of many jobs: the tracker's copies, and the rest read from all clusters at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from tfslurm.errors import HostError, RecordError
from tfslurm.job_plan import JobPlan
from tfslurm.monitoring.lookup import plan_of
from tfslurm.record import Record, record_json
from tfslurm.retrieval.records import keep, keep_all, read_folder
from tfslurm.slurm import is_final
from tfslurm.tracker import TrackedJob, Tracker
from tfslurm.workspace.clusters_of_jobs import clusters_for
from tfslurm.workspace.config import Known
from tfslurm.workspace.session import Session
from tfslurm.workspace.threads import at_once


def records_of(session: Session, jobs: Sequence[TrackedJob]) -> dict[str, Mapping[str, Any]]:
    """Job -> its record as JSON values; a line is said for each that is not to be had."""
    tracker = session.tracker
    records = {job.key: record for job in jobs if (record := kept(job, tracker))}
    return records | read(session, [job for job in jobs if job.key not in records])


def kept(job: TrackedJob, tracker: Tracker) -> Mapping[str, Any] | None:
    """The tracker's copy, if it was read after the job's end by a version that measured use."""
    record = tracker.record(job) or {}
    state = (record.get("job") or {}).get("state")
    boxes = [task["container"] for attempt in record.get("attempts") or () for task in attempt["tasks"]]
    whole = all(box is None or "peak_memory_mib" in box for box in boxes)
    return record if state and is_final(state) and whole else None


def read(session: Session, jobs: Sequence[TrackedJob]) -> dict[str, Mapping[str, Any]]:
    """The records by the run folders as they are now, all clusters read at once; a line for each that is unreadable."""
    tracker = session.tracker
    plans = {job.plan_id: plan_of(job, tracker) for job in jobs}
    clusters = clusters_for(jobs, tracker)
    works = [
        partial(read_there, session, known, [job for job in jobs if job.cluster == known.cluster.name], plans)
        for known in clusters
    ]
    found: dict[str, Mapping[str, Any]] = {}
    for answer in at_once(works):
        try:
            records = answer()
        except HostError as error:
            session.say(f"error: {str(error).splitlines()[0]}")
            continue
        whole = [(job, outcome) for job, outcome in records if isinstance(outcome, Record)]
        kept_now = keep_all(whole, tracker)
        found |= {job.key: record_json(record) for (job, _), record in zip(whole, kept_now, strict=True)}
        for job, outcome in ((job, outcome) for job, outcome in records if not isinstance(outcome, Record)):
            try:
                if isinstance(outcome, Exception):
                    raise outcome
                found[job.key] = record_json(keep(job, outcome, tracker))
            except (HostError, RecordError) as error:
                session.say(f"{job.key}: {str(error).splitlines()[0].removeprefix(f'{job.key}: ')}")
    return found


def read_there(
    session: Session, known: Known, jobs: Sequence[TrackedJob], plans: Mapping[str, JobPlan]
) -> list[tuple[TrackedJob, Record | Exception | None]]:
    """Each job of a cluster with its record, None where its folder is gone, or the error that kept it from being read.

    In a thread of its own, without the tracker.
    """
    host = session.reach(known)
    found: list[tuple[TrackedJob, Record | Exception | None]] = []
    for job in jobs:
        try:
            found.append((job, read_folder(job, plans[job.plan_id], host)))
        except (HostError, RecordError) as error:
            found.append((job, error))
    return found
