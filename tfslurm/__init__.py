"""tfslurm: run a pinned TensorFlow image as a Slurm job and keep a record that a reviewer can check.

import tfslurm

job = tfslurm.submit("exp.yaml", cluster="alpha", lr=0.1)
print(job.wait(check=True).stdout())
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfslurm.api.citing import cite
    from tfslurm.api.comparing import diff
    from tfslurm.api.images import image_build, image_inspect, image_mirror, image_scan
    from tfslurm.api.jobs import Job, job, jobs
    from tfslurm.api.rerunning import rerun
    from tfslurm.api.serving import Service, jupyter, serve, tensorboard
    from tfslurm.api.submitting import plan, submit
    from tfslurm.api.sweeps import Sweep, sweep
    from tfslurm.api.verifying import verify
    from tfslurm.errors import (
        CommandFailed,
        HostError,
        InputError,
        JobFailed,
        RecordError,
        RegistryError,
        SubmitRejected,
        TfslurmError,
        TrackerError,
    )
    from tfslurm.record import Record

__version__ = "0.1.0"

_FROM = {
    "cite": "tfslurm.api.citing",
    "diff": "tfslurm.api.comparing",
    **dict.fromkeys(("image_build", "image_inspect", "image_mirror", "image_scan"), "tfslurm.api.images"),
    **dict.fromkeys(("Job", "job", "jobs"), "tfslurm.api.jobs"),
    "rerun": "tfslurm.api.rerunning",
    **dict.fromkeys(("Service", "jupyter", "serve", "tensorboard"), "tfslurm.api.serving"),
    **dict.fromkeys(("plan", "submit"), "tfslurm.api.submitting"),
    **dict.fromkeys(("Sweep", "sweep"), "tfslurm.api.sweeps"),
    "verify": "tfslurm.api.verifying",
    "Record": "tfslurm.record",
    **dict.fromkeys(
        (
            *("CommandFailed", "HostError", "InputError", "JobFailed", "RecordError", "RegistryError"),
            *("SubmitRejected", "TfslurmError", "TrackerError"),
        ),
        "tfslurm.errors",
    ),
}
"Each public name and the module that has it, which is imported when the name is first used."

__all__ = [
    "CommandFailed",
    "HostError",
    "InputError",
    "Job",
    "JobFailed",
    "Record",
    "RecordError",
    "RegistryError",
    "Service",
    "SubmitRejected",
    "Sweep",
    "TfslurmError",
    "TrackerError",
    "__version__",
    "cite",
    "diff",
    "image_build",
    "image_inspect",
    "image_mirror",
    "image_scan",
    "job",
    "jobs",
    "jupyter",
    "plan",
    "rerun",
    "serve",
    "submit",
    "sweep",
    "tensorboard",
    "verify",
]


def __getattr__(name: str) -> object:
    if name not in _FROM:
        raise AttributeError(f"module 'tfslurm' has no attribute {name!r}")
    return getattr(import_module(_FROM[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_FROM})
