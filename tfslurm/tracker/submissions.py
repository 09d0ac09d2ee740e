"""What was submitted, newest first: a job, or a sweep as a whole however many jobs it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfslurm.tracker.index import Tracker

# `name` is what a user types: a sweep's id, or CLUSTER:ID. The points of a sweep that waits are no jobs yet.
EACH = (
    "SELECT coalesce((SELECT sweep_id FROM points WHERE points.plan_id = jobs.plan_id LIMIT 1), "
    "jobs.cluster||':'||job_id) AS name, submitted_at AS moment, jobs.rowid AS place FROM jobs "
    "UNION ALL SELECT sweep_id, planned_at, 0 FROM sweeps"
)
NEWEST = f"SELECT name FROM ({EACH}) GROUP BY name ORDER BY max(moment) DESC, max(place) DESC"  # noqa: S608 - ours
RECENT_JOBS = f"SELECT place FROM ({EACH}) WHERE name IN ({NEWEST} LIMIT ?)"  # noqa: S608 - ours


def submitted(tracker: Tracker, back: int, *, sweeps: bool = False) -> str | None:
    """The name of the job or sweep that was submitted ``back`` submissions ago, 0: the last; None: there is none.

    ``sweeps``: of these alone.
    """
    query = "SELECT sweep_id AS name FROM sweeps ORDER BY planned_at DESC, rowid DESC" if sweeps else NEWEST
    rows = tracker.rows(f"{query} LIMIT 1 OFFSET ?", [str(back)])
    return rows[0]["name"] if rows else None


def experiments(tracker: Tracker) -> list[str]:
    """The names of the experiments that have jobs, the last one first."""
    query = "SELECT name FROM plans GROUP BY name ORDER BY max(planned_at) DESC"
    return [row["name"] for row in tracker.rows(query, ())]
