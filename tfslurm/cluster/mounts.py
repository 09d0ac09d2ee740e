"""The mounts that a cluster allows an experiment, by paths as they are written; the node looks at what they are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from tfslurm.cluster import Cluster
from tfslurm.document import nearest
from tfslurm.errors import InputError
from tfslurm.spec import Experiment, Mount
from tfslurm.spec.places import RUN, meets, named


def refuse_mounts(experiment: Experiment, cluster: Cluster) -> None:
    """Refuse a mount whose source is not under a folder that the cluster's file allows, or that meets ``root``.

    The outputs of a run are the one thing in ``root`` that is mounted, by the name that they have for it.

    Raises:
        InputError: every mount that does not, with its line.
    """
    problems = []
    for index, mount in enumerate(experiment.mounts):
        why, fix = wrong_source(mount, cluster)
        if why:
            problems.append(experiment.problem(("mounts", index, "source"), why, fix))
        elif mount.hash and (writer := writer_of(mount, experiment.mounts, cluster)):
            why = f"the program could change what was hashed through {writer.target!r}, where it is mounted writable"
            fix = "mount that read-only, or remove `hash: true`"
            problems.append(experiment.problem(("mounts", index, "hash"), why, fix))
    if problems:
        raise InputError(problems)


def writer_of(mount: Mount, mounts: Sequence[Mount], cluster: Cluster) -> Mount | None:
    """The first writable mount whose source is, holds or lies in that of this one; None where there is none."""
    source = PurePosixPath(on_cluster(mount, cluster).source)
    writable = (each for each in mounts if not each.read_only)
    return next((each for each in writable if meets(PurePosixPath(on_cluster(each, cluster).source), [source])), None)


def wrong_source(mount: Mount, cluster: Cluster) -> tuple[str, str]:
    """Why a source is not mounted on this cluster, and what to do; ('', '') where it may be."""
    if mount.name and mount.source == mount.name:
        name, _ = named(mount.name)
        if name not in cluster.data:
            return f"{name!r} is no data of cluster {cluster.name}", unknown_name(name, cluster)
        mount = on_cluster(mount, cluster)
    source = PurePosixPath(mount.source)
    if mount.run is not None:
        if mount.read_only and is_run_outputs(mount.source, str(cluster.root)):
            return "", ""
        return f"{mount.run!r} is not known as the outputs of a run on {cluster.name}", f"write {RUN}CLUSTER:JOB/out"
    if meets(source, [cluster.root]):
        how = "is" if source == cluster.root else "holds" if source in cluster.root.parents else "lies in"
        why = f"{mount.source!r} {how} {cluster.root}, where tfslurm keeps the scripts and secrets of jobs"
        fix = f"mount a folder beside it; what a run left is {RUN}{cluster.name}:JOB/out"
        return why, fix
    if not cluster.allows(source):
        allowed = ", ".join(str(path) for path in cluster.mounts_allow) or "nothing"
        fix = f"mount a path under those, or add it to `mounts: {{allow: […]}}` in the file of cluster {cluster.name}"
        return f"{mount.source!r} is outside what cluster {cluster.name} allows ({allowed})", fix
    return "", ""


def on_cluster(mount: Mount, cluster: Cluster) -> Mount:
    """The mount with the path that its name stands for there; as it is where it has no name, or none that is known."""
    name, below = named(mount.name) if mount.name and mount.source == mount.name else ("", "")
    if name not in cluster.data:
        return mount
    return replace(mount, source=str(cluster.data[name] / below))


def unknown_name(name: str, cluster: Cluster) -> str:
    """What to do about a name that the cluster's file does not have."""
    near = nearest(name, cluster.data).strip()
    known = f"it names {', '.join(cluster.data)}; " if cluster.data else ""
    fix = f"add `mounts: {{names: {{{name}: /…}}}}` to the file of cluster {cluster.name}"
    return f"{near} {known}{fix}".strip()


def is_run_outputs(path: str, root: str) -> bool:
    """Whether a path has the form ``ROOT/runs/NAME-PLAN/JOB/out``, or lies below one that has."""
    head, runs, rest = path.partition(f"{root.rstrip('/')}/runs/")
    form = r"[a-z0-9][a-z0-9-]*-[0-9a-f]{12}/[0-9]+(?:_[0-9]+(?:\.[0-9]+)?)?/out(?:/.+)?"
    return not head and bool(runs) and ".." not in rest.split("/") and bool(re.fullmatch(form, rest, re.DOTALL))
