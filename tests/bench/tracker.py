"""The tracker with a million jobs and their records, beside MLflow's search among ten thousand runs, both in SQLite.

A tenth of the jobs were submitted alone, each with a plan of its own; the others are the tasks of 900 sweeps. A record
is one of two hundred that differ in their ids, hashes and times, as large as that of a TensorFlow job. What
is measured happens in one process, each time with the file opened anew.
"""

from __future__ import annotations

import json
import random
import re
import sqlite3
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.bench.measure import Row
from tests.bench.status import say
from tests.cluster.bed import BED, BedError
from tests.made import PIN, plan
from tests.test_record import case
from tfslurm.job_plan import to_json
from tfslurm.monitoring.choose import Filters, chosen
from tfslurm.monitoring.lookup import find_job
from tfslurm.record import record_from_json, record_json
from tfslurm.record.model import record_sha256
from tfslurm.record.verification import inner_parts
from tfslurm.tracker import Tracker
from tfslurm.tracker.by_content import jobs_of_plans, plans_with
from tfslurm.tracker.records import packed
from tfslurm.tracker.schema import INDEXES, PUT_NAMES
from tfslurm.tracker.submissions import submitted

JOBS, ALONE, TASKS = 1_000_000, 100_000, 1000
NAMES, IMAGES, RECORDS = 2000, 5000, 200
FIRST, FIRST_SWEEP = 1_000_000, 2_000_000
PEER = BED / "bench-mlflow"
PACKAGES = ("mlflow-skinny==3.17.2", "sqlalchemy==2.1.9", "alembic==1.20.1")
RUNS = 10_000
MLFLOW = """\
import json, sqlite3, sys, time
import mlflow
where, runs, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
mlflow.set_tracking_uri(f"sqlite:///{where}")
client = mlflow.MlflowClient()
one = client.create_experiment("digits")
run = client.create_run(one).info.run_id
client.log_batch(run, params=[mlflow.entities.Param(f"p{n}", str(n)) for n in range(10)],
    metrics=[mlflow.entities.Metric(f"m{n}", n, 1, 0) for n in range(5)])
client.set_terminated(run)
db = sqlite3.connect(where)
for table in ("runs", "params", "tags", "latest_metrics", "metrics"):
    rows = db.execute(f"SELECT * FROM {table} WHERE run_uuid = ?", (run,))
    names = [each[0] for each in rows.description]
    at, kept = names.index("run_uuid"), rows.fetchall()
    marks = ", ".join("?" * len(names))
    for number in range(1, runs):
        new = [[*row[:at], f"{number:032x}", *row[at + 1 :]] for row in kept]
        if table == "params":
            new = [[str(number // 100) if value == "7" else value for value in row] for row in new]
        db.executemany(f"INSERT INTO {table} VALUES ({marks})", new)
db.commit()
taken = []
for _ in range(rounds + 1):
    began = time.perf_counter()
    found = client.search_runs([one], "params.p7 = '42'", max_results=1000)
    taken.append(time.perf_counter() - began)
    assert len(found) == 100, len(found)
print(json.dumps(taken[1:]))
"""


def rows(rounds: int) -> list[Row]:
    """Each question to the tracker, beside MLflow's where it has one like it."""
    with TemporaryDirectory(dir=BED, prefix="bench-tracker-") as folder:
        path = Path(folder) / "data" / "tracker.sqlite"
        began = time.monotonic()
        fill(path)
        size = path.stat().st_size / 2**30
        say(f"a tracker of {JOBS:,} jobs and records, {size:.1f} GiB, took {time.monotonic() - began:.0f} s to make")
        taken = {name: median(rounds, path, ask) for name, ask in QUESTIONS.items()}
        peer = mlflow(Path(folder) / "mlflow.db", rounds)
        verified = median(rounds, path, verify_records)
    what = f"the tracker with {JOBS:,} records: "
    return [
        Row(f"{what}a job and its record by its id", taken["id"], "nothing", 0.0, 0.005, "s"),
        *(
            Row(f"{what}{name}, {COUNTS[name]} found", taken[name], "nothing", 0.0, 0.1, "s")
            for name in COUNTS
        ),
        Row("the same by name", taken["`--name`"], f"MLflow, `search_runs` of {RUNS:,} runs, 100 found", peer),
        Row(f"{what}`last` and `last~2`", taken["last"], "nothing", 0.0, 0.1, "s"),
        Row("`verify` of 1,000 records by themselves", verified, "nothing", 0.0, 2.0, "s"),
    ]  # fmt: skip


def median(rounds: int, path: Path, ask: Callable[[Tracker], object]) -> float:
    """The median seconds of a question, the opening of the file included; the first time does not count."""
    taken = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        tracker = Tracker(path)
        ask(tracker)
        tracker.close()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:])


def exactly(count: int, found: list[Any]) -> None:
    """The question found as many as it must.

    Raises:
        BedError: it did not: its time would mean nothing.
    """
    if len(found) != count:
        raise BedError(f"the tracker found {len(found)} jobs, not {count}")


def by_id(tracker: Tracker) -> None:
    job = find_job(tracker, f"alpha:{FIRST + 4242}")
    if tracker.record(job) is None:
        raise BedError("the job has no record")


def filtered(count: int, **filters: Any) -> Callable[[Tracker], None]:
    return lambda tracker: exactly(count, chosen(tracker, (), Filters(**filters)))


def by_digest(tracker: Tracker) -> None:
    plans = plans_with(tracker, digest(77))
    exactly(20, jobs_of_plans(tracker, [each for ids in plans.values() for each in ids]))


def last(tracker: Tracker) -> None:
    for back, name in ((0, f"alpha:{FIRST + ALONE - 1}"), (2, f"alpha:{FIRST + ALONE - 3}")):
        if submitted(tracker, back) != name:
            raise BedError(f"last~{back} is {submitted(tracker, back)}, not {name}")


def verify_records(tracker: Tracker) -> None:
    """The records of a sweep, each against itself: its hash, its experiment's text, its lock file."""
    jobs = tracker.sweeps.jobs("sweep-0-0a1b2c")
    exactly(TASKS, jobs)
    for job in jobs:
        values = tracker.record(job) or {}
        for part in inner_parts(record_from_json(values), values):
            if part.is_bad:
                raise BedError(f"{part.name}: {part.reason}")


COUNTS = {"`--name`": 50, "`--name 'exp-77*' --state FAILED`": 50, "`--since`": 100, "`--state FAILED --since`": 1,
          "by the digest of an image": 20}  # fmt: skip
QUESTIONS: dict[str, Callable[[Tracker], None]] = {
    "id": by_id,
    "`--name`": filtered(50, name="exp-77"),
    "`--name 'exp-77*' --state FAILED`": filtered(50, name="exp-77*", states=("FAILED",)),
    "`--since`": filtered(100, since=f"2026-11-28T{ALONE - 100:012}"),
    "`--state FAILED --since`": filtered(1, since=f"2026-11-28T{ALONE - 100:012}", states=("FAILED",)),
    "by the digest of an image": by_digest,
    "last": last,
}


def digest(number: int) -> str:
    """The image of a single job, one of so many; the sweeps have one more."""
    return f"sha256:{number % IMAGES if number < ALONE else IMAGES:064x}"


def moment(number: int) -> str:
    """When a plan was made: the sweeps came before the single jobs."""
    return f"2026-11-28T{number:012}" if number < ALONE else f"2026-11-27T{number:012}"


# One in a hundred jobs has failed, and all jobs of the experiment exp-77.
SINGLE_JOBS = """\
INSERT INTO jobs SELECT cluster, ?1 + rowid - 1, planned_at, plan_id, name,
  CASE WHEN rowid % 100 = 1 OR name = 'exp-77' THEN 'FAILED' ELSE 'COMPLETED' END, 1, '{"exit_code": 0}'
FROM plans WHERE name LIKE 'exp-%' ORDER BY rowid
"""
POINTS = """\
INSERT INTO points WITH RECURSIVE tasks (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM tasks WHERE n + 1 < ?1)
SELECT name || '-0a1b2c', plan_id, n, printf('%012x', n), printf('{"lr": %d}', n), '[["python", "train.py"], {}]'
FROM (SELECT name, plan_id FROM plans WHERE name LIKE 'sweep-%') AS each CROSS JOIN tasks
"""
SWEEP_JOBS = """\
INSERT INTO jobs SELECT cluster, (?1 + plans.rowid) || '_' || place, planned_at, plan_id, name,
  CASE WHEN place % 100 = 7 THEN 'FAILED' ELSE 'COMPLETED' END, 1, '{"exit_code": 0}'
FROM points CROSS JOIN plans USING (plan_id) ORDER BY points.rowid
"""
RECORDS_OF_JOBS = """\
INSERT INTO records SELECT cluster, job_id, submitted_at, body FROM jobs CROSS JOIN bodies
  ON n = jobs.rowid % ?1 ORDER BY jobs.rowid
"""


def fill(path: Path) -> None:
    """Write the file, with the rows that `submit`, `status` and `provenance` write."""
    Tracker(path).close()
    made = plan()
    db = sqlite3.connect(path, isolation_level=None)
    for pragma in ("synchronous = OFF", "journal_mode = OFF", "cache_size = -400000"):
        db.execute(f"PRAGMA {pragma}")
    for index in INDEXES:
        db.execute(f"DROP INDEX {index.split(' ON ')[0].split()[-1]}")
    db.execute("BEGIN")
    rows = plans(json.dumps(to_json(made)), made.plan_id)
    db.executemany("INSERT INTO plans VALUES (?, ?, 'alpha', ?, ?, 'submitted', '', ?, 'name: alpha')", rows)
    sweeps = "SELECT name || '-0a1b2c', 'x', name, planned_at, '', '{}', 1 FROM plans WHERE name LIKE 'sweep-%'"
    db.execute(f"INSERT INTO sweeps {sweeps}")
    db.execute(SINGLE_JOBS, (FIRST,))
    db.execute(POINTS, (TASKS,))
    db.execute(SWEEP_JOBS, (FIRST_SWEEP,))
    db.execute("CREATE TEMP TABLE bodies (n INTEGER PRIMARY KEY, body BLOB)")
    db.executemany("INSERT INTO bodies VALUES (?, ?)", enumerate(records()))
    db.execute(RECORDS_OF_JOBS, (RECORDS,))
    db.execute(PUT_NAMES.format(which="1"))
    for index in INDEXES:
        db.execute(index)
    db.execute("COMMIT")
    db.close()


def plans(text: str, old: str) -> Iterator[tuple[str, ...]]:
    """Those of the single jobs, then those of the sweeps."""
    for number in range(ALONE + (JOBS - ALONE) // TASKS):
        new = f"{number:012x}"
        name = f"exp-{number % NAMES}" if number < ALONE else f"sweep-{number - ALONE}"
        mine = text.replace(old, new).replace(PIN.digest, digest(number))
        yield new, f"{number:064x}", name, moment(number), mine


def records() -> list[bytes]:
    """Records as a job of TensorFlow has one, each with hashes of its own."""
    made = record_json(case("tensorflow").build())
    text, draw = json.dumps(made), random.Random(7)
    found_there = re.findall(r"\b(?:[0-9a-f]{64}|[0-9a-f]{40})\b", text)
    hashes = [each for each in dict.fromkeys(found_there) if each not in made["asked"]["lock"]]
    found = []
    for _ in range(RECORDS):
        mine = text
        for old in hashes:
            mine = mine.replace(old, f"{draw.getrandbits(4 * len(old)):0{len(old)}x}")
        values = json.loads(mine)
        values["integrity"]["record_sha256"] = record_sha256(values)
        found.append(packed(json.dumps(values)))
    say(f"a record has {len(text):,} bytes, {sum(map(len, found)) // RECORDS:,} compressed")
    return found


def mlflow(path: Path, rounds: int) -> float:
    """The median seconds of MLflow's search, in a virtual environment of its own."""
    python = PEER / "bin" / "python"
    if not (PEER / "installed").exists():
        subprocess.run(["/usr/bin/python3", "-m", "venv", "--clear", str(PEER)], check=True)
        pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "install", *PACKAGES]
        done = subprocess.run(pip, capture_output=True, text=True)
        if done.returncode:
            raise BedError(f"MLflow cannot be installed: {done.stderr.strip()[-400:]}")
        (PEER / "installed").touch()
    argv = [str(python), "-W", "ignore", "-c", MLFLOW, str(path), str(RUNS), str(rounds)]
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        raise BedError(f"MLflow failed: {done.stderr.strip()[-400:]}")
    return float(statistics.median(json.loads(done.stdout.splitlines()[-1])))
