"""Whether jobs that have just been queued can start at all, by the reason that Slurm gave when it took them."""

from __future__ import annotations

from collections.abc import Sequence

from tfslurm.monitoring.reasons import reason_of, to_start
from tfslurm.workspace.session import Session


def tell_of_start(session: Session, jobs: Sequence[str]) -> int:
    """Say which of these jobs, ``alpha:1234``, cannot start by itself, and what to do; an array is told of once.

    The exit code of `submit`: 0, for they are queued.
    """
    tracker = session.tracker
    for name in jobs:
        cluster, _, job_id = name.partition(":")
        for first in (tracker.jobs(cluster=cluster, job_id=job_id) or tracker.jobs(cluster=cluster, array=job_id))[:1]:
            if fix := to_start(first):
                session.say(f"warning: {name}: {reason_of(first)}: {fix}")
    return 0
