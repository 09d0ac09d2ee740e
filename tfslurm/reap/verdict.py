"""Is a container's job gone? Pure.

Three must agree: no process on its node holds it, the scheduler does not run its job, and it is of this very node and
cluster. Its name plays no part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tfslurm.check.probe_output import ProbeOutput
from tfslurm.reap.containers import Container, containers, kept
from tfslurm.slurm import JobStatus, is_final
from tfslurm.sweeps.arrays import slurm_id

# In the queue, but not on a node: what a container was is over.
WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT")


@dataclass(frozen=True, slots=True)
class Verdict:
    """``action``: 'remove' (it would be, or is about to be), 'removed', or 'keep'; and why."""

    container: Container
    action: str
    why: str


def concerned(seen: ProbeOutput, *, local: bool) -> tuple[Container, ...]:
    """The containers that were started on this node under this scheduler (``local``: under none)."""
    cluster = seen.one("slurm-cluster")
    here = (each for each in containers(seen) if each.node == seen.one("node"))
    if local:
        return tuple(each for each in here if not each.slurm_cluster)
    return tuple(each for each in here if each.slurm_cluster and each.slurm_cluster == cluster)


def judge(container: Container, jobs: Mapping[str, JobStatus] | None) -> Verdict:
    """The verdict on a container. ``jobs``: all of the user's that the scheduler knows, by id; None: there is none."""
    if container.holder:
        return Verdict(container, "keep", f"{container.holder} holds it")
    if jobs is None:
        return Verdict(container, "remove", "no process on this machine holds it")
    status = jobs.get(slurm_id(container.job_id))
    if status is None:
        return Verdict(container, "remove", "no process on the node holds it, and Slurm does not know its job any more")
    if is_final(status.state) or status.state in WAITING:
        return Verdict(container, "remove", f"no process on the node holds it, and its job is {status.state}")
    return Verdict(container, "keep", f"its job is {status.state}")


def outcome(verdict: Verdict, after: ProbeOutput) -> Verdict:
    """The verdict once the node was asked to remove it."""
    if verdict.container.id in after.all("removed"):
        return replace(verdict, action="removed")
    why = kept(after).get(verdict.container.id) or after.one("error")
    if not why and after.whole:
        return replace(verdict, action="removed", why="it was gone before it could be removed")
    return replace(verdict, action="keep", why=f"not removed: {why or 'the node gave no answer'}")
