"""The run that is to be repeated: its record, believed as far as its hash holds, and the files that it names."""

from __future__ import annotations

from typing import NamedTuple

from tfslurm.errors import RecordError, refuse
from tfslurm.record import Record
from tfslurm.retrieval.comparing import changed_records, ended
from tfslurm.retrieval.crate_verification import changed_texts
from tfslurm.retrieval.evidence import Evidence
from tfslurm.slurm import is_final
from tfslurm.workspace.session import Session


class Original(NamedTuple):
    """The run, by the name that was typed. ``warnings`` say what of it was changed after it ended."""

    name: str
    evidence: Evidence
    warnings: tuple[str, ...] = ()

    @property
    def record(self) -> Record:
        """Its record."""
        return self.evidence.record


def original_named(session: Session, name: str | Record, *, anyway: bool = False) -> Original:
    """The one run that a name stands for, or that a record is of.

    Raises:
        InputError: the name stands for nothing, or for several runs.
        RecordError: it has no record, has not ended, or its record was changed; ``anyway``: the latter is only said.
    """
    found = ended(session, name)
    typed = name if isinstance(name, str) else found[0].key
    if len(found) > 1:
        some = ", ".join(each.key for each in found[:5])
        raise refuse(typed, f"stands for {len(found)} runs: {some}", "name one of them")
    return original_of(found[0], typed, anyway=anyway)


def original_of(evidence: Evidence, name: str, *, anyway: bool = False) -> Original:
    """The run that a record is of.

    Raises:
        InputError: a file of its crate cannot be read.
        RecordError: it has not ended, or its record or its crate was changed; ``anyway``: the latter is only said.
    """
    state = evidence.record.job.state or "RUNNING"
    if not is_final(state):
        raise RecordError(f"{name}: {evidence.key} has not ended ({state}); `tfslurm wait {evidence.key}` first")
    warnings = (*changed_records([evidence]), *changed_texts(evidence))
    if warnings and not anyway:
        raise RecordError(f"{warnings[0]}; take the original, or add --anyway to run what it says")
    return Original(name, evidence, warnings)
