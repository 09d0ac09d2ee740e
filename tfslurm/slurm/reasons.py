"""The reasons that Slurm gives for a job that waits, in plain words, and whether such a job can start at all. Pure.

Source: squeue(1), JOB REASON CODES; job_state_reason_string and the state_desc of slurmctld (22.05.8 to 26.05).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum

from tfslurm.slurm.environment import clean
from tfslurm.slurm.values import FIELD

LONGEST = 1024
"Characters of a reason."


class Outlook(Enum):
    """What has to happen before a job that waits can start."""

    OPEN = "nothing but time"
    NEVER = "the job itself must change: it asks for what it cannot get"
    HELD = "somebody must release it"
    BLOCKED = "the site, or what is left of a budget, must change"
    LIMITED = "other jobs under the same limit must end; it never starts if it alone asks for more than the limit"


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
    "DependencyNeverSatisfied": "the job that it depends on ended otherwise than asked",
    "FedJobLock": "another cluster of the federation is looking at it",
    "FrontEndDown": "no front-end node is available",
    "InactiveLimit": "it was ended because it was idle for too long",
    "InvalidAccount": "its account is not valid any more",
    "InvalidQOS": "its QOS is not valid any more",
    "JobArrayTaskLimit": "as many tasks of this array run as its limit (max_parallel) allows",
    "JobHeldAdmin": "an administrator holds it",
    "JobHeldUser": "you hold it",
    "JobHoldMaxRequeue": "it was requeued too often and is held",
    "JobLaunchFailure": "a node could not start it; look at its log and tell the administrators",
    "Licenses": "it waits for a licence",
    "MaxMemPerLimit": "it asks for more memory than its partition allows",
    "MaxPoweredUpNodes": "as many nodes are powered up as the site allows",
    "MpiPortsBusy": "the ports that it needs for MPI are in use",
    "NodeDown": "a node that it needs is down",
    "NonZeroExitCode": "its script ended with an exit code other than 0",
    "OutOfMemory": "it used more memory than it asked for",
    "PartitionConfig": "it asks for more nodes, CPUs or time than its partition has or allows",
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

SENTENCES: tuple[tuple[str, str, str], ...] = (
    ("launch failed requeued held", "JobLaunchFailure", "a node could not start it, and it is held"),
    ("job requeued in held state", "JobHeldUser", "it was requeued and is held"),
    ("requeued held", "JobHeldUser", "it was requeued and is held"),
    (
        "Nodes required for job are DOWN, DRAINED or reserved",
        "Resources",
        "the nodes that it could run on are down, drained or kept for jobs that come first",
    ),
)
"""Slurm's sentences that stand in a reason's place: how they begin, the reason that they amount to, plain words."""

NEVER = frozenset(
    (
        *("AccountNotAllowed", "BadConstraints", "Constraints", "DeadLine", "DependencyNeverSatisfied"),
        *("InvalidAccount", "InvalidQOS", "MaxMemPerLimit", "PartitionConfig", "PartitionNodeLimit"),
        *("PartitionTimeLimit", "QOSNotAllowed", "ReservationDeleted", "ReservationInvalid"),
    )
)
HELD = frozenset(("JobHeldAdmin", "JobHeldUser", "JobHoldMaxRequeue", "JobLaunchFailure"))
BLOCKED = frozenset(
    (
        *("AssociationResourceLimit", "AssociationTimeLimit", "BurstBufferOperation", "FrontEndDown", "NodeDown"),
        *("PartitionDown", "PartitionInactive", "QOSResourceLimit", "QOSTimeLimit", "QOSUsageThreshold"),
        "ReqNodeNotAvail",
    )
)

LIMIT = re.compile(
    r"(?P<who>QOS|Assoc)?(?P<kind>Grp|Max|Min)(?P<what>[A-Z][A-Za-z]*?)(?P<run>Run)?(?P<minutes>Minutes|Mins)?"
    r"(?P<per>Per(Job|Node|User|Account))?(Limit|NotSatisfied)?"
)
OWNERS = {"QOS": "its QOS", "Assoc": "your account", None: "your account"}
THINGS: Mapping[str, tuple[str, str]] = {  # as a number of them, and before "time"
    "BB": ("burst buffer space", "burst buffer"),
    "Billing": ("billing units", "billing"),
    "CPU": ("CPUs", "CPU"),
    "Cpu": ("CPUs", "CPU"),
    "Energy": ("energy", "energy"),
    "GRES": ("GPUs or other GRES", "GPU"),
    "Jobs": ("jobs", "job"),
    "License": ("licences", "licence"),
    "Mem": ("memory", "memory"),
    "Memory": ("memory", "memory"),
    "Node": ("nodes", "node"),
    "SubmitJob": ("jobs", "job"),
    "SubmitJobs": ("jobs", "job"),
    "Unknown": ("some resource", "resource"),
    "Wall": ("time", "run"),
    "WallDuration": ("time", "run"),
}


REASON_ARGV = (*clean("squeue"), "squeue", "--noheader", "--states=PENDING", f"--format=%A{FIELD}%r")
"A squeue for the reason of a job that waits; `--jobs=ID` says which."


def explain_reason(reason: str) -> str:
    """The reason in plain words; '' for no reason, and Slurm's own word for one that is not known.

    ``QOSGrpCpuLimit``, ``AssocMaxGRESPerJob`` and their kin are read by their parts.
    """
    if said := sentence(reason):
        return said[2]
    word = first_word(reason)
    if word in ("", "None"):
        return ""
    if word in REASONS:
        return maintenance(reason) or REASONS[word] + unavailable(reason)
    found = LIMIT.fullmatch(word)
    return f"{limit_in_words(found)} ({word})" if found else reason


def outlook(reason: str) -> Outlook:
    """Whether a job that waits for this reason can start by itself."""
    said = sentence(reason)
    word = said[1] if said else first_word(reason)
    for found, words in ((Outlook.NEVER, NEVER), (Outlook.HELD, HELD), (Outlook.BLOCKED, BLOCKED)):
        if word in words:
            return found
    limit = LIMIT.fullmatch(word) if word not in REASONS else None
    if limit is None:
        return Outlook.OPEN
    if limit["kind"] == "Min" or limit["per"] in ("PerJob", "PerNode"):
        return Outlook.NEVER
    is_budget = not limit["run"] and (limit["minutes"] or limit["what"] in ("Wall", "Energy"))
    return Outlook.BLOCKED if is_budget else Outlook.LIMITED


def sentence(reason: str) -> tuple[str, str, str] | None:
    """The entry of SENTENCES; Slurm prints them with underscores too."""
    plain = reason.replace("_", " ").lstrip("(")
    return next((entry for entry in SENTENCES if plain.startswith(entry[0])), None)


def first_word(reason: str) -> str:
    """``ReqNodeNotAvail`` of ``ReqNodeNotAvail,_UnavailableNodes:n1``."""
    return re.split(r"[,_: (]", reason, maxsplit=1)[0]


def maintenance(reason: str) -> str:
    """The words for a node that a maintenance is planned on; '' for anything else."""
    if "maintenance" not in reason.replace("_", " ").lower():
        return ""
    return "its nodes are reserved for a maintenance; less `time` may let it end before that"


def unavailable(reason: str) -> str:
    """`` (n1,n2)``: the nodes that a reason names as not available."""
    found = re.search(r"UnavailableNodes:([A-Za-z0-9_.,\[\]-]{1,200})", reason)
    return f" ({found[1].rstrip(',')})" if found else ""


def limit_in_words(found: re.Match[str]) -> str:
    """A limit by the parts of its name."""
    owner, (many, one) = OWNERS[found["who"]], THINGS.get(found["what"], (found["what"], found["what"]))
    thing = f"{one} time" if found["minutes"] else many
    if found["kind"] == "Min":
        return f"it asks for less {thing} than {owner} wants of each job"
    if found["per"] in ("PerJob", "PerNode"):
        return f"it asks for more {thing} than {owner} allows one {found['per'][3:].lower()}"
    if outlook(found[0]) is Outlook.BLOCKED:
        return f"the jobs of {owner} have used up its {thing}"
    whose = "your jobs" if found["kind"] == "Max" and found["per"] != "PerAccount" else f"the jobs of {owner}"
    return f"{whose} together are at a limit of {thing}"
