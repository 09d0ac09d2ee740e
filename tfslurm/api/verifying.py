"""The verification of a record, from Python."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tfslurm.api import Job, session
from tfslurm.record import Record, record_json
from tfslurm.record.verification import Part
from tfslurm.retrieval.evidence import Evidence, placed
from tfslurm.retrieval.verification import verified_parts
from tfslurm.retrieval.verify import verified


class Verification(NamedTuple):
    """Each part of a record with its status: 'unchanged', 'changed', 'missing' or 'not verifiable', and the reason."""

    parts: tuple[Part, ...]

    @property
    def is_unchanged(self) -> bool:
        """Whether nothing is known to have changed, or to be missing."""
        return not any(part.is_bad for part in self.parts)


def verify(what: Job | Record | str | Path) -> Verification:
    """Return whether a record is unchanged, and the files that it names, as ``tfslurm verify`` prints it.

    ``what`` is a job, a record, or a name: a job's, of a file with a record, of a crate. What is on a cluster that does
    not answer is not verifiable.

    Raises:
        InputError: the name stands for none of these.
        RecordError: the job has no record.
    """
    if isinstance(what, Path):
        what = str(what.absolute())
    if isinstance(what, Record):
        return Verification(tuple(verified_parts(session(), placed(session(), Evidence(what, record_json(what))))))
    found = verified(session(), what.key if isinstance(what, Job) else what)
    return Verification(tuple(part for each in found for part in each.parts))
