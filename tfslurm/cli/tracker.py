"""tfslurm tracker."""

from __future__ import annotations

import os
from functools import partial

import click

from tfslurm.cli.console import emit, say, show
from tfslurm.cli.options import common, plain
from tfslurm.errors import CommandFailed, HostError
from tfslurm.workspace.config import LOCAL, known_clusters, local_cluster
from tfslurm.workspace.folders import data_folder
from tfslurm.workspace.session import Session
from tfslurm.workspace.threads import at_once


@click.group()
def tracker() -> None:
    """Show where the index of your jobs and records is, or rebuild it.

    The index is an SQLite file on this machine. tfslurm can rebuild it from the run folders on the clusters.
    """


@tracker.command()
@plain
def path(as_json: bool) -> None:
    """Print where the tracker is."""
    where = data_folder() / "tracker.sqlite"
    if as_json:
        emit({"path": str(where)})
    else:
        show(str(where))


@tracker.command()
@click.argument("clusters", nargs=-1, metavar="[CLUSTER]...")
@common
def rebuild(session: Session, clusters: tuple[str, ...], as_json: bool) -> int:
    """Read the run folders of the clusters (default: all, and `local`) and index every job in them.

    rebuild keeps the jobs that the tracker already has, and changes nothing on a cluster. It names and leaves out a
    folder that belongs to another user, was changed after its submission, or does not belong to this cluster.
    """
    from tfslurm.monitoring.rebuild_tracker import read_runs
    from tfslurm.monitoring.rebuild_tracker import rebuild as rebuild_cluster

    os.environ.pop("SQUEUE_FORMAT", None)  # simple_slurm fails to import where it holds an ordinary value
    known = known_clusters(clusters, say)
    if not clusters and LOCAL not in {each.cluster.name for each in known}:
        known.append(local_cluster())
    result: dict[str, object] = {}
    failed = False
    answers = at_once([partial(read_runs, session, each) for each in known])
    for each, answer in zip(known, answers, strict=True):
        try:
            count, unreadable = rebuild_cluster(each, session.tracker, answer())
        except (CommandFailed, HostError) as error:
            failed = True
            say(f"error: {str(error).splitlines()[0]}")
            continue
        result[each.cluster.name] = {"jobs": count, "unreadable": unreadable}
        for line in unreadable:
            say(f"{each.cluster.name}: {line}")
        if not as_json:
            show(f"{each.cluster.name}: {count} jobs")
    if as_json:
        emit(result)
    return 1 if failed else 0
