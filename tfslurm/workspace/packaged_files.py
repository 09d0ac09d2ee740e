"""The files that ship with tfslurm, in job_templates."""

from __future__ import annotations

from functools import cache
from importlib import resources

BUILT_IN_TEMPLATE = "job.sbatch.j2"
SHELL_SIDE = ("node.sh", "task.sh", "point.sh")  # which the script reads in whole, and runs
NODE_SIDE = (*SHELL_SIDE, "entry.sh", "probe.py", "gpu_check.py")


@cache
def packaged(name: str) -> str:
    """The text of a file that ships with tfslurm in job_templates."""
    return (resources.files("tfslurm.job_templates") / name).read_text("utf-8")
