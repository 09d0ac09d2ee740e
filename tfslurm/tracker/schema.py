"""The tables of the tracker's file, and how a file of an older version gets them.

``jobs`` has what a list of jobs shows, and the experiment's name, so that a list reads no plan. ``records`` has their
records, apart, so that a list reads none. ``known_as`` has every name by which somebody may know a plan: image digests,
the code's tree, commit and folder, the hash of what was asked, and the id of the record that it repeats. ``chain`` has
the hashes of the records of jobs that have ended, each beside that of the record before it, and ``replaced`` the
records that are not their job's any more. ``anchors`` has the plans that name the chain's head of the moment when they
were made.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from tfslurm.errors import TrackerError
from tfslurm.tracker.records import packed

VERSION = 3  # a new table or index is one more: files of any older version get what they lack
ASK_VERSION = "PRAGMA user_version"
JOBS_TABLE = (
    "CREATE TABLE {name} (cluster TEXT NOT NULL, job_id TEXT NOT NULL, submitted_at TEXT NOT NULL, "
    "plan_id TEXT NOT NULL REFERENCES plans, name TEXT NOT NULL, state TEXT NOT NULL, "
    "final INTEGER NOT NULL DEFAULT 0, status TEXT NOT NULL DEFAULT '{{}}', "
    "PRIMARY KEY (cluster, job_id, submitted_at))"
)
# A plan stands in `untold` from its intent until its id was shown to whoever asked for it.
TABLES = (
    "CREATE TABLE IF NOT EXISTS plans (plan_id TEXT PRIMARY KEY, plan_sha256 TEXT NOT NULL, cluster TEXT NOT NULL, "
    "name TEXT NOT NULL, planned_at TEXT NOT NULL, stage TEXT NOT NULL CHECK (stage IN ('planned', 'submitted', "
    "'refused')), note TEXT NOT NULL DEFAULT '', plan TEXT NOT NULL, cluster_text TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS known_as (name TEXT NOT NULL, plan_id TEXT NOT NULL REFERENCES plans, "
    "PRIMARY KEY (name, plan_id)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS records (cluster TEXT NOT NULL, job_id TEXT NOT NULL, submitted_at TEXT NOT NULL, "
    "record BLOB NOT NULL, PRIMARY KEY (cluster, job_id, submitted_at))",
    "CREATE TABLE IF NOT EXISTS tags (reference TEXT PRIMARY KEY, asked_at TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS drivers (cluster TEXT NOT NULL, partition TEXT NOT NULL, node TEXT NOT NULL, "
    "version TEXT NOT NULL, seen_at TEXT NOT NULL, seen_by TEXT NOT NULL, PRIMARY KEY (cluster, partition, node))",
    "CREATE TABLE IF NOT EXISTS images (digest TEXT PRIMARY KEY, environment TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS untold (plan_id TEXT PRIMARY KEY REFERENCES plans)",
    "CREATE TABLE IF NOT EXISTS sweeps (sweep_id TEXT PRIMARY KEY, asked_sha256 TEXT NOT NULL, name TEXT NOT NULL, "
    "planned_at TEXT NOT NULL, template TEXT NOT NULL, given TEXT NOT NULL, told INTEGER NOT NULL DEFAULT 0)",
    "CREATE TABLE IF NOT EXISTS waiting (plan_id TEXT PRIMARY KEY, sweep_id TEXT NOT NULL REFERENCES sweeps, "
    "cluster TEXT NOT NULL, plan TEXT NOT NULL, cluster_text TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS points (sweep_id TEXT NOT NULL REFERENCES sweeps, plan_id TEXT NOT NULL, "
    "place INTEGER NOT NULL, point_id TEXT NOT NULL, parameters TEXT NOT NULL, words TEXT NOT NULL, "
    "PRIMARY KEY (plan_id, place))",
    # AUTOINCREMENT: SQLite keeps the largest place there ever was, so that an end that was cut off is seen.
    "CREATE TABLE IF NOT EXISTS chain (place INTEGER PRIMARY KEY AUTOINCREMENT, record_sha256 TEXT NOT NULL UNIQUE, "
    "previous TEXT, cluster TEXT NOT NULL, job_id TEXT NOT NULL, submitted_at TEXT NOT NULL, replaced BLOB)",
    "CREATE TABLE IF NOT EXISTS anchors (plan_id TEXT PRIMARY KEY, head TEXT NOT NULL) WITHOUT ROWID",
)
INDEXES = (
    "CREATE INDEX IF NOT EXISTS jobs_by_plan ON jobs (plan_id)",
    "CREATE INDEX IF NOT EXISTS jobs_by_id ON jobs (job_id)",
    "CREATE INDEX IF NOT EXISTS jobs_by_name ON jobs (name, submitted_at, state)",
    "CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, submitted_at)",
    "CREATE INDEX IF NOT EXISTS jobs_by_moment ON jobs (submitted_at)",
    "CREATE INDEX IF NOT EXISTS jobs_open ON jobs (cluster) WHERE final = 0",
    "CREATE INDEX IF NOT EXISTS plans_by_moment ON plans (planned_at, plan_id)",
    "CREATE INDEX IF NOT EXISTS plans_open ON plans (plan_id) WHERE stage = 'planned'",
    "CREATE INDEX IF NOT EXISTS points_by_sweep ON points (sweep_id, plan_id)",
    "CREATE INDEX IF NOT EXISTS sweeps_by_name ON sweeps (name)",
    "CREATE INDEX IF NOT EXISTS chain_by_job ON chain (cluster, job_id, submitted_at)",
    "CREATE INDEX IF NOT EXISTS anchors_by_head ON anchors (head)",
)
# Of plans that cannot be read there are none; whoever needs one of these says so.
PUT_NAMES = (
    "INSERT OR IGNORE INTO known_as SELECT each.value, plan_id FROM (SELECT plan_id, plan_sha256, cluster, CASE WHEN "
    "json_valid(plan) THEN plan ELSE '{{}}' END AS plan FROM plans WHERE {which}) AS plans, json_each(json_array("
    "plan_sha256, json_extract(plan, '$.pin.digest'), json_extract(plan, '$.pin.manifest_digest'), "
    "json_extract(plan, '$.pin.config_digest'), json_extract(plan, '$.code.tree'), "
    "json_extract(plan, '$.code.commit'), json_extract(plan, '$.derived_from.record_id'), "
    "cluster||':'||json_extract(plan, '$.root')||'/code/'||json_extract(plan, '$.code.tree'))) AS each "
    "WHERE typeof(each.value) = 'text' AND each.value != ''"
)


def bring_up(db: sqlite3.Connection, path: Path) -> None:
    """Make the tables, or those of an older version into these, within the transaction that the caller has begun.

    Raises:
        TrackerError: a newer version made the file.
    """
    found = int(db.execute(ASK_VERSION).fetchone()[0])
    if found > VERSION:
        raise TrackerError(f"{path}: made by a newer tfslurm (schema {found}); update tfslurm")
    if found == VERSION:
        return
    for statement in TABLES:
        db.execute(statement)
    if found == 1:
        from_first(db)
    elif not found:
        db.execute(JOBS_TABLE.format(name="jobs"))
    for statement in INDEXES:
        db.execute(statement)
    db.execute(f"PRAGMA user_version = {VERSION}")


def from_first(db: sqlite3.Connection) -> None:
    """From version 1, which had the records among the jobs: all of it, or nothing where the process is killed."""
    db.execute("DROP INDEX IF EXISTS points_by_sweep")
    db.execute(JOBS_TABLE.format(name="jobs_2"))
    db.execute(
        "INSERT INTO jobs_2 SELECT jobs.cluster, job_id, submitted_at, plan_id, plans.name, state, final, status "
        "FROM jobs JOIN plans USING (plan_id) ORDER BY jobs.rowid"
    )
    kept = db.execute("SELECT cluster, job_id, submitted_at, record FROM jobs WHERE record IS NOT NULL")
    db.executemany(
        "INSERT INTO records VALUES (?, ?, ?, ?)", ((*tuple(row)[:3], packed(str(row["record"]))) for row in kept)
    )
    db.execute(PUT_NAMES.format(which="1"))
    db.execute("DROP TABLE jobs")
    db.execute("ALTER TABLE jobs_2 RENAME TO jobs")
