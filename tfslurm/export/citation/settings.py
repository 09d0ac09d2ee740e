"""What records observed, as groups of runs with the same image, software, GPUs and driver; the largest group first."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from tfslurm.errors import InputError, RecordError
from tfslurm.image import Pin, parse_lock
from tfslurm.image.reference import DOCKER_HUB
from tfslurm.job_plan import TREE
from tfslurm.record import Record, TaskFacts
from tfslurm.record.model import Code, Environment, Image

TENSORFLOW = "TensorFlow Developers"
TENSORFLOW_DOI = "10.5281/zenodo.4724125"
"Of TensorFlow in all its versions; source: tensorflow.org/about/bib."
PUBLISHERS = {
    "docker.io/tensorflow/": TENSORFLOW,
    "docker.io/library/": "Docker Official Images",
    "docker.io/nvidia/": "NVIDIA Corporation",
    "nvcr.io/nvidia/": "NVIDIA Corporation",
}
"Who makes the images whose names begin so. These names say nothing of who used them."


class GpuKind(NamedTuple):
    """GPUs of one kind, and how many of them each run had."""

    name: str
    memory_mib: int | None
    each: int


class Machine(NamedTuple):
    """The hardware and driver of a run, from its last attempt; () where nothing of that kind was observed."""

    gpus: tuple[GpuKind, ...] | None  # () for a run without GPUs; None: not observed
    drivers: tuple[str, ...]
    processors: tuple[str, ...]
    nodes: int


class Setting(NamedTuple):
    """Runs whose observed environment is the same."""

    image: Image
    pin: Pin | None  # None: a record of the first schema, which does not have it
    inside: Environment
    machine: Machine
    runs: tuple[Record, ...]

    @property
    def name(self) -> str:
        """The repository as `docker pull` takes it: Docker Hub's without its registry."""
        image = self.image
        repository = image.repository.removeprefix("library/") if image.registry == DOCKER_HUB else image.repository
        return repository if image.registry == DOCKER_HUB else f"{image.registry}/{repository}"

    @property
    def publisher(self) -> str:
        """Who makes the image; '' where that is not known."""
        whole = f"{self.image.registry}/{self.image.repository}"
        return next((who for prefix, who in PUBLISHERS.items() if whole.startswith(prefix)), "")

    @property
    def is_in_registry(self) -> bool:
        """Whether the image can be pulled by its digest; else it is known by the id that one engine gave it."""
        return self.image.digest_kind != "config" and (self.pin is None or self.pin.pin_kind == "registry")

    @property
    def year(self) -> str:
        """The year in which the image says that it was made; '' where it does not."""
        year = self.pin.created[:4] if self.pin else ""
        return year if year.isdigit() and year > "2000" else ""  # 1970 and 0001 stand for: no time


class Settings(NamedTuple):
    """The groups, the versions of the code with their runs, and the runs of which nothing can be stated."""

    groups: tuple[Setting, ...]
    codes: tuple[tuple[Code | None, int], ...]
    left_out: tuple[tuple[str, str], ...]  # job, why

    @property
    def runs(self) -> int:
        """How many runs the groups have."""
        return sum(len(group.runs) for group in self.groups)

    @property
    def name(self) -> str:
        """The experiments' name; of several, all."""
        return ", ".join(dict.fromkeys(run.experiment.name for group in self.groups for run in group.runs))


class Authorship(NamedTuple):
    """Who made the code: ``authors`` are 'Family, Given', or a name alone for an organisation."""

    authors: tuple[str, ...] = ()
    title: str = ""
    licence: str = ""
    orcids: tuple[tuple[str, str], ...] = ()  # author, https://orcid.org/…
    affiliations: tuple[tuple[str, str], ...] = ()  # author, 'Institution' or 'Institution (https://ror.org/…)'
    persons: tuple[str, ...] = ()  # authors who are people although their name has no comma


def settings_of(records: Sequence[Record]) -> Settings:
    """The records in groups.

    Raises:
        RecordError: there is none of which an environment was observed and verified.
    """
    groups: dict[object, list[Record]] = {}
    codes: dict[str, list[Code | None]] = {}
    left_out: list[tuple[str, str]] = []
    for record in records:
        job = f"{record.job.cluster}:{record.job.job_id}"
        if why := why_not(record):
            left_out.append((job, why))
            continue
        codes.setdefault(record.code.tree if record.code else "", []).append(record.code)
        groups.setdefault(key_of(record), []).append(record)
    if not groups:
        first = "; ".join(f"{job}: {why}" for job, why in left_out[:3]) or "there is no record"
        raise RecordError(f"cite: there is nothing that can be stated: {first}")
    found = [
        Setting(runs[0].image, pin_of(runs[0]), runs[0].environment, machine_of(runs[0]), tuple(runs))
        for runs in sorted(groups.values(), key=len, reverse=True)
    ]
    versions = [(best_named(same), len(same)) for same in sorted(codes.values(), key=len, reverse=True)]
    return Settings(tuple(found), tuple(versions), tuple(left_out))


def best_named(same: Sequence[Code | None]) -> Code | None:
    """The code whose origin says most, of codes with one tree: a commit that holds the tree, and that others can fetch.

    The first job of an experiment often ran before its lock file was committed.
    """
    codes = [code for code in same if code]
    return max(codes, key=lambda code: (bool(code.commit), not code.dirty, bool(code.remote)), default=None)


def why_not(record: Record) -> str:
    """Why nothing is stated of a run; '': its program began in the pinned image, and the node had verified that."""
    if not record.attempts or not record.attempts[-1].tasks:
        return "its program has not begun"
    if record.verified.image.status != "ok":
        return f"its image is not verified: {record.verified.image.reason}"
    if not re.fullmatch("sha256:[0-9a-f]{64}", record.image.digest):
        return "its image has no sha256 digest"
    return "its code has no Git tree" if record.code and not TREE.fullmatch(record.code.tree) else ""


def key_of(record: Record) -> object:
    """What two runs of one group have in common."""
    image, inside = record.image, record.environment
    software = (inside.tensorflow, inside.python, inside.cuda, inside.cudnn, inside.os)
    layer = inside.layer and (inside.layer.key, inside.layer.contents_sha256)
    return (image.reference, image.digest, image.platform, software, layer, machine_of(record))


def pin_of(record: Record) -> Pin | None:
    """The pin by the lock file's text in the record."""
    try:
        return parse_lock(record.asked.lock, "lock") if record.asked else None
    except InputError:
        return None


def machine_of(record: Record) -> Machine:
    """The hardware of all tasks of the last attempt."""
    tasks = record.attempts[-1].tasks
    return Machine(
        gpus_of(tasks),
        tuple(sorted({task.driver_version for task in tasks if task.driver_version and task.gpus})),
        tuple(sorted({task.cpu_model for task in tasks if task.cpu_model})),
        len({task.node for task in tasks}),
    )


def gpus_of(tasks: Sequence[TaskFacts]) -> tuple[GpuKind, ...] | None:
    """The GPUs of all tasks, by kind; a GPU that tasks of a node share counts once. None: one was not observed."""
    seen: dict[str, tuple[str, int | None]] = {}
    for task in tasks:
        if task.gpus is None or any(gpu.name is None for gpu in task.gpus):
            return None
        seen.update({gpu.uuid: (gpu.name or "", gpu.memory_mib) for gpu in task.gpus})
    return tuple(GpuKind(*kind, count) for kind, count in sorted(Counter(seen.values()).items(), key=str))


def key(kind: str, digest: str) -> str:
    """The key of an entry in a bibliography, by the first digits of a digest; a stranger's record may have none."""
    return f"{kind}:{re.sub('[^0-9a-f]', '', digest.removeprefix('sha256:'))[:8]}"


def url(text: str | None) -> str:
    """An address that no reader of the citation acts on otherwise; '' where it has other characters."""
    return text if text and re.fullmatch(r"https?://[A-Za-z0-9._~:/@+-]{1,500}", text) else ""
