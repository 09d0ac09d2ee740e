"""The comparison of two runs, from Python."""

from __future__ import annotations

from pathlib import Path

from tfslurm.api.jobs import Job
from tfslurm.api.session import session
from tfslurm.api.sweeps import Sweep
from tfslurm.export.difference import Diff
from tfslurm.record import Record
from tfslurm.retrieval.comparing import diff_of
from tfslurm.spec import Reproduce

Run = Job | Sweep | Record | str | Path


def diff(a: Run, b: Run, *, metric: str | None = None, tolerance: float | None = None, anyway: bool = False) -> Diff:
    """Return the verdict of two runs, and what differs, as ``tfslurm diff`` prints it.

    ``a`` and ``b`` are jobs, sweeps, records, names of these, files with a record, or crates. ``metric`` and
    ``tolerance`` stand over what exp.yaml declares. ``agree`` is None where the results cannot be compared.

    Raises:
        InputError: one of them stands for nothing.
        RecordError: a job has none, or one was changed after it was made; ``anyway``: the ``warnings`` only say so.
    """
    return diff_of(session(), named(a), named(b), Reproduce(metric, tolerance), anyway=anyway)


def named(run: Run) -> str | Record:
    """The name by which a command finds it; a record is itself."""
    if isinstance(run, Job):
        return run.key
    if isinstance(run, Sweep):
        return run.id
    return str(run.absolute()) if isinstance(run, Path) else run
