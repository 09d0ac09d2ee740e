"""The record's keys: a wire contract, in the order in which they are printed. Pure.

Every value is a text, a whole number, a truth value or null, so that the record has one canonical form. Times are
RFC 3339 in UTC, sizes carry their unit in the name, ids are texts. A fact that could not be observed is null, and
``unknown`` holds the reason under the fact's path: ``{"attempts[0].tasks[0].driver_version": "nvidia-smi: …"}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SCHEMA = "tfslurm.record/1"


@dataclass(frozen=True, slots=True)
class Job:
    cluster: str
    job_id: str  # as the user types it: '1234', or '1234_7' for a task of an array
    array_job_id: str | None
    array_task_id: str | None
    name: str
    user: str
    partition: str | None
    nodes: tuple[str, ...]
    state: str | None
    exit_code: int | None
    signal: int | None
    submitted_at: str | None
    started_at: str | None
    ended_at: str | None
    elapsed_s: int | None
    time_limit_s: int | None
    restarts: int | None
    script_sha256: str | None


@dataclass(frozen=True, slots=True)
class Output:
    path: str  # below the outputs folder
    bytes: int | None
    sha256: str


@dataclass(frozen=True, slots=True)
class LostFile:
    """A path that the program wrote in the container outside every mount: gone with the container."""

    path: str
    change: str  # 'added' | 'changed' | 'deleted'


@dataclass(frozen=True, slots=True)
class Experiment:
    name: str
    spec_sha256: str | None
    parameters: Mapping[str, Any]
    command: tuple[str, ...]
    mounts: tuple[Mapping[str, Any], ...]
    env: Mapping[str, str]
    outputs: tuple[Output, ...] | None
    lost: tuple[LostFile, ...] | None


@dataclass(frozen=True, slots=True)
class Image:
    reference: str
    registry: str
    repository: str
    tag: str | None
    digest: str
    digest_kind: str  # 'index' | 'manifest' | 'config'
    pin_kind: str  # 'registry' | 'image-id'
    config_digest: str | None
    platform: str | None
    served_by: str | None
    pinned_at: str | None


@dataclass(frozen=True, slots=True)
class Code:
    remote: str | None
    commit: str | None
    branch: str | None
    dirty: bool | None
    tree: str


@dataclass(frozen=True, slots=True)
class Gpu:
    uuid: str
    name: str | None
    memory_mib: int | None


@dataclass(frozen=True, slots=True)
class Container:
    id: str | None
    exit_code: int | None
    oom_killed: bool | None
    started_at: str | None
    ended_at: str | None


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """One Slurm task on one node, as observed on that node."""

    node: str | None
    rank: int
    driver_version: str | None
    driver_source: str | None  # the file or command that said it
    gpus: tuple[Gpu, ...] | None  # those that the task was given; () for a CPU job
    gpu_source: str | None  # 'slurm-uuid' | 'cgroup' | 'index-unconstrained' | 'whole-machine' | 'none'
    image_digests: tuple[str, ...] | None  # of the image on the node: its repository digests, then its id
    container: Container | None
    kernel: str | None
    os: str | None
    cpu_model: str | None
    memory_mib: int | None


@dataclass(frozen=True, slots=True)
class Attempt:
    index: int  # from 1
    state: str | None
    tasks: tuple[TaskFacts, ...]


@dataclass(frozen=True, slots=True)
class Package:
    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Environment:
    """What is inside the image, probed in a container of it."""

    python: str | None
    tensorflow: str | None
    cuda: str | None
    cudnn: str | None
    os: str | None
    glibc: str | None
    packages: tuple[Package, ...] | None
    source: str | None


@dataclass(frozen=True, slots=True)
class Verdict:
    status: str  # 'ok' | 'failed' | 'unknown'
    reason: str


@dataclass(frozen=True, slots=True)
class Verified:
    image: Verdict
    gpus: Verdict
    driver: Verdict
    tensorflow_gpu: Verdict


@dataclass(frozen=True, slots=True)
class Integrity:
    previous: str | None
    record_sha256: str  # over canonical(record_json(record)) without this key itself
    signature: str | None


@dataclass(frozen=True, slots=True)
class Record:
    schema: str
    record_id: str
    job: Job
    experiment: Experiment
    image: Image
    code: Code | None
    attempts: tuple[Attempt, ...]
    environment: Environment
    verified: Verified
    warnings: tuple[str, ...]
    unknown: Mapping[str, str]  # path of a fact that is null -> why
    integrity: Integrity


def record_json(record: Record) -> dict[str, Any]:
    """The record as JSON values: exactly these keys, in this order."""
    raise NotImplementedError


def canonical(value: Any) -> bytes:
    """The one byte form that is hashed: keys sorted, no spaces, UTF-8; floats are refused (RecordError)."""
    raise NotImplementedError


def record_sha256(value: Mapping[str, Any]) -> str:
    """The hash that ``integrity.record_sha256`` of this record (as JSON values) must have."""
    raise NotImplementedError


def seal(record: Record, *, previous: str | None = None, signature: str | None = None) -> Record:
    """The same record with its integrity computed anew."""
    raise NotImplementedError
