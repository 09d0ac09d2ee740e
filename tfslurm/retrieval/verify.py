"""Verify anything that a name stands for: records with their files, and crates, also those that other tools made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tfslurm.errors import InputError
from tfslurm.export.crate.contents import RECORD, SIGNATURE
from tfslurm.record.ssh_signature import LONGEST
from tfslurm.record.verification import Part
from tfslurm.retrieval.chain import chain_parts
from tfslurm.retrieval.crate_files import Crate
from tfslurm.retrieval.evidence import Evidence, crate_named, evidence_of, in_crate
from tfslurm.retrieval.signatures import signature_beside, signature_part
from tfslurm.retrieval.verification import verified_together
from tfslurm.workspace.session import Session


class Verified(NamedTuple):
    """One record, or a crate as a whole (``record_id`` None), and each of its parts with its status."""

    name: str
    record_id: str | None
    parts: tuple[Part, ...]


def verified(
    session: Session, names: Sequence[str], signers: Path | None = None, *, partial: bool = False
) -> list[Verified]:
    """What names stand for, verified, in their order; the records with few questions to each cluster.

    ``signers``: a file of allowed signers, one of whom must have signed each. ``partial``: a crate may say itself which
    files it does not hold.

    Raises:
        InputError: a name stands for nothing, or a file holds no record; the file of signers cannot be read.
        RecordError: a job has none.
        NoProgram: there are signers, and no ssh-keygen here that verifies.
    """
    found: list[Verified | Evidence] = []
    for name in names:
        crate = crate_named(session, name)
        found += verified_crate(session, crate, signers, partial=partial) if crate else evidence_of(session, name)
    records = iter(verified_records(session, [each for each in found if isinstance(each, Evidence)], signers))
    return [next(records) if isinstance(each, Evidence) else each for each in found]


def verified_records(session: Session, evidences: Sequence[Evidence], signers: Path | None = None) -> list[Verified]:
    """Each record with its files, its place in the chain and its signature."""
    found = []
    for each, files in zip(evidences, verified_together(session, evidences), strict=True):
        signed = signature_part(each.record.integrity.signature, each.values, signers)
        parts = (*files, *chain_parts(session, each.record), signed)
        found.append(Verified(each.key, each.record.record_id, parts))
    return found


def verified_crate(
    session: Session, crate: Crate, signers: Path | None = None, *, partial: bool = False
) -> list[Verified]:
    """A crate, then each record in it; the parts of the only record stand with those of its crate."""
    from tfslurm.retrieval.crate_points import point_parts
    from tfslurm.retrieval.crate_verification import CheckedCrate, crate_parts, record_parts, run_parts

    checked = CheckedCrate(crate, partial=partial)
    whole = tuple(crate_parts(checked))
    inside: list[Verified] = []
    runs: dict[str, Evidence] = {}
    for path in crate.records:
        try:
            each = in_crate(crate, path)
        except InputError as error:
            whole = (Part(path, "changed", error.problems[0].why), *whole)
            continue
        runs[path] = each
        is_beside = crate.records == [RECORD] and SIGNATURE in crate.files
        added = checked.text(SIGNATURE, LONGEST) or b"" if is_beside else None  # what cannot be read is none
        signed = signature_beside(each.record.integrity.signature, added, each.values, signers)
        parts = (*record_parts(checked, each), *chain_parts(session, each.record), signed)
        inside.append(Verified(each.key, each.record.record_id, parts))
    whole = (*whole, *run_parts(checked, runs), *point_parts(checked, runs))
    if len(inside) == len(crate.records) == 1:
        return [inside[0]._replace(parts=(*inside[0].parts, *whole))]
    if signers and not inside:
        whole = (*whole, Part("signature", "missing", "the crate has no record of tfslurm that could be signed"))
    return [Verified(crate.name, None, whole), *inside]
