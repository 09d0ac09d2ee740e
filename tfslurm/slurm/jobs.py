"""Jobs: submit, look, cancel. argv goes out, what Slurm printed comes in. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tfslurm.errors import Completed


@dataclass(frozen=True, slots=True)
class JobStatus:
    """What Slurm says about one job, or about one task of an array. Times are RFC 3339 in UTC; None: not (yet) known."""

    job_id: str  # as the user types it: '1234', or '1234_7' for a task of an array
    array_job_id: str | None
    array_task_id: str | None
    name: str
    state: str  # one of STATES
    reason: str  # Slurm's own word, '' when there is none; explain_reason says it in English
    exit_code: int | None  # of the batch script; None while it runs
    signal: int | None  # that ended the batch script; None: no signal
    submitted_at: str | None
    started_at: str | None  # an estimate while PENDING
    ended_at: str | None  # an estimate while not final
    elapsed_s: int | None
    time_limit_s: int | None  # None: unlimited, or not known
    nodes: tuple[str, ...]
    partition: str
    comment: str
    restarts: int | None  # how often it was requeued; squeue does not say
    user: str


def sbatch_argv(script: str) -> tuple[str, ...]:
    raise NotImplementedError


def parse_sbatch(completed: Completed) -> str:
    raise NotImplementedError


def queue_argv(user: str) -> tuple[str, ...]:
    raise NotImplementedError


def parse_queue(text: str) -> tuple[JobStatus, ...]:
    raise NotImplementedError


def sacct_argv(*, job_ids: Sequence[str] = (), names: Sequence[str] = (), since: str = "") -> tuple[str, ...]:
    """``since`` is RFC 3339 in UTC."""
    raise NotImplementedError


def parse_sacct(text: str) -> tuple[JobStatus, ...]:
    raise NotImplementedError


def cancel_argv(job_ids: Sequence[str], *, signal: str = "") -> tuple[str, ...]:
    raise NotImplementedError
