"""A daemon of the node is restarted under a job."""

from __future__ import annotations

import signal

from tests.cluster import daemons, docker, slurm
from tests.cluster.bed import CLUSTERS
from tests.faults.case import Case, Expected
from tests.faults.job import Job
from tests.faults.killed import NOT_ITS_OWN


def dockerd(job: Job) -> None:
    """The engine's daemon, which without live-restore ends its containers first."""
    job.struck()
    daemons.stop(["dockerd"], patience_s=30)
    daemons.start([docker.dockerd()])


def dockerd_killed(job: Job) -> None:
    """The engine's daemon dies and comes back."""
    job.struck()
    daemons.stop(["dockerd"], signal.SIGKILL)
    daemons.start([docker.dockerd()])


def slurmd(job: Job) -> None:
    """Slurm's daemon of the node: its jobs live on."""
    name = f"slurmd-{job.node}"
    daemons.stop([name])
    site = CLUSTERS[job.cluster]
    daemons.start([daemon for daemon in slurm.nodes([site]) if daemon.name == name])
    assert not job.is_gone(), "the container did not outlive slurmd"
    job.struck()
    job.go()


NO_DAEMON = frozenset({("podman", "alpha"), ("podman", "beta")})
CASES = (
    Case(
        "dockerd restarted",
        dockerd,
        Expected("FAILED", 75, 143, "engine", NOT_ITS_OWN),
        quick=True,
        alone=True,
        never=NO_DAEMON,
    ),
    Case(
        "dockerd killed",
        dockerd_killed,
        Expected("FAILED", 75, 143, "engine", NOT_ITS_OWN),
        alone=True,
        never=NO_DAEMON,
    ),
    Case("slurmd restarted", slurmd, Expected("COMPLETED", 0, 0, "program"), alone=True),
)
