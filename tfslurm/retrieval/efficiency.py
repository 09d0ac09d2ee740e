"""The memory, CPUs and GPUs that finished jobs used, of those that they asked for."""

from __future__ import annotations

from collections.abc import Sequence

from tfslurm.monitoring.lookup import plan_of
from tfslurm.record.efficiency import Efficiency, efficiency
from tfslurm.retrieval.records_of_jobs import records_of
from tfslurm.tracker import TrackedJob
from tfslurm.workspace.session import Session


def efficiencies(session: Session, jobs: Sequence[TrackedJob]) -> dict[str, Efficiency]:
    """Job -> its use; jobs that have not ended are left out, and those without a record are named on stderr."""
    ended = [job for job in jobs if job.final]
    records = records_of(session, ended)
    found = {}
    for job in ended:
        if job.key in records:
            asked = plan_of(job, session.tracker).resources
            found[job.key] = efficiency(records[job.key], asked.cpus * asked.nodes)
    return found
