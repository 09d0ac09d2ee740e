"""Points of one cluster -> the job arrays that run them, and the id of each point's job."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tfslurm.errors import refuse


class Array(NamedTuple):
    """One job array: its tasks 0 … ``tasks``-1 run the points from ``offset`` on, ``points_per_job`` each.

    ``points`` is how many it runs in all; the last task may have fewer than the others.
    """

    offset: int
    points: int
    points_per_job: int = 1

    @property
    def tasks(self) -> int:
        """The number of its tasks."""
        return -(-self.points // self.points_per_job)

    def option(self, max_parallel: int | None = None) -> str:
        """The value of ``--array``: ``0-999%32``. Source: sbatch(1), --array."""
        last = f"-{self.tasks - 1}" if self.tasks > 1 else ""
        return f"0{last}" + (f"%{max_parallel}" if max_parallel else "")


def job_ids(array: str, points: int, points_per_job: int = 1) -> tuple[str, ...]:
    """The ids of a job array's points, in order: ``1234_7``, the task that runs a point.

    Of several in one task each has its place among the array's points too: ``1234_7.59``.
    """
    if points_per_job == 1:
        return tuple(f"{array}_{place}" for place in range(points))
    return tuple(f"{array}_{place // points_per_job}.{place}" for place in range(points))


def slurm_id(job_id: str) -> str:
    """Slurm's own id of a job: ``1234_7`` of ``1234_7.59``, and every other id itself."""
    return job_id.partition(".")[0]


def place_in_array(job_id: str) -> int | None:
    """The place of a point among those of its array; None: the job is no task of one."""
    place = job_id.partition("_")[2].rpartition(".")[2]
    return int(place) if place else None


def arrays(points: int, max_array_size: int, points_per_job: int = 1) -> Iterator[Array]:
    """The fewest arrays that run so many points, each with as many tasks as the cluster takes.

    ``max_array_size`` caps the index and not the sum: with 1001, Slurm's default, the last index is 1000: 1001 tasks.
    Source: slurm.conf(5), MaxArraySize.

    Raises:
        InputError: the cluster takes no arrays.
    """
    if max_array_size < 2:
        why = f"MaxArraySize is {max_array_size}: this cluster takes no job arrays"
        raise refuse("sweep", why, "ask the site, or choose another cluster")
    most = max_array_size * points_per_job
    for offset in range(0, points, most):
        yield Array(offset, min(most, points - offset), points_per_job)
