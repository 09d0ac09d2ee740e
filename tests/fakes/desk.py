"""A stand-in for what a submission needs around it: a tracker, and a cluster that is this machine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from tests.fakes.cuts import NearHost
from tests.fakes.slurm import FakeSlurm
from tests.made import CLUSTER, plan
from tfslurm.errors import HostError
from tfslurm.handoff.recovery import settle_all
from tfslurm.host import Host
from tfslurm.job_plan import JobPlan
from tfslurm.submission.prepare import Prepared
from tfslurm.submission.submit import submit_job
from tfslurm.tracker import Tracker
from tfslurm.workspace.clock import now
from tfslurm.workspace.config import Known


@dataclass(frozen=True)
class Desk:
    """A tracker and a cluster, without a command line between them."""

    slurm: FakeSlurm
    tracker: Tracker
    known: Known

    @classmethod
    def made(cls, folder: Path, *, accounting: bool = True) -> Desk:
        """A new one in a new folder."""
        cluster = replace(CLUSTER, root=PurePosixPath(folder / "root"))
        slurm = FakeSlurm.made(folder / "slurm", accounting=accounting)
        return cls(slurm, Tracker(folder / "tracker.sqlite"), Known(cluster, "", None))

    def host(self, lost_at: int = 0, *, arrives: bool = False, error: type[BaseException] = HostError) -> NearHost:
        """Its login node."""
        return NearHost("alpha", self.slurm.bin, lost_at, arrives, error)

    def plan(self, second: int = 0, **changes: Any) -> JobPlan:
        """A plan without code; each second's is another one."""
        moment = f"{now()[:17]}{second:02d}.123456Z"
        return plan(cluster=self.known.cluster, planned_at=moment, code=None, **changes)

    def submit(self, made: JobPlan, host: Host, script: str = "") -> str:
        """Send a plan, with a script of its own or its shortest."""
        made_so = Prepared(made, script or self.script(made), None, self.known.cluster, "")
        return submit_job(made_so, self.tracker, host, {})

    @staticmethod
    def script(made: JobPlan) -> str:
        """The shortest script of a plan: it has no more than a name."""
        return f"#!/bin/sh\n#SBATCH --job-name={made.job_name}\n#SBATCH --comment={made.comment}\n"

    def settle(self, host: Host | None = None) -> list[tuple[str, str]]:
        """What the tracker knows once every open plan is settled: ids and names."""
        settle_all(self.known, self.tracker, host or self.host())
        return [(job.job_id, job.job_name) for job in self.tracker.jobs()]

    def stages(self) -> list[str]:
        """Of the plans."""
        return sorted(each.stage for each in self.tracker.plans())
