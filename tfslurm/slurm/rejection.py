"""Why sbatch refused a job, said with the names that it would have taken. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tfslurm.slurm.site import Account, Partition


def explain_rejection(
    stderr: str,
    partitions: Sequence[Partition] = (),
    accounts: Sequence[Account] = (),
    asked: Mapping[str, str] | None = None,
) -> str:
    """'' when there is nothing to add to sbatch's own words; ``asked`` are the job's directives."""
    raise NotImplementedError
