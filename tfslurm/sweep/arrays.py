"""Points of one cluster -> the job arrays that run them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tfslurm.errors import refuse


@dataclass(frozen=True, slots=True)
class Array:
    """One job array: its tasks 0 … ``tasks``-1 run the points from ``offset`` on, ``points_per_job`` each.

    ``points`` is how many it runs in all; the last task may have fewer than the others.
    """

    offset: int
    points: int
    points_per_job: int = 1

    @property
    def tasks(self) -> int:
        """How many tasks it has."""
        return -(-self.points // self.points_per_job)

    def option(self, max_parallel: int | None = None) -> str:
        """The value of ``--array``: ``0-999%32``. Source: sbatch(1), --array."""
        last = f"-{self.tasks - 1}" if self.tasks > 1 else ""
        return f"0{last}" + (f"%{max_parallel}" if max_parallel else "")

    def of_task(self, task: int) -> range:
        """The points that a task runs, in order, by their place among the cluster's."""
        first = self.offset + task * self.points_per_job
        return range(first, min(first + self.points_per_job, self.offset + self.points))


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
