"""What a cluster is: its configuration, its partitions, the user's accounts. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SlurmConfig:
    """``scontrol show config``; a key that this Slurm does not print is None (or '' for a text)."""

    values: Mapping[str, str]  # every line as printed

    @property
    def version(self) -> str:
        raise NotImplementedError

    @property
    def cluster_name(self) -> str:
        raise NotImplementedError

    @property
    def kill_wait_s(self) -> int | None:
        raise NotImplementedError

    @property
    def message_timeout_s(self) -> int | None:
        raise NotImplementedError

    @property
    def min_job_age_s(self) -> int | None:
        raise NotImplementedError

    @property
    def max_array_size(self) -> int | None:
        raise NotImplementedError

    @property
    def has_accounting(self) -> bool:
        raise NotImplementedError

    @property
    def keeps_comment(self) -> bool:
        """Does sacct know a job's comment (AccountingStoreFlags has job_comment)?"""
        raise NotImplementedError

    @property
    def select_type(self) -> str:
        raise NotImplementedError

    @property
    def gres_types(self) -> tuple[str, ...]:
        raise NotImplementedError

    @property
    def task_plugins(self) -> tuple[str, ...]:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition; nodes of one kind are counted together in ``shapes``."""

    name: str
    is_default: bool
    is_up: bool
    time_limit_s: int | None  # None: infinite
    nodes: int
    idle_nodes: int
    gres: tuple[str, ...]  # every distinct gres text of its nodes, such as 'gpu:a100:4'
    cpus_per_node: int  # the largest
    memory_mib_per_node: int  # the largest
    gpus_per_node: int  # the largest


@dataclass(frozen=True, slots=True)
class Account:
    """One association of the user: an account, on one partition ('' = any), with the qos it may name."""

    account: str
    partition: str
    qos: tuple[str, ...]
    default_account: str


def config_argv() -> tuple[str, ...]:
    raise NotImplementedError


def parse_config(text: str) -> SlurmConfig:
    raise NotImplementedError


def partitions_argv() -> tuple[str, ...]:
    raise NotImplementedError


def parse_partitions(text: str) -> tuple[Partition, ...]:
    raise NotImplementedError


def accounts_argv(user: str) -> tuple[str, ...]:
    raise NotImplementedError


def parse_accounts(text: str) -> tuple[Account, ...]:
    raise NotImplementedError


def version_argv() -> tuple[str, ...]:
    raise NotImplementedError


def parse_version(text: str) -> tuple[int, ...]:
    """(22, 5, 8) of 'slurm-wlm 22.05.8'."""
    raise NotImplementedError
