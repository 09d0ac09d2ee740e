"""A tracker's file of an older version is brought up whole or not at all; every question is answered by an index."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.made import CODE, NOW, PIN, experiment, plan
from tfslurm.errors import TrackerError
from tfslurm.job_plan import to_json
from tfslurm.tracker import JobUpdate, TrackedJob, Tracker
from tfslurm.tracker.by_content import jobs_of_plans, plans_with
from tfslurm.tracker.schema import VERSION
from tfslurm.tracker.submissions import experiments, fitting, submitted

# As versions before 0.3 made it; `drivers` and those of sweeps came later, and need not be there.
FIRST = """
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
PRAGMA user_version = 1;
"""
LATER = """
CREATE TABLE drivers (cluster TEXT NOT NULL, partition TEXT NOT NULL, node TEXT NOT NULL, version TEXT NOT NULL,
  seen_at TEXT NOT NULL, seen_by TEXT NOT NULL, PRIMARY KEY (cluster, partition, node));
CREATE TABLE untold (plan_id TEXT PRIMARY KEY REFERENCES plans);
CREATE TABLE sweeps (sweep_id TEXT PRIMARY KEY, asked_sha256 TEXT NOT NULL, name TEXT NOT NULL,
  planned_at TEXT NOT NULL, template TEXT NOT NULL, given TEXT NOT NULL, told INTEGER NOT NULL DEFAULT 0);
CREATE TABLE waiting (plan_id TEXT PRIMARY KEY, sweep_id TEXT NOT NULL REFERENCES sweeps,
  cluster TEXT NOT NULL, plan TEXT NOT NULL, cluster_text TEXT NOT NULL);
CREATE TABLE points (sweep_id TEXT NOT NULL REFERENCES sweeps, plan_id TEXT NOT NULL, place INTEGER NOT NULL,
  point_id TEXT NOT NULL, parameters TEXT NOT NULL, words TEXT NOT NULL, PRIMARY KEY (plan_id, place));
CREATE INDEX points_by_sweep ON points (sweep_id);
CREATE INDEX jobs_by_id ON jobs (job_id);
"""
RECORD = {"schema": "x", "name": "é\ud800", "packages": ["tensorflow"] * 50}


def older(path: Path, *, jobs: int = 3, more: str = LATER) -> Path:
    """A file of the first version with so many jobs, the first of which have records."""
    with sqlite3.connect(path) as db:
        db.executescript(FIRST + more)
        for number in range(jobs):
            made = plan(planned_at=f"2026-11-23T07:50:{number:02}.000000Z")
            named = (made.plan_id, made.plan_sha256, made.cluster, made.name, made.planned_at)
            db.execute(
                "INSERT INTO plans VALUES (?, ?, ?, ?, ?, 'submitted', '', ?, 'name: alpha')",
                (*named, json.dumps(to_json(made))),
            )
            db.execute(
                "INSERT INTO jobs VALUES ('alpha', ?, ?, ?, 'COMPLETED', 1, '{\"exit_code\": 0}', ?)",
                (str(17 + number), made.planned_at, made.plan_id, json.dumps(RECORD) if number < jobs - 1 else None),
            )
    db.close()
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("more", ["", LATER], ids=["of the first release", "with later tables"])
def test_a_file_of_the_first_version_keeps_its_jobs_and_records(tmp_path: Path, more: str) -> None:
    tracker = Tracker(older(tmp_path / "tracker.sqlite", more=more))
    jobs = tracker.jobs()
    assert [(job.key, job.name, job.state, job.final) for job in jobs] == [
        (f"alpha:{number}", "digits", "COMPLETED", True) for number in (17, 18, 19)
    ]
    assert [tracker.record(job) for job in jobs] == [RECORD, RECORD, None]
    assert tracker.plans(plan_id=jobs[0].plan_id)[0].cluster_text == "name: alpha"
    assert [job.key for job in jobs_known_as(tracker, PIN.digest)] == ["alpha:17", "alpha:18", "alpha:19"]
    assert tracker.drivers("alpha") == [] and tracker.sweeps.all() == [] and tracker.has_sent(plan())
    tracker.close()
    db = sqlite3.connect(tracker.path)
    assert db.execute("PRAGMA user_version").fetchone() == (VERSION,)
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert not db.execute("PRAGMA foreign_key_check").fetchall()
    assert "record" not in [row[1] for row in db.execute("PRAGMA table_info (jobs)")]
    made = sqlite3.connect(Tracker(tmp_path / "new" / "tracker.sqlite").path)
    query = "SELECT type, name FROM sqlite_master ORDER BY name"
    assert db.execute(query).fetchall() == made.execute(query).fetchall()


def test_a_file_gets_the_tables_and_indexes_that_it_lacks(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path / "tracker.sqlite")
    job = kept(tracker)
    tracker.close()
    with sqlite3.connect(tracker.path) as db:
        query = "SELECT type, name FROM sqlite_master ORDER BY name"
        whole = db.execute(query).fetchall()
        for statement in ("DROP TABLE chain", "DROP INDEX jobs_by_name", "PRAGMA user_version = 2"):
            db.execute(statement)
    db.close()
    assert Tracker(tracker.path).record(job) == RECORD
    assert sqlite3.connect(tracker.path).execute(query).fetchall() == whole


def test_a_process_that_is_killed_while_it_brings_a_file_up_leaves_it_as_it_was(tmp_path: Path) -> None:
    path = older(tmp_path / "tracker.sqlite", jobs=40)
    program = (
        "import os, sys; from pathlib import Path; from tfslurm.tracker import Tracker, schema\n"
        "schema.INDEXES = (*schema.INDEXES[:5], 'SELECT kill()')\n"
        "import sqlite3; connect = sqlite3.connect\n"
        "def connected(*words, **more):\n"
        "    db = connect(*words, **more); db.create_function('kill', 0, lambda: os.kill(os.getpid(), 9)); return db\n"
        "sqlite3.connect = connected\n"
        "Tracker(Path(sys.argv[1]))\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(path)]).returncode == -signal.SIGKILL
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA user_version").fetchone() == (1,)
    assert db.execute("SELECT count(record) FROM jobs").fetchone() == (39,)
    db.close()
    tracker = Tracker(path)
    assert [tracker.record(job) for job in tracker.jobs()] == [RECORD] * 39 + [None]


@pytest.mark.slow
def test_several_processes_that_find_an_older_file_at_once_bring_it_up_once(tmp_path: Path) -> None:
    path = older(tmp_path / "tracker.sqlite", jobs=20)
    code = "import sys; from pathlib import Path; from tfslurm.tracker import Tracker\nt = Tracker(Path(sys.argv[1]))\n"
    code += "assert sum(t.record(job) is not None for job in t.jobs()) == 19"
    running = [subprocess.Popen([sys.executable, "-c", code, str(path)]) for _ in range(4)]
    assert [process.wait(60) for process in running] == [0] * 4


def test_a_plan_that_cannot_be_read_keeps_no_file_from_being_brought_up(tmp_path: Path) -> None:
    path = older(tmp_path / "tracker.sqlite")
    with sqlite3.connect(path) as db:
        db.execute('UPDATE plans SET plan = \'{"pin": {"digest": 7}, "code": [\' WHERE rowid = 1')
    db.close()
    tracker = Tracker(path)
    assert len(tracker.jobs()) == 3
    with pytest.raises(TrackerError, match="cannot be read"):
        tracker.plans(plan_id=tracker.jobs()[0].plan_id)


def jobs_known_as(tracker: Tracker, name: str) -> list[TrackedJob]:
    """The jobs of the plans that have a name which begins so."""
    return jobs_of_plans(tracker, [each for plans in plans_with(tracker, name).values() for each in plans])


# --- records as the file holds them


def kept(tracker: Tracker, **changes: Any) -> Any:
    """A job with a record."""
    made = plan(**changes)
    tracker.plan(made, "")
    tracker.submit(made, "17")
    (job,) = jobs_of_plans(tracker, [made.plan_id])
    tracker.keep(job, RECORD)
    return job


@pytest.mark.parametrize("data", [b"", b"x", b"\x78\x9c", "{}", 7, b"\x78\x9c\x4b\x4c\x4a\x06\x00\x02\x4d\x01\x27"])
def test_a_record_in_the_file_that_is_none_is_one_line(tmp_path: Path, data: object) -> None:
    tracker = Tracker(tmp_path / "tracker.sqlite")
    job = kept(tracker)
    with sqlite3.connect(tracker.path) as db:
        db.execute("UPDATE records SET record = ?", (data,))
    with pytest.raises(TrackerError, match="record of alpha:17 cannot be read") as caught:
        tracker.record(job)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.slow
def test_a_record_that_unfolds_without_end_is_refused(tmp_path: Path) -> None:
    import zlib

    tracker = Tracker(tmp_path / "tracker.sqlite")
    job = kept(tracker)
    with sqlite3.connect(tracker.path) as db:
        db.execute("UPDATE records SET record = ?", (zlib.compress(b" " * (65 * 2**20)),))
    with pytest.raises(TrackerError, match="larger than any record"):
        tracker.record(job)


# --- what asks it


def filled(tracker: Tracker) -> list[str]:
    """Jobs of two experiments, and when they were submitted."""
    moments = [f"2026-11-2{day}T07:50:01.000000Z" for day in range(1, 6)]
    for number, moment in enumerate(moments):
        made = plan(planned_at=moment)
        tracker.plan(made, "name: alpha\n")
        tracker.submit(made, str(100 + number))
    (job,) = tracker.jobs(job_id="101")
    tracker.update_jobs([JobUpdate(job, "FAILED", True, {})])
    return moments


def test_jobs_are_found_by_what_they_ran_when_and_in_which_state(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path / "tracker.sqlite")
    moments = filled(tracker)

    def found(**wanted: Any) -> list[str]:
        return [job.job_id for job in tracker.jobs(**wanted)]

    everything = ["100", "101", "102", "103", "104"]
    made = tracker.plans()[0].plan
    names = (PIN.digest, PIN.digest[:19], PIN.config_digest, CODE.tree, CODE.tree[:7], made.plan_sha256)
    assert [[job.job_id for job in jobs_known_as(tracker, name)] for name in names] == [everything] * len(names)
    assert jobs_known_as(tracker, "sha256:00") == [] and found(plan_sha256=made.plan_sha256[:9]) == []
    assert found(plan_sha256=made.plan_sha256) == everything
    assert [job.job_id for job in jobs_of_plans(tracker, [made.plan_id])] == ["100"]
    assert found(since=moments[3]) == ["103", "104"] and found(states=["FAILED"]) == ["101"]
    assert found(states=["FAILED", "PENDING"], since=moments[1], name="dig*") == everything[1:]
    assert found(name="digits", newest=2) == ["103", "104"] == found(newest=2, name="d?gits", alone=True)
    assert found(name="other") == [] == found(name="other*")
    assert found(unfinished=True, recent=1) == ["100", "102", "103", "104"]
    assert submitted(tracker, 0) == "alpha:104" and submitted(tracker, 5) is None
    for name, moment in (("other", "2026-11-19"), ("dig", "2026-11-28"), ("digits-z", "2026-11-27")):
        made = plan(experiment(name=name), planned_at=f"{moment}T07:50:01.000000Z")
        tracker.plan(made, "name: alpha\n")
        tracker.submit(made, "7")
    assert experiments(tracker) == ["dig", "digits-z", "digits", "other"]
    fits = {"dig*": ["dig", "digits", "digits-z"], "*": ["dig", "digits", "digits-z", "other"], "d?g": ["dig"]}
    assert {pattern: fitting(tracker, pattern) for pattern in fits} == fits
    assert fitting(tracker, "[d]ig") == ["dig"] and fitting(tracker, "x*") == [] == fitting(tracker, "digits-zz*")
    assert tracker.texts() == [("alpha", "name: alpha\n")] == tracker.texts([made.plan_id])
    assert tracker.roots() == ["/scratch/alice/tfslurm"] and tracker.texts([]) == []


QUESTIONS: dict[str, dict[str, Any]] = {
    "an id": {"job_id": "17"},
    "an id of a cluster": {"cluster": "alpha", "job_id": "17"},
    "an array": {"array": "17"},
    "a name": {"name": "digits"},
    "a name and a time": {"name": "digits", "since": NOW},
    "a pattern": {"name": "dig*"},
    "a time": {"since": NOW},
    "states": {"states": ["FAILED", "TIMEOUT"]},
    "a state and a time": {"states": ["FAILED"], "since": NOW},
    "unfinished": {"unfinished": True},
    "recent": {"recent": 20},
    "untold": {"untold": True},
    "the same plan": {"plan_sha256": "a" * 64, "unfinished": True},
    "a name and a state": {"name": "digits", "states": ["FAILED"]},
    "the last of a name": {"name": "digits", "alone": True, "newest": 1},
}


@pytest.mark.slow
@pytest.mark.parametrize("question", QUESTIONS)
def test_no_question_of_a_command_walks_through_all_jobs_or_plans(tmp_path: Path, question: str) -> None:
    """SQLite says how it would answer: SCAN of a table reads each of its rows."""
    tracker = Tracker(tmp_path / "tracker.sqlite")
    filled(tracker)
    asked: list[tuple[str, Any]] = []
    rows = tracker.rows

    def note(query: str, values: Any) -> Any:
        asked.append((query, values))
        return rows(query, values)

    tracker.rows = note  # type: ignore[method-assign]
    tracker.jobs(**QUESTIONS[question])
    tracker.texts()
    tracker.texts(["0123456789ab"])
    tracker.plans(stage="planned")
    tracker.roots()
    tracker.has_sent(plan())
    tracker.places("alpha")
    assert jobs_known_as(tracker, PIN.digest)
    submitted(tracker, 3)
    for query, values in asked:
        steps = [row["detail"] for row in rows(f"EXPLAIN QUERY PLAN {query}", values)]
        assert not (values and "digits" in values and any("jobs_by_state" in step for step in steps)), steps
        scans = [step for step in steps if step.startswith("SCAN") and not is_small(step)]
        assert not scans, f"{query}\n{steps}"


def is_small(step: str) -> bool:
    """Whether a step walks through something small, or one that it stops in by itself."""
    open_ones = ("jobs_open", "plans_open", "plans_by_moment")
    return any(word in step for word in open_ones) or step.split()[1] not in ("jobs", "plans", "records", "known_as")
