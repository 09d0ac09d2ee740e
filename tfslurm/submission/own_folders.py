"""The folders of tfslurm that an experiment must not reach, and the one in a root that it may: a run's outputs."""

from __future__ import annotations

import os
from collections.abc import Container, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tfslurm.cluster import Cluster
from tfslurm.cluster.mounts import wrong_source
from tfslurm.document import Refused, scan
from tfslurm.errors import InputError, Problem, TfslurmError
from tfslurm.job_plan import JobPlan, run_folder
from tfslurm.snapshot import Snapshot
from tfslurm.spec import Experiment, Mount
from tfslurm.spec.places import absolute, run_outputs
from tfslurm.tracker import Tracker
from tfslurm.workspace.cluster_files import ClusterFiles, cluster_files, trusted_files
from tfslurm.workspace.config import Known, open_tracker, text_of
from tfslurm.workspace.folders import UserFolders, user_folders
from tfslurm.workspace.trust import read_trusted


class OwnPlaces(NamedTuple):
    """Where tfslurm keeps this user's own: the roots of clusters, and its folders on this machine."""

    roots: frozenset[str]
    folders: UserFolders

    @property
    def here(self) -> tuple[str, str]:
        """Those on this machine that no job may reach."""
        return str(self.folders.data), str(self.folders.config)

    def beside(self, cluster: Cluster) -> tuple[str, ...]:
        """What a job of a cluster must not reach beside its own root: the other roots, which may be on the same file
        system; for jobs that run on this machine or share its home also the folders here."""
        found = self.roots.union(self.here if cluster.login is None else ())
        return tuple(sorted(found - {str(cluster.root)}))


def own_places(tracker: Tracker | None, chosen: Sequence[Known] = ()) -> OwnPlaces:
    """The roots of this user's clusters, and those that jobs of the tracker still have, whatever files say now; the
    folders of the tracker and of the cluster files. A file with mistakes names its root all the same.

    ``chosen``: the command's clusters; their files were read just now, and the others looked up with them.
    """
    roots = {str(each.cluster.root) for each in chosen}
    files = next(filter(None, (each.files for each in chosen)), None) or cluster_files(user_folders())
    roots.update(_roots(files, {each.file for each in chosen}), tracker.roots() if tracker else ())
    return OwnPlaces(frozenset(roots), files.folders)


def guarded_now(plan: JobPlan, cluster: Cluster, own: OwnPlaces) -> JobPlan:
    """The plan with what the cluster's file, and this user's other files, say now of what a job may reach and use.

    What a plan says of that itself is old, or was read from a run folder.

    Raises:
        TfslurmError: a mount that is not allowed now.
    """
    for mount in plan.mounts:
        why, fix = wrong_source(mount, cluster)
        if why:
            raise TfslurmError(f"{plan.name}: mounts: {why}; {fix}, or give EXP.yaml")
    return replace(
        plan,
        mounts_allow=tuple(map(str, cluster.mounts_allow)),
        roots=own.beside(cluster),
        shared_parents=cluster.shared_parents,
        read_group=cluster.read_group,
        limits=cluster.limits,
        cgroup_parent=cluster.cgroup_parent,
    )


def _roots(files: ClusterFiles, known: Container[Path | None]) -> list[str]:
    """The `root` of each other cluster file, whatever else is wrong with it."""
    found: list[str] = []
    folders = read_trusted(files.folders.trusted).folders  # wherever they are
    trusted = (file for folder in folders for file in trusted_files(Path(folder), files.folders)[0].values())
    for file in (*files.used.values(), *trusted):
        if file.path in known:
            continue
        try:
            root = scan(text_of(file), str(file.path)).at(("root",))
            if isinstance(root, str) and root.startswith("/"):
                found.append(absolute("/" + str(PurePosixPath(root)).lstrip("/")))
        except (InputError, Refused):  # no plan could name it
            continue
    return found


def refuse_own_files(experiment: Experiment, code: Snapshot, cluster: Cluster, own: OwnPlaces) -> None:
    """Refuse a snapshot with a file of tfslurm's own on this machine: a script, a secret, the tracker.

    Raises:
        InputError: the folder lies in one of those folders, or holds files of one.
    """
    for place in (str(cluster.root), *own.beside(cluster), *own.here):
        if not os.path.exists(place):  # noqa: PTH110  (a folder that one may not enter holds nothing to send)
            continue
        real, folder = os.path.realpath(place), str(code.folder)
        name = f"{os.path.relpath(real, folder)}/"
        holds = real.startswith(folder.rstrip("/") + "/") and any(entry.name.startswith(name) for entry in code.entries)
        if holds or folder == real or folder.startswith(real.rstrip("/") + "/"):
            why = f"{folder} {'holds files of' if holds else 'lies in'} {place}, where tfslurm keeps its own"
            fix = (
                "leave that folder out: `code: {path: …, exclude: […]}`, or .gitignore"
                if holds
                else "name the folder of your code"
            )
            raise InputError([experiment.problem(("code",), why, fix)])


def with_run_outputs(experiment: Experiment, cluster: Cluster) -> Experiment:
    """The experiment with the paths of the runs' outputs that it mounts, as this user's tracker knows them.

    Raises:
        InputError: every one that is not a job of this tracker, on this cluster and under its root.
    """
    if not any(mount.run for mount in experiment.mounts):
        return experiment
    tracker = open_tracker()
    mounts: list[Mount] = []
    problems: list[Problem] = []
    for index, mount in enumerate(experiment.mounts):
        source, why, fix = _path_of(mount, cluster, tracker) if mount.run else (mount.source, "", "")
        mounts.append(replace(mount, source=source))
        if why:
            problems.append(experiment.problem(("mounts", index, "source"), why, fix))
    if problems:
        raise InputError(problems)
    return replace(experiment, mounts=tuple(mounts))


def _path_of(mount: Mount, cluster: Cluster, tracker: Tracker) -> tuple[str, str, str]:
    """The path of a run's outputs on the cluster; else why there is none, and what to do."""
    name, job_id, below = run_outputs(mount.run or "")
    key = f"{name}:{job_id}"
    if name != cluster.name:
        fix = f"--cluster {name}; or `tfslurm fetch {key}`, and put the files where {cluster.name} has them"
        return "", f"{key} is a job of {name}, and this one goes to {cluster.name}", fix
    jobs = tracker.jobs(cluster=name, job_id=job_id)
    if not jobs:
        if tracker.jobs(cluster=name, array=job_id):
            return "", f"{key} has several points", f"name one, such as {key}_0; `tfslurm status {key}` lists them"
        return "", f"{key} is not a job of this tracker", "`tfslurm status --all` lists those that are"
    (kept,) = tracker.plans(plan_id=jobs[-1].plan_id)
    plan = kept.plan
    if plan.root != str(cluster.root):
        why = f"{key} ran under {plan.root}, and the root of {name} is now {cluster.root}"
        return "", why, f"`tfslurm fetch {key}`"
    if not plan.outputs:
        return "", f"{key} kept nothing: its experiment had no `outputs`", "name another job"
    return str(run_folder(plan.root, plan.name, plan.plan_id) / job_id / below), "", ""
