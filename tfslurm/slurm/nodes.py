"""Nodes by name: which partition has them, and one short srun on one of them. argv out, what was printed in. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tfslurm.slurm.environment import clean
from tfslurm.slurm.probe import KEPT
from tfslurm.slurm.values import is_name, rows_of
from tfslurm.spec import Option

FIELD = "\x1f"


def nodes_argv() -> tuple[str, ...]:
    """One sinfo for all nodes: name, partition, whether the partition is up, the node's state."""
    wanted = FIELD.join(("%N", "%R", "%a", "%T"))
    return (*clean("sinfo"), "sinfo", "--noheader", "--all", "--Node", f"--format={wanted}")


def parse_nodes(text: str) -> Mapping[str, tuple[str, ...]]:
    """Node -> the partitions that have it and are up: ``alpha1\\x1fgpu\\x1fup\\x1fidle``.

    Raises:
        SlurmParseError: more rows than a site has.
    """
    found: dict[str, list[str]] = {}
    for line in rows_of(text, "sinfo"):
        words = line.split(FIELD)
        if len(words) == 4 and all(map(is_name, words[:2])):
            name, partition, available, _ = words
            found.setdefault(name, []).extend((partition,) if available == "up" else ())
    return {name: tuple(partitions) for name, partitions in found.items()}


def on_node_argv(
    node: str, partition: str, wait_s: int, options: Mapping[str, Option], command: Sequence[str]
) -> tuple[str, ...]:
    """Run ``command`` as one task on this node, if it has a CPU free within ``wait_s``; stdin is the command's."""
    where = {"partition": partition, "nodelist": node, "immediate": wait_s}
    words = {**{key: options[key] for key in KEPT if key in options}, **where}
    chosen = [f"--{key}={value}" for key, value in words.items() if value != ""]
    quiet = ("--quiet", "--job-name=tfslurm-reap", "--chdir=/", "--mpi=none", "--kill-on-bad-exit=0")
    small = ("--nodes=1", "--ntasks=1", "--cpus-per-task=1", "--mem=64M", "--time=2")
    return ("srun", *quiet, *small, *chosen, *command)
