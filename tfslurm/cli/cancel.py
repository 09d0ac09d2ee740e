"""tfslurm cancel."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import click

from tfslurm.cli.console import common, emit, say, show, tracer
from tfslurm.cli.status import as_value, clusters_to_ask, look, sent_of
from tfslurm.errors import TfslurmError, refuse
from tfslurm.monitoring.cancel import cancel as cancel_there
from tfslurm.monitoring.cancel import keep_cancelled
from tfslurm.monitoring.lookup import find_job, find_sweep
from tfslurm.monitoring.refresh import refresh_all
from tfslurm.tracker import TrackedJob, Tracker
from tfslurm.workspace.config import LOCAL, open_tracker
from tfslurm.workspace.connections import clusters_of


@click.command(short_help="Cancel jobs.")
@click.argument("jobs", nargs=-1, required=True, metavar="JOB|SWEEP...")
@common
def cancel(jobs: tuple[str, ...], as_json: bool, verbose: int) -> int:
    """Cancel jobs. Their programs get TERM, and KILL after the site's KillWait. tfslurm keeps the outputs.

    If a cluster does not answer, tfslurm says so, cancels the jobs on the other clusters, and exits with 1.
    """
    tracker = open_tracker()
    swept = [name for name in jobs if tracker.sweeps.named(name)]
    if swept:
        look(tracker, clusters_to_ask(tracker, ()), verbose)  # what was cut off has jobs, or waits
    dropped = sum(drop_waiting(tracker, name) for name in swept)
    if dropped:
        say(f"{dropped} points that were waiting will not be sent")
    found = [job for name in jobs for job in sent_of(tracker, name)]
    found = found if len(found) == 1 else [job for job in found if not job.final]
    refuse_parts(found, tracker)
    here = [job for job in found if job.cluster == LOCAL]
    if here:
        raise TfslurmError(f"{here[0].key}: runs in the terminal that started it; press Ctrl-C there")
    gone: set[str] = set()
    before = partial(cancel_there, found, gone)
    silent = refresh_all(clusters_of(found, tracker), tracker, tracer(verbose), found, before)
    for line in silent.values():
        say(f"error: {line}")
    keep_cancelled([job for job in found if job.key in gone], tracker)
    after = [find_job(tracker, job.key) for job in found if job.cluster not in silent]
    if as_json:
        emit([as_value(job) for job in after])
    else:
        for job in after:
            show(f"{job.key} {job.state}")
    return 1 if silent else 0


def drop_waiting(tracker: Tracker, name: str) -> int:
    """Drop the points of a sweep that wait to be sent; return how many these are."""
    sweep = find_sweep(tracker, name)
    with tracker.claim(sweep.sweep_id, wait=True):  # whoever is sending it has come to an end
        waiting = tracker.sweeps.waiting(sweep_id=sweep.sweep_id)
        tracker.sweeps.drop(sweep.sweep_id)
        tracker.sweeps.tell(sweep.sweep_id)
    return sum(each.plan.points.count for each in waiting if each.plan.points)


def refuse_parts(jobs: Sequence[TrackedJob], tracker: Tracker) -> None:
    """Refuse to cancel a part of a Slurm job: it can only be cancelled as a whole.

    Raises:
        InputError: one does.
    """
    named = {job.key for job in jobs}
    shared = {(job.cluster, job.slurm_id, job.plan_id): job for job in jobs if job.is_packed}
    for other in tracker.jobs(unfinished=True) if shared else ():
        job = shared.get((other.cluster, other.slurm_id, other.plan_id))
        if job and other.key not in named:
            whole = f"{job.cluster}:{job.slurm_id}"
            why = f"shares Slurm's job {whole} with other points, such as {other.key}"
            raise refuse(f"job {job.key}", why, f"`tfslurm cancel {whole}` ends them all")
