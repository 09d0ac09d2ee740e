"""A short job on each of some nodes: which nodes there are to choose from, and the words that ask for it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from tfslurm.slurm.capacity import OUT, states_of
from tfslurm.slurm.environment import clean
from tfslurm.slurm.nodes import KEPT
from tfslurm.slurm.values import FIELD, is_name, parse_duration, rows_of

QUIET = ("--parsable", "--chdir=/", "--nodes=1", "--ntasks=1", "--cpus-per-task=1", "--no-requeue")
UNFIT = "Requested node configuration is not available"
"sbatch's words where a node can never have the job."


class Node(NamedTuple):
    """A node as sinfo shows it.

    ``partitions``: those that have it, with whether each is up. ``is_default``: the default partition has it.
    ``reason``: '' where nobody wrote one. ``limit_s``: the longest time that a job may take there; None: no limit.
    """

    name: str
    partitions: Mapping[str, bool]
    is_default: bool
    state: str
    reason: str
    limit_s: int | None

    @property
    def trouble(self) -> str:
        """Why no job starts there until somebody does something; '' if one may."""
        if out := sorted(OUT & states_of(("", self.state))):
            return f"{', '.join(out)}{f' ({self.reason})' if self.reason else ''}"
        return "it does not answer" if "*" in self.state else ""

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs there, and a job would start at once."""
        return states_of(("", self.state)) == {"idle"} and not self.trouble


def states_argv() -> tuple[str, ...]:
    """One sinfo for all nodes, a line for each and each of its partitions."""
    wanted = FIELD.join(("%N", "%P", "%a", "%T", "%l", "%E"))
    return (*clean("sinfo"), "sinfo", "--noheader", "--all", "--Node", f"--format={wanted}")


def parse_states(text: str) -> dict[str, Node]:
    """The nodes by name: ``alpha1\\x1fgpu*\\x1fup\\x1fidle\\x1finfinite\\x1fnone``.

    Raises:
        SlurmParseError: more rows than a site has, or a time limit that is none.
    """
    found: dict[str, Node] = {}
    for line in rows_of(text, "sinfo"):
        words = line.split(FIELD, 5)
        if len(words) != 6 or not all(map(is_name, words[:2])):
            continue
        name, partition, available, state, limit, reason = words
        before = found.get(name)
        limits = [each for each in (before.limit_s if before else None, limit_of(limit)) if each is not None]
        found[name] = Node(
            name,
            {**(before.partitions if before else {}), partition.removesuffix("*"): available == "up"},
            partition.endswith("*") or bool(before and before.is_default),
            state,
            "" if reason == "none" else reason,
            min(limits, default=None),
        )
    return found


def limit_of(text: str) -> int | None:
    """Seconds; None: there is no limit."""
    return None if text.lower() in ("infinite", "n/a", "unlimited", "") else parse_duration(text)


def in_partitions(nodes: Iterable[Node], names: Sequence[str]) -> list[Node]:
    """Those that one of these partitions has and gives jobs; without names, the default one."""
    wanted = list(nodes)
    if not names:
        names = [name for node in wanted if node.is_default for name in node.partitions]
        wanted = [node for node in wanted if node.is_default]
    return [node for node in wanted if any(node.partitions.get(name) for name in names)]


def node_job_options(options: Mapping[str, str], memory: Mapping[str, str], name: str, minutes: int) -> tuple[str, ...]:
    """The words of sbatch before those that name the node: one task of one CPU without GPU, as the job asks for it.

    ``options`` are the job's; of these, where it runs and who pays are kept. ``memory``: see ``small``.
    """
    kept = {key: options[key] for key in ("partition", *KEPT) if key in options}
    words = {**kept, **memory, "job-name": name, "time": str(minutes)}
    return (*QUIET, *(f"--{key.replace('_', '-')}={value}" for key, value in words.items()))


def named_argv(name: str) -> tuple[str, ...]:
    """squeue of the jobs of this name, ended ones too: the node that each asks for, its state, and why it waits."""
    wanted = FIELD.join(("%n", "%T", "%r"))
    return (*clean("squeue"), "squeue", "--noheader", "--states=all", f"--name={name}", f"--format={wanted}")


def parse_named(text: str) -> dict[str, tuple[str, str]]:
    """Node -> the state of the job that asks for it, and why it waits."""
    rows = (line.split(FIELD) for line in rows_of(text, "squeue"))
    return {row[0]: (row[1], row[2]) for row in rows if len(row) == 3}


def cancel_named_argv(name: str, user: str) -> tuple[str, ...]:
    """scancel of all jobs of the user's that have this name."""
    return (*clean("scancel"), "scancel", f"--name={name}", f"--user={user}")
