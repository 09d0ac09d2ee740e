"""tfslurm wait, and what `submit --wait` does after it has submitted."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from tfslurm.cli.console import emit, redraw
from tfslurm.cli.ctrl_c import goes_on
from tfslurm.cli.options import common
from tfslurm.cli.status import as_value
from tfslurm.monitoring.lookup import find_jobs, stable_names
from tfslurm.monitoring.wait import exit_code, wait_for
from tfslurm.retrieval.endings import report
from tfslurm.submission.waiting import send_waves
from tfslurm.workspace.session import Session


@click.command()
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
@common
def wait(session: Session, jobs: tuple[str, ...], as_json: bool) -> int:
    """Wait until jobs have ended; exit with the job's own exit code. For several jobs: the first that is not 0.

    wait says why a job waits. At the end it says why jobs failed, with the last lines of stderr, and which work is
    lost.
    """
    names = [name for text in jobs for name in stable_names(session.tracker, text)]
    code = wait_and_report(session, names)
    if as_json:
        emit([as_value(job) for name in names for job in find_jobs(session.tracker, name)])
    return code


def wait_and_report(session: Session, names: Sequence[str]) -> int:
    """Wait until the named jobs have ended, and say how; their exit code as `wait` gives it.

    Raises:
        Abort: Ctrl-C; the jobs go on, which is printed.
    """
    with goes_on(session.tracker, names, "wait"):
        now = wait_for(session, names, send_waves, redraw if sys.stderr.isatty() else None)
    report(session, now)
    return next((code for job in now if (code := exit_code(job))), 0)
