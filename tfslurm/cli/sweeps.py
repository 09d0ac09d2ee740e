"""The sweeps of `tfslurm status`: states by cluster, progress, and the causes of failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import Any

from tfslurm.cli.console import plain_table, show
from tfslurm.document.bounded_json import read_json
from tfslurm.document.moments import datetime_of
from tfslurm.document.tree import printable
from tfslurm.monitoring.sweep_states import NOT_SENT, has_ended, has_failed, state_of
from tfslurm.tracker import PlacedPoint, TrackedJob, TrackedSweep, Tracker

BAR = 30
CAUSES = 10  # different causes of failures that are shown
ORDER = ("COMPLETED", "RUNNING", "PENDING", NOT_SENT)


def show_one(sweep: TrackedSweep, tracker: Tracker, why: Callable[[TrackedJob], str], *, each: bool) -> None:
    """Print how far a sweep is, its states by cluster, and its failures by cause; ``each``: every point too."""
    points = tracker.sweeps.points(sweep.sweep_id)
    clusters = {waiting.plan.plan_id: waiting.plan.cluster for waiting in tracker.sweeps.waiting()}
    show(f"{sweep.sweep_id}: {progress(points)}")
    show(plain_table(by_cluster(points, clusters)))
    for line in failures(sweep, points, why):
        show(printable(line))
    if not sweep.told and any(point.job is None for point in points):
        show("submit was interrupted before all was sent: the same `tfslurm submit` continues it")
    if each:
        rows = [[point.entry.id, where(point), state_of(point), printable(point.entry.text)] for point in points]
        show(plain_table([["POINT", "JOB", "STATE", "PARAMETERS"], *rows]))


def where(point: PlacedPoint) -> str:
    """The job of a point; '' where there is none."""
    return point.job.key if point.job else ""


def progress(points: Sequence[PlacedPoint]) -> str:
    """``[####------] 40 of 100 points ended, about 12 min left``."""
    ended = sum(map(has_ended, points))
    full = BAR * ended // len(points) if points else BAR
    left = left_min(points, datetime.now(timezone.utc))
    rest = f", about {left} min left at this pace" if left is not None else ""
    return f"[{'#' * full}{'-' * (BAR - full)}] {ended} of {len(points)} points ended{rest}"


def left_min(points: Sequence[PlacedPoint], now: datetime) -> int | None:
    """Minutes until all have ended, if as many end in a minute as did since the first began; None: none has, or all."""
    ended = sum(map(has_ended, points))
    began = [point.job.status.get("started_at") for point in points if point.job and has_ended(point)]
    known = [datetime_of(moment) for moment in began if moment]
    if not known or ended == len(points):
        return None
    spent_s = max(0.0, (now - min(known)).total_seconds())
    return round(spent_s / ended * (len(points) - ended) / 60 + 0.5)


def by_cluster(points: Sequence[PlacedPoint], clusters: dict[str, str]) -> list[list[str]]:
    """A table: for each cluster how many points are in each state; ``clusters``: of the plans that wait."""
    counts = Counter(
        (point.job.cluster if point.job else clusters.get(point.plan_id, "-"), state_of(point)) for point in points
    )
    found = {state for _, state in counts}
    states = [*(state for state in ORDER if state in found), *sorted(found - set(ORDER))]
    names = sorted({name for name, _ in counts})
    rows = [[name, *(str(counts[name, state] or "") for state in states)] for name in names]
    return [["CLUSTER", *states], *rows]


def failures(sweep: TrackedSweep, points: Sequence[PlacedPoint], why: Callable[[TrackedJob], str]) -> list[str]:
    """One line for each cause: how many points, and the first of them."""
    causes: dict[str, list[PlacedPoint]] = {}
    for point in filter(has_failed, points):
        assert point.job is not None  # noqa: S101 - it has failed
        causes.setdefault(": ".join(filter(None, (point.job.state, why(point.job)))), []).append(point)
    listed = sorted(causes.items(), key=lambda item: -len(item[1]))
    lines = [
        f"{len(failed)} x {cause}; for example {where(failed[0])} {printable(failed[0].entry.text)}: "
        f"tfslurm logs {sweep.sweep_id}:{failed[0].entry.id}"
        for cause, failed in listed[:CAUSES]
    ]
    return [*lines, *([f"and {len(listed) - CAUSES} more causes"] if len(listed) > CAUSES else [])]


def folded(jobs: Sequence[TrackedJob], tracker: Tracker) -> list[TrackedJob | list[str]]:
    """The jobs, the tasks of a sweep as one row of a table: its name, its states, how far it is."""
    owners = tracker.sweeps.owners({job.plan_id for job in jobs if "_" in job.job_id})
    shown: list[TrackedJob | list[str]] = []
    seen: set[str] = set()
    for job in jobs:
        sweep_id = owners.get(job.plan_id)
        if not sweep_id:
            shown.append(job)
        elif sweep_id not in seen:
            seen.add(sweep_id)
            points = tracker.sweeps.points(sweep_id)
            counts = Counter(map(state_of, points))
            states = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
            shown.append([sweep_id, job.name, states, "", "", progress(points)])
    return shown


def as_value(sweep: TrackedSweep, tracker: Tracker) -> dict[str, Any]:
    """A sweep as plain values: every point with its parameters, its job and its state."""
    points = tracker.sweeps.points(sweep.sweep_id)
    return {
        "sweep": sweep.sweep_id,
        "name": sweep.name,
        "submitted_at": sweep.planned_at,
        "counts": dict(sorted(Counter(map(state_of, points)).items())),
        "points": [
            {
                "point": point.entry.id,
                "parameters": read_json(point.entry.text),
                "job": point.job.key if point.job else None,
                "state": point.job.state if point.job else None,
                "final": has_ended(point),
            }
            for point in points
        ],
    }
