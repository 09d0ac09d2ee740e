"""Why a job waits, whether it can start at all, and why it failed: the words that a user reads."""

from __future__ import annotations

from typing import Any

import pytest

from tfslurm import slurm
from tfslurm.monitoring.reasons import IN_TABLE, NO_FOLDER, reason_of, to_start, why
from tfslurm.run_folder.ending import CAUSES, MEMORY, PROGRAM, STOPPED
from tfslurm.slurm import Outlook
from tfslurm.slurm.reasons import BLOCKED, HELD, LIMIT, NEVER, REASONS, SENTENCES
from tfslurm.tracker import TrackedJob


def job(state: str, **status: Any) -> TrackedJob:
    return TrackedJob("alpha", "7", "2026-11-23T07:00:00Z", "0" * 12, "digits", state, state != "PENDING", status)


@pytest.mark.parametrize(
    ("reason", "outlook", "words"),
    [
        ("Priority", Outlook.OPEN, "other jobs come first"),
        ("PartitionTimeLimit", Outlook.NEVER, "it asks for more time than its partition allows"),
        ("PartitionNodeLimit", Outlook.NEVER, "it asks for more nodes than its partition has or allows"),
        ("DependencyNeverSatisfied", Outlook.NEVER, "the job that it depends on ended otherwise than asked"),
        (
            "QOSMaxWallDurationPerJobLimit",
            Outlook.NEVER,
            "it asks for more time than its QOS allows one job (QOSMaxWallDurationPerJobLimit)",
        ),
        (
            "AssocMaxGRESPerNode",
            Outlook.NEVER,
            "it asks for more GPUs or other GRES than your account allows one node (AssocMaxGRESPerNode)",
        ),
        (
            "QOSMinGRES",
            Outlook.NEVER,
            "it asks for less GPUs or other GRES than its QOS wants of each job (QOSMinGRES)",
        ),
        ("QOSMinCpuNotSatisfied", Outlook.NEVER, "it asks for less CPUs than its QOS wants of each job (…)"),
        ("AssocGrpCPUMinutesLimit", Outlook.BLOCKED, "the jobs of your account have used up its CPU time (…)"),
        ("QOSGrpGRESMinutes", Outlook.BLOCKED, "the jobs of its QOS have used up its GPU time (…)"),
        ("AssocGrpWallLimit", Outlook.BLOCKED, "the jobs of your account have used up its time (…)"),
        (
            "AssocGrpCPURunMinutesLimit",
            Outlook.LIMITED,
            "the jobs of your account together are at a limit of CPU time (…)",
        ),
        ("QOSGrpNodeLimit", Outlook.LIMITED, "the jobs of its QOS together are at a limit of nodes (…)"),
        ("QOSMaxGRESPerUser", Outlook.LIMITED, "your jobs together are at a limit of GPUs or other GRES (…)"),
        ("MaxJobsPerAccount", Outlook.LIMITED, "the jobs of your account together are at a limit of jobs (…)"),
        ("ReqNodeNotAvail,_UnavailableNodes:n[1-2]", Outlook.BLOCKED, "a node that it needs is down, … (n[1-2])"),
        ("ReqNodeNotAvail, Reserved for maintenance", Outlook.BLOCKED, "its nodes are reserved for a maintenance; …"),
        ("JobHeldAdmin", Outlook.HELD, "an administrator holds it"),
        ("launch_failed_requeued_held", Outlook.HELD, "a node could not start it, and it is held"),
        ("(job requeued in held state)", Outlook.HELD, "it was requeued and is held"),
        (
            "Nodes_required_for_job_are_DOWN,_DRAINED_or_reserved_for_jobs_in_higher_priority_partitions",
            Outlook.OPEN,
            "the nodes that it could run on are down, drained or kept for jobs that come first",
        ),
        ("SomethingNew", Outlook.OPEN, "SomethingNew"),
        ("None", Outlook.OPEN, ""),
    ],
)
def test_a_reason_is_told_in_plain_words_and_whether_the_job_can_start(
    reason: str, outlook: Outlook, words: str
) -> None:
    told = slurm.explain_reason(reason)
    first, cut, last = words.partition("…")
    if last == ")":
        last = f"{reason})"
    assert (told.startswith(first), told.endswith(last), bool(cut) or told == words) == (True, True, True), told
    assert slurm.outlook(reason) is outlook


def test_every_word_of_the_lists_is_one_of_slurm_s_reasons() -> None:
    assert {*NEVER, *HELD, *BLOCKED, *(entry[1] for entry in SENTENCES)} <= REASONS.keys()
    assert not {word for word in REASONS if LIMIT.fullmatch(word)} - {"MaxMemPerLimit", "MaxPoweredUpNodes"}


@pytest.mark.parametrize(
    ("reason", "told", "fix"),
    [
        (
            "PartitionNodeLimit",
            "than its partition has or allows, so it will never start",
            "`tfslurm cancel alpha:7`, ",
        ),
        ("QOSMaxMemoryPerJob", "so it will never start", "then ask for what `tfslurm check alpha` lists"),
        ("JobHeldUser", "you hold it", "released: `scontrol release 7` on alpha"),
        ("JobHeldAdmin", "an administrator holds it", "ask the administrators, or `scontrol release 7`"),
        ("PartitionDown", "starts none", "it waits until that changes"),
        ("AssocGrpGRESMinutes", "have used up its GPU time", "ask the administrators of alpha"),
        ("QOSMaxCpuPerUserLimit", "; it never starts if it alone asks for more", ""),
        ("Resources", "it is next", ""),
    ],
)
def test_a_job_that_cannot_start_by_itself_says_what_to_do(reason: str, told: str, fix: str) -> None:
    found = job("PENDING", reason=reason)
    assert told in reason_of(found)
    assert fix in to_start(found)
    assert bool(fix) == bool(to_start(found))
    assert to_start(job("RUNNING", reason=reason)) == ""


def test_a_job_that_waits_has_slurm_s_estimate_of_its_start_beside_the_reason() -> None:
    found = job("PENDING", reason="Resources", started_at="2026-11-23T08:00:00Z")
    assert why(found).endswith("; expected to start 2026-11-23T08:00:00Z")


RAN = {"nodes": ["n1"], "time_limit_s": 60}
STOPPED_AFTER = {
    seconds: {
        **RAN,
        "exit_code": 143,
        "cause": STOPPED,
        "reason": "stopped by SIGTERM",
        "started_at": "2026-11-28T21:12:11Z",
        "ended_at": f"2026-11-28T21:{12 + (11 + seconds) // 60}:{(11 + seconds) % 60:02d}.132Z",
    }
    for seconds in (59, 60, 95)
}


@pytest.mark.parametrize(
    ("state", "status", "told"),
    [
        (
            "TIMEOUT",
            {"exit_code": 143, "cause": STOPPED, **RAN},
            "time limit of 0:01:00 reached; more `time`, or `checkpoint`",
        ),
        (
            "TIMEOUT",
            {"exit_code": 137, "cause": STOPPED, **RAN},
            "time limit of 0:01:00 reached; ignored TERM, killed; more `time`, or `checkpoint`",
        ),
        ("TIMEOUT", {}, "time limit reached; more `time`, or `checkpoint`"),
        ("DEADLINE", RAN, "its deadline was reached"),
        ("CANCELLED", {"exit_code": 137, "cause": STOPPED, **RAN}, "cancelled; ignored TERM, killed"),
        ("CANCELLED", {"exit_code": 143, "cause": STOPPED, **RAN}, "cancelled"),
        ("CANCELLED", {"exit_code": 42, "cause": STOPPED, **RAN}, "cancelled; its program ended with 42"),
        ("CANCELLED", {}, "cancelled before it started"),
        (
            "CANCELLED",
            {"exit_code": 75, "cause": "lost", "reason": "tfslurm: n1: slurmstepd: it ended first", **RAN},
            "exit 75: what runs the program failed, not the program: n1: slurmstepd: it ended first",
        ),
        (
            "FAILED",
            {"exit_code": 137, "cause": MEMORY, "reason": "memory (1 GiB) used up"},
            "memory (1 GiB) used up; ask for more `memory`",
        ),
        ("OUT_OF_MEMORY", {"reason": "OutOfMemory", "exit_code": 137}, "memory used up; ask for more `memory`"),
        (
            "OUT_OF_MEMORY",
            {"reason": "memory (64 MiB) used up", "cause": MEMORY, "exit_code": 137},
            "memory (64 MiB) used up; ask for more `memory`",
        ),
        ("NODE_FAIL", {"reason": "NodeDown"}, "a node of it failed; submit again"),
        (
            "FAILED",
            {"exit_code": 127, "cause": PROGRAM},
            "exit 127: its program, or one that it starts, is not in the image",
        ),
        ("FAILED", {"exit_code": 139, "cause": PROGRAM}, "exit 139: it crashed"),
        ("FAILED", {"exit_code": 143, "cause": PROGRAM}, "exit 143 (SIGTERM)"),
        ("FAILED", {"exit_code": 3, "cause": PROGRAM}, "exit 3"),
        ("FAILED", {"exit_code": 78, "cause": PROGRAM}, "exit 78, the program's own"),
        ("FAILED", STOPPED_AFTER[59], "exit 143: stopped by SIGTERM"),
        ("FAILED", STOPPED_AFTER[60], "time limit of 0:01:00 reached; more `time`, or `checkpoint`"),
        (
            "FAILED",
            {**STOPPED_AFTER[95], "exit_code": 137},
            "time limit of 0:01:00 reached; ignored TERM, killed; more `time`, or `checkpoint`",
        ),
        ("FAILED", {**STOPPED_AFTER[95], "time_limit_s": None}, "exit 143: stopped by SIGTERM"),
        ("FAILED", {**STOPPED_AFTER[95], "started_at": None}, "exit 143: stopped by SIGTERM"),
        ("FAILED", {**STOPPED_AFTER[95], "exit_code": 3, "cause": PROGRAM, "reason": ""}, "exit 3"),
        ("COMPLETED", {"exit_code": 0}, ""),
    ],
)
def test_a_job_that_failed_says_why_and_what_to_change(state: str, status: dict[str, Any], told: str) -> None:
    assert reason_of(job(state, **status)) == told


@pytest.mark.parametrize("cause", CAUSES)
def test_no_cause_of_an_end_is_hidden_by_slurm_s_state(cause: str) -> None:
    own = "tfslurm: n1: docker: it went away"
    found = reason_of(job("TIMEOUT", exit_code=75, cause=cause, reason=own, **RAN))
    by_limit = cause in (PROGRAM, STOPPED, MEMORY)
    assert ("time limit" in found, "docker: it went away" in found) == (by_limit, not by_limit)


def test_a_long_reason_is_cut_in_a_table_and_whole_where_there_is_room() -> None:
    found = job("FAILED", exit_code=78, cause="refused", reason=f"tfslurm: n1: image: {'x' * 200}")
    assert reason_of(found).endswith("…; `tfslurm logs alpha:7` says all")
    assert reason_of(found, 1000).endswith("x" * 200)
    path = "/scratch/alice/runs/digits-0a1b2c3d4e5f/7/attempt-1/facts/task-0/image-pull.log"
    found = job("FAILED", exit_code=78, cause="refused", reason=f"tfslurm: n1: image: it is not there; see {path}")
    assert why(found, IN_TABLE) == (
        "exit 78: not started: n1: image: it is not there; see…; `tfslurm logs alpha:7` says all"
    )
    assert why(found).endswith(path)


@pytest.mark.parametrize(
    ("state", "status", "begins"),
    [
        ("CANCELLED", {"nodes": ["n1"]}, "cancelled; "),
        ("CANCELLED", {}, "cancelled before it started; "),
        ("TIMEOUT", {"time_limit_s": 60}, "time limit of 0:01:00 reached; more `time`, or `checkpoint`; "),
        ("OUT_OF_MEMORY", {"exit_code": 137}, "memory used up; ask for more `memory`; "),
        ("NODE_FAIL", {}, "a node of it failed; submit again; "),
        ("PREEMPTED", {}, "pushed out by another job, and not queued again there; "),
        ("FAILED", {"exit_code": 9}, "exit 9: "),
        ("COMPLETED", {"exit_code": 0}, ""),
        ("LOST", {}, ""),
    ],
)
def test_a_run_folder_that_is_gone_is_told_beside_every_end(state: str, status: dict[str, Any], begins: str) -> None:
    assert reason_of(job(state, reason=NO_FOLDER, **status)) == f"{begins}{NO_FOLDER}"
