"""What stands between Slurm and the program is killed with -9."""

from __future__ import annotations

from pathlib import Path

from tests.cluster.bed import BED
from tests.cluster.daemons import holders
from tests.cluster.processes import parent
from tests.faults.case import DEAF, Case, Expected
from tests.faults.job import Job, kill


def client(job: Job) -> None:
    """The client of the engine."""
    pids = job.clients()
    job.struck()
    for pid in pids:
        kill(pid)


def node_script(job: Job) -> None:
    """The bash that holds the lifeline."""
    pid = job.node_script()
    job.struck()
    kill(pid)


def step_daemon(job: Job) -> None:
    """The slurmstepd of the step, with which Slurm loses sight of the task."""
    pid = parent(job.node_script())
    assert "slurmstepd" in Path(f"/proc/{pid}/comm").read_text(), Path(f"/proc/{pid}/comm").read_text()
    job.struck()
    kill(pid)


def batch_daemon(job: Job) -> None:
    """The slurmstepd of the batch script."""
    step = parent(job.node_script())
    (pid,) = [other for other in holders(BED / "spool" / job.node) if other != step and is_batch(other, job)]
    job.struck()
    kill(pid)


def is_batch(pid: int, job: Job) -> bool:
    """Whether a slurmstepd is the one of the job's batch script."""
    return f"[{job.number}.batch]" in Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")


NOT_ITS_OWN = "exit 75: what runs the program failed, not the program"
CASES = (
    Case("client killed", client, Expected("FAILED", 75, 137, "engine", NOT_ITS_OWN), DEAF, quick=True),
    Case("client killed, TERM obeyed", client, Expected("FAILED", 75, 143, "engine", NOT_ITS_OWN)),
    Case(
        "node script killed",
        node_script,
        Expected("FAILED", 75, 143, "node", NOT_ITS_OWN),
        quick=True,
        unseen=frozenset({("podman", "alpha")}),  # its watcher may go with the step, and nobody sees the end
    ),
    Case("slurmstepd killed", step_daemon, Expected("FAILED", 75, 143, "node", NOT_ITS_OWN)),
    Case(
        "slurmstepd of the batch script killed",
        batch_daemon,
        Expected("CANCELLED", 75, 143, "node", NOT_ITS_OWN),
        # srun has SIGKILL sent to all of the step's cgroup then, in which podman's container is
        others={("podman", "alpha"): Expected("CANCELLED", 75, 137, "node", NOT_ITS_OWN)},
    ),
)
