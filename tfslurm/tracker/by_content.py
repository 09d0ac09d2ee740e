"""Jobs by what they ran: the image's digests, the commit of the code, the plan.

The ids that a plan names stand in a table of their own, which a search first brings up to date: an index over JSON is
not to be had, because the tracker does not trust its own schema.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tfslurm.tracker.rows import JOBS, TrackedJob, tracked

if TYPE_CHECKING:
    from tfslurm.tracker.index import Tracker

NAMED = ("$.pin.digest", "$.pin.manifest_digest", "$.pin.config_digest", "$.code.commit")
CONTENTS = (
    "CREATE TABLE IF NOT EXISTS contents (place INTEGER NOT NULL, value TEXT NOT NULL, plan_id TEXT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS contents_by_place ON contents (place)",
    "CREATE INDEX IF NOT EXISTS contents_by_value ON contents (value)",
)


def plans_with(tracker: Tracker, beginning: str) -> dict[str, list[str]]:
    """Id -> the plans that name it, for each id that begins so: ``sha256:…`` of an image, or a commit.

    ``beginning`` ends in hexadecimal digits.
    """
    note_contents(tracker)
    query = "SELECT DISTINCT value, plan_id FROM contents WHERE value >= ? AND value < ? ORDER BY place"
    found: dict[str, list[str]] = {}
    for row in tracker.rows(query, (beginning, f"{beginning}g")):
        found.setdefault(row["value"], []).append(row["plan_id"])
    return found


def note_contents(tracker: Tracker) -> None:
    """Write down the ids in the plans that came since the last search; only texts are taken for ids."""
    since = "rowid > (SELECT coalesce(max(place), 0) FROM contents)"
    if not tracker.rows(f"SELECT 1 FROM plans WHERE {since} LIMIT 1", ()):  # noqa: S608 - ours
        return
    value = "json_extract(plan, json_each.value)"
    query = (
        f"INSERT INTO contents SELECT plans.rowid, {value}, plan_id FROM plans, json_each(?) "  # noqa: S608 - ours
        f"WHERE plans.{since} AND json_valid(plan) AND typeof({value}) = 'text' AND {value} != ''"
    )
    with tracker.change() as db:
        db.execute(query, (json.dumps(NAMED),))


def jobs_of_plans(tracker: Tracker, plan_ids: Sequence[str]) -> list[TrackedJob]:
    """The jobs of these plans, oldest submission first."""
    mine = "jobs.plan_id IN (SELECT value FROM json_each(?))"
    query = f"{JOBS} WHERE {mine} ORDER BY submitted_at, jobs.rowid"
    return [tracked(row) for row in tracker.rows(query, [json.dumps(list(plan_ids))])]
