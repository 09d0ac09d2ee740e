"""Verify anything that a name stands for: records with their files, and crates, also those that other tools made."""

from __future__ import annotations

from typing import NamedTuple

from tfslurm.record.verification import Part
from tfslurm.retrieval.crate_files import Crate
from tfslurm.retrieval.evidence import crate_named, evidence_of, of_crate
from tfslurm.retrieval.verification import verified_parts
from tfslurm.workspace.session import Session


class Verified(NamedTuple):
    """One record, or a crate as a whole (``record_id`` None), and each of its parts with its status."""

    name: str
    record_id: str | None
    parts: tuple[Part, ...]


def verified(session: Session, name: str) -> list[Verified]:
    """What a name stands for, verified.

    Raises:
        InputError: it stands for nothing, or a file holds no record.
        RecordError: a job has none.
    """
    if crate := crate_named(session, name):
        return verified_crate(crate)
    found = evidence_of(session, name)
    return [Verified(each.key, each.record.record_id, tuple(verified_parts(session, each))) for each in found]


def verified_crate(crate: Crate) -> list[Verified]:
    """A crate, then each record in it; the parts of the only record stand with those of its crate."""
    from tfslurm.retrieval.crate_verification import CheckedCrate, crate_parts, record_parts

    checked = CheckedCrate(crate)
    whole = tuple(crate_parts(checked))
    records = of_crate(crate) if crate.records else []
    inside = [Verified(each.key, each.record.record_id, tuple(record_parts(checked, each))) for each in records]
    if len(inside) == 1:
        return [inside[0]._replace(parts=(*inside[0].parts, *whole))]
    return [Verified(crate.name, None, whole), *inside]
