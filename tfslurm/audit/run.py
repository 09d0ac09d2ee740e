"""Audit records: each image is asked for once, and each cluster once for the files of all its records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import NamedTuple, TypeVar

from tfslurm.audit.findings import (
    Audited,
    There,
    code_finding,
    driver_findings,
    gpu_findings,
    image_finding,
    outputs_finding,
    outputs_of,
    packages_findings,
    tag_findings,
)
from tfslurm.audit.pins import pin_in
from tfslurm.errors import HostError, InputError, RecordError
from tfslurm.host import Host
from tfslurm.image import Pin
from tfslurm.job_plan.folders import job_folder
from tfslurm.monitoring.choose import RECENT
from tfslurm.registry.served import Served, served
from tfslurm.remote_programs import program
from tfslurm.retrieval.evidence import Evidence, code_dir, evidence_of, gathered, run_dir
from tfslurm.retrieval.layers import layer_dir
from tfslurm.run_folder import paths
from tfslurm.tracker import SeenDriver, TrackedJob
from tfslurm.workspace.clusters_of_jobs import known_named
from tfslurm.workspace.config import Known
from tfslurm.workspace.session import Session
from tfslurm.workspace.threads import at_once

AT_ONCE = 16
"Registries that are asked at the same time."
MOST_OUTPUTS = 200
"Of one record that are looked for."
PATIENCE_S = 300.0
T = TypeVar("T")


class Wanted(NamedTuple):
    """The files of one record to look for on a host; ``base`` is a folder without which nothing can be said."""

    host: Host
    base: PurePosixPath
    code: PurePosixPath | None
    outputs: tuple[PurePosixPath, ...]
    layer: PurePosixPath | None = None

    @property
    def paths(self) -> tuple[PurePosixPath, ...]:
        """All of them, in the order in which they are asked for."""
        return (self.base, *(each for each in (self.code, self.layer) if each), *self.outputs)


def audit(session: Session, names: Sequence[str], *, everything: bool = False) -> list[Audited]:
    """What was found about the records of these names, in their order; each once.

    Without names: of the jobs of the last submissions that have ended, or with ``everything`` of all that have. A line
    is said for each job that has no record.

    Raises:
        InputError: a name stands for nothing, or a file holds no record.
        RecordError: a job has no record.
    """
    evidences = evidences_of(session, names, everything=everything)
    pins = [pin_in(each.record) for each in evidences]
    clusters = {name: known_or_why(session, name, plan_id) for name, plan_id in places_of(evidences).items()}
    images = asked_images([(pin, clusters[each.record.job.cluster]) for pin, each in zip(pins, evidences, strict=True)])
    lefts = files_there(session, evidences, clusters)
    drivers = {name: session.tracker.drivers(name) for name in clusters}
    return [
        audited(each, pin, image, left, drivers[each.record.job.cluster])
        for each, pin, image, left in zip(evidences, pins, images, lefts, strict=True)
    ]


def audited(each: Evidence, pin: Pin, image: Served, left: There, seen: Sequence[SeenDriver]) -> Audited:
    """All findings about one record."""
    record = each.record
    found = (
        image_finding(image, pin.digest),
        *tag_findings(image, pin),
        *gpu_findings(record, pin),
        *driver_findings(record, pin, seen),
        code_finding(record, left),
        *packages_findings(record, left),
        outputs_finding(record, left),
    )
    return Audited(each.key, record.record_id, f"{pin.name}@{pin.digest}", found)


def evidences_of(session: Session, names: Sequence[str], *, everything: bool) -> list[Evidence]:
    """The records that are meant, each once for each place of its files; no machine is asked for these yet."""
    if names:
        found = [each for name in names for each in evidence_of(session, name, reach=False)]
    else:
        jobs = [job for job in session.tracker.jobs(recent=None if everything else RECENT) if job.final]
        found = [each for each in gathered(session, jobs) if each] if len(jobs) > 1 else of_one(session, jobs)
    return list({(each.record.record_id, each.folder): each for each in found}.values())


def of_one(session: Session, jobs: Sequence[TrackedJob]) -> list[Evidence]:
    """The record of the only job, if it has one."""
    try:
        return gathered(session, jobs)
    except RecordError as error:
        session.say(str(error).splitlines()[0])
        return []


def places_of(evidences: Sequence[Evidence]) -> dict[str, str]:
    """Each cluster of the records, with the plan of the first of them."""
    found: dict[str, str] = {}
    for each in evidences:
        found.setdefault(each.record.job.cluster, each.record.plan_id or "")
    return found


def known_or_why(session: Session, name: str, plan_id: str) -> Known | str:
    """The cluster of this name, or why it is not known."""
    try:
        return known_named(name, plan_id, session.tracker)
    except (InputError, RecordError) as error:
        return str(error).splitlines()[0]


def asked_images(wanted: Sequence[tuple[Pin, Known | str]]) -> list[Served]:
    """The answers of registries for each of these pins with its cluster; equal questions are asked once."""
    questions: dict[tuple[object, ...], Callable[[], Served]] = {}
    keys = []
    for pin, known in wanted:
        mirrors, engine = ({}, "docker") if isinstance(known, str) else (known.cluster.mirrors, known.cluster.engine)
        names = tuple((prefix, *mirrors[prefix]) for prefix in mirrors)
        keys.append((pin.name, pin.tag, pin.digest, pin.manifest_digest, pin.pin_kind, names, engine))
        questions.setdefault(keys[-1], partial(served, pin, mirrors, engine))
    answers = dict(zip(questions, in_turns(list(questions.values()), AT_ONCE), strict=True))
    return [answers[key] for key in keys]


def in_turns(works: Sequence[Callable[[], T]], most: int) -> Iterator[T]:
    """The results of works, so many of which are done at the same time."""
    for start in range(0, len(works), most):
        yield from (result() for result in at_once(works[start : start + most]))


def files_there(session: Session, evidences: Sequence[Evidence], clusters: Mapping[str, Known | str]) -> list[There]:
    """What is left of the files of each record: each host is asked once."""
    elsewhere = {each.record.job.cluster for each in evidences if each.host is None}
    hosts = reached(session, {name: clusters[name] for name in elsewhere})
    wanted = [wanted_of(each, clusters[each.record.job.cluster], hosts) for each in evidences]
    groups: dict[int, list[Wanted]] = {}
    for one in wanted:
        if isinstance(one, Wanted):
            groups.setdefault(id(one.host), []).append(one)
    results = at_once([partial(ask_host, group) for group in groups.values()])
    answers: dict[int, Mapping[PurePosixPath, str] | str] = {}
    for host, result in zip(groups, results, strict=True):
        try:
            answers[host] = result()
        except HostError as error:
            answers[host] = str(error).splitlines()[0]
    return [one if isinstance(one, There) else there_of(one, answers[id(one.host)]) for one in wanted]


def reached(session: Session, clusters: Mapping[str, Known | str]) -> dict[str, Host | str]:
    """The login node of each cluster, or why it is not reached; all at once, each once."""
    known = [each for each in clusters.values() if not isinstance(each, str)]
    found: dict[str, Host | str] = {name: each for name, each in clusters.items() if isinstance(each, str)}
    for each, result in zip(known, at_once([partial(session.reach, each) for each in known]), strict=True):
        try:
            found[each.cluster.name] = result()
        except HostError as error:
            found[each.cluster.name] = str(error).splitlines()[0]
    return found


def wanted_of(each: Evidence, known: Known | str, hosts: Mapping[str, Host | str]) -> Wanted | There:
    """The files of a record to look for; There: why they cannot be."""
    record, folder, base, code = each.record, each.folder, each.folder, each.code
    host = each.host or hosts[record.job.cluster]
    if isinstance(host, str):
        return There(host)
    try:
        if each.host is None and isinstance(known, Known):
            folder, base = run_dir(record, known), known.cluster.root
            code = code_dir(record, base)
        assert folder is not None and base is not None  # noqa: S101 - a host is given with its folder
        outputs = job_folder(folder, record.job.job_id) / paths.OUTPUTS
        named = tuple(outputs / path for path in outputs_of(record, MOST_OUTPUTS))
        return Wanted(host, base, code, named, layer_dir(each._replace(folder=folder)))
    except RecordError as error:
        return There(str(error).splitlines()[0])


def ask_host(wanted: Sequence[Wanted]) -> Mapping[PurePosixPath, str]:
    """Path -> what is there: ``f``, ``d`` or ``-``.

    Raises:
        HostError: the machine does not answer, or not in these letters.
    """
    asked = list(dict.fromkeys(path for one in wanted for path in one.paths))
    said = (
        wanted[0]
        .host.run_bytes(
            program("still-there"),
            input=b"".join(str(path).encode("utf-8", "surrogateescape") + b"\0" for path in asked),
            timeout_s=PATIENCE_S,
            max_bytes=len(asked) + 2**16,
        )
        .decode("ascii", "replace")
    )
    if len(said) != len(asked) or set(said) - set("fd-"):
        raise HostError(
            f"{wanted[0].host.name}: the answer about files cannot be read; does a start-up file print there?"
        )
    return dict(zip(asked, said, strict=True))


def there_of(wanted: Wanted, answer: Mapping[PurePosixPath, str] | str) -> There:
    """What the answer says of one record."""
    if isinstance(answer, str):
        return There(answer)
    if answer[wanted.base] != "d":
        why = f"{wanted.host.name}: {wanted.base} is not there: is its file system mounted?"
        return There(why)
    missing = [path.name for path in wanted.outputs if answer[path] != "f"]
    has = [bool(each and answer[each] == "d") for each in (wanted.code, wanted.layer)]
    return There("", has[0], len(wanted.outputs), tuple(missing), has[1])
