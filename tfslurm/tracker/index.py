"""The index of plans, jobs and records: one SQLite file on the user's machine.

The run folders on the clusters are the truth; this file can be deleted and rebuilt from them. It is safe on network
homes (rollback journal, no WAL: WAL needs shared memory, https://sqlite.org/wal.html) and with several processes at
once (every change is one immediate transaction; others wait up to 30 s).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tfslurm.errors import TrackerError
from tfslurm.job_plan import JobPlan, to_json
from tfslurm.job_plan.folders import UNTRUE
from tfslurm.local_files import make_file, make_folder
from tfslurm.sweeps.points_file import Entry
from tfslurm.tracker.by_content import CONTENTS
from tfslurm.tracker.errors import trouble
from tfslurm.tracker.plan_lock import claimed
from tfslurm.tracker.rows import (
    JOBS,
    REBUILT,
    JobUpdate,
    Place,
    SeenDriver,
    TrackedJob,
    TrackedPlan,
    planned,
    tracked,
    values_in,
)
from tfslurm.tracker.submissions import RECENT_JOBS
from tfslurm.tracker.sweeps import SWEEPS, SweepIndex, TrackedSweep, put_points, put_sweep

VERSION = 1
SCHEMA = """
CREATE TABLE plans (
  plan_id TEXT PRIMARY KEY, plan_sha256 TEXT NOT NULL, cluster TEXT NOT NULL, name TEXT NOT NULL,
  planned_at TEXT NOT NULL, stage TEXT NOT NULL CHECK (stage IN ('planned', 'submitted', 'refused')),
  note TEXT NOT NULL DEFAULT '',
  plan TEXT NOT NULL, cluster_text TEXT NOT NULL);
CREATE TABLE jobs (
  cluster TEXT NOT NULL, job_id TEXT NOT NULL, submitted_at TEXT NOT NULL, plan_id TEXT NOT NULL REFERENCES plans,
  state TEXT NOT NULL, final INTEGER NOT NULL DEFAULT 0, status TEXT NOT NULL DEFAULT '{}', record TEXT,
  PRIMARY KEY (cluster, job_id, submitted_at));
CREATE TABLE tags (reference TEXT PRIMARY KEY, asked_at TEXT NOT NULL);
CREATE INDEX jobs_by_plan ON jobs (plan_id);
CREATE INDEX jobs_open ON jobs (cluster) WHERE final = 0;
"""
# Not part of SCHEMA: a tracker may be older than these, and one that does not know them may go on using the file. A
# plan stands in `untold` from its intent until its id was shown to whoever asked for it.
LATER = (
    "CREATE TABLE IF NOT EXISTS drivers (cluster TEXT NOT NULL, partition TEXT NOT NULL, node TEXT NOT NULL, "
    "version TEXT NOT NULL, seen_at TEXT NOT NULL, seen_by TEXT NOT NULL, PRIMARY KEY (cluster, partition, node))",
    "CREATE TABLE IF NOT EXISTS untold (plan_id TEXT PRIMARY KEY REFERENCES plans)",
    "CREATE INDEX IF NOT EXISTS jobs_by_id ON jobs (job_id)",
    *CONTENTS,
    *SWEEPS,
)


class Tracker:
    """The index in one file; made when it does not exist.

    Raises:
        TrackerError: the file cannot be opened, is not an index, or was made by a newer version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self.errors_named():
            make_folder(path.parent)
            make_folder(path.with_name("claims"))
            make_file(path)
            self._db = sqlite3.connect(path, timeout=30, isolation_level=None)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA foreign_keys = ON")
            self._db.execute("PRAGMA trusted_schema = OFF")  # a file from elsewhere may hold views and triggers
            self._prepare()
            for statement in LATER:
                self._db.execute(statement)

    def _prepare(self) -> None:
        if self._version() == VERSION:
            return
        with self.change() as db:
            found = self._version()
            if found > VERSION:
                raise TrackerError(f"{self.path}: made by a newer tfslurm (schema {found}); update tfslurm")
            if found == 0:
                for statement in SCHEMA.split(";\n"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {VERSION}")

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    @contextmanager
    def errors_named(self) -> Iterator[None]:
        """Raise any error of the file as a TrackerError with its fix."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise trouble(self.path, error) from error

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """The database for one change, which is made as a whole or not at all."""
        with self.errors_named():
            try:
                self._db.execute("BEGIN IMMEDIATE")  # Ctrl-C during its wait for others is raised once it has begun
                yield self._db
            except BaseException:
                with suppress(sqlite3.Error):  # SQLite has rolled back by itself where the disk is full
                    self._db.execute("ROLLBACK")
                raise
            try:
                self._db.execute("COMMIT")
            except sqlite3.Error:
                with suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise

    @property
    def sweeps(self) -> SweepIndex:
        """The sweeps in it."""
        return SweepIndex(self)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def claim(self, name: str, *, wait: bool = False) -> Iterator[bool]:
        """Whether no other process is at work on this plan; until the block ends none is. It dies with its process.

        ``wait``: until the other has ended, so that it is always True.
        """
        if not name or "/" in name or name.startswith("."):
            raise TrackerError(f"{self.path}: {name[:80]!r} is not the name of a plan or a sweep; {UNTRUE}")
        path = self.path.with_name("claims") / name
        with self.errors_named():
            mine = claimed(path, wait)
        try:
            yield mine is not None
        finally:
            if mine:
                with suppress(OSError):  # what stays is nobody's once it is closed
                    path.unlink(missing_ok=True)
                mine.close()

    def plan(self, plan: JobPlan, cluster_text: str, *, untold: bool = False) -> None:
        """Write the intent down, before anything leaves this machine; ``untold``: somebody waits to see its id."""
        with self.change() as db:
            put_plan(db, plan, cluster_text, "planned", "")
            if untold:
                db.execute("INSERT OR IGNORE INTO untold VALUES (?)", (plan.plan_id,))

    def tell(self, plan_ids: Sequence[str]) -> None:
        """Write down that their ids were shown to whoever asked for the jobs."""
        with self.change() as db:
            db.executemany("DELETE FROM untold WHERE plan_id = ?", [(plan_id,) for plan_id in plan_ids])

    def refuse(self, plan_id: str, note: str) -> None:
        """The scheduler refused: nothing was queued."""
        with self.change() as db:
            db.execute("UPDATE plans SET stage = 'refused', note = ? WHERE plan_id = ?", (note, plan_id))
            db.execute("DELETE FROM untold WHERE plan_id = ?", (plan_id,))

    def submit(self, plan: JobPlan, job_id: str, state: str = "PENDING") -> None:
        """Write down the id that the scheduler gave, of an array that of all its tasks; twice changes nothing."""
        jobs = (job_id,) if "_" in job_id else plan.jobs(job_id)
        with self.change() as db:
            db.execute("UPDATE plans SET stage = 'submitted', note = '' WHERE plan_id = ?", (plan.plan_id,))
            put_jobs(db, plan, dict.fromkeys(jobs, state))

    def restore(
        self,
        plan: JobPlan,
        cluster_text: str,
        jobs: Mapping[str, str],
        sweep: TrackedSweep | None = None,
        entries: Sequence[Entry] = (),
    ) -> None:
        """A plan that was read from its run folder, with its jobs (id -> state); what is known stays as it is.

        It is never one that is still to be settled or sent.
        """
        with self.change() as db:
            if sweep:
                put_sweep(db, sweep)
                put_points(db, sweep.sweep_id, plan.plan_id, entries)
            put_plan(db, plan, cluster_text, "submitted", REBUILT)
            # one that this tracker planned itself, and whose id it never got to know
            db.execute("UPDATE plans SET stage = 'submitted' WHERE plan_id = ? AND stage = 'planned'", (plan.plan_id,))
            put_jobs(db, plan, jobs)

    def update_jobs(self, updates: Sequence[JobUpdate]) -> None:
        """Write the new states of any number of jobs, all or none; a job that has ended stays as it ended."""
        rows = [
            (each.state, int(each.final), json.dumps(dict(each.status)), job.cluster, job.job_id, job.submitted_at)
            for each in updates
            if each.is_news and (job := each.job)
        ]
        if rows:
            with self.change() as db:
                db.executemany(
                    "UPDATE jobs SET state = ?, final = ?, status = ? "
                    "WHERE (cluster, job_id, submitted_at) = (?, ?, ?) AND final = 0",
                    rows,
                )

    def keep(self, job: TrackedJob, record: Mapping[str, Any]) -> None:
        """The record as last read from the run folder, so that it survives the folder."""
        with self.change() as db:
            db.execute(
                "UPDATE jobs SET record = ? WHERE (cluster, job_id, submitted_at) = (?, ?, ?)",
                (json.dumps(record), job.cluster, job.job_id, job.submitted_at),
            )

    def local_id(self, plan: JobPlan) -> str:
        """The next id of the cluster `local`, counted from 1, taken by this plan."""
        with self.change() as db:
            row = db.execute(
                "SELECT max(CAST(job_id AS INTEGER)) FROM jobs WHERE cluster = ?", (plan.cluster,)
            ).fetchone()
            job_id = str((row[0] or 0) + 1)
            db.execute("UPDATE plans SET stage = 'submitted' WHERE plan_id = ?", (plan.plan_id,))
            put_jobs(db, plan, {job_id: "RUNNING"})
            return job_id

    def record(self, job: TrackedJob) -> dict[str, Any] | None:
        """The record of a job as last read; None: none was."""
        query = "SELECT record FROM jobs WHERE (cluster, job_id, submitted_at) = (?, ?, ?)"
        found = [row["record"] for row in self.rows(query, (job.cluster, job.job_id, job.submitted_at))]
        return dict(values_in(found[0], f"the record of {job.key}")) if found and found[0] else None

    def texts(self, plan_ids: Sequence[str] | None = None) -> list[tuple[str, str]]:
        """Every cluster with each text that described it to jobs of these plans, or to any that have not ended.

        Clusters of one name may be several.
        """
        query = (
            "SELECT DISTINCT jobs.cluster, cluster_text FROM jobs JOIN plans USING (plan_id) WHERE CASE WHEN ?1 IS "
            "NULL THEN final = 0 ELSE plan_id IN (SELECT value FROM json_each(?1)) END ORDER BY jobs.cluster"
        )
        values = (None if plan_ids is None else json.dumps(list(plan_ids)),)
        return [(row["cluster"], row["cluster_text"]) for row in self.rows(query, values)]

    def roots(self) -> list[str]:
        """Every root that a job has which was not seen to end, or a plan that may be a job."""
        query = (
            "SELECT DISTINCT json_extract(plan, '$.root') AS root FROM plans WHERE stage = 'planned' OR plan_id IN "
            "(SELECT plan_id FROM jobs WHERE final = 0 AND state != 'LOST') ORDER BY root"
        )
        return [row["root"] for row in self.rows(query, ())]

    def places(self, cluster: str) -> dict[str, Place]:
        """Plan id -> where it is, for every plan with an unfinished job on a cluster; the plans are not read whole."""
        query = (
            "SELECT plan_id, name, json_extract(plan, '$.root') AS root, "
            "json_array_length(plan, '$.secrets') AS secrets, json_extract(plan, '$.points.count') AS points, "
            "json_extract(plan, '$.points.points_per_job') AS points_per_job, "
            "json_extract(plan, '$.engine') AS engine, cluster_text, unfinished FROM plans JOIN "
            "(SELECT plan_id, count(*) AS unfinished FROM jobs WHERE cluster = ? AND final = 0 GROUP BY plan_id) "
            "USING (plan_id)"
        )
        return {
            row["plan_id"]: Place(
                row["root"],
                row["name"],
                row["plan_id"],
                bool(row["secrets"]),
                row["unfinished"],
                row["engine"],
                row["points"] or 1,
                row["points_per_job"] or 1,
                row["cluster_text"],
            )
            for row in self.rows(query, [cluster])
        }

    def ask_tag(self, reference: str, now: str, not_since: str) -> bool:
        """Whether a tag is due to be asked for: True, and noted as asked now, when it was not asked since then."""
        with self.change() as db:
            row = db.execute("SELECT asked_at FROM tags WHERE reference = ?", (reference,)).fetchone()
            due = row is None or row["asked_at"] < not_since
            if due:
                db.execute("INSERT OR REPLACE INTO tags VALUES (?, ?)", (reference, now))
            return due

    def knows_lock(self, sha256: str) -> bool:
        """Whether a lock file with this content was found to agree with the registry."""
        return bool(self.rows("SELECT 1 FROM tags WHERE reference = ?", [f"lock {sha256}"]))

    def note_lock(self, sha256: str, now: str) -> None:
        """Write down that it was."""
        with self.change() as db:
            db.execute("INSERT OR REPLACE INTO tags VALUES (?, ?)", (f"lock {sha256}", now))

    def note_driver(self, driver: SeenDriver) -> None:
        """Write down a node's driver, unless a later observation is known."""
        with self.change() as db:
            db.execute(
                "INSERT INTO drivers VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (cluster, partition, node) DO UPDATE "
                "SET version = excluded.version, seen_at = excluded.seen_at, seen_by = excluded.seen_by "
                "WHERE excluded.seen_at >= drivers.seen_at",
                (driver.cluster, driver.partition, driver.node, driver.version, driver.seen_at, driver.seen_by),
            )

    def drivers(self, cluster: str) -> list[SeenDriver]:
        """The drivers last seen on a cluster, by partition and node."""
        query = "SELECT * FROM drivers WHERE cluster = ? ORDER BY partition, node"
        return [SeenDriver(**row) for row in self.rows(query, [cluster])]

    def jobs(
        self,
        *,
        cluster: str | None = None,
        job_id: str | None = None,
        plan_sha256: str | None = None,
        unfinished: bool = False,
        untold: bool = False,
        recent: int | None = None,
        array: str | None = None,
        name: str | None = None,
    ) -> list[TrackedJob]:
        """The jobs, oldest submission first; ``untold``: those whose ids nobody has seen.

        ``recent``: of those that have ended only the ones among the last so many submissions, of which a sweep is one.
        ``array``: the tasks of one, or the points that one task (``1234_7``) runs. ``name``: the experiment's.
        """
        where: list[str] = []
        values: list[str] = []
        equal = {"jobs.cluster": cluster, "job_id": job_id, "plan_sha256": plan_sha256, "plans.name": name}
        for column, value in equal.items():
            if value is not None:
                where.append(f"{column} = ?")
                values.append(value)
        if array is not None:
            where.append("job_id GLOB ?")
            values.append(f"{array}.*" if "_" in array else f"{array}_*")
        if unfinished:
            where.append("final = 0")
        if recent is not None:
            where.append(f"(final = 0 OR jobs.rowid IN ({RECENT_JOBS}))")
            values.append(str(recent))
        if untold:
            where.append("jobs.plan_id IN (SELECT plan_id FROM untold)")
        condition = f"WHERE {' AND '.join(where)}" if where else ""
        order = "ORDER BY submitted_at, jobs.rowid"
        return [tracked(row) for row in self.rows(f"{JOBS} {condition} {order}", values)]

    def has_sent(self, plan: JobPlan) -> bool:
        """Whether the code of this plan went to its cluster before; it may have been removed there since."""
        query = (
            "SELECT 1 FROM plans WHERE cluster = ? AND stage = 'submitted' AND json_extract(plan, '$.root') = ? "
            "AND json_extract(plan, '$.code.tree') = ? LIMIT 1"
        )
        return bool(self.rows(query, (plan.cluster, plan.root, plan.code.tree if plan.code else None)))

    def plans(self, *, stage: str | None = None, plan_id: str | None = None) -> list[TrackedPlan]:
        """The intents, oldest first."""
        query = (
            "SELECT * FROM plans WHERE (?1 IS NULL OR stage = ?1) AND (?2 IS NULL OR plan_id = ?2) ORDER BY planned_at"
        )
        return [planned(row) for row in self.rows(query, (stage, plan_id))]

    def rows(self, query: str, values: Sequence[str | None]) -> list[sqlite3.Row]:
        """The rows of a question."""
        with self.errors_named():
            return self._db.execute(query, values).fetchall()


def put_plan(db: sqlite3.Connection, plan: JobPlan, cluster_text: str, stage: str, note: str) -> None:
    """One plan, unless it is there; it waits no longer."""
    values = (plan.plan_id, plan.plan_sha256, plan.cluster, plan.name, plan.planned_at, stage, note)
    text = json.dumps(to_json(plan))
    db.execute("INSERT OR IGNORE INTO plans VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*values, text, cluster_text))
    db.execute("DELETE FROM waiting WHERE plan_id = ?", (plan.plan_id,))


def put_jobs(db: sqlite3.Connection, plan: JobPlan, jobs: Mapping[str, str]) -> None:
    """The jobs of a plan (id -> state); those that are there stay as they are."""
    db.executemany(
        "INSERT OR IGNORE INTO jobs (cluster, job_id, submitted_at, plan_id, state) VALUES (?, ?, ?, ?, ?)",
        [(plan.cluster, job_id, plan.planned_at, plan.plan_id, state) for job_id, state in jobs.items()],
    )
