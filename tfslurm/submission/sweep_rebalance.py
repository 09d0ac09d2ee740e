"""The points of a sweep that have not begun move to other clusters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from tfslurm.document.bounded_json import read_json
from tfslurm.errors import TfslurmError
from tfslurm.monitoring.cancel import cancel_waiting, keep_cancelled
from tfslurm.monitoring.refresh import refresh_all
from tfslurm.submission.prepare import Prepared
from tfslurm.submission.sweep_resume import planned_there
from tfslurm.sweeps.points import First, point_of
from tfslurm.sweeps.points_file import Entry
from tfslurm.sweeps.spread import spread
from tfslurm.tracker import PlacedPoint, TrackedSweep, Tracker
from tfslurm.workspace.clusters_of_jobs import known_from
from tfslurm.workspace.config import Known
from tfslurm.workspace.session import Session


def move(
    session: Session, sweep: TrackedSweep, source: str, names: Sequence[str], bases: Mapping[str, Prepared]
) -> int:
    """Take back what has not begun on a cluster, and write down that it goes to others; how many points that are."""
    tracker = session.tracker
    with tracker.claim(sweep.sweep_id, wait=True):
        cancelled = take_back(session, sweep, known_from(source, bases[source].cluster_text))
        more, left, plan_ids = unsent(sweep, source, tracker)
        entries = [*(point.entry for point in cancelled), *more]
        places = spread([point_of(_values(entry)) for entry in entries], names, "even")
        where = [*zip(entries, places, strict=True), *((entry, source) for entry in left)]
        tracker.sweeps.add(sweep, planned_there(session, where, bases, sweep), instead_of=plan_ids)
    return len(entries)


def _values(entry: Entry) -> dict[str, str | int | float | bool]:
    return dict(read_json(entry.text))


def take_back(session: Session, sweep: TrackedSweep, known: Known) -> list[PlacedPoint]:
    """The points of a cluster that were cancelled before they began.

    Raises:
        TfslurmError: the cluster does not say what became of them.
    """
    tracker = session.tracker
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
    silent = refresh_all(session, [known], jobs, partial(cancel_waiting, jobs, gone))
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
