"""Sweeps in the index: their points, the plans that run them, and the plans that wait to be sent.

A plan of a sweep waits from the sweep's intent until it is sent; then it is a plan as any other. One that came to
nothing has another in its place, with the same points and a new id, because its cluster may have a tombstone of it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tfslurm.job_plan import JobPlan, to_json
from tfslurm.sweeps.points_file import Entry
from tfslurm.tracker.rows import (
    JOBS,
    POINT_ID,
    SWEEP_ID,
    TrackedJob,
    TrackedPlan,
    named,
    plan_in,
    planned,
    tracked,
    values_in,
)

if TYPE_CHECKING:
    from tfslurm.tracker.index import Tracker


class TrackedSweep(NamedTuple):
    """One sweep. ``asked_sha256`` is of what was asked, wherever its points went; ``told``: its ids were shown.

    ``given`` is the plain value of ``sweep`` in its file; empty where the tracker was rebuilt.
    """

    sweep_id: str
    asked_sha256: str
    name: str
    planned_at: str
    template: str
    given: Mapping[str, Any]
    told: bool


class WaitingPlan(NamedTuple):
    """A plan of a sweep that was not sent yet."""

    sweep_id: str
    plan: JobPlan
    cluster_text: str


class PlacedPoint(NamedTuple):
    """A point with the plan that runs it last, its place there, and its job; None: it was not sent (yet)."""

    entry: Entry
    plan_id: str
    place: int
    job: TrackedJob | None


class SweepIndex:
    """The sweeps of a tracker."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker

    def add(
        self,
        sweep: TrackedSweep,
        parts: Iterable[tuple[JobPlan, str, Sequence[Entry]]],
        *,
        instead_of: Iterable[str] = (),
    ) -> None:
        """Write down the whole intent, before anything leaves: each plan with its cluster's text and its points.

        ``instead_of``: plans that wait, and will not be sent, because their points are among those.
        """
        with self._tracker.change() as db:
            for plan_id in instead_of:
                give_up_waiting(db, plan_id, "its points were moved before it was sent")
            put_sweep(db, sweep)
            for plan, cluster_text, entries in parts:
                put_waiting(db, sweep.sweep_id, plan, cluster_text)
                put_points(db, sweep.sweep_id, plan.plan_id, entries)

    def tell(self, sweep_id: str) -> None:
        """Write down that a sweep's ids were shown to whoever asked for it: later commands send its waiting plans."""
        with self._tracker.change() as db:
            db.execute("UPDATE sweeps SET told = 1 WHERE sweep_id = ?", (sweep_id,))

    def wait_again(self, plan_id: str, note: str, again: JobPlan, cluster_text: str) -> None:
        """Replace a plan of which certainly nothing was queued by another one with its points, which waits."""
        assert again.points is not None  # noqa: S101 - only a sweep's plan waits
        with self._tracker.change() as db:
            db.execute("UPDATE plans SET stage = 'refused', note = ? WHERE plan_id = ?", (note, plan_id))
            db.execute("DELETE FROM untold WHERE plan_id = ?", (plan_id,))
            db.execute("UPDATE points SET plan_id = ? WHERE plan_id = ?", (again.plan_id, plan_id))
            put_waiting(db, again.points.sweep_id, again, cluster_text)

    def drop(self, sweep_id: str) -> int:
        """Drop the plans of a sweep that wait; return how many these were."""
        with self._tracker.change() as db:
            return give_up_waiting(db, sweep_id, "given up before it was sent")

    def forget(self, sweep_id: str) -> bool:
        """Remove a sweep of which nothing was ever queued; False, and no change, for any other."""
        mine = "plan_id IN (SELECT plan_id FROM points WHERE sweep_id = ?)"
        with self._tracker.change() as db:
            query = f"SELECT 1 FROM plans WHERE {mine} AND stage != 'refused' LIMIT 1"  # noqa: S608 - ours
            if db.execute(query, (sweep_id,)).fetchone():
                return False
            for table in ("waiting", "points", "sweeps"):
                db.execute(f"DELETE FROM {table} WHERE sweep_id = ?", (sweep_id,))  # noqa: S608 - ours
            return True

    def ask(self, sweep_id: str, asked_sha256: str, template: str, given: Mapping[str, Any]) -> None:
        """Replace what was asked of a sweep."""
        with self._tracker.change() as db:
            values = (asked_sha256, template, json.dumps(dict(given)), sweep_id)
            db.execute("UPDATE sweeps SET asked_sha256 = ?, template = ?, given = ? WHERE sweep_id = ?", values)

    def same(self, asked_sha256: str) -> list[TrackedSweep]:
        """The sweeps that were asked for in the same words, oldest first."""
        return self._sweeps("WHERE asked_sha256 = ?", (asked_sha256,))

    def named(self, text: str) -> list[TrackedSweep]:
        """The sweep with this id, else those with this name, oldest first; what is no UTF-8 names none."""
        text = text.encode("utf-8", "replace").decode()
        return self._sweeps("WHERE sweep_id = ?", (text,)) or self._sweeps("WHERE name = ?", (text,))

    def all(self) -> list[TrackedSweep]:
        """Every sweep, oldest first."""
        return self._sweeps("", ())

    def waiting(self, *, cluster: str | None = None, sweep_id: str | None = None) -> list[WaitingPlan]:
        """The plans that were not sent yet, in their order."""
        query = (
            "SELECT * FROM waiting WHERE (?1 IS NULL OR cluster = ?1) AND (?2 IS NULL OR sweep_id = ?2) ORDER BY rowid"
        )
        rows = self._tracker.rows(query, (cluster, sweep_id))
        return [WaitingPlan(row["sweep_id"], plan_in(row["plan"], row["plan_id"]), row["cluster_text"]) for row in rows]

    def is_any_waiting(self) -> bool:
        """Whether there is a plan that later commands are to send."""
        query = "SELECT 1 FROM waiting JOIN sweeps USING (sweep_id) WHERE told = 1 LIMIT 1"
        return bool(self._tracker.rows(query, ()))

    def is_waiting(self, plan_id: str) -> bool:
        """Whether a plan still waits."""
        return bool(self._tracker.rows("SELECT 1 FROM waiting WHERE plan_id = ?", (plan_id,)))

    def entries(self, plan_id: str) -> tuple[Entry, ...]:
        """The points of a plan in their order."""
        rows = self._tracker.rows("SELECT * FROM points WHERE plan_id = ? ORDER BY place", (plan_id,))
        return tuple(map(entry_of, rows))

    def points(self, sweep_id: str) -> list[PlacedPoint]:
        """Every point of a sweep once, in the order in which they came in, with its last job."""
        jobs = self.jobs(sweep_id)
        by_place = {(job.plan_id, job.place): job for job in jobs}
        found: dict[str, PlacedPoint] = {}
        for row in self._tracker.rows("SELECT * FROM points WHERE sweep_id = ? ORDER BY rowid", (sweep_id,)):
            job = by_place.get((row["plan_id"], row["place"]))
            found[row["point_id"]] = PlacedPoint(entry_of(row), row["plan_id"], row["place"], job)
        return list(found.values())

    def jobs(self, sweep_id: str) -> list[TrackedJob]:
        """Every job that ran points of a sweep, oldest submission first."""
        mine = "plan_id IN (SELECT plan_id FROM points WHERE sweep_id = ?)"
        query = f"{JOBS} WHERE {mine} ORDER BY submitted_at, rowid"
        return [tracked(row) for row in self._tracker.rows(query, (sweep_id,))]

    def plans(self, sweep_id: str) -> list[TrackedPlan]:
        """The plans of a sweep that do not wait, oldest first."""
        mine = "plan_id IN (SELECT plan_id FROM points WHERE sweep_id = ?)"
        query = f"SELECT * FROM plans WHERE {mine} ORDER BY planned_at, rowid"  # noqa: S608 - ours
        return [planned(row) for row in self._tracker.rows(query, (sweep_id,))]

    def owners(self, plan_ids: Iterable[str]) -> dict[str, str]:
        """Plan -> its sweep's id, for those that are a sweep's."""
        wanted = json.dumps(list(plan_ids))
        query = "SELECT DISTINCT plan_id, sweep_id FROM points WHERE plan_id IN (SELECT value FROM json_each(?))"
        return {row["plan_id"]: row["sweep_id"] for row in self._tracker.rows(query, (wanted,))}

    def _sweeps(self, condition: str, values: Sequence[str]) -> list[TrackedSweep]:
        rows = self._tracker.rows(f"SELECT * FROM sweeps {condition} ORDER BY rowid", values)  # noqa: S608 - ours
        return [
            TrackedSweep(
                **{
                    **row,
                    "sweep_id": named(SWEEP_ID, row["sweep_id"]),
                    "given": values_in(row["given"], "what was asked of a sweep"),
                    "told": bool(row["told"]),
                }
            )
            for row in map(dict, rows)
        ]


def give_up_waiting(db: sqlite3.Connection, either: str, note: str) -> int:
    """The waiting plans of a sweep, or the one with this id, as plans of which nothing was queued: how many."""
    db.execute(
        "INSERT INTO plans SELECT plan_id, json_extract(plan, '$.plan_sha256'), cluster, "
        "json_extract(plan, '$.name'), json_extract(plan, '$.planned_at'), 'refused', ?, plan, cluster_text "
        "FROM waiting WHERE ? IN (sweep_id, plan_id)",
        (note, either),
    )
    return db.execute("DELETE FROM waiting WHERE ? IN (sweep_id, plan_id)", (either,)).rowcount


def put_sweep(db: sqlite3.Connection, sweep: TrackedSweep) -> None:
    """One sweep, unless it is there."""
    values = (sweep.sweep_id, sweep.asked_sha256, sweep.name, sweep.planned_at, sweep.template)
    more = (json.dumps(dict(sweep.given)), int(sweep.told))
    db.execute("INSERT OR IGNORE INTO sweeps VALUES (?, ?, ?, ?, ?, ?, ?)", (*values, *more))


def put_waiting(db: sqlite3.Connection, sweep_id: str, plan: JobPlan, cluster_text: str) -> None:
    """One plan that waits."""
    values = (plan.plan_id, sweep_id, plan.cluster, json.dumps(to_json(plan)), cluster_text)
    db.execute("INSERT OR IGNORE INTO waiting VALUES (?, ?, ?, ?, ?)", values)


def put_points(db: sqlite3.Connection, sweep_id: str, plan_id: str, entries: Iterable[Entry]) -> None:
    """The points of a plan, in their order."""
    rows = (
        (sweep_id, plan_id, place, entry.id, entry.text, json.dumps([list(entry.argv), dict(entry.env)]))
        for place, entry in enumerate(entries)
    )
    db.executemany("INSERT OR IGNORE INTO points VALUES (?, ?, ?, ?, ?, ?)", rows)


def entry_of(row: sqlite3.Row) -> Entry:
    """One row of the table of points."""
    argv, env = values_in(row["words"], "the words of a point", list)
    return Entry(named(POINT_ID, row["point_id"]), row["parameters"], env, tuple(argv))
