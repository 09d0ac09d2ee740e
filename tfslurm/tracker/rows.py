"""The rows of the tracker as values: jobs, plans, drivers."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from tfslurm.document.bounded_json import read_json
from tfslurm.errors import TrackerError
from tfslurm.job_plan import JobPlan, from_json, run_folder
from tfslurm.job_plan.folders import FOLDER, JOB_ID, UNTRUE
from tfslurm.sweeps.arrays import place_in_array, slurm_id

JOBS = "SELECT cluster, job_id, submitted_at, plan_id, name, state, final, status FROM jobs"
PLACES = (
    "SELECT plan_id, name, json_extract(plan, '$.root') AS root, "
    "json_array_length(plan, '$.secrets') AS secrets, json_extract(plan, '$.points.count') AS points, "
    "json_extract(plan, '$.points.points_per_job') AS points_per_job, "
    "json_extract(plan, '$.keep_on_failure_s') AS kept_s, json_extract(plan, '$.resources.gpus') AS gpus, "
    "json_extract(plan, '$.engine') AS engine, cluster_text, unfinished FROM plans JOIN "
    "(SELECT plan_id, count(*) AS unfinished FROM jobs WHERE cluster = ? AND final = 0 GROUP BY plan_id) "
    "USING (plan_id)"
)
REBUILT = "read from its run folder"
CLUSTER = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
SWEEP_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,79}")
POINT_ID = re.compile(r"[0-9a-f]{12}")


class TrackedJob(NamedTuple):
    """One job as last seen; ``status`` is the scheduler's answer then.

    Where one of Slurm's jobs runs several points, each is a job here.
    """

    cluster: str
    job_id: str
    submitted_at: str
    plan_id: str
    name: str
    state: str
    final: bool
    status: Mapping[str, Any]

    @property
    def job_name(self) -> str:
        """Its name in Slurm's queue, which no other job has that gets the same id later."""
        return f"{self.name}-{self.plan_id}"

    @property
    def slurm_id(self) -> str:
        """Its id for Slurm."""
        return slurm_id(self.job_id)

    @property
    def is_packed(self) -> bool:
        """Whether it shares its Slurm job with other points, which run before or after it."""
        return self.slurm_id != self.job_id

    @property
    def place(self) -> int | None:
        """Its place among the points of its array; None: it is no task of one."""
        return place_in_array(self.job_id)

    @property
    def key(self) -> str:
        """The name of this job on any machine: ``alpha:1234``."""
        return f"{self.cluster}:{self.job_id}"


class SeenDriver(NamedTuple):
    """The NVIDIA driver that a node had when it was last observed; ``seen_by`` is the job or the command that did."""

    cluster: str
    partition: str
    node: str
    version: str
    seen_at: str
    seen_by: str


class TrackedPlan(NamedTuple):
    """One intent: 'planned' until the scheduler has given an id ('submitted') or refused ('refused')."""

    plan: JobPlan
    stage: str
    note: str
    cluster_text: str

    @property
    def is_rebuilt(self) -> bool:
        """Whether it was read from a run folder: then it was not asked for with this tracker."""
        return self.note == REBUILT


class JobUpdate(NamedTuple):
    """A job's state now, by the scheduler or by the job's own end file."""

    job: TrackedJob
    state: str
    final: bool
    status: Mapping[str, Any]

    @property
    def is_news(self) -> bool:
        """Whether it is not what the tracker says already."""
        job = self.job
        return (self.state, self.final, self.status) != (job.state, job.final, job.status)


class Place(NamedTuple):
    """The place of a plan's jobs on its cluster, without the rest of the plan."""

    root: str
    name: str
    plan_id: str
    has_secrets: bool
    unfinished: int  # how many jobs of the plan are
    engine: str
    points: int = 1
    points_per_job: int = 1
    cluster_text: str = ""
    kept_gpus: int | None = None
    "The GPUs that a job holds while its container is kept after a failure; None: none of the plan's is."

    def is_last(self, job: TrackedJob) -> bool:
        """Whether no point of the same Slurm job comes after this one."""
        after = (job.place or 0) + 1
        return after % self.points_per_job == 0 or after == self.points

    @property
    def run_dir(self) -> PurePosixPath:
        """The run folder."""
        return run_folder(self.root, self.name, self.plan_id)


def named(kind: re.Pattern[str], text: object) -> str:
    """The text, if it is a name of this kind: it becomes part of paths, and the file may have been changed.

    Raises:
        TrackerError: it is none.
    """
    if isinstance(text, str) and kind.fullmatch(text):
        return text
    raise TrackerError(f"tracker: {str(text)[:80]!r} stands where a name must be; {UNTRUE}")


def values_in(text: object, what: str, kind: type = dict) -> Any:
    """The value of a JSON text: an object, or a list where that is the ``kind``.

    Raises:
        TrackerError: it holds no such thing.
    """
    try:
        found = read_json(str(text))
        if not isinstance(found, kind):
            raise ValueError(f"it is no {kind.__name__}")
        return found
    except (ValueError, RecursionError) as error:
        raise TrackerError(f"tracker: {what} cannot be read: {error}; {UNTRUE}") from error


def plan_in(text: object, plan_id: object) -> JobPlan:
    """The plan in a row of the file.

    Raises:
        TrackerError: it is none.
    """
    try:
        plan = from_json(values_in(text, f"plan {str(plan_id)[:80]!r}"))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise TrackerError(f"tracker: plan {str(plan_id)[:80]!r} cannot be read: {error}; {UNTRUE}") from error
    named(CLUSTER, plan.cluster)
    named(FOLDER, plan.job_name)
    return plan


def planned(row: sqlite3.Row) -> TrackedPlan:
    """One row of the table of plans.

    Raises:
        TrackerError: it holds no plan.
    """
    return TrackedPlan(plan_in(row["plan"], row["plan_id"]), row["stage"], row["note"], row["cluster_text"])


def tracked(row: sqlite3.Row) -> TrackedJob:
    """One row of the query JOBS.

    Raises:
        TrackerError: its names are none.
    """
    named(CLUSTER, row["cluster"])
    named(JOB_ID, row["job_id"])
    named(FOLDER, f"{row['name']}-{row['plan_id']}")
    return TrackedJob(
        cluster=row["cluster"],
        job_id=row["job_id"],
        submitted_at=row["submitted_at"],
        plan_id=row["plan_id"],
        name=row["name"],
        state=row["state"],
        final=bool(row["final"]),
        status=values_in(row["status"], "the state of a job"),
    )


def placed(row: sqlite3.Row) -> Place:
    """One row of the query PLACES."""
    return Place(
        row["root"],
        row["name"],
        row["plan_id"],
        bool(row["secrets"]),
        row["unfinished"],
        row["engine"],
        row["points"] or 1,
        row["points_per_job"] or 1,
        row["cluster_text"],
        row["gpus"] if row["kept_s"] else None,
    )
