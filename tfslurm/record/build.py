"""The files of one job, its plan and Slurm's word -> Record. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfslurm.plan import JobPlan
from tfslurm.record.model import Record
from tfslurm.slurm import JobStatus


def build_record(
    plan: JobPlan,
    job_id: str,
    files: Mapping[str, bytes],
    status: JobStatus | None = None,
    *,
    image_facts: bytes | None = None,
    point: Mapping[str, Any] | None = None,
) -> Record:
    """``files``: relative to the job's folder ('attempt-1/begin.json'); logs and outputs need not be among them.

    ``image_facts`` is ROOT/images/<digest>.json; ``point`` this task's line of points.jsonl (its parameters, command
    and env stand over the plan's).
    """
    raise NotImplementedError
