"""A cluster's configuration, its partitions, the user's accounts. argv out, text in. Pure.

Source: scontrol(1), sinfo(1), sacctmgr(1); recorded from Slurm 22.05.8.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tfslurm.errors import SlurmParseError
from tfslurm.slurm.environment import clean
from tfslurm.slurm.values import (
    FIELD,
    fields_of,
    gpus_in,
    is_name,
    parse_duration,
    parse_number,
    rows_of,
    split_outside,
)

PARTITION_FIELDS = ("%P", "%a", "%l", "%F", "%G", "%c", "%m")
ACCOUNT_FIELDS = ("Cluster", "Account", "Partition", "QOS", "DefaultAccount")


class SlurmConfig(NamedTuple):
    """``scontrol show config``. A key that this Slurm does not print is None, or '' for a text."""

    values: Mapping[str, str]  # every `key = value` line as printed, cgroup.conf's lines included

    def text(self, key: str) -> str:
        """The value, '' where Slurm prints ``(null)`` or not this key at all."""
        value = self.values.get(key, "")
        return "" if value in ("(null)", "N/A") else value

    def number(self, key: str) -> int | None:
        """The number that the value begins with: 30 of ``30 sec``."""
        found = re.match(r"[0-9]{1,10}(?![0-9])", self.text(key))
        return int(found[0]) if found else None

    def words(self, key: str) -> tuple[str, ...]:
        """The value's parts between commas."""
        return tuple(word for word in self.text(key).split(",") if word)

    @property
    def version(self) -> str:
        """Such as 22.05.8."""
        return self.text("SLURM_VERSION")

    @property
    def cluster_name(self) -> str:
        """ClusterName, which sacct and slurmdbd know the cluster by."""
        return self.text("ClusterName")

    @property
    def kill_wait_s(self) -> int | None:
        """Seconds between SIGTERM and SIGKILL at the time limit or scancel."""
        return self.number("KillWait")

    @property
    def max_array_size(self) -> int | None:
        """One more than the largest index of an array task."""
        return self.number("MaxArraySize")

    @property
    def max_job_count(self) -> int | None:
        """The most jobs that the controller keeps at once; each task of an array is one."""
        return self.number("MaxJobCount")

    @property
    def has_accounting(self) -> bool:
        """Does sacct answer (slurmdbd behind it)?"""
        return self.text("AccountingStorageType").endswith("slurmdbd")

    @property
    def keeps_comment(self) -> bool:
        """Does sacct know a job's comment?"""
        return "job_comment" in self.words("AccountingStoreFlags")

    @property
    def requeues(self) -> bool:
        """Does a job that loses its node start again unless it says --no-requeue?"""
        return self.number("JobRequeue") == 1

    @property
    def task_plugins(self) -> tuple[str, ...]:
        """Such as ('task/affinity', 'task/cgroup')."""
        return tuple(word if "/" in word else f"task/{word}" for word in self.words("TaskPlugin"))

    @property
    def confines_devices(self) -> bool | None:
        """Does task/cgroup keep a job to the GPUs that it was given? None: this Slurm does not print it."""
        if "ConstrainDevices" not in self.values:
            return None
        return self.text("ConstrainDevices") == "yes" and "task/cgroup" in self.task_plugins


class Partition(NamedTuple):
    """One partition; where its nodes differ, the per-node numbers are those of the largest."""

    name: str
    is_default: bool
    is_up: bool
    time_limit_s: int | None  # None: infinite
    nodes: int
    idle_nodes: int
    gres: tuple[str, ...]  # each distinct kind, such as 'gpu:a100:4'
    cpus_per_node: int
    memory_mib_per_node: int
    gpus_per_node: int


class Account(NamedTuple):
    """One association of the user: an account, on one partition ('' = any), with the QOS that may be named."""

    cluster: str
    account: str
    partition: str
    qos: tuple[str, ...]
    is_default: bool


def config_argv() -> tuple[str, ...]:
    """The whole configuration: one call, worth keeping."""
    return (*clean("scontrol"), "scontrol", "show", "config")


def parse_config(text: str) -> SlurmConfig:
    """The lines ``KillWait                = 30 sec``.

    Raises:
        SlurmParseError: no such line for the version, which every Slurm prints.
    """
    pairs = (line.partition(" = ") for line in rows_of(text, "scontrol show config") if " = " in line)
    config = SlurmConfig({key.strip(): value.strip() for key, _, value in pairs})
    if not config.version:
        raise SlurmParseError("scontrol show config", text)
    return config


def partitions_argv() -> tuple[str, ...]:
    """The partitions that the user may see, nodes of one kind counted together."""
    options = ("--noheader", "--exact", f"--format={FIELD.join(PARTITION_FIELDS)}")
    return (*clean("sinfo"), "sinfo", *options)


def parse_partitions(text: str) -> tuple[Partition, ...]:
    """The partitions of ``partitions_argv`` in sinfo's order.

    Raises:
        SlurmParseError: a row with other fields than asked for.
    """
    found: dict[str, list[Partition]] = {}
    for line in rows_of(text, "sinfo"):
        part = partition_row(line)
        found.setdefault(part.name, []).append(part)
    return tuple(map(joined, found.values()))


def preemption_argv() -> tuple[str, ...]:
    """The partitions with what becomes of a job there that a more important one pushes out."""
    return (*clean("sinfo"), "sinfo", "--noheader", "--exact", f"--format=%P{FIELD}%M")


def parse_preemption(text: str) -> Mapping[str, str]:
    """Partition -> its mode, such as OFF, REQUEUE, CANCEL or SUSPEND; the default partition under '' too.

    Raises:
        SlurmParseError: a row with other fields than asked for.
    """
    found: dict[str, str] = {}
    for line in rows_of(text, "sinfo"):
        name, separator, mode = line.partition(FIELD)
        if not separator or not is_name(name):
            raise SlurmParseError("sinfo", line)
        found[name.removesuffix("*")] = mode.strip()
        if name.endswith("*"):
            found[""] = mode.strip()
    return found


def partition_row(line: str) -> Partition:
    """One row, ``gpu* up 1-00:00:00 0/2/0/2 gpu:a100:4(S:0-1) 64 257000`` with unit separators."""
    fields = line.split(FIELD)
    counts = fields[3].split("/") if len(fields) == len(PARTITION_FIELDS) else []
    if len(counts) != 4 or not is_name(fields[0]):
        raise SlurmParseError("sinfo", line)
    name, available, limit, _, gres_text, cpus, memory = fields
    gres = tuple(re.sub(r"\([^()]*\)", "", word) for word in split_outside(gres_text) if word != "(null)")
    _, idle, _, nodes = (parse_number(word, "sinfo") for word in counts)
    return Partition(
        name=name.removesuffix("*"),
        is_default=name.endswith("*"),
        is_up=available == "up",
        time_limit_s=None if limit == "infinite" else parse_duration(limit),
        nodes=nodes,
        idle_nodes=idle,
        gres=gres,
        cpus_per_node=parse_number(cpus, "sinfo"),
        memory_mib_per_node=parse_number(memory, "sinfo"),
        gpus_per_node=gpus_in(gres_text),
    )


def joined(rows: Sequence[Partition]) -> Partition:
    """The rows of the same partition as one; there may be as many as a site has nodes."""
    return rows[0]._replace(
        nodes=sum(row.nodes for row in rows),
        idle_nodes=sum(row.idle_nodes for row in rows),
        gres=tuple(dict.fromkeys(kind for row in rows for kind in row.gres)),
        cpus_per_node=max(row.cpus_per_node for row in rows),
        memory_mib_per_node=max(row.memory_mib_per_node for row in rows),
        gpus_per_node=max(row.gpus_per_node for row in rows),
    )


def accounts_argv(user: str) -> tuple[str, ...]:
    """The user's associations on every cluster of this slurmdbd."""
    wanted = ("show", "user", "withassoc", "where", f"name={user}", f"format={','.join(ACCOUNT_FIELDS)}")
    return (*clean("sacctmgr"), "sacctmgr", "--noheader", "--parsable2", *wanted)


def parse_accounts(text: str, cluster: str = "") -> tuple[Account, ...]:
    """The associations of ``accounts_argv``, those of one cluster (its ClusterName) where one is named.

    Raises:
        SlurmParseError: a row with other fields than asked for.
    """
    accounts = [account_row(line) for line in rows_of(text, "sacctmgr")]
    return tuple(account for account in accounts if cluster in ("", account.cluster))


def account_row(line: str) -> Account:
    """One row, ``alpha|lab||normal,long|lab``."""
    cluster, account, partition, qos, default = fields_of(line, len(ACCOUNT_FIELDS), "|", "sacctmgr")
    return Account(cluster, account, partition, tuple(word for word in qos.split(",") if word), account == default)
