"""The record's keys: a wire contract, in the order in which they are printed. Pure.

Times are RFC 3339 in UTC, sizes carry their unit in the name, ids are texts. A fact that could not be observed is
null, and ``unknown`` holds the reason under the path of the fact, or of a part that it belongs to:
``attempts[0].tasks[0].driver_version``. A null without a reason says that there is nothing: no array, no signal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cache
from hashlib import sha256
from typing import Any

from tfslurm.document.canonical import canonical
from tfslurm.image import BuildLock
from tfslurm.image.scan_rule import ScanEvidence
from tfslurm.job_plan import DerivedFrom
from tfslurm.record.schema import FIRST, NEW, WHERE_THERE
from tfslurm.record.task_model import TaskFacts
from tfslurm.spec import Checkpoint, Reproduce


@dataclass(frozen=True, slots=True)
class SharedFolder:
    """A folder on the way to the run folder in which others than the user and root could replace what is there."""

    folder: str
    mode: str  # octal
    uid: str  # of its owner


@dataclass(frozen=True, slots=True)
class Job:
    """The job as Slurm ran it; started_at, ended_at and elapsed_s are those of its last attempt."""

    cluster: str
    job_id: str  # as the user types it: '1234'; '1234_7' for a task of an array, '1234_7.59' where it has several
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
    shared_folders: tuple[SharedFolder, ...] | None = None  # () where nobody else could


@dataclass(frozen=True, slots=True)
class Output:
    """One file that the program left where `outputs` keeps it."""

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
    """The experiment as it was asked for, and its outputs."""

    name: str
    spec_sha256: str | None
    parameters: Mapping[str, Any]
    command: tuple[str, ...]
    mounts: tuple[Mapping[str, Any], ...]
    env: Mapping[str, str]
    outputs: tuple[Output, ...] | None
    lost: tuple[LostFile, ...] | None


@dataclass(frozen=True, slots=True)
class Template:
    """The template that made the script; ``name`` and ``text`` are null for tfslurm's own."""

    name: str | None
    sha256: str | None
    text: str | None


@dataclass(frozen=True, slots=True)
class Asked:
    """The rest of the plan, beside ``experiment``, ``image`` and ``code``: all that a rerun needs."""

    resources: Mapping[str, Any]
    network: str
    options: Mapping[str, str]  # of sbatch
    checkpoint: Checkpoint | None
    template: Template
    entrypoint: tuple[str, ...]  # of the image; stands in front of experiment.command
    secrets: tuple[str, ...]  # their names
    gpu_check: str
    prepull: bool
    shm: str | None  # of /dev/shm, with its unit
    outputs: str | None  # the container path that is kept
    spec: str | None  # the text of exp.yaml
    lock: str  # the text of exp.lock.yaml
    reproduce: Reproduce | None = field(default=None, metadata=NEW)  # what another run is compared by
    scan: ScanEvidence | None = field(default=None, metadata=WHERE_THERE)  # where a rule asked for it
    build: BuildLock | None = field(default=None, metadata=WHERE_THERE)  # how the image was made, where tfslurm made it


@dataclass(frozen=True, slots=True)
class Input:
    """A read-only mount, and whether what it held is known by a hash."""

    name: str | None  # that it was asked for by, where that is not the path
    path: str
    bytes: int | None
    sha256: str | None  # of a file
    tree_sha256: str | None  # of a folder
    hashed: str  # 'full' | 'cached' | 'no'
    why: str  # not; '': it is


@dataclass(frozen=True, slots=True)
class Determinism:
    """The settings, beside image, code and machine, that decide whether a run can be the same to the bit."""

    variables: Mapping[str, str]  # of the image and the experiment
    seeds: Mapping[str, Any]  # the parameters that are named so
    cpus_schedulable: int | None  # of every task


@dataclass(frozen=True, slots=True)
class Image:
    """The pin: what was typed, and the digest that it stood for."""

    reference: str
    registry: str
    repository: str
    tag: str | None
    digest: str
    digest_kind: str  # 'index' | 'manifest' | 'config' (the image's id: it is on one docker daemon only)
    config_digest: str | None
    platform: str | None
    served_by: str | None
    pinned_at: str | None


@dataclass(frozen=True, slots=True)
class Code:
    """The code that ran: the git tree id of what was on disk, and where it came from."""

    remote: str | None
    commit: str | None
    branch: str | None
    dirty: bool | None
    tree: str


@dataclass(frozen=True, slots=True)
class Log:
    """A file of an attempt with what its program printed, as it was when the program had ended."""

    name: str  # in the attempt's folder: 'stdout.log'; 'stdout.1.log' of the task with rank 1
    bytes: int | None  # that were hashed: what somebody appended later is not covered
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Kept:
    """The container of a program that failed, kept for who wants to look; the job held its GPUs so long."""

    began_at: str | None  # None: it was not started again
    until_at: str | None  # that it was to be kept
    ended_at: str | None  # None: nobody wrote it down, or it is kept now
    ended_by: str | None  # 'time' | 'stop' | 'engine' | 'lost'
    reason: str | None  # of the engine
    commands: int  # that ran in it (tfslurm exec)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of the job; a requeued job has several."""

    index: int  # from 1
    state: str | None
    ended_by: str | None  # 'program' | 'memory' | 'stop' | 'chain' | 'engine' | 'node'; None: it runs, or nothing says
    started_at: str | None
    ended_at: str | None
    exit_code: int | None
    reason: str  # why it ended otherwise than by its program alone; '': it did not
    warned_at: str | None  # when the program was to save and end; None: it was not warned
    tasks: tuple[TaskFacts, ...]
    logs: tuple[Log, ...] | None = field(default=None, metadata=NEW)
    kept: Kept | None = field(default=None, metadata=WHERE_THERE)


@dataclass(frozen=True, slots=True)
class Package:
    """One Python distribution in the image."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Layer:
    """The packages that the experiment adds to its image, as the nodes of the last attempt had them mounted."""

    key: str  # sha256 of image, Python and wheels; their names and hashes are in asked.lock
    contents_sha256: str | None = None  # of the list of the installed files, each with its sha256
    files: int | None = None
    bytes: int | None = None
    python: str | None = None  # that installed it
    pip: str | None = None
    installed_at: str | None = None
    installed_by: str | None = None  # the job, as its cluster calls it: 'alpha:1234'
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Environment:
    """The software inside the image, probed in a container of it; ``layer`` is what the experiment adds to that."""

    python: str | None
    tensorflow: str | None
    cuda: str | None
    cudnn: str | None
    os: str | None
    glibc: str | None
    packages: tuple[Package, ...] | None
    source: str | None
    # `cuda` and `cudnn` are what TensorFlow was built with; these are what the image holds
    cuda_present: str | None = field(default=None, metadata=NEW)
    cudnn_present: str | None = field(default=None, metadata=NEW)
    layer_packages: tuple[Package, ...] | None = field(default=None, metadata=WHERE_THERE)
    layer: Layer | None = field(default=None, metadata=WHERE_THERE)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Does one link of the chain hold, and how is that known?"""

    status: str  # 'ok' | 'failed' | 'unknown'
    reason: str


OLDER = Verdict("unknown", "an older tfslurm wrote this record")


@dataclass(frozen=True, slots=True)
class Verified:
    """The links: image on the node, GPUs in the container, driver for the image, TensorFlow on the GPUs, code, and the
    packages that the experiment adds."""

    image: Verdict
    gpus: Verdict
    driver: Verdict
    tensorflow_gpu: Verdict
    code: Verdict = OLDER
    packages: Verdict | None = field(default=None, metadata=WHERE_THERE)


@dataclass(frozen=True, slots=True)
class Energy:
    """The energy that the job's GPUs used, as far as nvidia-smi was asked."""

    joules: float
    source: str  # what was read, how often, and what that does not cover


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature over the bytes that ``record_sha256`` is of."""

    format: str  # 'ssh'
    key_fingerprint: str  # 'SHA256:…' of the public key in ``value``
    namespace: str
    value: str  # as `ssh-keygen -Y sign` writes it


@dataclass(frozen=True, slots=True)
class Integrity:
    """The hashes that show that the record is whole and unchanged."""

    previous: str | None  # record_sha256 of the record that the same tracker chained before it
    record_sha256: str  # see record_sha256()
    signature: Signature | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Everything that is known of one job. What is NEW is None in a record of the first schema."""

    schema: str
    record_id: str
    plan_id: str | None = field(default=None, metadata=NEW)
    plan_sha256: str | None = field(default=None, metadata=NEW)
    run_folder: str | None = field(default=None, metadata=NEW)
    derived_from: DerivedFrom | None = field(default=None, metadata=NEW)  # the run that it repeats
    job: Job
    experiment: Experiment
    asked: Asked | None = field(default=None, metadata=NEW)
    inputs: tuple[Input, ...] | None = field(default=None, metadata=NEW)
    determinism: Determinism | None = field(default=None, metadata=NEW)
    image: Image
    code: Code | None
    attempts: tuple[Attempt, ...]
    environment: Environment
    energy: Energy | None = field(default=None, metadata=NEW)
    verified: Verified
    warnings: tuple[str, ...]
    unknown: Mapping[str, str]  # path of a fact that is null -> why
    integrity: Integrity


def record_json(record: Record) -> dict[str, Any]:
    """The record as JSON values: exactly the keys of its schema, in order; bytes that were no UTF-8 as ``\\xff``."""
    values: dict[str, Any] = plain(record, record.schema)
    return values


def plain(value: object, schema: str) -> Any:
    """The same value of dict, list, str, int, float, bool and None, its texts all valid UTF-8."""
    if isinstance(value, str):
        return (
            value if value.isascii() else value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        )
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, tuple | list):
        return [plain(item, schema) for item in value]
    if is_dataclass(value):
        there = [(name, getattr(value, name)) for name in names_of(value.__class__, schema)]
        sparse = sparse_of(value.__class__)
        return {name: plain(item, schema) for name, item in there if item is not None or name not in sparse}
    if isinstance(value, Mapping):
        return {plain(str(key), schema): plain(item, schema) for key, item in value.items()}
    return str(value)


@cache
def names_of(kind: Any, schema: str) -> tuple[str, ...]:
    """The keys that a part of the record has in a schema."""
    return tuple(each.name for each in fields(kind) if "since" not in each.metadata or schema != FIRST)


@cache
def sparse_of(kind: Any) -> frozenset[str]:
    """The keys that a part of the record has only where there is a value."""
    return frozenset(each.name for each in fields(kind) if "absent" in each.metadata)


def unsealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """A record's JSON values without the hash and the signature, which are made of these."""
    without = {key: item for key, item in value["integrity"].items() if key not in ("record_sha256", "signature")}
    return {**value, "integrity": without}


def record_bytes(value: Mapping[str, Any]) -> bytes:
    """The canonical bytes of a record (as JSON values): those that its hash and its signature are over."""
    return canonical(unsealed(value), "record")


def record_sha256(value: Mapping[str, Any]) -> str:
    """The hash that ``integrity.record_sha256`` must have."""
    return sha256(record_bytes(value)).hexdigest()


def seal(record: Record) -> Record:
    """The same record with its hash computed again."""
    return replace(record, integrity=replace(record.integrity, record_sha256=record_sha256(record_json(record))))
