"""The states that Slurm gives a job, and its reasons for not starting one, in plain words. Pure.

Source: squeue(1) and sacct(1), JOB STATE CODES and JOB REASON CODES; enum job_states and the state flags of slurm.h.
"""

from __future__ import annotations

import re
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
"""Every state that Slurm 20.11 to 25.11 prints -> whether a job in it is over."""


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


def state_from_exit(exit_code: int, signal: int | None = None, *, oom_killed: bool = False) -> str:
    """The state that the job's own end record stands for, where Slurm keeps no accounting."""
    if oom_killed:
        return "OUT_OF_MEMORY"
    return "COMPLETED" if exit_code == 0 and not signal else "FAILED"


REASONS: Mapping[str, str] = {
    "AccountNotAllowed": "the partition does not take jobs of this account",
    "AccountingPolicy": "a limit of your account or its QOS is reached",
    "AssociationJobLimit": "your account has as many jobs running as it may",
    "AssociationResourceLimit": "your account uses as much as it may",
    "AssociationTimeLimit": "your account has used up its time",
    "BadConstraints": "no node has the features that the job asks for",
    "BeginTime": "its earliest start time has not come; after a requeue that is about two minutes",
    "BurstBufferOperation": "a burst buffer operation failed",
    "BurstBufferResources": "it waits for burst buffer space",
    "BurstBufferStageIn": "its files are being copied to the burst buffer",
    "Cleaning": "its previous run is still being cleaned up",
    "Constraints": "no node has the features that the job asks for",
    "DeadLine": "it cannot end before its deadline",
    "Dependency": "it waits for the job that it depends on",
    "DependencyNeverSatisfied": "the job that it depends on ended otherwise than asked, so it will never start",
    "FedJobLock": "another cluster of the federation is looking at it",
    "FrontEndDown": "no front-end node is available",
    "InactiveLimit": "it was ended because it was idle for too long",
    "InvalidAccount": "its account is not valid any more",
    "InvalidQOS": "its QOS is not valid any more",
    "JobArrayTaskLimit": "as many tasks of this array run as its limit (max_parallel) allows",
    "JobHeldAdmin": "an administrator holds it",
    "JobHeldUser": "you hold it; `scontrol release` lets it go",
    "JobHoldMaxRequeue": "it was requeued too often and is held; look at its log, then `scontrol release`",
    "JobLaunchFailure": "a node could not start it; look at its log and tell the administrators",
    "Licenses": "it waits for a licence",
    "MaxMemPerLimit": "it asks for more memory than its account or partition allows",
    "MaxPoweredUpNodes": "as many nodes are powered up as the site allows",
    "MpiPortsBusy": "the ports that it needs for MPI are in use",
    "NodeDown": "a node that it needs is down",
    "NonZeroExitCode": "its script ended with an exit code other than 0",
    "OutOfMemory": "it used more memory than it asked for",
    "PartitionConfig": "it asks for more nodes, cpus or time than its partition has or allows, and will wait for ever",
    "PartitionDown": "its partition takes jobs but starts none",
    "PartitionInactive": "its partition is closed",
    "PartitionNodeLimit": "it asks for more nodes than its partition has or allows",
    "PartitionTimeLimit": "it asks for more time than its partition allows",
    "PowerNotAvail": "it waits for electric power to become available",
    "PowerReserved": "it waits for electric power that is reserved",
    "Priority": "other jobs come first",
    "Prolog": "the node is being prepared",
    "QOSJobLimit": "its QOS has as many jobs running as it may",
    "QOSNotAllowed": "its partition or account may not use this QOS",
    "QOSResourceLimit": "its QOS uses as much as it may",
    "QOSTimeLimit": "its QOS has used up its time",
    "QOSUsageThreshold": "its usage factor fell below what the QOS asks for",
    "RaisedSignal": "a signal ended its script",
    "ReqNodeNotAvail": "a node that it needs is down, drained or reserved",
    "Reservation": "its reservation has not begun or is full",
    "ReservationDeleted": "its reservation was deleted",
    "ReservationInvalid": "its reservation cannot be used by this job",
    "Resources": "it is next; it waits for nodes to become free",
    "SchedDefer": "the scheduler has put off starting jobs",
    "SystemFailure": "Slurm, a file system or the network failed",
    "TimeLimit": "it reached its time limit",
    "WaitingForScheduling": "the scheduler has not looked at it yet",
}
"""Slurm's word for why a job does not run, or why it ended -> the same in plain words."""

LIMIT = re.compile(r"(?P<who>QOS|Assoc)?(?P<kind>Grp|Max|Min)(?P<what>[A-Za-z]+?)(?P<per>Per[A-Z][a-z]+)?")
OWNERS = {"QOS": "its QOS", "Assoc": "your account", None: "your account or its QOS"}
KINDS = {"Grp": "all its jobs together", "Max": "one job or user", "Min": "at least"}


def explain_reason(reason: str) -> str:
    """The reason in plain words; '' for no reason, and Slurm's own word for one that is not in the table.

    ``QOSGrpCpuLimit``, ``AssocMaxGRESPerJob`` and their kin are read by their parts.
    """
    word = re.split(r"[,_ ]", reason, maxsplit=1)[0]
    if word in ("", "None"):
        return ""
    if word in REASONS:
        return REASONS[word]
    found = LIMIT.fullmatch(word)
    if not found:
        return reason
    what = re.sub(r"(Limit|Minutes|Mins|NotSatisfied)", "", found["what"]) or found["what"]
    return f"a limit of {OWNERS[found['who']]} on {what} ({KINDS[found['kind']]}): {word}"
