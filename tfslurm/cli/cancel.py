"""tfslurm cancel."""

from __future__ import annotations

from collections.abc import Sequence

import click

from tfslurm.cli.console import emit, say, show
from tfslurm.cli.filters import filtering
from tfslurm.cli.options import common
from tfslurm.cli.status import as_value
from tfslurm.monitoring.cancel import cancel_named, to_cancel
from tfslurm.monitoring.choose import Filters
from tfslurm.workspace.session import Session

MANY = 50  # names in a line


@click.command()
@click.argument("jobs", nargs=-1, metavar="[JOB|SWEEP]...")
@click.option("--all", "everything", is_flag=True, help="Cancel all your jobs and sweeps that have not ended.")
@filtering
@click.option("--yes", is_flag=True, help="Do not ask, if a name, a filter or --all stands for several jobs.")
@common
def cancel(
    session: Session, jobs: tuple[str, ...], everything: bool, filters: Filters, yes: bool, as_json: bool
) -> int:
    """Cancel jobs. Their programs get TERM, and KILL after the site's KillWait. tfslurm keeps the outputs.

    The name of an experiment stands for all its jobs that have not ended. If a name, a filter or --all stands for
    several jobs or sweeps, cancel names them and asks first. If a cluster does not answer, tfslurm says so, cancels the
    jobs on the other clusters, and exits with 1.
    """
    names = to_cancel(session, jobs, filters, everything=everything)
    if not names:
        say("nothing to cancel: every job that fits has ended")
    elif len(names) > max(1, len(jobs)) and not yes and not is_agreed(session, names):
        say("nothing was cancelled")
        return 1
    after, silent = cancel_named(session, names, waiting_only=filters.states == ("PENDING",)) if names else ([], {})
    for line in silent.values():
        say(f"error: {line}")
    if as_json:
        emit([as_value(job) for job in after])
    else:
        for job in after:
            show(f"{job.key} {job.state}")
    return 1 if silent else 0


def is_agreed(session: Session, names: Sequence[str]) -> bool:
    """Whether the user wants all of these to be cancelled.

    Raises:
        InputError: there is no terminal to ask on.
    """
    more = f" and {len(names) - MANY} more" if len(names) > MANY else ""
    say(f"these have not ended: {', '.join(names[:MANY])}{more}")
    return session.agree(f"cancel all {len(names)}?")
