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
    """Show the states of your jobs until all have ended, as `status --watch` does.

    watch also sends the points of a sweep that wait for room in your queue. Ctrl-C ends the command, not the jobs.
    """
    return show_states(session, jobs, everything=False, watch=True, wants_use=False, as_json=as_json)
