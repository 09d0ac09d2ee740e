"""The records that are to be signed: those of jobs, as this machine's tracker chained them, and those in files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from tfslurm.errors import RecordError, refuse
from tfslurm.export.crate.contents import RECORD
from tfslurm.monitoring.lookup import find_jobs, one_name
from tfslurm.monitoring.refresh import refresh_all
from tfslurm.monitoring.wait import clusters_to_ask
from tfslurm.record.chain import has_sha256
from tfslurm.retrieval.crate_files import is_crate
from tfslurm.retrieval.record_files import is_file, read_record
from tfslurm.retrieval.records_of_jobs import read
from tfslurm.retrieval.signatures import sign_values
from tfslurm.tracker import TrackedJob
from tfslurm.workspace.session import Session


class Signed(NamedTuple):
    """A record with its new signature, as JSON values; it is a job's, or the one in a file or a crate."""

    name: str
    values: dict[str, Any]
    job: TrackedJob | None

    @property
    def fingerprint(self) -> str:
        """The key's."""
        return str(self.values["integrity"]["signature"]["key_fingerprint"])


def sign(session: Session, names: Sequence[str], key: Path | None, *, one: bool = False) -> list[Signed]:
    """The records that are named, signed with one key; those of jobs have their signature in the tracker, too.

    ``one``: no more than one.

    Raises:
        InputError: a name is no job's, no sweep's and no file's or crate's with one record; they are several, and one
            is wanted.
        RecordError: a job has not ended or has no record, or a record was changed.
        TfslurmError: there is no key, or ssh-keygen does not sign with it.
    """
    found = [each for name in names for each in named(session, name)]
    if one and len(found) > 1:
        raise refuse("-o", f"takes one record, and {' '.join(names)[:80]} are {len(found)}", "sign them without it")
    for each in found:
        refuse_changed(each)
    made = sign_values([each.values for each in found], key)
    done = []
    for each, signature in zip(found, made, strict=True):
        integrity = {**each.values["integrity"], "signature": asdict(signature)}
        if each.job and not session.tracker.chain.sign(each.job, integrity["record_sha256"], signature):
            raise RecordError(f"{each.name}: another process kept another record of it; sign it again")
        done.append(each._replace(values={**each.values, "integrity": integrity}))
    return done


def named(session: Session, name: str) -> list[Signed]:
    """The records that a name stands for."""
    path = Path(name)
    if is_file(name) or is_crate(path):
        return [in_file(name, path)]
    tracker = session.tracker
    jobs = find_jobs(tracker, one_name(tracker, name))
    for line in refresh_all(session, clusters_to_ask(tracker, [job for job in jobs if not job.final])).values():
        session.say(f"error: {line}")
    jobs = find_jobs(tracker, one_name(tracker, name))
    if waiting := [job.key for job in jobs if not job.final]:
        raise RecordError(f"{waiting[0]}: has not ended, and its record changes until then; `tfslurm wait {name}`")
    kept = {job.key: chained(session, job) for job in jobs}
    read(session, [job for job in jobs if not kept[job.key]])
    return [Signed(job.key, of_chain(session, job), job) for job in jobs]


def in_file(name: str, path: Path) -> Signed:
    """The record in a file, or in a crate, in whose record no signature may be: its new one goes beside it.

    Raises:
        RecordError: there is one.
    """
    values = read_record(path / RECORD if path.is_dir() else path)[1]
    if path.is_dir() and values["integrity"].get("signature"):
        raise RecordError(f"{name}: its record is signed already; sign the job, and export it again")
    return Signed(name, values, None)


def chained(session: Session, job: TrackedJob) -> Mapping[str, Any] | None:
    """The record that the tracker kept of a job, if it is in the chain."""
    values = session.tracker.record(job)
    digest = str(((values or {}).get("integrity") or {}).get("record_sha256"))
    return values if session.tracker.chain.place_of(digest) else None


def of_chain(session: Session, job: TrackedJob) -> dict[str, Any]:
    """The same, once it was read.

    Raises:
        RecordError: nothing of it is left.
    """
    values = chained(session, job)
    if not values:
        raise RecordError(f"{job.key}: there is no record of it to sign; `tfslurm provenance {job.key}` says why")
    return dict(values)


def refuse_changed(record: Signed) -> None:
    """Refuse to sign a record that is not the one whose hash it names.

    Raises:
        RecordError: it is so.
    """
    if not has_sha256(record.values, str(record.values["integrity"].get("record_sha256"))):
        raise RecordError(f"{record.name}: was changed: it has another sha256 than it says; nothing was signed")
