"""The states that Slurm gives a job. Pure.

Source: squeue(1) and sacct(1), JOB STATE CODES; enum job_states and the state flags of slurm.h.
"""

from __future__ import annotations

from collections.abc import Mapping

from tfslurm.errors import SlurmParseError

FINAL = ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED")
ELSEWHERE = "REVOKED"  # a flag, but the end of the job on this cluster: its federation runs it on another one
ACTIVE = ("PENDING", "RUNNING", "SUSPENDED")
# Shown in the base state's place while they are set.
FLAGS = (
    "COMPLETING",
    "CONFIGURING",
    "EXPEDITING",
    "LAUNCH_FAILED",
    "POWER_UP_NODE",
    "RECONFIG_FAIL",
    "REQUEUED",
    "REQUEUE_FED",
    "REQUEUE_HOLD",
    "RESIZING",
    "RESV_DEL_HOLD",
    "SIGNALING",
    "SPECIAL_EXIT",
    "STAGE_OUT",
    "STOPPED",
    "UPDATE_DB",
)

STATES: Mapping[str, bool] = {
    **dict.fromkeys((*FINAL, "TIMEOUT", ELSEWHERE), True),
    **dict.fromkeys((*ACTIVE, *FLAGS), False),
}
"""Every state that Slurm 20.11 to 26.05 prints -> whether a job in it is over."""


def parse_state(text: str) -> str:
    """The state in what squeue or sacct printed: ``CANCELLED by 1000`` is CANCELLED.

    Raises:
        SlurmParseError: a word that is not one of Slurm's; it is never taken for the end of the job.
    """
    state = text.split(" ", 1)[0]
    if state not in STATES:
        raise SlurmParseError("job state", text)
    return state


def is_final(state: str) -> bool:
    """True when Slurm will not run the job any further. A PREEMPTED job that is requeued shows as PENDING.

    Raises:
        SlurmParseError: not one of STATES.
    """
    return STATES[parse_state(state)]


def state_from_exit(
    exit_code: int, signal: int | None = None, *, oom_killed: bool = False, cancelled: bool = False
) -> str:
    """The state that the job's own end record stands for, where Slurm keeps no accounting.

    ``cancelled``: somebody ended it, and no time limit and no other job can have.
    """
    if cancelled:
        return "CANCELLED"
    if oom_killed:
        return "OUT_OF_MEMORY"
    return "COMPLETED" if exit_code == 0 and not signal else "FAILED"
