"""The cluster that a job was sent to, even where its file has since gone: the tracker kept the text."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from tfslurm.errors import RecordError, refuse
from tfslurm.tracker import TrackedJob, Tracker
from tfslurm.workspace.cluster_files import cluster_files
from tfslurm.workspace.config import LOCAL, Known, known_clusters, local_without_file, parse_known
from tfslurm.workspace.folders import trust_file, user_folders
from tfslurm.workspace.trust import content_id, read_trusted


def known_for(job: TrackedJob, tracker: Tracker) -> Known:
    """The cluster of a job: its file as it is now, else the text that it was submitted with.

    Raises:
        RecordError: neither is there.
    """
    return known_named(job.cluster, job.plan_id, tracker)


def known_named(name: str, plan_id: str, tracker: Tracker) -> Known:
    """The cluster ``name``; ``plan_id`` is a plan that was sent there, or is said to have been.

    Raises:
        RecordError: it has no file, and the plan is not known here, or was sent to another cluster.
    """
    file = cluster_files(user_folders()).used.get(name)
    if file and file.origin != "trusted":
        return known_clusters([name])[0]
    if not file and name == LOCAL:
        return local_without_file()
    for kept in tracker.plans(plan_id=plan_id):
        if kept.plan.cluster == name:
            return known_from(name, kept.cluster_text)
    raise RecordError(f"{name}: no cluster file of that name, and the tracker kept none")


def known_from(name: str, text: str) -> Known:
    """The cluster ``name``: its file as it is now, else the text that a plan was submitted with.

    A trusted file of another folder may have the name too. It says nothing of jobs that were sent elsewhere.

    Raises:
        InputError: the text is one that the user does not trust any more, or says what only the user's own file may.
    """
    file = cluster_files(user_folders()).used.get(name)
    if file and (file.origin != "trusted" or was_trusted_beside(file.path, text)):
        return known_clusters([name])[0]
    if name == LOCAL:
        return local_without_file()
    if content_id(text.encode("utf-8", "surrogatepass")) in read_trusted(trust_file()).revoked:
        fix = f"trust its folder again, or write a file {name}.yaml of your own"
        raise refuse(f"cluster {name!r}", "you have revoked the file that its jobs were submitted with", fix)
    where = f"{name}.yaml as it was when it was submitted to"
    return Known(parse_known(text, where, name, "kept"), text, None, "kept")


def was_trusted_beside(file: Path, text: str) -> bool:
    """Whether a text is one that the user has trusted in the folder of a file, be it an older one of that file."""
    past = read_trusted(trust_file()).past.get(os.path.realpath(file.parent), frozenset())
    return content_id(text.encode("utf-8", "surrogatepass")) in past


def speaks_for(known: Known, text: str) -> bool:
    """Whether what was sent to the cluster that a text describes is this cluster's, and not another's of that name."""
    if known.origin == "trusted" and known.file:
        return was_trusted_beside(known.file, text)
    return known.origin != "kept" or known.text == text


def clusters_of(jobs: Iterable[TrackedJob], tracker: Tracker) -> list[Known]:
    """Every cluster that has one of the jobs, once; two of one name where they were sent to two."""
    found: list[Known] = []
    for name, text in tracker.texts([job.plan_id for job in jobs]):
        known = known_from(name, text)
        if known not in found:
            found.append(known)
    return found


def clusters_for(jobs: Iterable[TrackedJob], tracker: Tracker) -> list[Known]:
    """A cluster for each name that the jobs have: that of the first of them."""
    seen: dict[str, Known] = {}
    for job in jobs:
        if job.cluster not in seen:
            seen[job.cluster] = known_for(job, tracker)
    return list(seen.values())
