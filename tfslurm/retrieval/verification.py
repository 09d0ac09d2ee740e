"""Hold records against what is there now: their own text, and the files that they name on their clusters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

from tfslurm.errors import CommandFailed, HostError, InputError, RecordError
from tfslurm.host import Host
from tfslurm.job_plan.folders import job_folder
from tfslurm.record import Record
from tfslurm.record.comparison.code import tree_of
from tfslurm.record.model import Input, names_of, plain
from tfslurm.record.verification import Part, compared, inner_parts, log_parts, output_parts, plan_part
from tfslurm.retrieval.code_trees import changed_files
from tfslurm.retrieval.evidence import Evidence
from tfslurm.retrieval.facts_now import facts_now
from tfslurm.retrieval.files_now import FilesNow, changed_in, files_now, is_whole, logs_of, outputs_of, script_of
from tfslurm.retrieval.layers import layer_part
from tfslurm.run_folder import paths
from tfslurm.workspace.session import Session

FILES = ("plan", "script", "outputs", "logs", "inputs", "code", "facts")
"The parts that are on a cluster."
SHOWN = 5
"Names of files that changed."


def verified_together(session: Session, evidences: Sequence[Evidence]) -> list[list[Part]]:
    """The records' own parts and their files, with few questions to each cluster, however many they are.

    What is on a cluster that is not known, or silent, is not verifiable.
    """
    found = [list(inner_parts(each.record, each.values)) for each in evidences]
    hosts = {id(each.host): each.host for each in evidences}
    for key, host in hosts.items():
        places = [place for place, each in enumerate(evidences) if id(each.host) == key]
        some = [evidences[place] for place in places]
        for place, parts in zip(places, parts_on(session, host, some), strict=True):
            found[place] += parts
    return found


def parts_on(session: Session, host: Host | None, evidences: Sequence[Evidence]) -> list[list[Part]]:
    """The parts of records whose files are on one machine; None: those of which that is not known."""
    if host is None:
        return [unknown(each.why) for each in evidences]
    try:
        now = files_now(session, host, evidences)
        again = facts_now(session.tracker, host, evidences)
        return [
            [*file_parts(each, now), facts_part(each.record, record)]
            for each, record in zip(evidences, again, strict=True)
        ]
    except (HostError, InputError, RecordError) as error:
        return [unknown(str(error).splitlines()[0]) for _ in evidences]


def unknown(why: str) -> list[Part]:
    """Every part that is on a cluster, for one reason."""
    return [Part(name, "not verifiable", why) for name in FILES]


def file_parts(evidence: Evidence, now: FilesNow) -> Iterator[Part]:
    """The files of the run folder, the inputs, the code, and the packages.

    Raises:
        RecordError: the record does not say where they are.
    """
    record, folder = evidence.record, evidence.folder
    if folder is None:
        raise RecordError(evidence.why)
    plan = now.plans.get(folder)
    part = plan_part(record, plan)
    yield part
    script = now.files.get(script_of(folder))
    yield compared("script", record.job.script_sha256, script.sha256 if script else None, paths.JOB_SCRIPT)
    job = job_folder(folder, record.job.job_id)
    yield from output_parts(record, outputs_now(record, job, now))
    yield from log_parts(record, {path: now.files.get(asked) for path, asked in logs_of(record, job).items()})
    yield from input_parts(record, now)
    yield code_part(record, plan if part.status == "unchanged" else None, evidence.code, now)
    if packages := layer_part(evidence, now.lists):
        yield packages


def outputs_now(record: Record, job: PurePosixPath, now: FilesNow) -> dict[str, str | None]:
    """Path -> the sha256 that the output has now; None where it is not there."""
    found: dict[str, str | None] = {output.path: None for output in record.experiment.outputs or ()}
    for path, size in outputs_of(record):
        beginning = now.files.get((job / paths.OUTPUTS / path, size + 1))
        found[path] = beginning.sha256 if beginning else None
    return found


def input_parts(record: Record, now: FilesNow) -> Iterator[Part]:
    """The read-only mounts, each by itself: the files of one may be larger than all else."""
    for each in record.inputs or ():
        name, path = f"input {each.name or each.path}", PurePosixPath(each.path)
        listed = now.lists.get(path)
        if each.hashed == "no" or each.bytes is None or not is_whole(each.path):
            yield Part(name, "not verifiable", each.why or "its path or its size is not known")
        elif listed is None or isinstance(listed, HostError | CommandFailed):
            yield Part(name, "not verifiable", str(listed).splitlines()[0] if listed else "it was not looked at")
        elif each.sha256:
            yield compared(name, each.sha256, listed[:64].decode("ascii", "replace") or None, each.path)
        else:
            yield tree_part(name, each, listed, now)


def tree_part(name: str, said: Input, listed: bytes, now: FilesNow) -> Part:
    """One mounted folder; where the list of its files was kept, the files that differ are named."""
    part = compared(name, said.tree_sha256, sha256(listed).hexdigest() if listed else None, f"the list of {said.path}")
    then = now.kept.get(said.tree_sha256 or "")
    if part.status != "changed" or then is None or sha256(then).hexdigest() != said.tree_sha256:
        return part
    names = changed_in(then, listed)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return part._replace(reason=f"{', '.join(names[:SHOWN])}{more} in {said.path} changed, came or went")


def code_part(record: Record, plan: Any, folder: PurePosixPath | None, now: FilesNow) -> Part:
    """The tree of code; the list's hash is in the plan, so it counts only where that is unchanged."""
    if record.code is None:
        return Part("code", "unchanged", "none was sent with the job")
    said = plan["code"].get("contents_sha256") if plan and isinstance(plan.get("code"), dict) else None
    if not said or folder is None:
        return Part("code", "not verifiable", "the hash of its list is not known from an unchanged plan")
    listed = now.lists.get(folder, b"")
    if isinstance(listed, HostError | CommandFailed):
        return Part("code", "not verifiable", str(listed).splitlines()[0])
    part = compared("code", said, sha256(listed).hexdigest() if listed else None, f"the list of {folder}")
    if part.status != "changed":
        return part
    kept = now.kept.get(record.code.tree, b"")
    then = tree_of(kept, {}) if sha256(kept).hexdigest() == said else None
    names = changed_files(record.code.tree, tree_of(listed, {}), then, Path())
    return part._replace(reason=f"{names} in {folder} changed, came or went; {part.reason}") if names else part


def facts_part(said: Record, now: Record | str | None) -> Part:
    """The observations that the record was built from: a job of this tracker gives the same record again."""
    if isinstance(now, str):
        return Part("facts", "not verifiable", now)
    if now is None:
        return Part("facts", "missing", "the job's folder is not there any more")
    pairs = {
        key: (getattr(said, key), getattr(now, key)) for key in names_of(Record, said.schema) if key != "integrity"
    }
    differ = [
        key
        for key, (before, after) in pairs.items()
        if before != after and plain(before, said.schema) != plain(after, said.schema)
    ]
    if differ:
        return Part("facts", "changed", f"the run folder gives another record now: {', '.join(differ)}")
    return Part("facts", "unchanged", "the run folder gives the same record now")
