"""Which partition has which nodes, and one short srun that looks at a node. argv out, what was printed in. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tfslurm.cluster import Cluster
from tfslurm.slurm.environment import clean
from tfslurm.slurm.values import FIELD, is_name, rows_of
from tfslurm.spec import Option

# The keys of a cluster file's `slurm:` that say where a job may run and who pays; a probe needs no other.
KEPT = ("account", "qos", "reservation", "constraint", "wckey")
QUIET = ("--quiet", "--chdir=/", "--mpi=none", "--kill-on-bad-exit=0", "--nodes=1", "--ntasks=1", "--cpus-per-task=1")
BUSY = ("Requested nodes are busy", "Immediate execution impossible", "has been revoked")


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


def probe_argv(options: Mapping[str, Option], command: Sequence[str], **chosen: str | int) -> tuple[str, ...]:
    """Run ``command`` as one short task; its stdin is srun's.

    ``options`` are the cluster file's; ``chosen`` stand over them, '' for none: ``partition``, ``nodelist``,
    ``job_name``, those of ``small``, and ``immediate``, the seconds after which srun gives up if no node is free.
    """
    words = {**{key: options[key] for key in KEPT if key in options}, **chosen}
    given = (f"--{key.replace('_', '-')}={value}" for key, value in words.items() if value != "")
    return ("srun", *QUIET, "--time=2", *given, *command)


def small(cluster: Cluster, memory: str, gpus: int = 0) -> dict[str, str]:
    """The words for ``probe_argv`` that ask for so much, as the site takes them."""
    words = {cluster.ask.memory.replace("-", "_"): memory}  # on one CPU
    if gpus:
        words |= {"gres": f"gpu:{gpus}"} if cluster.ask.gpus == "gres" else {"gpus_per_node": str(gpus)}
    return words


def engine_settings(cluster: Cluster) -> tuple[str, ...]:
    """The ``env`` with the cluster file's variables of the engine, to put before a command; () if there are none."""
    settings = (f"{name}={value}" for name, value in cluster.engine_environment.items())
    return ("env", *settings) if cluster.engine_environment else ()


def is_busy(stderr: str) -> bool:
    """Whether srun gave up because nothing was free in time."""
    return any(words in stderr for words in BUSY)
