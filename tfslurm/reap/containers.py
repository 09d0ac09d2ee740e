"""The caller's containers, as reap.sh prints them on a node. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tfslurm.check.probe_output import ProbeOutput

ID = re.compile(r"[A-Za-z0-9_.-]{1,128}")  # a word of the command that removes it
FIELD = "\x1f"


@dataclass(frozen=True, slots=True)
class Container:
    """One of the caller's containers on a node, by its labels; ``holder`` is who holds it, '' for nobody."""

    id: str
    name: str
    status: str  # the engine's word: created, running, exited, …
    user: str
    created: str
    uid: str
    cluster: str  # as the client named it
    slurm_cluster: str  # as Slurm does; '' for a job that ran without it
    job_id: str  # '1234'; '1234_7' for a task of an array, '1234_7.59' where it runs several points
    plan_id: str
    attempt: str
    node: str
    holder: str


def containers(seen: ProbeOutput) -> tuple[Container, ...]:
    """Those that a node has; a line that is cut is none."""
    rows = [row.split(FIELD) for row in seen.all("container")]
    wanted = len(Container.__dataclass_fields__)
    return tuple(Container(*row) for row in rows if len(row) == wanted and ID.fullmatch(row[0]))


def kept(seen: ProbeOutput) -> dict[str, str]:
    """Container -> why a node did not remove it."""
    return {key: why for key, _, why in (line.partition(FIELD) for line in seen.all("kept"))}
