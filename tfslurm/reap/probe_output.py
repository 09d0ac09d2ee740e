"""The lines of reap.sh as they came. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tfslurm.slurm.values import MOST_ROWS, at_most, lines_of

ID = re.compile(r"[A-Za-z0-9_.-]{1,128}")  # a word of the command that removes it
MARK = "reap."
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


@dataclass(frozen=True, slots=True)
class Seen:
    """What one node said. ``whole``: the script came to its end; ``kept``: container -> why it was not removed."""

    node: str
    slurm_cluster: str
    containers: tuple[Container, ...]
    removed: tuple[str, ...]
    kept: dict[str, str]
    error: str
    whole: bool


def parse_seen(text: str) -> Seen:
    """The script's lines; what a site's prolog or a login shell printed between them is left out.

    Raises:
        SlurmParseError: they are more than a node has to say.
    """
    found: dict[str, list[str]] = {}
    for line in at_most(MOST_ROWS, lines_of(text), "what a node printed"):
        if line.startswith(MARK) and "\t" in line:
            key, _, value = line.removeprefix(MARK).partition("\t")
            found.setdefault(key, []).append(value.rstrip("\r"))
    rows = [row.split(FIELD) for row in found.get("container", ())]
    wanted = len(Container.__dataclass_fields__)
    return Seen(
        node=first(found, "node"),
        slurm_cluster=first(found, "slurm-cluster"),
        containers=tuple(Container(*row) for row in rows if len(row) == wanted and ID.fullmatch(row[0])),
        removed=tuple(found.get("removed", ())),
        kept={key: why for key, _, why in (line.partition(FIELD) for line in found.get("kept", ()))},
        error=first(found, "error"),
        whole="begin" in found and "end" in found,
    )


def first(found: dict[str, list[str]], key: str) -> str:
    """The first value of a key, '' where there is none."""
    return next(iter(found.get(key, ())), "")
