"""What was submitted, newest first: a job, or a sweep as a whole however many jobs it has."""

from __future__ import annotations

import heapq
import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from tfslurm.document.bounded_json import read_json

if TYPE_CHECKING:
    from tfslurm.tracker.index import Tracker

RECENT_JOBS = (
    "SELECT rowid FROM jobs WHERE final = 0 UNION SELECT rowid FROM jobs WHERE plan_id IN (SELECT value FROM "
    "json_each(?))"
)
PLANS = (
    "SELECT planned_at, plan_id, (SELECT sweep_id FROM points WHERE points.plan_id = plans.plan_id LIMIT 1) AS name "
    "FROM plans ORDER BY planned_at DESC, rowid DESC"
)
# Jobs that ran on the same nodes are one row.
RAN_ON = (
    "SELECT json_extract(status, '$.nodes') AS nodes FROM jobs WHERE cluster = ? AND "
    "json_type(status, '$.nodes') = 'array' GROUP BY nodes ORDER BY max(submitted_at) DESC, max(rowid) DESC"
)
SWEEPS = "SELECT planned_at, sweep_id AS name FROM sweeps ORDER BY planned_at DESC, rowid DESC"
JOBS_OF_PLAN = "SELECT cluster||':'||job_id AS name FROM jobs WHERE plan_id = ? ORDER BY rowid DESC"
# Each name in a range once, by one step in the index for each.
EXPERIMENTS = (
    "WITH RECURSIVE each (name) AS (SELECT min(name) FROM jobs WHERE name >= ?1 UNION ALL SELECT (SELECT min(name) "
    "FROM jobs WHERE name > each.name) FROM each WHERE name < ?2) SELECT name FROM each WHERE name < ?2"
)
LAST_OF_EACH = (
    "SELECT value AS name FROM json_each(?) ORDER BY (SELECT max(submitted_at) FROM jobs WHERE name = value) DESC"
)
AFTER = "\U0010ffff"
"No name goes on with a later letter."


class Submission(NamedTuple):
    """The name that a user types, a sweep's id or ``alpha:17``, and the plan; '': a sweep's that waits as a whole."""

    moment: str
    name: str
    plan_id: str


def submissions(tracker: Tracker) -> Iterator[Submission]:
    """Every plan that has jobs, and every sweep, newest first."""
    yield from heapq.merge(jobs(tracker), sweeps(tracker), key=lambda each: each.moment, reverse=True)


def jobs(tracker: Tracker) -> Iterator[Submission]:
    """The plans that have jobs, each under the name of each of its jobs, or of its sweep."""
    for row in tracker.each(PLANS):
        found = tracker.rows(JOBS_OF_PLAN if row["name"] is None else f"{JOBS_OF_PLAN} LIMIT 1", [row["plan_id"]])
        for job in found:
            yield Submission(row["planned_at"], row["name"] or job["name"], row["plan_id"])


def sweeps(tracker: Tracker) -> Iterator[Submission]:
    """The sweeps: the points of one that waits are no jobs yet."""
    for row in tracker.each(SWEEPS):
        yield Submission(row["planned_at"], row["name"], "")


def submitted(tracker: Tracker, back: int, *, sweeps: bool = False) -> str | None:
    """The name of the job or sweep that was submitted ``back`` submissions ago, 0: the last; None: there is none.

    ``sweeps``: of these alone.
    """
    if sweeps:
        rows = tracker.rows(f"{SWEEPS} LIMIT 1 OFFSET ?", [str(back)])
        return rows[0]["name"] if rows else None
    return next(islice(names(tracker), back, None), None)


def names(tracker: Tracker) -> Iterator[str]:
    """The names of what was submitted, each once, newest first."""
    seen: set[str] = set()
    for each in submissions(tracker):
        if each.name not in seen:
            seen.add(each.name)
            yield each.name


def recent_plans(tracker: Tracker, count: int) -> list[str]:
    """The plans of the last so many submissions, of a sweep all of its plans."""
    found: dict[str, list[str]] = {}
    for each in submissions(tracker):
        if each.name not in found and len(found) == count:
            break
        found.setdefault(each.name, []).append(each.plan_id)
    whole = "SELECT DISTINCT plan_id FROM points WHERE sweep_id = ?"
    plans = [row["plan_id"] for name in found for row in tracker.rows(whole, [name])]
    return [*plans, *(plan_id for mine in found.values() for plan_id in mine if plan_id)]


def ran_on(tracker: Tracker, cluster: str) -> list[str]:
    """The nodes of a cluster on which jobs ran, the last job's first; the jobs are not read whole."""
    lists = [read_json(row["nodes"]) for row in tracker.each(RAN_ON, [cluster])]
    return list(dict.fromkeys(node for nodes in lists for node in nodes))


def experiments(tracker: Tracker) -> list[str]:
    """The names of the experiments that have jobs, the last one first."""
    found = json.dumps(fitting(tracker, "*"))
    return [row["name"] for row in tracker.rows(LAST_OF_EACH, [found])]


def fitting(tracker: Tracker, pattern: str) -> list[str]:
    """The names of experiments that a pattern fits, in which * and ? stand for any text."""
    begins = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
    names = (row["name"] for row in tracker.rows(EXPERIMENTS, [begins, begins + AFTER]))
    return [name for name in names if fnmatchcase(name, pattern)]
