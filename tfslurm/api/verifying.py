"""The verification of a record, from Python."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tfslurm.api.jobs import Job
from tfslurm.api.session import session
from tfslurm.record import Record, record_json
from tfslurm.record.verification import Part
from tfslurm.retrieval.evidence import Evidence, placed
from tfslurm.retrieval.verify import verified, verified_records


class Verification(NamedTuple):
    """Each part of a record with its status: 'unchanged', 'changed', 'missing' or 'not verifiable', and the reason."""

    parts: tuple[Part, ...]

    @property
    def is_unchanged(self) -> bool:
        """Whether nothing is known to have changed, or to be missing."""
        return not any(part.is_bad for part in self.parts)


def verify(
    what: Job | Record | str | Path, *, signers: str | Path | None = None, partial: bool = False
) -> Verification:
    """Return whether a record is unchanged, and the files that it names, as ``tfslurm verify`` prints it.

    ``what`` is a job, a record, or a name: a job's, of a file with a record, of a crate. What is on a cluster that does
    not answer is not verifiable. ``signers`` is a file of allowed signers (see ssh-keygen(1)): a record that none of
    them signed is missing its signature. ``partial``: a crate's own list of the files that are not in it is believed.

    Raises:
        InputError: the name stands for none of these, or the file of signers cannot be read.
        RecordError: the job has no record.
        HostError: there are signers, and no ssh-keygen on this machine that verifies.
    """
    allowed = Path(signers) if signers is not None else None
    if isinstance(what, Path):
        what = str(what.absolute())
    if isinstance(what, Record):
        evidence = placed(session(), Evidence(what, record_json(what)))
        return Verification(verified_records(session(), [evidence], allowed)[0].parts)
    found = verified(session(), [what.key if isinstance(what, Job) else what], allowed, partial=partial)
    return Verification(tuple(part for each in found for part in each.parts))
