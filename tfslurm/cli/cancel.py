"""tfslurm cancel."""

from __future__ import annotations

import click

from tfslurm.cli.console import common, emit, say, show
from tfslurm.cli.status import as_value
from tfslurm.monitoring.cancel import cancel_named
from tfslurm.workspace.session import Session


@click.command(short_help="Cancel jobs.")
@click.argument("jobs", nargs=-1, required=True, metavar="JOB|SWEEP...")
@common
def cancel(session: Session, jobs: tuple[str, ...], as_json: bool) -> int:
    """Cancel jobs: their programs get TERM, then KILL after the site's KillWait; outputs are kept.

    A cluster that does not answer is told, the jobs of the others are cancelled, and the exit code is 1.
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
