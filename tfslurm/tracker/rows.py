"""What the tracker gives: jobs, plans, drivers, as values."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from tfslurm.document.bounded_json import read_json
from tfslurm.plan import JobPlan, run_folder
from tfslurm.sweep.arrays import place_in_array, slurm_id


@dataclass(frozen=True, slots=True)
class TrackedJob:
    """One job as last seen; ``status`` is what the scheduler said then.

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
        """Its name in Slurm's queue: tells it from another job that got the same id later."""
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
        """How a user names this job on any machine: ``alpha:1234``."""
        return f"{self.cluster}:{self.job_id}"


@dataclass(frozen=True, slots=True)
class SeenDriver:
    """The NVIDIA driver that a node had when it was last looked at; ``seen_by`` is the job or the command that did."""

    cluster: str
    partition: str
    node: str
    version: str
    seen_at: str
    seen_by: str


@dataclass(frozen=True, slots=True)
class TrackedPlan:
    """One intent: 'planned' until the scheduler has given an id ('submitted') or said no ('refused')."""

    plan: JobPlan
    stage: str
    note: str
    cluster_text: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What is said of a job now, by the scheduler or by the job's own end file."""

    job: TrackedJob
    state: str
    final: bool
    status: Mapping[str, Any]

    @property
    def is_news(self) -> bool:
        """Whether it is not what the tracker says already."""
        job = self.job
        return (self.state, self.final, self.status) != (job.state, job.final, job.status)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a plan's jobs are on its cluster, without the rest of the plan."""

    root: str
    name: str
    plan_id: str
    has_secrets: bool
    unfinished: int  # how many jobs of the plan are
    points: int = 1
    points_per_job: int = 1

    def is_last(self, job: TrackedJob) -> bool:
        """Whether no point of the same Slurm job comes after this one."""
        after = (job.place or 0) + 1
        return after % self.points_per_job == 0 or after == self.points

    @property
    def run_dir(self) -> PurePosixPath:
        """The run folder."""
        return run_folder(self.root, self.name, self.plan_id)


def tracked(row: sqlite3.Row) -> TrackedJob:
    """One row of the table of jobs, joined with its plan's name."""
    return TrackedJob(
        cluster=row["cluster"],
        job_id=row["job_id"],
        submitted_at=row["submitted_at"],
        plan_id=row["plan_id"],
        name=row["name"],
        state=row["state"],
        final=bool(row["final"]),
        status=read_json(row["status"]),
    )
