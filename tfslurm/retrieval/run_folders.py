"""Records of jobs that this machine's tracker does not know, from their run folders on a cluster or on this machine.

Nothing of them is put into the tracker; `tfslurm tracker rebuild` does that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from tfslurm.errors import CommandFailed, RecordError, refuse
from tfslurm.host import Host, read_from
from tfslurm.host.files import named
from tfslurm.host.local import LocalHost
from tfslurm.job_plan import JobPlan
from tfslurm.job_plan.folders import FOLDER, JOB_ID
from tfslurm.monitoring.rebuild_tracker import MOST_BYTES, MOST_LISTING, listed, refusal
from tfslurm.record import Record
from tfslurm.remote_programs import program
from tfslurm.retrieval.records import read_folder
from tfslurm.run_folder import paths
from tfslurm.run_folder.plan_file import checked_plan, is_job_of, point_values, read_plan, read_points
from tfslurm.tracker import TrackedJob
from tfslurm.workspace.cluster_files import cluster_files
from tfslurm.workspace.config import LOCAL, Known, known_clusters
from tfslurm.workspace.folders import user_folders
from tfslurm.workspace.session import Session

FOUND = re.compile(r"(?:(?P<cluster>[a-z0-9][a-z0-9-]*):)?(?P<path>/.*)", re.DOTALL)


class Place(NamedTuple):
    """A run folder, and the job in it that is meant; '': all of them."""

    folder: PurePosixPath
    job_id: str

    @property
    def plan_id(self) -> str:
        """The id of its plan."""
        return self.folder.name[-12:]


class Found(NamedTuple):
    """A record with the run folder and the host that it was read from."""

    record: Record
    host: Host
    folder: PurePosixPath


def place_in(path: PurePosixPath) -> Place | None:
    """The run folder ROOT/runs/NAME-PLANID that a path is, or lies in; None: it is in none."""
    if ".." in path.parts:
        return None
    for each in (path, *path.parents):
        if each.parent.name == "runs" and FOLDER.fullmatch(each.name):
            below = path.relative_to(each).parts
            return Place(each, below[0] if below and JOB_ID.fullmatch(below[0]) else "")
    return None


def on_clusters(session: Session, name: str) -> list[Found]:
    """The records of a run folder that a path names on a cluster: ``alpha:/scratch/me/runs/digits-0123456789ab/17``.

    Without a cluster's name it is the one whose root it is below; nothing where there is no such cluster or folder.

    Raises:
        HostError: the cluster does not answer.
        RecordError: there is such a folder, and it holds no record.
    """
    match = FOUND.fullmatch(name)
    place = place_in(PurePosixPath(match["path"])) if match else None
    if not match or not place:
        return []
    found: list[Found] = []
    for known in configured(match["cluster"] or ""):
        if paths.runs(known.cluster.root) == place.folder.parent:
            found += of_folder(session, known, place.folder.name, jobs_there(session, known, place))
    return found


def of_job(session: Session, cluster: str, job_id: str) -> list[Found]:
    """The records of the jobs with an id in a cluster's run folders; nothing where there is none, or no such cluster.

    Raises:
        HostError: the cluster does not answer.
        RecordError: there is one, and its folder holds no record.
    """
    return [
        each
        for known in configured(cluster)
        for folder, jobs in runs_there(session, known).items()
        if job_id in jobs
        for each in of_folder(session, known, folder, [job_id])
    ]


def configured(name: str) -> list[Known]:
    """The cluster of this name, or all; nothing where it is not known here.

    Raises:
        InputError: a cluster's file cannot be read.
    """
    if name and name != LOCAL and name not in cluster_files(user_folders()).used:
        return []
    return known_clusters([name] if name else ())


def runs_there(session: Session, known: Known) -> dict[str, list[str]]:
    """Run folder -> its jobs' ids, of those in a cluster's ROOT/runs that are the user's own.

    Raises:
        HostError: the cluster does not answer.
    """
    runs = paths.runs(known.cluster.root)
    try:
        said = session.reach(known).run_bytes(program("list-runs", str(runs), str(MOST_LISTING)), timeout_s=600)
    except CommandFailed as failure:
        raise named(failure.completed, "look into", runs) from None
    there, _ = listed(said)
    found: dict[str, list[str]] = {
        path: [] for path, each in there.items() if "/" not in path and not refusal(path, each)
    }
    for path, each in there.items():
        folder, _, job_id = path.partition("/")
        if folder in found and JOB_ID.fullmatch(job_id) and each.kind == "d" and each.is_own:
            found[folder].append(job_id)
    return found


def jobs_there(session: Session, known: Known, place: Place) -> list[str]:
    """The jobs of one run folder that are meant."""
    jobs = runs_there(session, known).get(place.folder.name, [])
    return [job_id for job_id in jobs if not place.job_id or job_id == place.job_id]


def of_folder(session: Session, known: Known, folder: str, jobs: Iterable[str]) -> list[Found]:
    """The records of jobs in a run folder of a cluster, whose plan must be one for this cluster and user."""
    host, path = session.reach(known), paths.runs(known.cluster.root) / folder
    text = read_from(host, path / paths.PLAN, 0, MOST_BYTES[paths.PLAN])
    plan = read_plan(folder, text, known.cluster, known.user)
    return records_in(host, path, plan, jobs)


def on_this_machine(path: Path) -> list[Found]:
    """The records of a run folder here, also of a copy of one, or of one job's folder in it.

    Raises:
        InputError: it is none.
        RecordError: it holds no record.
    """
    is_job = (path.parent / paths.PLAN).is_file()
    top = path.parent if is_job else path
    if not (top / paths.PLAN).is_file():
        raise refuse(str(path), "is neither a crate nor a run folder", f"name a folder that holds {paths.PLAN}")
    host, folder = LocalHost("this machine"), PurePosixPath(top.absolute())
    plan = checked_plan(read_from(host, folder / paths.PLAN, 0, MOST_BYTES[paths.PLAN]))
    inside = sorted(each.name for each in top.iterdir() if each.is_dir() and not each.is_symlink())
    return records_in(host, folder, plan, [each for each in inside if not is_job or each == path.name])


def records_in(host: Host, folder: PurePosixPath, plan: JobPlan, jobs: Iterable[str]) -> list[Found]:
    """The records of jobs of a plan in a folder.

    Raises:
        RecordError: none of them is a job of this plan that has left anything.
    """
    points = points_in(host, folder, plan)
    found = []
    for job_id in jobs:
        if is_job_of(plan, job_id):
            job = TrackedJob(plan.cluster, job_id, plan.planned_at, plan.plan_id, plan.name, "UNKNOWN", False, {})
            record = read_folder(job, plan, host, folder, points[job.place or 0] if points else None)
            found += [Found(record, host, folder)] if record else []
    if not found:
        raise RecordError(f"{folder}: no job of its plan {plan.plan_id} has left anything there")
    return found


def points_in(host: Host, folder: PurePosixPath, plan: JobPlan) -> list[dict[str, Any]]:
    """The points of a plan, which must be those that it has the hash of; empty where it has none.

    Raises:
        RecordError: they are not.
    """
    if not plan.points:
        return []
    return [*map(point_values, read_points(plan, read_from(host, folder / paths.POINTS, 0, MOST_BYTES[paths.POINTS])))]
