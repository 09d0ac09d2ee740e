"""The run that is to be repeated: its record, believed as far as its hash holds, and the files that it names."""

from __future__ import annotations

from typing import NamedTuple

from tfslurm.errors import RecordError
from tfslurm.job_plan.holding import HOLD, service_in
from tfslurm.record import Record
from tfslurm.retrieval.comparing import changed_records
from tfslurm.retrieval.crate_verification import changed_texts
from tfslurm.retrieval.evidence import Evidence
from tfslurm.slurm import is_final


class Original(NamedTuple):
    """The run, by the name that was typed. ``warnings`` say what of it was changed after it ended."""

    name: str
    evidence: Evidence
    warnings: tuple[str, ...] = ()

    @property
    def record(self) -> Record:
        """Its record."""
        return self.evidence.record


def original_of(evidence: Evidence, name: str, *, anyway: bool = False) -> Original:
    """The run that a record is of.

    Raises:
        InputError: a file of its crate cannot be read.
        RecordError: it has not ended, its program was typed, or its record or its crate was changed; ``anyway``: that
            is only said.
    """
    state = evidence.record.job.state or "RUNNING"
    if not is_final(state):
        raise RecordError(f"{name}: {evidence.key} has not ended ({state}); `tfslurm wait {evidence.key}` first")
    if HOLD in evidence.record.experiment.command:
        why = "what ran was typed in a terminal (tfslurm shell), and no record knows it"
        raise RecordError(f"{name}: {why}; write it into an exp.yaml, and submit that")
    if service := service_in(evidence.record.experiment.command):
        if service.kind == "tensorboard":
            raise RecordError(
                f"{name}: it was a TensorBoard, and computed nothing; name one of the runs that it showed"
            )
        if service.kind == "serve":
            raise RecordError(
                f"{name}: it served a model; name the run that made it, or `tfslurm serve` that run again"
            )
        why = f"what ran was typed in a browser (tfslurm {service.kind}), and no record knows it"
        raise RecordError(f"{name}: {why}; write it into an exp.yaml, and submit that")
    warnings = (*changed_records([evidence]), *changed_texts(evidence))
    if warnings and not anyway:
        raise RecordError(f"{warnings[0]}; take the original, or add --anyway to run what it says")
    return Original(name, evidence, warnings)
