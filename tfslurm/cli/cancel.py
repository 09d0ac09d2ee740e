"""tfslurm cancel."""

from __future__ import annotations

import click

from tfslurm.cli.console import common, emit, say, show
from tfslurm.cli.status import as_value
from tfslurm.monitoring.cancel import cancel_named
from tfslurm.workspace.session import Session


@click.command()
@click.argument("jobs", nargs=-1, required=True, metavar="JOB|SWEEP...")
@common
def cancel(session: Session, jobs: tuple[str, ...], as_json: bool) -> int:
    """Cancel jobs. Their programs get TERM, and KILL after the site's KillWait. tfslurm keeps the outputs.

    If a cluster does not answer, tfslurm says so, cancels the jobs on the other clusters, and exits with 1.
    """
    after, silent = cancel_named(session, jobs)
    for line in silent.values():
        say(f"error: {line}")
    if as_json:
        emit([as_value(job) for job in after])
    else:
        for job in after:
            show(f"{job.key} {job.state}")
    return 1 if silent else 0
