"""A cluster's room for jobs of one kind, asked with one command. Pure.

Source: sinfo(1), --Format; sbatch(1), --test-only; recorded from Slurm 22.05.8.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tfslurm.errors import LONGEST_WORDS, SlurmParseError
from tfslurm.slurm.environment import clean
from tfslurm.slurm.values import GROUP, fields_of, gpus_in, parse_number, rows_of
from tfslurm.sweeps.spread import Room

FIELDS = ("NodeHost", "StateLong", "CPUsState", "Memory", "AllocMem", "Gres", "GresUsed")
FREE = ("allocated", "idle", "mixed")  # states of nodes that may have room now; powered down ones are resumed for a job
WAITS = "*!%$@^-"  # flags of those that get jobs again later: no answer, power, maintenance, a reboot, one planned
# States of nodes that get none until somebody does something; others do, also by states that only a newer Slurm has.
# Source: sinfo(1), NODE STATE CODES, 20.11 to 26.05.
OUT = frozenset(
    (
        *("blocked", "down", "drain", "drained", "draining", "error", "fail", "failg", "failing", "failed", "futr"),
        *("future", "inval", "invalid_reg", "invalid", "no_respond", "npc", "perfctrs", "unk", "unknown", "undrain"),
    )
)


@dataclass(frozen=True, slots=True)
class Need:
    """The resources that one job asks for, on each of its nodes; 0: nothing that counts."""

    cpus: int
    memory_mib: int
    gpus: int
    nodes: int = 1


def room_words(options: Mapping[str, str]) -> tuple[str, ...]:
    """The words for capacity.sh, which asks for the nodes of a job's partition, and when such a job would begin."""
    partition = [f"--partition={options['partition']}"] if options.get("partition") else []
    form = ",".join(f"{name}:|" for name in FIELDS)
    nodes = (*clean("sinfo"), "sinfo", "--Node", "--noheader", *partition, f"--Format={form}")
    words = [f"--{key}={value}" if value else f"--{key}" for key, value in options.items()]
    test = ("env", "SLURM_TIME_FORMAT=%s", "sbatch", "--test-only", "--wrap=true", *words)
    return (str(len(nodes)), *nodes, *test)


def parse_room(text: str, need: Need) -> Room:
    """The room that capacity.sh printed, for jobs that ask for so much.

    Raises:
        SlurmParseError: it is not understood.
    """
    parts = text.split(GROUP, 3)
    if len(parts) != 3:
        raise SlurmParseError("sinfo and sbatch --test-only", text)
    now = parse_number(parts[2].strip(), "date")
    # each field ends with a bar
    nodes = [fields_of(line, len(FIELDS) + 1, "|", "sinfo") for line in rows_of(parts[0], "sinfo")]
    live = [node for node in nodes if not OUT & states_of(node)]
    free, most = (sum(fits(each, need) for each in what(live)) // need.nodes for what in (left_of, all_of))
    found = re.search(r" to start at ([0-9]{1,11}) ", parts[1][:LONGEST_WORDS])
    starts_in_s = max(0.0, float(int(found[1]) - now)) if found else None
    return Room(free, most, starts_in_s)


def states_of(node: Sequence[str]) -> set[str]:
    """The words of a node's state: ``mixed+planned`` has two; flags are no words."""
    return {word.strip(" *~#!%$@^-") for word in node[1].lower().split("+")} - {"", "cloud"}


def left_of(nodes: Iterable[list[str]]) -> list[Need]:
    """The free resources of each node."""
    return [
        Need(cpus_in(node, 1), memory_in(node, 3) - memory_in(node, 4), gpus_in(node[5]) - gpus_in(node[6]))
        for node in nodes
        if states_of(node) <= set(FREE) and not set(node[1].strip()) & set(WAITS)
    ]


def all_of(nodes: Iterable[list[str]]) -> list[Need]:
    """The resources of each node."""
    return [Need(cpus_in(node, 3), memory_in(node, 3), gpus_in(node[5])) for node in nodes]


def cpus_in(node: list[str], place: int) -> int:
    """One number of ``allocated/idle/other/total``."""
    return parse_number(fields_of(node[2], 4, "/", "sinfo")[place], "sinfo")


def memory_in(node: list[str], place: int) -> int:
    """MiB in one field."""
    return parse_number(node[place].strip(), "sinfo")


def fits(have: Need, need: Need) -> int:
    """The number of jobs' shares of one node that it has room for."""
    pairs = ((have.cpus, need.cpus), (have.memory_mib, need.memory_mib), (have.gpus, need.gpus))
    return min((max(0, has) // asks for has, asks in pairs if asks), default=0)
