"""Records by any name that a user may type, each with the place of the files that it names.

A name is a job's (also of one that this tracker does not know, looked for on its cluster), a point's or a sweep's; the
digest of an image, the hash of a record, the commit of the code, the id of a plan; a file with a record, a run folder,
a crate.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from tfslurm.errors import HostError, InputError, RecordError, refuse
from tfslurm.host import Host
from tfslurm.host.local import LocalHost
from tfslurm.job_plan import TREE
from tfslurm.monitoring.lookup import JOB, find_jobs, one_name
from tfslurm.record import Record, record_from_json, record_json
from tfslurm.record.chain import has_sha256
from tfslurm.record.crate_metadata import METADATA
from tfslurm.retrieval.crate_files import Crate, base_of, crate_at, is_crate, is_folder
from tfslurm.retrieval.record_files import is_file, read_record
from tfslurm.retrieval.records import latest_record
from tfslurm.retrieval.records_of_jobs import records_of
from tfslurm.retrieval.run_folders import Found, of_job, on_clusters, on_this_machine, place_in
from tfslurm.run_folder import paths
from tfslurm.tracker import TrackedJob, Tracker
from tfslurm.tracker.by_content import jobs_of_plans, plans_with
from tfslurm.workspace.clusters_of_jobs import known_named
from tfslurm.workspace.config import Known
from tfslurm.workspace.session import Session

DIGEST = re.compile(r"(?:[^\s@]{1,512}@)?sha256:(?P<hex>[0-9a-f]{12,64})")
COMMIT_ID = re.compile(r"[0-9a-f]{7,64}")
PLAN_ID = re.compile(r"[0-9a-f]{12}")


class Evidence(NamedTuple):
    """A record, the JSON values that it was read from, and where the files that it names lie.

    ``folder`` is its run folder on ``host``, or a crate's folder, which is laid out like one; ``code`` the folder with
    the code. ``host`` None: they cannot be read, and ``why`` says so.
    """

    record: Record
    values: dict[str, Any]
    host: Host | None = None
    folder: PurePosixPath | None = None
    code: PurePosixPath | None = None
    why: str = ""
    crate: Crate | None = None

    @property
    def key(self) -> str:
        """The name of its job: ``alpha:1234``."""
        return f"{self.record.job.cluster}:{self.record.job.job_id}"


def evidence_of(session: Session, name: str, *, latest: bool = False, reach: bool = True) -> list[Evidence]:
    """The records that a name stands for, each with its files; at least one.

    Of a job it is the record that the tracker kept, else that of its run folder; with ``latest`` always the latter.
    Without ``reach`` no machine is asked for the files.

    Raises:
        InputError: the name stands for nothing, or a file holds no record.
        RecordError: a job has none.
    """
    found = gathered(session, named(session, name), latest=latest)
    if not found:
        raise RecordError(f"{name}: none of its jobs has a record that can be read")
    return [each if each.host or not reach else placed(session, each) for each in found]


def named(session: Session, name: str) -> Sequence[TrackedJob | Evidence]:
    """The jobs of this tracker that a name stands for, or the evidence that lies elsewhere.

    Raises:
        InputError: it stands for nothing, or a file holds no record.
    """
    tracker = session.tracker
    if digest := DIGEST.fullmatch(name):
        return records_with(tracker, digest["hex"]) or jobs_with(tracker, f"sha256:{digest['hex']}", name, "image")
    if crate := crate_named(session, name):
        return of_crate(crate)
    if is_file(name):
        return in_path(session, name)
    try:
        return find_jobs(tracker, one_name(tracker, name))
    except InputError:
        if PLAN_ID.fullmatch(name) and (jobs := jobs_of_plans(tracker, [name])):
            return jobs
        if COMMIT_ID.fullmatch(name) and plans_with(tracker, name):
            return jobs_with(tracker, name, name, "commit")
        job = JOB.fullmatch(name)
        if job and job["cluster"] and (found := of_job(session, job["cluster"], job["id"])):
            return [in_folder(each) for each in found]
        raise


def tracked_jobs(session: Session, name: str) -> list[TrackedJob]:
    """The jobs of this tracker that a name stands for.

    Raises:
        InputError: it stands for nothing, or for a record that lies elsewhere.
    """
    found = [each for each in named(session, name) if isinstance(each, TrackedJob)]
    if not found:
        raise refuse(
            name, "is no job of this machine's tracker", "`tfslurm tracker rebuild` reads the run folders again"
        )
    return found


def crate_named(session: Session, name: str) -> Crate | None:
    """The crate that a name stands for, a stranger's too; None: it stands for something else.

    Raises:
        InputError: it is a crate beyond the bounds, or none that can be read.
    """
    if not is_crate(Path(name)):
        return None
    if not is_file(name):  # a job's or a sweep's name is also that of a folder where its outputs were fetched to
        with suppress(InputError):
            find_jobs(session.tracker, one_name(session.tracker, name))
            return None
    return crate_at(session, Path(name))


def in_path(session: Session, name: str) -> Sequence[TrackedJob | Evidence]:
    """The record of a file here, or those of a run folder on a cluster or here.

    Raises:
        InputError: there is none.
    """
    path, place = Path(name), place_in(PurePosixPath(name.partition(":")[2] or name))
    jobs = jobs_of_plans(session.tracker, [place.plan_id]) if place else []
    if place and (meant := [job for job in jobs if place.job_id in ("", job.job_id)]):
        return meant
    if place and (found := on_clusters(session, name)):
        return [in_folder(each) for each in found]
    if is_folder(path):
        return [in_folder(each) for each in on_this_machine(path)]
    if place:
        raise refuse(name, "no cluster that is known here has this run folder", "copy it here, and name the copy")
    record, values = read_record(path)
    return [Evidence(record, values)]


def in_folder(found: Found) -> Evidence:
    """The evidence in a run folder that the tracker does not know."""
    root = found.folder.parent.parent
    values = record_json(found.record)
    return Evidence(found.record, values, found.host, found.folder, code_dir(found.record, root))


def of_crate(crate: Crate) -> list[Evidence]:
    """The records in a crate.

    Raises:
        InputError: another tool made it, or one of its records is none.
    """
    if not crate.records and METADATA not in crate.files:
        inner = next((path for path in crate.files if path.endswith(".zip")), "")
        fix = f"take the crate as it was made{f', or unpack it and name {inner[:200]}' if inner else ''}"
        raise refuse(crate.name, "is no crate: it has neither a record of tfslurm nor a crate's metadata", fix)
    if not crate.records:
        fix = "`tfslurm provenance` and `tfslurm verify` show what it says of itself"
        raise refuse(crate.name, "is a crate without a record of tfslurm: another tool made it", fix)
    return [in_crate(crate, path) for path in crate.records]


def in_crate(crate: Crate, path: str) -> Evidence:
    """One record in a crate, by its path there.

    Raises:
        InputError: it is none.
    """
    folder = PurePosixPath(crate.folder.absolute())
    try:
        found = read(crate.values(path))
    except ValueError as error:
        raise refuse(f"{crate.name}: {path}", f"is no record: {error}", "take the crate as it was made") from error
    code = code_dir(found.record, folder)
    return found._replace(host=LocalHost("this machine"), folder=folder / base_of(path), code=code, crate=crate)


def gathered(session: Session, found: Sequence[TrackedJob | Evidence], *, latest: bool = False) -> list[Evidence]:
    """The records of what a name stands for; of several jobs, a line is said for each that has none.

    Raises:
        RecordError: there is one job, and it has none.
    """
    kept = of_jobs(session, [each for each in found if isinstance(each, TrackedJob)], latest=latest)
    evidences = (kept.get(each.key) if isinstance(each, TrackedJob) else each for each in found)
    return [each for each in evidences if each]


def jobs_with(tracker: Tracker, beginning: str, name: str, what: str) -> list[TrackedJob]:
    """The jobs whose image or commit has an id that begins so.

    Raises:
        InputError: no job has such an id, or several ids begin so.
    """
    plans = plans_with(tracker, beginning)
    if len(plans) > 1:
        raise refuse(f"{what} {name!r}", f"is the beginning of {len(plans)}: {', '.join([*plans][:5])}", "write more")
    jobs = jobs_of_plans(tracker, [plan_id for plan_ids in plans.values() for plan_id in plan_ids])
    if not jobs:
        fix = "`tfslurm status --all` lists your jobs; `tfslurm tracker rebuild` reads the run folders again"
        raise refuse(f"{what} {name!r}", "no job of this machine's tracker ran it", fix)
    return jobs


def records_with(tracker: Tracker, beginning: str) -> list[Evidence]:
    """The record whose hash begins so, as it was chained, be it its job's last or not.

    Raises:
        InputError: several do.
        RecordError: the tracker's copy of it is none.
    """
    entries = [entry for place in tracker.chain.places(beginning)[:2] for entry in tracker.chain.entries(place, 1)]
    if len(entries) > 1:
        raise refuse(f"record sha256:{beginning}", "is the beginning of several", "write more")
    try:
        return [read(entry.values) for entry in entries if entry.values]
    except ValueError as error:
        raise RecordError(f"record sha256:{beginning}: the tracker's copy cannot be read: {error}") from error


def of_jobs(session: Session, jobs: Sequence[TrackedJob], *, latest: bool = False) -> dict[str, Evidence]:
    """Job -> its record, for ``gathered``."""
    if len(jobs) > 1:
        return {key: read(values) for key, values in records_of(session, jobs).items()}
    found: dict[str, Evidence] = {}
    for job in jobs:
        kept = None if latest else session.tracker.record(job)
        try:
            found[job.key] = read(kept or record_json(latest_record(session, job)))
        except ValueError as error:
            raise RecordError(f"{job.key}: the tracker has no record of it that can be read: {error}") from error
    return found


def read(values: Mapping[str, Any]) -> Evidence:
    """The evidence that JSON values are.

    Raises:
        ValueError: they are no record.
    """
    return Evidence(record_from_json(values), dict(values))


def placed(session: Session, evidence: Evidence) -> Evidence:
    """The same with its files' place on its cluster, or the reason why they cannot be read."""
    record = evidence.record
    try:
        known = known_named(record.job.cluster, record.plan_id or "", session.tracker)
        folder = run_dir(record, known)
        host = session.reach(known)
    except (HostError, InputError, RecordError) as error:
        return evidence._replace(why=str(error).splitlines()[0])
    return evidence._replace(host=host, folder=folder, code=code_dir(record, known.cluster.root))


def refuse_changed(evidences: Sequence[Evidence]) -> None:
    """Refuse a record that is not what its hash says.

    Raises:
        RecordError: it is not.
    """
    for each in evidences:
        if not has_sha256(each.values, each.record.integrity.record_sha256):
            raise RecordError(f"{each.key}: the record is not what its record_sha256 says: take the original")


def run_dir(record: Record, known: Known) -> PurePosixPath:
    """The run folder, if it is one of this cluster's.

    Raises:
        RecordError: the record has none, or one that is not below the cluster's root.
    """
    if not record.run_folder:
        raise RecordError("the record does not name its run folder")
    folder, runs = PurePosixPath(record.run_folder), paths.runs(known.cluster.root)
    if folder.parent != runs or ".." in folder.parts:
        raise RecordError(f"its run folder {record.run_folder[:200]!r} is not one of {known.cluster.name}'s, in {runs}")
    return folder


def code_dir(record: Record, root: PurePosixPath) -> PurePosixPath | None:
    """The folder of the code below a cluster's root, or a crate's; None where there is none, or its name is no tree."""
    return root / "code" / record.code.tree if record.code and TREE.fullmatch(record.code.tree) else None
