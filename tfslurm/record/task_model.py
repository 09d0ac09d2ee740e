"""The keys of one Slurm task in the record, as observed on its node. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from tfslurm.record.schema import NEW


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, or one slice of a GPU in MIG mode, as the driver names it."""

    uuid: str
    name: str | None
    memory_mib: int | None


@dataclass(frozen=True, slots=True)
class GpuUse:
    """One GPU's use while the program ran, by nvidia-smi."""

    uuid: str
    samples: int
    mean_percent: float | None  # of the time in which a kernel ran, over the program's run
    peak_percent: int | None
    peak_memory_mib: int | None


@dataclass(frozen=True, slots=True)
class Container:
    """The container's end by its engine, its limits, and its use by its cgroup."""

    id: str | None
    exit_code: int | None
    oom_killed: bool | None
    started_at: str | None
    ended_at: str | None
    memory_limit_mib: int | None = None  # None: the engine got no limit
    cpu_limit: float | None = None
    peak_memory_mib: int | None = None  # page cache included
    cpu_time_s: float | None = None
    usage_until: str | None = None  # when the two before were last seen
    gpu_utilisation: tuple[GpuUse, ...] | None = None  # () for a CPU job


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits that held the container to its job's: 'container' (the engine), 'job' (Slurm's cgroup), 'none'."""

    memory: str | None
    cpus: str | None
    cgroup_parent: str | None  # the cgroup of Slurm's that the engine put it below, or 'none: ' and why


@dataclass(frozen=True, slots=True)
class Engine:
    """The container engine on the node."""

    name: str
    version: str | None
    runtime: str | None  # the OCI runtime that started the container
    storage: str | None  # the driver that holds the image's layers


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """One Slurm task on one node, as observed on that node."""

    node: str | None
    rank: int
    driver_version: str | None
    driver_source: str | None  # the file or command that names it
    gpus: tuple[Gpu, ...] | None  # those that the task was given; () for a CPU job
    gpu_source: str | None  # 'slurm-uuid' | 'cgroup' | 'index-unconstrained' | 'whole-machine' | 'none'
    image_digests: tuple[str, ...] | None  # of the image on the node: its repository digests, then its id
    image_source: str | None  # name@digest that the container was made from
    image_pulled: str | None  # 'present' | 'pulled from NAME': whether the node had it already
    container: Container | None
    kernel: str | None
    os: str | None
    cpu_model: str | None
    memory_mib: int | None
    limits: Limits
    cpu_flags: tuple[str, ...] | None = field(default=None, metadata=NEW)
    cpus_schedulable: int | None = field(default=None, metadata=NEW)  # those that the container may run on
    compute_capability: str | None = field(default=None, metadata=NEW)
    driver_cuda: str | None = field(default=None, metadata=NEW)  # the newest CUDA that the driver knows
    libcuda_in_container: str | None = field(default=None, metadata=NEW)
    engine: Engine | None = field(default=None, metadata=NEW)
