"""tfslurm reap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from tfslurm.cli.console import emit, say
from tfslurm.cli.console import show as show_line
from tfslurm.cli.options import common, wait_option
from tfslurm.document.tree import printable
from tfslurm.errors import refuse
from tfslurm.reap import Reaped, ReapOptions, Verdict, reap_clusters
from tfslurm.workspace.config import LOCAL, known_clusters, local_cluster
from tfslurm.workspace.session import Session

FAILED = 1


@click.command()
@click.argument("clusters", nargs=-1, metavar="[CLUSTER]...")
@click.option(
    "--node",
    "nodes",
    multiple=True,
    metavar="NAME",
    help="Look at this node, not at those where your tracked jobs ran. Repeatable; needs one CLUSTER.",
)
@click.option("--dry-run", is_flag=True, help="Remove nothing; show what reap would remove, and why.")
@wait_option(10, "How long to wait for a CPU on a busy node.")
@common
def reap(
    session: Session, clusters: tuple[str, ...], nodes: tuple[str, ...], dry_run: bool, wait_s: int, as_json: bool
) -> int:
    """Remove containers whose job is gone: only tfslurm's own, only yours.

    reap removes a container if no process on its node holds it and the scheduler does not run its job. A holder is the
    docker client that is attached to it, or the script of its task. One short srun looks at each node; `local` is this
    machine. The exit code is 1 if reap could not look at a node or could not remove a container.
    """
    if nodes and len(clusters) != 1:
        raise refuse("--node", "of which cluster?", "name one: `tfslurm reap CLUSTER --node NAME`")
    if nodes and clusters == (LOCAL,):
        raise refuse("--node", "`local` is this machine alone", "leave --node out")
    known = known_clusters(clusters, say)
    if not clusters and LOCAL not in {one.cluster.name for one in known}:
        known.append(local_cluster())
    found = []
    for reaped in reap_clusters(session, known, ReapOptions(nodes, dry_run, wait_s)):
        found.append(reaped)
        if not as_json:
            show(reaped)
    if as_json:
        emit({reaped.cluster: as_value(reaped) for reaped in found})
    unremoved = any(verdict.why.startswith("not removed") for reaped in found for verdict in reaped.verdicts)
    return FAILED if unremoved or any(reaped.problems for reaped in found) else 0


def show(reaped: Reaped) -> None:
    """Print one line for each container, and on stderr the nodes that could not be inspected."""
    for verdict in reaped.verdicts:
        box = verdict.container
        what = f"{box.node}  {box.id[:12]} {box.status}  {verdict.action}: {verdict.why}"
        show_line(printable(f"{reaped.cluster}:{box.job_id}  {what}"))
    for problem in reaped.problems:
        say(f"error: {reaped.cluster}: {problem}")
    if reaped.nodes:
        where = "this machine" if reaped.cluster == LOCAL else ", ".join(reaped.nodes)
        say(f"{reaped.cluster}: looked at {where}: {summary(reaped.verdicts)}")
    elif not reaped.problems:
        say(f"{reaped.cluster}: no tracked job ran on a node; name one with --node")


def summary(verdicts: Sequence[Verdict]) -> str:
    """2 removed, 1 kept."""
    words = {"removed": "removed", "remove": "to remove", "keep": "kept"}
    counts = {word: sum(each.action == action for each in verdicts) for action, word in words.items()}
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count) or "nothing of yours is left"


def as_value(reaped: Reaped) -> dict[str, Any]:
    """One cluster for --json."""
    containers = [
        {
            "action": each.action,
            "why": each.why,
            "job": f"{reaped.cluster}:{each.container.job_id}",
            "node": each.container.node,
            "container_id": each.container.id,
            "container_name": each.container.name.lstrip("/"),
            "status": each.container.status,
            "created_at": each.container.created,
            "plan_id": each.container.plan_id,
            "attempt": each.container.attempt,
        }
        for each in reaped.verdicts
    ]
    return {"nodes": reaped.nodes, "containers": containers, "problems": reaped.problems}
