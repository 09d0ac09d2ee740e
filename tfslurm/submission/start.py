"""Whether jobs that have just been queued can start at all: asked once, after their ids were printed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from tfslurm import slurm
from tfslurm.errors import TfslurmError
from tfslurm.monitoring.reasons import reason_of, to_start
from tfslurm.slurm.jobs import MOST_BYTES
from tfslurm.tracker import TrackedJob
from tfslurm.workspace.config import Known
from tfslurm.workspace.session import Session
from tfslurm.workspace.threads import in_background

PATIENCE_S = 20.0


def tell_of_start(session: Session, clusters: Sequence[Known], jobs: Sequence[str]) -> None:
    """Say which of these jobs, ``alpha:1234``, cannot start by itself, and what to do; each cluster is asked once.

    One that does not answer now is passed over: the jobs are queued.
    """
    for lines in [in_background(partial(lines_for, session, known, jobs)) for known in clusters]:
        with suppress(TfslurmError):
            if told := lines():
                session.say(*told)


def lines_for(session: Session, known: Known, jobs: Sequence[str]) -> list[str]:
    """The lines about the jobs of one cluster.

    Raises:
        HostError: it does not answer.
    """
    name = known.cluster.name
    ids = [job_id for cluster, _, job_id in (job.partition(":") for job in jobs) if cluster == name]
    if not ids:
        return []
    done = session.reach(known).run(slurm.reasons_argv(ids), timeout_s=PATIENCE_S, max_bytes=MOST_BYTES)
    found = slurm.parse_reasons(done.stdout) if done.exit_code == 0 else {}
    waiting = [
        TrackedJob(name, job_id, "", "", "", "PENDING", False, {"reason": found[job_id]})
        for job_id in ids
        if job_id in found
    ]
    return [f"warning: {job.key}: {reason_of(job)}: {fix}" for job in waiting if (fix := to_start(job))]
