"""tfslurm rebalance."""

from __future__ import annotations

import click

from tfslurm.cli.console import say
from tfslurm.cli.options import common
from tfslurm.cli.sweep import print_sent
from tfslurm.errors import refuse
from tfslurm.monitoring.lookup import find_sweep
from tfslurm.monitoring.sweep_states import has_ended
from tfslurm.submission.scan_gate import asked_again
from tfslurm.submission.sweep_rebalance import move
from tfslurm.submission.sweep_resume import ask_of_rebuilt, sent_before
from tfslurm.workspace.session import Session


@click.command()
@click.argument("sweep")
@click.option("--from", "source", required=True, metavar="NAME", help="The cluster to move points away from.")
@click.option(
    "--to",
    "targets",
    multiple=True,
    metavar="NAME",
    help="A cluster to move points to; default: the sweep's other clusters.",
)
@click.option("--yes", is_flag=True, help="Do not ask, if `tracker rebuild` read the points from run folders.")
@common
def rebalance(session: Session, sweep: str, source: str, targets: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Move points of a sweep that have not begun from one cluster to others; print one line per new Slurm job.

    rebalance moves a point that was not sent yet, or whose task was cancelled before it had a node, as the cluster
    itself says. Points that run stay where they are, and so do points that `where` keeps on a cluster. If this command
    is interrupted, `tfslurm resume` submits the points that it has cancelled.
    """
    tracker = session.tracker
    found = find_sweep(tracker, sweep)
    not_sent = tracker.sweeps.waiting(sweep_id=found.sweep_id)
    bases = {each.plan.cluster: sent_before(each) for each in not_sent}
    before = tracker.sweeps.plans(found.sweep_id)
    bases |= {each.plan.cluster: sent_before(each) for each in before}
    names = list(targets) or [name for name in bases if name != source]
    for name in (source, *names):
        if name not in bases:
            have = ", ".join(bases)
            raise refuse(f"cluster {name!r}", f"has no part of {found.sweep_id} (it has {have})", "name one of those")
    if not names or source in names:
        raise refuse("--to", "names no other cluster", "the sweep must have been sent to two at least")
    agree = (lambda question: True) if yes else session.agree
    left = [point.entry for point in tracker.sweeps.points(found.sweep_id) if not has_ended(point)]
    ask_of_rebuilt(before, left, say, agree)
    bases = asked_again(session, bases, names)
    if not move(session, found, source, names, bases):
        say(f"{found.sweep_id}: nothing on {source} that has not begun")
    print_sent(session, found, None, as_json=as_json)
