"""Read a cluster file: where jobs go, how to get there, and what they may mount. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal, NamedTuple

from tfslurm.document import Path, locate
from tfslurm.errors import Problem
from tfslurm.spec import Option, Scan

Engine = Literal["docker", "podman"]  # what runs containers on nodes; each has a part and an adapter of its own


class Login(NamedTuple):
    """How the login node is reached; None leaves the choice to ~/.ssh/config."""

    host: str
    user: str | None = None
    port: int | None = None
    proxy_jump: str | None = None
    transport: str = "paramiko"


class Ask(NamedTuple):
    """The options of sbatch by which a site takes memory and GPUs; most take ``--mem`` and ``--gres``."""

    memory: str = "mem"  # or mem-per-cpu
    gpus: str = "gres"  # or gpus-per-node


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that a container may use of a node, beside memory and CPUs; 0: as much as there is.

    ``pids`` counts processes and threads, ``log_mib`` holds for each of stdout.log and stderr.log, ``layer_mib`` for
    what is written in the container outside every mount.
    """

    pids: int = 16384
    log_mib: int = 0
    layer_mib: int = 0


@dataclass(frozen=True, slots=True)
class Cluster:
    """One cluster file, checked. Without ``login`` Slurm's commands run on this machine.

    ``slurm`` and ``plugin_options`` are defaults under every experiment's; the keys of the first are long option names
    with dashes. ``data`` are folders by the names that experiments have for them. ``environment`` is set for Slurm's
    commands on the login node (SLURM_CONF where one node serves two clusters), not in jobs; ``slurm_bin`` is put before
    PATH for them. ``engine_environment`` is set for the engine's programs on the nodes. ``shared_parents`` says what
    becomes of a root below a folder in which others may write: ``refuse``, ``accept``. ``read_group`` is the group that
    may read what runs leave; '' for none. ``min_interval_s`` is what commands that watch leave at least between two
    questions to the scheduler. ``registry`` is where images of one's own are pushed, ``host[:port]/prefix``; '' for
    nowhere. ``scan`` is the rule for what is known against an image, beside the experiment's own. ``lines`` says where
    a key stands; a key that was not written is absent.
    """

    name: str
    root: PurePosixPath
    login: Login | None = None
    engine: Engine = "docker"
    cgroup_parent: str = "auto"
    mirrors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    slurm: Mapping[str, Option] = field(default_factory=dict)
    plugin_options: Mapping[str, Option] = field(default_factory=dict)
    ask: Ask = field(default_factory=Ask)
    mounts_allow: tuple[PurePosixPath, ...] = ()
    data: Mapping[str, PurePosixPath] = field(default_factory=dict)
    shared_parents: str = "refuse"
    read_group: str = ""
    limits: Limits = field(default_factory=Limits)
    min_interval_s: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    engine_environment: Mapping[str, str] = field(default_factory=dict)
    slurm_bin: PurePosixPath | None = None
    scan: Scan | None = None
    registry: str = ""
    file: str = ""
    lines: Mapping[Path, int] = field(default_factory=dict)

    def allows(self, source: PurePosixPath) -> bool:
        """Whether a path of the cluster may be mounted: it is one of the allowed folders, or lies under one.

        Compared by components, without following links; a path with ``..`` is never allowed.
        """
        if ".." in source.parts or not source.is_absolute():
            return False
        return any(source == folder or folder in source.parents for folder in self.mounts_allow)

    def problem(self, path: Path, why: str, fix: str = "") -> Problem:
        """A problem that stands where the key was written."""
        return locate(self.file, self.lines, (), path, why, fix)


def parse_cluster(text: str, file: str) -> Cluster:
    """The cluster that a text describes; ``file`` names the text in messages.

    Raises:
        InputError: every problem of the text.
    """
    from tfslurm.cluster.parsing import parse

    return parse(text, file)


def cluster_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a cluster file, for editors and other tools."""
    from tfslurm.cluster.parsing import schema

    return schema()
