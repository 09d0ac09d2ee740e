"""tfslurm watch."""

from __future__ import annotations

import click

from tfslurm.cli.console import common
from tfslurm.cli.status import status


@click.command(short_help="Show the states until all jobs have ended.")
@click.argument("jobs", nargs=-1, metavar="[JOB|SWEEP]...")
@common
@click.pass_context
def watch(context: click.Context, jobs: tuple[str, ...], as_json: bool, verbose: int) -> int:
    """Show the states of your jobs until all have ended, as `status --watch` does.

    watch also sends the points of a sweep that wait for room in your queue. Ctrl-C ends the command, not the jobs.
    """
    code = context.invoke(
        status, jobs=jobs, everything=False, watch=True, wants_use=False, as_json=as_json, verbose=verbose
    )
    assert isinstance(code, int)  # noqa: S101 - as status says
    return code
