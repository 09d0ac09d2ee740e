"""A stand-in for a cluster that says what a test lays out: nothing is kept, and any lie can be told.

Where jobs are submitted and looked for again, tests/fakes/slurm.py is the stricter one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from tests.made import plan
from tfslurm.cluster import Cluster
from tfslurm.host.local import LocalHost
from tfslurm.monitoring.lookup import find_job
from tfslurm.monitoring.refresh import refresh
from tfslurm.slurm.jobs import QUEUE_FIELDS, SACCT_FIELDS
from tfslurm.slurm.values import FIELD, ROW
from tfslurm.tracker import TrackedJob, Tracker
from tfslurm.workspace.config import Known

SECOND = "1795000000"


@dataclass(frozen=True)
class Site:
    """A cluster of programs: what squeue and sacct print is in files, what was called is in `calls`."""

    folder: Path
    tracker: Tracker
    name: str = "alpha"
    text: str = ""

    @property
    def known(self) -> Known:
        environment = {"PATH": f"{self.folder}/bin:{os.environ['PATH']}", "SITE": str(self.folder)}
        cluster = Cluster(name=self.name, root=self.root, environment=environment)
        return Known(cluster, self.text, None, "kept" if self.text else "own")

    @property
    def root(self) -> PurePosixPath:
        return PurePosixPath(self.folder / "root")

    @property
    def host(self) -> LocalHost:
        return LocalHost(self.name, self.known.cluster.environment)

    def program(self, name: str, body: str) -> None:
        path = self.folder / "bin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#!/bin/sh\nSITE={self.folder}\necho {name} >>"$SITE/calls"\n{body}\n')
        path.chmod(0o755)

    def submit(self, *job_ids: str, secrets: tuple[str, ...] = ()) -> list[TrackedJob]:
        """Each a job of a plan of its own."""
        for number, job_id in enumerate(job_ids):
            moment = f"2026-11-23T07:{number // 60 % 60:02d}:{number % 60:02d}.{number:06d}Z"
            made = replace(plan(planned_at=moment), cluster=self.name, root=str(self.root), secrets=secrets)
            self.tracker.plan(made, self.text)
            self.tracker.submit(made, job_id)
        return self.tracker.jobs(cluster=self.name)

    def ended(self, job: TrackedJob, attempt: int = 1, text: str = "", **end: Any) -> None:
        """The job's own word."""
        folder = Path(self.root) / "runs" / job.job_name / job.job_id / f"attempt-{attempt}"
        folder.mkdir(parents=True)
        (folder / "exit.json").write_text(text or json.dumps(end))

    def queue(self, rows: Sequence[tuple[TrackedJob, str, str]]) -> None:
        """What squeue prints: jobs with their states and reasons."""
        self.say("squeue", [queue_row(*row) for row in rows], ROW + "\n")

    def accounts(self, rows: Sequence[tuple[TrackedJob, str, str]]) -> None:
        """What sacct prints: jobs with their states and exit codes."""
        self.say("sacct", [sacct_row(*row) for row in rows], "\n")

    def say(self, name: str, rows: Sequence[str], end: str) -> None:
        (self.folder / name).write_text("".join(row + end for row in rows))
        self.program(name, f'cat "$SITE/{name}"')

    def calls(self) -> list[str]:
        path = self.folder / "calls"
        called = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return called

    def refresh(self) -> str:
        return refresh(self.known, self.tracker, self.host)

    def states(self) -> dict[str, str]:
        return {job.job_id: job.state for job in self.tracker.jobs(cluster=self.name)}

    def job(self, job_id: str) -> TrackedJob:
        return find_job(self.tracker, f"{self.name}:{job_id}")


def queue_row(job: TrackedJob, state: str, reason: str = "None") -> str:
    started = "N/A" if state == "PENDING" else SECOND
    row = (job.job_id, state, reason, SECOND, started, "N/A", "0:07", "1:00", "n1", "gpu", "alice", job.job_name, "")
    assert len(row) == len(QUEUE_FIELDS)
    return FIELD.join(row)


def sacct_row(job: TrackedJob, state: str, exit_code: str = "0:0") -> str:
    times = (SECOND, SECOND, SECOND, "7", "60")
    row = (job.job_id, state, "None", exit_code, *times, "n1", "gpu", job.job_name, "", "alice")
    assert len(row) == len(SACCT_FIELDS)
    return FIELD.join(row)


def at_home(site: Site, monkeypatch: pytest.MonkeyPatch, more: str = "") -> None:
    """The commands of this process use the site's tracker, and a cluster file that names its programs."""
    monkeypatch.chdir(site.folder)
    monkeypatch.setenv("XDG_DATA_HOME", str(site.folder))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(site.folder / "config"))
    clusters = site.folder / "config" / "tfslurm" / "clusters"
    clusters.mkdir(parents=True)
    (clusters / "alpha.yaml").write_text(f"name: alpha\nroot: {site.root}\nslurm_bin: {site.folder}/bin\n{more}")
