"""tfslurm watch."""

from __future__ import annotations

import click

from tfslurm.cli.console import common
from tfslurm.cli.status import show_states
from tfslurm.workspace.session import Session


@click.command(short_help="Show the states until all jobs have ended.")
@click.argument("jobs", nargs=-1, metavar="[JOB|SWEEP]...")
@common
def watch(session: Session, jobs: tuple[str, ...], as_json: bool) -> int:
    """Show the states of your jobs until all have ended: `status --watch`, under a name of its own.

    What of a sweep waits for room in your queue is sent when there is some. Ctrl-C ends the watching, not the jobs.
    """
    return show_states(session, jobs, everything=False, watch=True, wants_use=False, as_json=as_json)
