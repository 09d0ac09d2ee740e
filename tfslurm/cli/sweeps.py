"""The sweeps of `tfslurm status`: states by cluster, progress, and the causes of failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tfslurm.cli.console import plain_table, show
from tfslurm.document.bounded_json import read_json
from tfslurm.document.tree import printable
from tfslurm.monitoring.sweep_states import NOT_SENT, counts, has_ended, has_failed, progress, state_of
from tfslurm.retrieval.endings import Ending, by_cause
from tfslurm.tracker import PlacedPoint, TrackedJob, TrackedSweep, Tracker
from tfslurm.workspace.clock import local_time

CAUSES = 10  # different causes of failures that are shown
ORDER = ("COMPLETED", "RUNNING", "PENDING", NOT_SENT)


def show_one(sweep: TrackedSweep, tracker: Tracker, endings: Mapping[str, Ending], *, each: bool) -> None:
    """Print how far a sweep is, its states by cluster, and its failures by cause; ``each``: every point too.

    ``endings``: what jobs of it that failed left, by job.
    """
    points = tracker.sweeps.points(sweep.sweep_id)
    clusters = {waiting.plan.plan_id: waiting.plan.cluster for waiting in tracker.sweeps.waiting()}
    show(f"{sweep.sweep_id}: {progress(points)}")
    show(plain_table(by_cluster(points, clusters)))
    for line in failures(sweep, points, endings):
        show(printable(line))
    if not sweep.told and any(point.job is None for point in points):
        show("submit was interrupted before all was sent: the same `tfslurm submit` continues it")
    if each:
        rows = [[point.entry.id, where(point), state_of(point), printable(point.entry.text)] for point in points]
        show(plain_table([["POINT", "JOB", "STATE", "PARAMETERS"], *rows]))


def where(point: PlacedPoint) -> str:
    """The job of a point; '' where there is none."""
    return point.job.key if point.job else ""


def by_cluster(points: Sequence[PlacedPoint], clusters: dict[str, str]) -> list[list[str]]:
    """A table: for each cluster how many points are in each state; ``clusters``: of the plans that wait."""
    many = Counter(
        (point.job.cluster if point.job else clusters.get(point.plan_id, "-"), state_of(point)) for point in points
    )
    found = {state for _, state in many}
    states = [*(state for state in ORDER if state in found), *sorted(found - set(ORDER))]
    names = sorted({name for name, _ in many})
    rows = [[name, *(str(many[name, state] or "") for state in states)] for name in names]
    return [["CLUSTER", *states], *rows]


def failures(sweep: TrackedSweep, points: Sequence[PlacedPoint], endings: Mapping[str, Ending]) -> list[str]:
    """One line for each cause: how many points, and the first of them; ``endings``: what the jobs left, by job."""
    failed = {point.job.key: point for point in points if point.job and has_failed(point)}
    causes = by_cause([point.job for point in failed.values() if point.job], endings)
    lines: list[str] = []
    for cause, jobs in causes[:CAUSES]:
        point = failed[jobs[0].key]
        example = f"{jobs[0].key} {printable(point.entry.text)}"
        logs = f"tfslurm logs {sweep.sweep_id}:{point.entry.id}"
        lines.append(f"{len(jobs)} x {jobs[0].state}: {cause}; for example {example}: {logs}")
    return [*lines, *([f"and {len(causes) - CAUSES} more causes"] if len(causes) > CAUSES else [])]


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
            moment = local_time(job.submitted_at)
            shown.append([sweep_id, job.name, moment, counts(points), "", "", progress(points)])
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
