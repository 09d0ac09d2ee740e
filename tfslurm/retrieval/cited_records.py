"""The records that a user names for a citation: of jobs, of a sweep's points, or in files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tfslurm.errors import RecordError
from tfslurm.monitoring.lookup import find_jobs, one_name
from tfslurm.monitoring.refresh import refresh_all
from tfslurm.monitoring.wait import clusters_to_ask
from tfslurm.record import Record, record_from_json
from tfslurm.record.model import record_sha256
from tfslurm.retrieval.record_files import is_file, read_record
from tfslurm.retrieval.records_of_jobs import records_of
from tfslurm.tracker import TrackedJob
from tfslurm.workspace.session import Session


def cited_records(session: Session, names: Sequence[str]) -> list[Record]:
    """The records, each once, in the order in which they were named. Of several points, those that COMPLETED.

    A name with a `/` or that ends in `.json` is a file; any other is a job's or a sweep's.

    Raises:
        InputError: a name is none of these, or a file cannot be read or is no record.
        RecordError: a file's record was changed after it was made.
    """
    wanted: list[TrackedJob | Record] = []
    for name in names:
        if is_file(name):
            wanted.append(record_in(Path(name)))
        else:
            wanted += completed(session, find_jobs(session.tracker, one_name(session.tracker, name)))
    jobs = list({job.key: job for job in wanted if isinstance(job, TrackedJob)}.values())
    kept = {key: record_from_json(values) for key, values in records_of(session, jobs).items()}
    found = (kept.get(each.key) if isinstance(each, TrackedJob) else each for each in wanted)
    return list({record.record_id: record for record in found if record}.values())


def completed(session: Session, jobs: Sequence[TrackedJob]) -> list[TrackedJob]:
    """The jobs as they are now; of several, those that COMPLETED, and a word on the others."""
    tracker = session.tracker
    for line in refresh_all(session, clusters_to_ask(tracker, jobs)).values():
        session.say(f"error: {line}")
    now = [found for job in jobs for found in tracker.jobs(cluster=job.cluster, job_id=job.job_id)[-1:]]
    ended = [job for job in now if job.state == "COMPLETED"]
    if len(now) == 1 or len(ended) == len(now):
        return now
    session.say(f"note: {len(now) - len(ended)} of {len(now)} points did not end as COMPLETED and are not cited")
    return ended


def record_in(path: Path) -> Record:
    """The record in a file, as `tfslurm provenance --json` writes it.

    Raises:
        InputError: it cannot be read, or is no record.
        RecordError: its hash is not that of its content.
    """
    record, values = read_record(path)
    if record_sha256(values) != record.integrity.record_sha256:
        raise RecordError(f"{path}: its content is not what its record_sha256 says: it was changed; take the original")
    return record
