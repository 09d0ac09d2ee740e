"""Record -> the same record without what says who ran it and where. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from hashlib import sha256
from typing import Any, TypeVar
from uuid import UUID

from tfslurm.document.canonical import canonical
from tfslurm.errors import InputError
from tfslurm.export.anonymous.names import OPTIONS, Name, inside, is_public, names_of
from tfslurm.export.anonymous.stand_ins import StandIns
from tfslurm.image import PackageLock, lock_text, read_lock
from tfslurm.record import TaskFacts
from tfslurm.record.model import (
    Asked,
    Attempt,
    Environment,
    Experiment,
    Image,
    Integrity,
    Job,
    Record,
    record_json,
    seal,
)
from tfslurm.record.verification import ANONYMOUS

T = TypeVar("T")
HASHED = f"{ANONYMOUS}: whoever guesses a name could test it on this hash"
NOT_THERE = (
    *("run_folder", "plan_id", "plan_sha256", "job.script_sha256", "experiment.spec_sha256", "asked.template.sha256"),
    *("asked.scan.report_sha256", "asked.scan.sbom_sha256"),
    *("code.remote", "code.commit", "code.branch", "integrity.previous", "integrity.signature", "derived_from"),
    "environment.layer.installed_by",
)
"What no anonymous form has, or has of the text that stands in it."
UID = "1000"
PYPI = ("https://pypi.org/", "https://files.pythonhosted.org/")


def stand_ins_of(records: Sequence[Record], *names: Iterable[Name]) -> StandIns:
    """The table for these records, and for further names; what runs together is exported with one table."""
    found = [name for record in records for name in names_of(record)]
    paths_inside = tuple(dict.fromkeys(path for record in records for path in inside(record)))
    keys = {word for record in records for key in keys_of(record) for word in (key, *key.split("_"))}
    return StandIns([*found, *(name for several in names for name in several)], paths_inside, keys)


def keys_of(value: object) -> Iterator[str]:
    """The keys of a record's own, and none of those that a user wrote."""
    if is_dataclass(value):
        for each in fields(value):
            if "absent" not in each.metadata or getattr(value, each.name) is not None:
                yield each.name
                yield from keys_of(getattr(value, each.name))
    elif isinstance(value, tuple):
        yield from (key for each in value for key in keys_of(each))


def planted(record: Record) -> tuple[str, ...]:
    """The texts of a record that may be in no byte of an anonymous export; the longest first."""
    return stand_ins_of([record]).planted


def anonymous(record: Record, table: StandIns | None = None) -> Record:
    """The anonymous form of a record: names replaced, the same name by the same everywhere; sealed anew.

    It is another record, with another id, neither signed nor part of a chain, and its ``unknown`` says so. Digests of
    image, inputs, outputs and code stay; hashes of texts that held a name do not.
    """
    table = stand_ins_of([record]) if table is None else table
    cleaned = without_names(record, table)
    reasons = {path: HASHED if "sha256" in path else ANONYMOUS for path in NOT_THERE if has(record, path)}
    made = replace(
        cleaned,
        schema=record.schema,
        record_id="",
        plan_id=None,
        plan_sha256=None,
        run_folder=None,
        derived_from=None,
        job=job_of(record.job, cleaned.job, table),
        experiment=experiment_of(record, cleaned.experiment, table),
        asked=asked_of(record, cleaned.asked, table),
        image=image_of(record, table),
        code=replace(cleaned.code, remote=None, commit=None, branch=None) if cleaned.code else None,
        attempts=attempts_of(record, cleaned, table),
        environment=environment_of(cleaned.environment),
        integrity=Integrity(None, "", None),
    )
    lost = {path: why for path, why in reasons.items() if not has(made, path)}
    made = replace(made, unknown={**cleaned.unknown, **lost, "run_folder": ANONYMOUS})
    return seal(replace(made, record_id=identity(made)))


def without_names(value: T, table: StandIns) -> T:
    """The same value, every text in it without names."""
    made: Any = value
    if is_dataclass(value) and not isinstance(value, type):
        made = replace(value, **{each.name: without_names(getattr(value, each.name), table) for each in fields(value)})
    elif isinstance(value, Mapping):
        made = {table.text(str(key)): without_names(item, table) for key, item in value.items()}
    elif isinstance(value, tuple | list):
        made = tuple(without_names(item, table) for item in value)
    elif isinstance(value, str):
        made = table.text(value)
    return made  # type: ignore[no-any-return]


def has(record: Record, path: str) -> bool:
    """Whether there is a value at a path."""
    value: Any = record
    for part in path.split("."):
        value = getattr(value, part, None)
    return value is not None


def job_of(job: Job, cleaned: Job, table: StandIns) -> Job:
    """The job, under a number of its own; whoever can ask the cluster's accounting finds it by the other one."""
    number, _, task = job.job_id.partition("_")
    mine = str(table.number_of("job", f"{job.cluster}:{number}"))
    folders = None if job.shared_folders is None else tuple(
        replace(each, folder=table.text(each.folder), uid=each.uid if each.uid == "0" else UID)
        for each in job.shared_folders
    )  # fmt: skip
    return replace(
        cleaned,
        cluster=table.of(job.cluster),
        job_id=f"{mine}_{task}" if task else mine,
        array_job_id=job.array_job_id and mine,
        user=table.of(job.user),
        partition=job.partition and table.of(job.partition),
        nodes=tuple(map(table.of, job.nodes)),
        script_sha256=None,
        shared_folders=folders,
    )


def attempts_of(record: Record, cleaned: Record, table: StandIns) -> tuple[Attempt, ...]:
    """The attempts, each task on a node by its stand-in, in a cgroup without numbers of user and job."""
    made = []
    for real, attempt in zip(record.attempts, cleaned.attempts, strict=True):
        tasks = zip(real.tasks, attempt.tasks, strict=True)
        made.append(replace(attempt, tasks=tuple(task_of(one, other, table) for one, other in tasks)))
    return tuple(made)


def task_of(task: TaskFacts, cleaned: TaskFacts, table: StandIns) -> TaskFacts:
    """One task."""
    below = cleaned.limits.cgroup_parent
    limits = replace(cleaned.limits, cgroup_parent=below and re.sub("(uid|user|job)([_-])[0-9]+", r"\1\g<2>1", below))
    return replace(cleaned, node=task.node and table.of(task.node), limits=limits)


def environment_of(cleaned: Environment) -> Environment:
    """The software, without the job that installed the packages."""
    return replace(cleaned, layer=replace(cleaned.layer, installed_by=None)) if cleaned.layer else cleaned


def experiment_of(record: Record, cleaned: Experiment, table: StandIns) -> Experiment:
    """The experiment; the hash of its text is of the text that stands here."""
    spec = record.asked.spec if record.asked else None
    return replace(cleaned, spec_sha256=spec and sha_of(table.text(spec)))


def asked_of(record: Record, cleaned: Asked | None, table: StandIns) -> Asked | None:
    """The rest of the plan; the lock file is that of the anonymous image, and how that was made is left out."""
    if record.asked is None or cleaned is None:
        return None
    template = cleaned.template
    if template.name is not None:
        template = replace(template, sha256=template.text and sha_of(template.text))
    options = {key: option_of(key, value, table) for key, value in record.asked.options.items()}
    scan = cleaned.scan and replace(cleaned.scan, report_sha256=None, sbom_sha256=None)
    lock = lock_of(record, table)
    return replace(cleaned, template=template, options=options, lock=lock, scan=scan, build=None)


def sha_of(text: str) -> str:
    """The hash of a text, as a plan takes it."""
    return sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def option_of(option: str, value: str, table: StandIns) -> str:
    """The value of an option of sbatch; of one that names somebody or something, each of its parts."""
    if option not in OPTIONS or OPTIONS[option] == "path":
        return table.text(value)
    whole = table.of(value)
    return ",".join(map(table.of, value.split(","))) if whole == value else whole


def image_of(record: Record, table: StandIns) -> Image:
    """The pin: its digest stays, and of an image by a known publisher its name."""
    image = record.image
    cleaned = replace(image, served_by=image.served_by and table.text(image.served_by))
    if is_public(record):
        return cleaned
    registry, repository = table.of(image.registry), table.of(image.repository)
    tag = image.tag and table.text(image.tag)
    typed = f"{registry}/{repository}" + (f":{tag}" if tag else "")
    typed += f"@{image.digest}" if image.reference.endswith(f"@{image.digest}") else ""
    return replace(cleaned, reference=typed, registry=registry, repository=repository, tag=tag)


def lock_of(record: Record, table: StandIns) -> str:
    """The text of the lock file of the anonymous image."""
    text = record.asked.lock if record.asked else ""
    try:
        lock = read_lock(text, "lock")
    except InputError:
        return table.text(text)
    image = image_of(record, table)
    pin = lock.image
    named = replace(without_names(pin, table), registry=image.registry, repository=image.repository)
    named = replace(named, reference=image.reference, tag=image.tag or "", served_by=table.text(pin.served_by))
    return lock_text(named, lock.packages and packages_of(lock.packages, table))


def packages_of(lock: PackageLock, table: StandIns) -> PackageLock | None:
    """The packages without the places that they came from, but for PyPI; None where a name stands in one of theirs.

    Their key is of their names: with other names they would be other packages.
    """
    bare = replace(lock, index="", wheels=tuple(replace(each, url="file:///") for each in lock.wheels))
    if without_names(bare, table) != bare:
        return None
    wheels = tuple(each if is_pypi(each.url) else replace(each, url=f"file:///{each.file}") for each in lock.wheels)
    return replace(lock, index=lock.index if is_pypi(lock.index) else "", wheels=wheels)


def is_pypi(address: str) -> bool:
    """Whether an address is one that everybody has."""
    return address.startswith(PYPI)


def identity(record: Record) -> str:
    """The id of an anonymous record, which its own content gives: nothing of the job's is in it. See record_urn()."""
    digest = bytearray(sha256(canonical(record_json(record), "record")).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    return f"urn:uuid:{UUID(bytes=bytes(digest))}"
