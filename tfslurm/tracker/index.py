"""The index of plans, jobs and records: one SQLite file on the user's machine.

The run folders on the clusters are the truth; this file can be deleted and rebuilt from them. It is safe on network
homes (rollback journal, no WAL: WAL needs shared memory, https://sqlite.org/wal.html) and with several processes at
once (every change is one immediate transaction; others wait up to 30 s).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tfslurm.errors import TrackerError
from tfslurm.job_plan import JobPlan, to_json
from tfslurm.job_plan.folders import UNTRUE
from tfslurm.local_files import claimed, make_file, make_folder
from tfslurm.sweeps.points_file import Entry
from tfslurm.tracker.chain import HEAD, Chain, keep_unchained
from tfslurm.tracker.errors import trouble
from tfslurm.tracker.records import record_text
from tfslurm.tracker.rows import (
    JOBS,
    PLACES,
    REBUILT,
    JobUpdate,
    Place,
    SeenDriver,
    TrackedJob,
    TrackedPlan,
    placed,
    planned,
    tracked,
    values_in,
)
from tfslurm.tracker.schema import ASK_VERSION, PUT_NAMES, VERSION, bring_up
from tfslurm.tracker.submissions import RECENT_JOBS, fitting, recent_plans
from tfslurm.tracker.sweeps import SweepIndex, TrackedSweep, put_points, put_sweep

ALONE = "job_id NOT GLOB '*_*'"
AMONG = "(SELECT value FROM json_each(?))"  # `+` in front of a column keeps SQLite from its index
UNFINISHED = "rowid IN (SELECT rowid FROM jobs WHERE final = 0)"  # else SQLite walks through all jobs in their order


class Tracker:
    """The index in one file; made when it does not exist.

    Raises:
        TrackerError: the file cannot be opened, is not an index, or was made by a newer version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            make_folder(path.parent)
            make_folder(path.with_name("claims"))
            make_file(path)
            self._db = sqlite3.connect(path, timeout=30, isolation_level=None)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA foreign_keys = ON")
            self._db.execute("PRAGMA trusted_schema = OFF")  # a file from elsewhere may hold views and triggers
            if self._db.execute(ASK_VERSION).fetchone()[0] != VERSION:
                with self.change() as db:
                    bring_up(db, path)
            self.chain_head: str = (self._db.execute(HEAD).fetchone() or ("",))[0]  # `chain.keep` keeps it up to date
        except (sqlite3.Error, OSError) as error:
            raise trouble(path, error) from error

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

    @property
    def chain(self) -> Chain:
        """The chain of its records."""
        return Chain(self)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def claim(self, name: str, *, wait: bool = False) -> Iterator[bool]:
        """Whether no other process is at work on this plan; until the block ends none is. It dies with its process.

        ``wait``: until the other has ended, so that it is always True.
        """
        with self._claimed([name], wait) as mine:
            yield mine

    @contextmanager
    def claim_all(self, names: Iterable[str]) -> Iterator[None]:
        """As ``claim``, waited for, of several plans: in one order, so that no two wait for each other."""
        with self._claimed(sorted(set(names)), wait=True):
            yield

    @contextmanager
    def _claimed(self, names: Sequence[str], wait: bool) -> Iterator[bool]:
        paths = []
        for name in names:
            if not name or "/" in name or name.startswith("."):
                raise TrackerError(f"{self.path}: {name[:80]!r} is not the name of a plan or a sweep; {UNTRUE}")
            paths.append(self.path.with_name("claims") / name)
        with ExitStack() as claims:
            try:
                mine = [(path, claims.enter_context(file)) for path in paths if (file := claimed(path, wait))]
            except OSError as error:
                raise trouble(self.path, error) from error
            try:
                yield len(mine) == len(paths)
            finally:
                for path, _ in mine:
                    with suppress(OSError):  # what stays is nobody's once it is closed
                        path.unlink(missing_ok=True)

    def plan(
        self, plan: JobPlan, cluster_text: str, values: Mapping[str, Any] | None = None, *, untold: bool = False
    ) -> None:
        """Write the intent down, before anything leaves this machine; ``untold``: somebody waits to see its id.

        ``values``: the plan's, as ``to_json`` has them, where they are at hand.
        """
        with self.change() as db:
            put_plan(db, plan, json.dumps(values or to_json(plan)), cluster_text, "planned")
            if plan.chain_head:
                db.execute("INSERT OR IGNORE INTO anchors VALUES (?, ?)", (plan.plan_id, plan.chain_head))
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

    def submit(self, plan: JobPlan, job_id: str, state: str = "PENDING", reason: str = "") -> None:
        """Write down the id that the scheduler gave, of an array that of all its tasks; twice changes nothing.

        ``reason``: why they wait, if that is known already.
        """
        jobs = plan.jobs(job_id) if plan.points and "_" not in job_id else (job_id,)
        with self.change() as db:
            db.execute("UPDATE plans SET stage = 'submitted', note = '' WHERE plan_id = ?", (plan.plan_id,))
            put_jobs(db, plan, dict.fromkeys(jobs, state), {"reason": reason} if reason else {})

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
            put_plan(db, plan, json.dumps(to_json(plan)), cluster_text, "submitted", REBUILT)
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
        """The record of a job that has not ended, as last read from its run folder; ``chain`` keeps the others."""
        with self.change() as db:
            keep_unchained(db, job, json.dumps(record))

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
        with self.errors_named():
            text = record_text(self._db, job)
        return dict(values_in(text, f"the record of {job.key}")) if text is not None else None

    def image(self, digest: str) -> dict[str, Any]:
        """The libraries in the image with this digest; empty: none of its records that were read has them."""
        found = self.rows("SELECT environment FROM images WHERE digest = ?", [digest])
        return dict(values_in(found[0]["environment"], f"the image {digest}")) if found else {}

    def texts(self, plan_ids: Sequence[str] | None = None) -> list[tuple[str, str]]:
        """Every cluster with each text that described it to jobs of these plans, or to any that have not ended.

        Clusters of one name may be several.
        """
        mine = "final = 0" if plan_ids is None else "plan_id IN (SELECT value FROM json_each(?))"
        query = (
            f"SELECT DISTINCT cluster, cluster_text FROM (SELECT DISTINCT cluster, plan_id FROM jobs WHERE {mine}) "  # noqa: S608 - ours
            "JOIN (SELECT plan_id, cluster_text FROM plans) USING (plan_id) ORDER BY cluster"
        )
        values = [] if plan_ids is None else [json.dumps(list(plan_ids))]
        return [(row["cluster"], row["cluster_text"]) for row in self.rows(query, values)]

    def roots(self) -> list[str]:
        """Every root that a job has which was not seen to end, or a plan that may be a job."""
        query = (
            "SELECT DISTINCT json_extract(plan, '$.root') AS root FROM plans WHERE plan_id IN (SELECT plan_id FROM "
            "plans WHERE stage = 'planned' UNION SELECT plan_id FROM jobs WHERE final = 0 AND state != 'LOST') "
            "ORDER BY root"
        )
        return [row["root"] for row in self.rows(query, ())]

    def places(self, cluster: str) -> dict[str, Place]:
        """Plan id -> where it is, for every plan with an unfinished job on a cluster; the plans are not read whole."""
        return {row["plan_id"]: placed(row) for row in self.rows(PLACES, [cluster])}

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

    def note_drivers(self, found: Sequence[SeenDriver]) -> None:
        """Write down the drivers of nodes, unless a later observation is known."""
        with self.change() as db:
            db.executemany(
                "INSERT INTO drivers VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (cluster, partition, node) DO UPDATE "
                "SET version = excluded.version, seen_at = excluded.seen_at, seen_by = excluded.seen_by "
                "WHERE excluded.seen_at >= drivers.seen_at",
                found,
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
        since: str = "",
        states: Sequence[str] = (),
        alone: bool = False,
        newest: int | None = None,
    ) -> list[TrackedJob]:
        """The jobs, oldest submission first; ``untold``: those whose ids nobody has seen.

        ``recent``: of those that have ended only the ones among the last so many submissions, of which a sweep is one.
        ``array``: the tasks of one, or the points that one task (``1234_7``) runs. ``name``: the
        experiment's, in which * and ? stand for any text. ``since``: submitted then or later, RFC 3339 in UTC.
        ``alone``: no points of a sweep. ``newest``: so many of them at most, the last ones.
        """
        names = fitting(self, name) if name is not None and set("*?[") & set(name) else None
        recently = None if recent is None else json.dumps(recent_plans(self, recent))
        wanted = {
            "cluster = ?": cluster,
            "job_id = ?": job_id,
            "name = ?": name if names is None else None,
            f"name IN {AMONG}": None if names is None else json.dumps(names),
            "plan_id IN (SELECT plan_id FROM known_as WHERE name = ?)": plan_sha256,
            "job_id GLOB ?": array and (f"{array}.*" if "_" in array else f"{array}_*"),
            f"{'state' if name is None else '+state'} IN {AMONG}": json.dumps(list(states)) if states else None,
            "submitted_at >= ?": since or None,
            f"rowid IN ({RECENT_JOBS})": recently,
        }
        flags = {UNFINISHED: unfinished, "plan_id IN (SELECT plan_id FROM untold)": untold, ALONE: alone}
        given = {condition: value for condition, value in wanted.items() if value is not None}
        parts = [*given, *(condition for condition, is_wanted in flags.items() if is_wanted)]
        where = f"WHERE {' AND '.join(parts)}" if parts else ""
        values, order = list(given.values()), "ORDER BY submitted_at, rowid"
        if newest is not None:
            where = f"WHERE rowid IN (SELECT rowid FROM jobs {where} ORDER BY submitted_at DESC, rowid DESC LIMIT ?)"  # noqa: S608 - ours
            values.append(str(newest))
        return [tracked(row) for row in self.rows(f"{JOBS} {where} {order}", values)]

    def has_unfinished(self, cluster: str, job_id: str) -> bool:
        """Whether a job of the cluster that has not ended has this id, or is a task of the array that has it."""
        alone = self.jobs(cluster=cluster, job_id=job_id, unfinished=True)
        return bool(alone or self.jobs(cluster=cluster, array=job_id, unfinished=True))

    def has_sent(self, plan: JobPlan) -> bool:
        """Whether the code of this plan went to its cluster before; it may have been removed there since."""
        if plan.code is None:
            return False
        query = "SELECT 1 FROM known_as JOIN plans USING (plan_id) WHERE known_as.name = ? AND stage = 'submitted'"
        return bool(self.rows(f"{query} LIMIT 1", [f"{plan.cluster}:{plan.root}/code/{plan.code.tree}"]))

    def plans(self, *, stage: str | None = None, plan_id: str | None = None) -> list[TrackedPlan]:
        """The intents, oldest first."""
        found = {"stage": stage, "plan_id": plan_id}
        given = {column: value for column, value in found.items() if value is not None}
        where = f"WHERE {' AND '.join(f'{column} = ?' for column in given)}" if given else ""
        query = f"SELECT * FROM plans {where} ORDER BY planned_at"  # noqa: S608 - ours
        return [planned(row) for row in self.rows(query, list(given.values()))]

    def each(self, query: str, values: Sequence[str | None] = ()) -> Iterator[sqlite3.Row]:
        """The rows of a question one by one, for whoever may need few of many."""
        with self.errors_named(), closing(self._db.execute(query, values)) as found:
            yield from found

    def rows(self, query: str, values: Sequence[str | None]) -> list[sqlite3.Row]:
        """The rows of a question."""
        with self.errors_named():
            return self._db.execute(query, values).fetchall()


def put_plan(db: sqlite3.Connection, plan: JobPlan, text: str, cluster_text: str, stage: str, note: str = "") -> None:
    """One plan, whose values are ``text``, unless it is there; it waits no longer."""
    values = (plan.plan_id, plan.plan_sha256, plan.cluster, plan.name, plan.planned_at, stage, note)
    db.execute("INSERT OR IGNORE INTO plans VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*values, text, cluster_text))
    db.execute(PUT_NAMES.format(which="plan_id = ?"), (plan.plan_id,))
    db.execute("DELETE FROM waiting WHERE plan_id = ?", (plan.plan_id,))


def put_jobs(
    db: sqlite3.Connection, plan: JobPlan, jobs: Mapping[str, str], status: Mapping[str, str] = MappingProxyType({})
) -> None:
    """The jobs of a plan (id -> state), all with this status; those that are there stay as they are."""
    said = json.dumps(dict(status))
    db.executemany(
        "INSERT OR IGNORE INTO jobs (cluster, job_id, submitted_at, plan_id, name, state, status) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(plan.cluster, id_, plan.planned_at, plan.plan_id, plan.name, state, said) for id_, state in jobs.items()],
    )
