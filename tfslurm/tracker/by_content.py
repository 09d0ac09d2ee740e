"""Jobs by what they ran: the image's digests, the tree and the commit of the code, the plan, the run repeated."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tfslurm.tracker.rows import JOBS, TrackedJob, tracked

if TYPE_CHECKING:
    from tfslurm.tracker.index import Tracker


def plans_with(tracker: Tracker, beginning: str) -> dict[str, list[str]]:
    """Id -> the plans that name it, for each id that begins so: ``sha256:…`` of an image, a tree or a commit.

    ``beginning`` ends in hexadecimal digits.
    """
    query = "SELECT name, plan_id FROM known_as WHERE name >= ? AND name < ? ORDER BY name, plan_id"
    found: dict[str, list[str]] = {}
    for row in tracker.rows(query, (beginning, f"{beginning}g")):
        found.setdefault(row["name"], []).append(row["plan_id"])
    return found


def jobs_of_plans(tracker: Tracker, plan_ids: Sequence[str]) -> list[TrackedJob]:
    """The jobs of these plans, oldest submission first."""
    mine = "plan_id IN (SELECT value FROM json_each(?))"
    query = f"{JOBS} WHERE {mine} ORDER BY submitted_at, rowid"
    return [tracked(row) for row in tracker.rows(query, [json.dumps(list(plan_ids))])]


def reruns_of(tracker: Tracker, record_id: str) -> list[TrackedJob]:
    """The jobs that repeat the run of this record, oldest submission first."""
    return jobs_of_plans(tracker, plans_with(tracker, record_id).get(record_id, []))
