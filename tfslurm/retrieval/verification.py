"""Hold a record against what is there now: its own text, and the files that it names on its cluster."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Any

from tfslurm.document.bounded_json import read_json
from tfslurm.errors import CommandFailed, HostError, InputError, RecordError
from tfslurm.host import Host, read_from
from tfslurm.host.fetching import sums
from tfslurm.host.files import tree_contents
from tfslurm.job_plan.folders import job_folder
from tfslurm.monitoring.lookup import plan_of
from tfslurm.record import Record, record_json
from tfslurm.record.verification import Part, compared, inner_parts, output_parts, plan_part
from tfslurm.retrieval.evidence import Evidence
from tfslurm.retrieval.records import read_folder
from tfslurm.run_folder import paths
from tfslurm.workspace.session import Session

FILES = ("plan", "script", "outputs", "code")
MOST_BYTES = 2**24
"Of a plan, or a script."


def verified_parts(session: Session, evidence: Evidence) -> list[Part]:
    """The record's own parts and its files; what is on a cluster that is not known, or silent, is not verifiable."""
    record, host, folder = evidence.record, evidence.host, evidence.folder
    parts = list(inner_parts(record, evidence.values))
    try:
        if host is None or folder is None:
            raise RecordError(evidence.why)
        parts += in_folder(record, folder, evidence.code, host)
        parts += facts_part(session, record, host)
    except (HostError, InputError, RecordError) as error:
        parts += [Part(name, "not verifiable", str(error).splitlines()[0]) for name in FILES]
    logs = Part("logs", "not verifiable", "the record does not have the sha256 of what the program printed")
    return [*parts, logs]


def in_folder(record: Record, folder: PurePosixPath, code: PurePosixPath | None, host: Host) -> Iterator[Part]:
    """The files of the run folder, and the code.

    Raises:
        HostError: the cluster does not answer.
    """
    text = read_from(host, folder / paths.PLAN, 0, MOST_BYTES)
    try:
        plan: Any = read_json(text) if text else None
    except ValueError:
        plan = {}
    part = plan_part(record, plan)
    yield part
    (script,) = sums(host, folder, [(paths.JOB_SCRIPT, MOST_BYTES)]) if text else [""]
    yield compared("script", record.job.script_sha256, script or None, paths.JOB_SCRIPT)
    yield from output_parts(record, outputs_now(record, folder, host) if text else gone(record))
    yield code_part(record, plan if part.status == "unchanged" else None, code, host)


def gone(record: Record) -> dict[str, str | None]:
    """The outputs of a run folder that is not there."""
    return {output.path: None for output in record.experiment.outputs or ()}


def outputs_now(record: Record, folder: PurePosixPath, host: Host) -> dict[str, str | None]:
    """Path -> the sha256 that the output has now; None where it is not there. One byte more than it had is another."""
    outputs = record.experiment.outputs or ()
    named = [each for each in outputs if each.bytes is not None and ".." not in PurePosixPath(each.path).parts]
    asked = [(each.path, (each.bytes or 0) + 1) for each in named]
    found = sums(host, job_folder(folder, record.job.job_id) / paths.OUTPUTS, asked) if asked else []
    return gone(record) | {each.path: now or None for each, now in zip(named, found, strict=True)}


def code_part(record: Record, plan: Any, folder: PurePosixPath | None, host: Host) -> Part:
    """The tree of code; the list's hash is in the plan, so it counts only where that is unchanged."""
    if record.code is None:
        return Part("code", "unchanged", "none was sent with the job")
    said = plan["code"].get("contents_sha256") if plan and isinstance(plan.get("code"), dict) else None
    if not said or folder is None:
        return Part("code", "not verifiable", "the hash of its list is not known from an unchanged plan")
    try:
        listed = tree_contents(host, folder)
    except CommandFailed as error:
        return Part("code", "not verifiable", str(error).splitlines()[0])
    return compared("code", said, sha256(listed).hexdigest() if listed else None, f"the list of {folder}")


def facts_part(session: Session, record: Record, host: Host) -> Iterator[Part]:
    """The observations that the record was built from: a job of this tracker gives the same record again.

    Raises:
        HostError: the cluster does not answer.
    """
    about = record.job
    jobs = session.tracker.jobs(cluster=about.cluster, job_id=about.job_id)
    job = next((each for each in reversed(jobs) if each.plan_id == record.plan_id), None)
    if job is None:
        yield Part("facts", "not verifiable", f"{about.cluster}:{about.job_id} is not a job of this machine's tracker")
        return
    found = read_folder(job, plan_of(job, session.tracker), host)
    if found is None:
        yield Part("facts", "missing", "the job's folder is not there any more")
        return
    said, now = record_json(record), record_json(found)
    differ = [key for key in said if key != "integrity" and said[key] != now.get(key)]
    if differ:
        yield Part("facts", "changed", f"the run folder gives another record now: {', '.join(differ)}")
    else:
        yield Part("facts", "unchanged", "the run folder gives the same record now")
