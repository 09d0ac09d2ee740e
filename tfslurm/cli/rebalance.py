"""tfslurm rebalance."""

from __future__ import annotations

from functools import partial

import click

from tfslurm.cli.console import common, say, tracer
from tfslurm.cli.resume import ask_of_rebuilt, planned_there, send_again, sent_before
from tfslurm.cli.sweeps import has_ended
from tfslurm.document.bounded_json import read_json
from tfslurm.errors import TfslurmError, refuse
from tfslurm.monitoring.cancel import cancel_waiting, keep_cancelled
from tfslurm.monitoring.lookup import find_sweep
from tfslurm.monitoring.refresh import refresh_all
from tfslurm.sweep.points import First, point_of
from tfslurm.sweep.points_file import Entry
from tfslurm.sweep.spread import spread
from tfslurm.tracker import PlacedPoint, TrackedSweep, Tracker
from tfslurm.workspace.config import Known, open_tracker
from tfslurm.workspace.connections import connections, known_from


@click.command(short_help="Move points of a sweep that have not begun from one cluster to others.")
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
def rebalance(sweep: str, source: str, targets: tuple[str, ...], yes: bool, as_json: bool, verbose: int) -> None:
    """Move points of a sweep that have not begun from one cluster to others; print one line per new Slurm job.

    rebalance moves a point that was not sent yet, or whose task was cancelled before it had a node, as the cluster
    itself says. Points that run stay where they are, and so do points that `where` keeps on a cluster. If this command
    is interrupted, `tfslurm resume` submits the points that it has cancelled.
    """
    tracker = open_tracker()
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
    ask_of_rebuilt(
        before, [point.entry for point in tracker.sweeps.points(found.sweep_id) if not has_ended(point)], yes
    )
    with connections(tracer(verbose)) as reach:
        with tracker.claim(found.sweep_id, wait=True):
            cancelled = take_back(found, known_from(source, bases[source].cluster_text), tracker, verbose)
            move, left, plan_ids = unsent(found, source, tracker)
            entries = [*(point.entry for point in cancelled), *move]
            places = spread([point_of(_values(entry)) for entry in entries], names, "even")
            where = [*zip(entries, places, strict=True), *((entry, source) for entry in left)]
            tracker.sweeps.add(found, planned_there(where, bases, found, reach), instead_of=plan_ids)
        if not entries:
            say(f"{found.sweep_id}: nothing on {source} that has not begun")
        send_again(found, None, tracker, reach, as_json)


def _values(entry: Entry) -> dict[str, str | int | float | bool]:
    return dict(read_json(entry.text))


def take_back(sweep: TrackedSweep, known: Known, tracker: Tracker, verbose: int) -> list[PlacedPoint]:
    """The points of a cluster that were cancelled before they began.

    Raises:
        TfslurmError: the cluster does not say what became of them.
    """
    there = [
        (point.job, point.entry)
        for point in tracker.sweeps.points(sweep.sweep_id)
        if point.job and point.job.cluster == known.cluster.name and not point.job.final
    ]
    fixed = fixed_by(sweep)
    kept = {job.slurm_id for job, entry in there if fixed.of(_values(entry)) is not None}
    jobs = [job for job, _ in there if job.slurm_id not in kept]
    if not jobs:
        return []
    gone: set[str] = set()
    silent = refresh_all([known], tracker, tracer(verbose), jobs, partial(cancel_waiting, jobs, gone))
    if silent and not gone:
        raise TfslurmError(f"{next(iter(silent.values()))}; nothing was moved: `tfslurm resume {sweep.sweep_id}` later")
    moved = [point for point in tracker.sweeps.points(sweep.sweep_id) if point.job and point.job.key in gone]
    keep_cancelled([point.job for point in moved if point.job], tracker)
    return moved


def unsent(sweep: TrackedSweep, source: str, tracker: Tracker) -> tuple[list[Entry], list[Entry], list[str]]:
    """The points that wait for room on a cluster and may move, those beside them that stay, and the plans of both."""
    move: list[Entry] = []
    left: list[Entry] = []
    plan_ids = []
    fixed = fixed_by(sweep)
    for waiting in tracker.sweeps.waiting(cluster=source, sweep_id=sweep.sweep_id):
        entries = tracker.sweeps.entries(waiting.plan.plan_id)
        kept = [fixed.of(_values(entry)) is not None for entry in entries]
        if not all(kept):
            move += [entry for entry, stay in zip(entries, kept, strict=True) if not stay]
            left += [entry for entry, stay in zip(entries, kept, strict=True) if stay]
            plan_ids.append(waiting.plan.plan_id)
    return move, left, plan_ids


def fixed_by(sweep: TrackedSweep) -> First:
    """The values by which `where` keeps points on their clusters."""
    return First(rule["values"] for rule in sweep.given.get("where") or ())
