"""The place of a rerun: what a cluster, or this machine, has for it. Values alone; ``looking`` asks for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tfslurm.cluster import Cluster
from tfslurm.slurm import Partition
from tfslurm.slurm.profile import SiteProfile
from tfslurm.tracker import SeenDriver
from tfslurm.workspace.config import LOCAL


class Gpu(NamedTuple):
    """A GPU as the driver names it."""

    name: str
    memory_mib: int | None = None


class Machine(NamedTuple):
    """One machine; None, or '': that was not observed. ``gpus`` are those that one job could see.

    ``gpus_named``: how many of them CUDA_VISIBLE_DEVICES of this shell names, for a job without a scheduler; 0: none.
    """

    name: str
    cpus: int | None = None
    cpus_schedulable: int | None = None  # that this process may run on
    memory_mib: int | None = None
    gpus: tuple[Gpu, ...] | None = None
    driver: str = ""
    cpu_model: str = ""
    architecture: str = ""  # as `uname -m` says it
    gpus_named: int = 0


class Lies(NamedTuple):
    """What lies at the source of a mount. ``kind``: 'file', 'folder', 'gone', or 'unknown' with the reason.

    ``sha256`` is of a file, or of the list of a folder's files; None: it was not read, and ``why`` says why.
    """

    kind: str
    bytes: int | None = None
    sha256: str | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """A cluster as far as it was asked. ``data`` has what lies at each path that is mounted."""

    cluster: Cluster
    user: str = ""
    site: SiteProfile = field(default_factory=SiteProfile)  # empty where there is no scheduler
    drivers: Sequence[SeenDriver] = ()
    machine: Machine | None = None  # this one where there is no scheduler, else a node that was looked at
    data: Mapping[str, Lies] = field(default_factory=dict)
    secrets: frozenset[str] = frozenset()  # names that are set in this shell

    @property
    def is_local(self) -> bool:
        """Whether the job would run on this machine, without a scheduler."""
        return self.cluster.name == LOCAL

    @property
    def name(self) -> str:
        """The place for a reader."""
        return "this machine" if self.is_local else self.cluster.name

    def partitions(self, named: str) -> list[Partition]:
        """The partitions that a job may go to: those that are ``named``, else the default; [] where none is known."""
        names = [name for name in named.split(",") if name]
        return [part for part in self.site.partitions or () if (part.name in names if names else part.is_default)]
