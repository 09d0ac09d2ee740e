"""The records that a user names for a citation: of jobs, of a sweep's points, in files or crates."""

from __future__ import annotations

from collections.abc import Sequence

from tfslurm.errors import RecordError
from tfslurm.monitoring.refresh import refresh_all
from tfslurm.monitoring.wait import clusters_to_ask
from tfslurm.record import Record
from tfslurm.record.model import record_sha256
from tfslurm.retrieval.evidence import Evidence, named, read
from tfslurm.retrieval.records_of_jobs import records_of
from tfslurm.tracker import TrackedJob
from tfslurm.workspace.session import Session


def cited_records(session: Session, names: Sequence[str]) -> list[Record]:
    """The records of ``cited_evidence``, which raises the errors."""
    return [each.record for each in cited_evidence(session, names)]


def cited_evidence(session: Session, names: Sequence[str]) -> list[Evidence]:
    """The records, each once, in the order in which they were named. Of several points, those that COMPLETED.

    Raises:
        InputError: a name stands for nothing, or a file cannot be read or is no record.
        RecordError: a file's record was changed after it was made.
    """
    wanted: list[TrackedJob | Evidence] = []
    for name in names:
        found = named(session, name)
        wanted += [unchanged(each, name) for each in found if isinstance(each, Evidence)]
        jobs = [each for each in found if isinstance(each, TrackedJob)]
        wanted += completed(session, jobs) if jobs else []
    jobs = list({job.key: job for job in wanted if isinstance(job, TrackedJob)}.values())
    kept = {key: read(values) for key, values in records_of(session, jobs).items()}
    found_all = (kept.get(each.key) if isinstance(each, TrackedJob) else each for each in wanted)
    return list({each.record.record_id: each for each in found_all if each}.values())


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


def unchanged(evidence: Evidence, name: str) -> Evidence:
    """The record in a file, as `tfslurm provenance --json` writes it.

    Raises:
        RecordError: its hash is not that of its content.
    """
    if record_sha256(evidence.values) != evidence.record.integrity.record_sha256:
        raise RecordError(f"{name}: its content is not what its record_sha256 says: it was changed; take the original")
    return evidence
