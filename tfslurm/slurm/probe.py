"""One short srun that looks at a compute node. argv out. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tfslurm.spec import Option

# Of a cluster file's `slurm:`, what says where a job may run and who pays; a look needs nothing else of it.
KEPT = ("account", "qos", "reservation", "constraint", "wckey")
RESOURCES = ("--nodes=1", "--ntasks=1", "--cpus-per-task=1", "--mem=512M", "--time=2")
BUSY = ("Requested nodes are busy", "Immediate execution impossible", "has been revoked")


def probe_argv(
    partition: str, gres: str, wait_s: int, options: Mapping[str, Option], command: Sequence[str]
) -> tuple[str, ...]:
    """Run ``command`` as one task on one node of a partition ('' = the default one), if one is free within ``wait_s``.

    ``gres`` such as ``gpu:1``; '' asks for none. The command's stdin is srun's.
    """
    where = {"partition": partition, "gres": gres, "immediate": wait_s}
    words = {**{key: options[key] for key in KEPT if key in options}, **where}
    chosen = [f"--{key}={value}" for key, value in words.items() if value != ""]
    quiet = ("--quiet", "--job-name=tfslurm-check", "--chdir=/", "--mpi=none", "--kill-on-bad-exit=0")
    return ("srun", *quiet, *RESOURCES, *chosen, *command)


def is_busy(stderr: str) -> bool:
    """Whether srun gave up because nothing was free in time."""
    return any(words in stderr for words in BUSY)
